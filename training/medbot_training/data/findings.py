"""What is wrong with a record: one line that names file and record, the same in every command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medbot_training.data.records import Origin

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""With those that turn the direction of what follows."""

KINDS = {
    # Reading
    "unreadable": "is no JSON, no row or no text of its format; the record is left out",
    "encoding": "has bytes or characters that are no text of the file's encoding",
    "cut_off_file": "the file ends within this record",
    "too_long": "is longer than any record may be",
    "missing_field": "lacks a field of its format, or has null there",
    "wrong_type": "has a value of another kind than its format wants",
    "wrong_role": "a message is from somebody who is no system, user or assistant",
    "tools": "a tool is called or answers, and no stage learns from that",
    "ambiguous": "says two things in one place: a key twice, or the fields of two formats",
    "other_format": "is of another format than its file",
    "bad_answer": "is labelled false: a bad answer is not written where answers are imitated",
    "not_convertible": "says what the format that was asked for can't hold",
    # Structure
    "claim": "the file has another number of records than is claimed",
    "roles": "messages are not in turn: system first, then user and assistant",
    "no_answer": "ends without an answer, in a file where others have one",
    "empty_question": "asks nothing",
    # Copies
    "duplicate": "is the same as an earlier record",
    "near_duplicate": "is nearly the same as an earlier record",
    "conflict": "answers the same prompt in a way that an earlier record rejects, or labels false",
    "leak": "is in another split as well, word by word or nearly",
    # Form of the answer
    "empty_answer": "has no answer, or no words in it",
    "control_token": "has marks of a chat template or of training in its text",
    "unfilled": "has a placeholder that nobody filled in",
    "cut_off": "the answer ends in mid-sentence",
    "broken_start": "the answer begins in mid-sentence",
    "broken_think": "<think> is empty, misspelt, not closed, there twice, or not at the start",
    "broken_text": "has letters that a wrong encoding has made",
    "repetition": "says the same over and over",
    "wrong_language": "answers in another language or script than it was asked in",
    # Preferences
    "prompt_repeated": "the answer begins with the prompt, which would count twice",
    "same_answers": "chosen and rejected are the same",
    "chosen_worse": "the rules find the chosen answer worse than the rejected one",
    # Content
    "unsafe": "says what may hurt somebody, by the rules of triage, verifier and rewards",
    "unfit": "says what is not the robot's to say: a diagnosis, a new medicine, a guarantee",
    "emergency_missed": "asked with signs of an emergency, it sends for nobody",
    "claimed_action": "claims what no tool did: an alert, a call, a reminder, a record",
    "personal_data": "names a person, or has a number, address or date of one",
}
"""Every kind of finding, and what it means."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one record.

    Attributes:
        origin: File and record; record 0 is the file as a whole.
        kind: One of KINDS.
        detail: What exactly, in a few words.
        stops: Nothing after it in the file could be read.
    """

    origin: Origin
    kind: str
    detail: str
    stops: bool = False

    def __str__(self) -> str:
        return visible(f"{self.origin}: {self.kind}: {' '.join(self.detail.split())}")


def shown(value: object, length: int = 60) -> str:
    """A value as a finding quotes it: one line, not long."""
    text = visible(" ".join(str(value).split()))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def visible(text: str) -> str:
    """A text that a terminal shows and does not obey: control characters as escapes."""
    text = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return text.encode("utf-8", "replace").decode("utf-8")
