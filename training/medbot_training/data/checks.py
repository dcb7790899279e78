"""What is wrong with one record by itself: its form, its answers, its content, its personal data.

Each check is a function from a record to details; CHECKS names them by the kind of their finding.
What takes a record among others (copies, leaks, counts) is in validate.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from functools import cache
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.text.normal import canonical
from medbot_training.data.deidentify import MARK
from medbot_training.data.deidentify import default_deidentifier
from medbot_training.data.findings import Finding
from medbot_training.data.findings import shown
from medbot_training.data.formats import REPEATED
from medbot_training.data.languages import told_language
from medbot_training.data.near import bare
from medbot_training.data.records import Conversation
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import language_key
from medbot_training.data.records import split_thinking
from medbot_training.data.records import texts_of

if TYPE_CHECKING:
    from medbot_training.rewards.parts import Context
    from medbot_training.rewards.parts import RewardParts
    from medbot_training.rewards.rules import Rules

MIN_LETTERS_OF_LANGUAGE = 20
"""Of a shorter answer the language is not told: a drug name is English in Chinese too."""
MIN_LETTERS_OF_QUESTION = 6
MIN_REPEATED_PROMPT = 8
"""Letters; a shorter question may well begin its answer."""
MARGINS = {"safety": 0.1, "rules": 0.3}
"""By so much, of 2, the rules must find the chosen answer worse: of safety any real difference
counts, of manners and length only a large one."""
TIMES = 3
"""A sentence said so often is said over and over."""

_NOTHING = re.compile(
    r"(?:n/?a|none|null|nan|undefined|\[object object\]|"
    r"無|无|暫無|暂无|略|todo|tbd|空)[。.]?",
    re.IGNORECASE,
)
_CONTROL = re.compile(
    r"<\|[A-Za-z0-9_/ ]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:pad|unk|bos|eos|mask)>|"
    r"<(?:start|end)_of_turn>|<reserved_\d+>|<｜[^｜]{1,40}｜>|<\|?(?:im_start|im_end|eot_id)\|?>|"
    r"^#{2,4} ?(?:Instruction|Response|Input|Human|Assistant|指令|回答|輸入|输入) ?[:：]|"
    r"^(?:Human|Assistant|USER|ASSISTANT|用戶|用户|助手|AI) ?[:：]",
    re.MULTILINE,
)
_UNFILLED = re.compile(
    r"\{\{[^{}\n]{1,40}\}\}|\$?\{[A-Za-z_\u4e00-\u9fff][\w\u4e00-\u9fff .]{0,30}\}|%\(\w+\)s|%s\b|"
    r"\[(?:your|insert|插入|請填|请填|填寫|填写|待填)[^\]\n]{0,30}\]|"
    r"\[[^\]\n]{0,12}(?:name|姓名|名字|日期|電話|电话|date|hospital|醫院|医院|藥名|药名|劑量|剂量)[^\]\n]{0,12}\]|"
    r"<(?:姓名|name|date|日期|藥名|药名|insert[^>\n]{0,20}|your[^>\n]{0,20})>|_{4,}|＿{3,}|X{3,}|○{2,}|"
    r"\bTODO\b|\bTBD\b|lorem ipsum",
    re.IGNORECASE,
)
_OPEN_END = re.compile(
    r"(?:[，、,:：;；（(「『“‘—-]|(?:以及|因為|因为|所以|但是|如果|並且|并且|或者|例如|比如|包括|由於|由于|和|與|或|但)|"
    r"\b(?:and|or|the|of|to|a|an|with|because|if|but|for|in|is|are|you|your)|"
    r"(?:^|[\n:：])\s*(?:\d{1,2}|[一二三四五六七八九十])[.、)）])$"
)
"""With the number of an item that is not there."""
_SENTENCE_END = re.compile(r"[。！？!?]|(?<=[a-z]{2})\.(?=\s)")
_FAREWELL = re.compile(r"祝|謝謝|谢谢|感謝|感谢|再見|再见|加油|thank|regards", re.IGNORECASE)
"""After such words nobody misses a stop."""
_BROKEN_START = re.compile(r"[，。、；：！？,;:!?)）」』”】]|\.(?!\.)")
_LOOP = re.compile(r"(.{4,40}?)\1{3,}", re.DOTALL)
_THINK_LIKE = re.compile(
    r"(?:<|＜|&lt;)\s*[/／]?\s*(?:think|thinking|thought)\s*(?:>|＞|&gt;)", re.IGNORECASE
)
_THINK_MARKS = ["<think>", "</think>"]
_SENTENCE = re.compile(r"[^。！？!?\n]+")
_LATER_BYTE = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""The second and third byte of a Chinese letter, read as Latin-1 or Windows-1252."""
_MOJIBAKE = re.compile(
    # Two Chinese letters in that reading, or what is left of more where invisible bytes went.
    f"(?:[ã-ï][{_LATER_BYTE}]{{2}}){{2}}|(?:[ã-ï][{_LATER_BYTE}]{{0,2}}){{5}}|"
    "\ufffd|锟斤拷|烫烫烫|屯屯屯|ï¿½|â€[œ\x9d™\x98\x99\x93\x94]|Ã[\x80-\xbf©¨¶¼±]|"
    "[\x00-\x08\x0b\x0e-\x1f]|&(?:nbsp|lt|gt|amp|quot|#\\d+);|</?(?:br|p|div|span|a|b|td|tr)\\b[^>\n]*>"
)

Check = Callable[[Record], Iterator[str]]


def answers_of(record: Record) -> Iterator[tuple[str, str, str]]:
    """Give every answer of a record: its place, what was asked last, and what is said.

    Answers are without their thinking; one that is labelled false is a rejected one.
    """
    if isinstance(record, Text):
        return
    if isinstance(record, Preference):
        yield "chosen", record.question, record.chosen
        yield "rejected", record.question, record.rejected
        return
    asked = ""
    last = len(record.messages)
    for number, message in enumerate(record.messages, start=1):
        if message.role == "user":
            asked = message.content
        elif message.role == "assistant":
            place = "rejected" if record.label is False else "answer"
            yield (place if number == last else f"assistant {number}"), asked, message.content


def good_answers_of(record: Record) -> Iterator[tuple[str, str, str]]:
    """The same without the rejected one, which is meant to be worse."""
    return (answer for answer in answers_of(record) if answer[0] != "rejected")


# Structure ---------------------------------------------------------------------------------------


def _roles(record: Record) -> Iterator[str]:
    if isinstance(record, Text):
        return
    messages = record.prompt if isinstance(record, Preference) else record.messages
    roles = [message.role for message in messages]
    if "system" in roles[1:]:
        yield f"message {roles.index('system', 1) + 1} is a system message"
        return
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns:
        yield "nobody says anything"
    elif turns[0] != "user":
        yield "the assistant speaks first"
    else:
        for number, (before, after) in enumerate(pairwise(turns), start=2):
            if before == after:
                yield f"turn {number} is the {after}'s as the one before"
                return
    if isinstance(record, Preference) and turns and turns[-1] != "user":
        yield "the prompt does not end with the user"


def _asks_nothing(record: Record) -> Iterator[str]:
    if isinstance(record, Text):
        return
    messages = record.prompt if isinstance(record, Preference) else record.messages
    for number, message in enumerate(messages, start=1):
        # Spaces, and what has no width.
        is_seen = any(char.isprintable() and not char.isspace() for char in message.content)
        if message.role == "user" and not is_seen:
            yield f"user {number} is empty"


# Form of the answer ------------------------------------------------------------------------------


def _empty(record: Record) -> Iterator[str]:
    if isinstance(record, Text):
        if not bare(record.text):
            yield "has no words"
        return
    for place, _, said in answers_of(record):
        if not any(char.isalnum() for char in said):
            yield f"{place} is empty" if not said.strip() else f"{place} is '{shown(said, 20)}'"
        elif _NOTHING.fullmatch(said.strip()):
            yield f"{place} is '{said.strip()}'"


def _control(record: Record) -> Iterator[str]:
    for place, text in texts_of(record):
        if match := _CONTROL.search(text):
            yield f"{place} has '{match[0].strip()}'"


def _unfilled(record: Record) -> Iterator[str]:
    for place, text in texts_of(record):
        for match in _UNFILLED.finditer(text):
            if not MARK.fullmatch(match[0]):
                yield f"{place} has '{shown(match[0], 40)}'"
                break


def _cut_off(record: Record) -> Iterator[str]:
    for place, _, said in good_answers_of(record):
        text = said.rstrip()
        if not text:
            continue
        line = text.rsplit("\n", 1)[-1]
        is_open = _OPEN_END.search(text) is not None
        # Elsewhere in its last line sentences have ends: then the last one should.
        ended = list(_SENTENCE_END.finditer(line))
        rest = line[ended[-1].end() :] if ended else ""
        is_loose = len(rest) > 1 and rest[-1].isalnum() and not _FAREWELL.search(rest)
        if is_open or is_loose:
            yield f"{place} ends with '…{shown(text[-16:], 20)}'"


def _broken_start(record: Record) -> Iterator[str]:
    for place, _, said in answers_of(record):
        if _BROKEN_START.match(said.lstrip()):
            yield f"{place} begins with '{shown(said.lstrip()[:16], 20)}…'"


def _broken_think(record: Record) -> Iterator[str]:
    for place, _, said in answers_of(record):
        marks = [match[0] for match in _THINK_LIKE.finditer(said)]
        strange = next((mark for mark in marks if mark not in _THINK_MARKS), None)
        if strange is not None:
            yield f"{place} has '{strange}'"
        elif marks not in ([], _THINK_MARKS):
            opened, closed = (marks.count(mark) for mark in _THINK_MARKS)
            yield f"{place} has <think> {opened} times, </think> {closed} times"
        # A whole thought at the start of the last answer has been taken off.
        elif marks and not split_thinking(said)[0]:
            is_first = said.lstrip().startswith(_THINK_MARKS[0])
            yield f"{place} has {'an empty <think>' if is_first else '<think> not at its start'}"


def _broken_text(record: Record) -> Iterator[str]:
    for place, text in texts_of(record):
        if match := _MOJIBAKE.search(text):
            around = text[max(0, match.start() - 8) : match.end() + 8]
            yield f"{place} has {match[0]!r} in '{shown(around, 40)}'"


def _repetition(record: Record) -> Iterator[str]:
    for place, _, said in good_answers_of(record):
        match = _LOOP.search(said[:20_000])
        if match is not None and any(char.isalpha() for char in match[1]):
            yield f"{place}: '{shown(match[1], 30)}' again and again"
            continue
        counts = Counter(text for part in _SENTENCE.findall(said) if len(text := bare(part)) >= 6)
        common = counts.most_common(1)
        if common and common[0][1] >= TIMES:
            yield f"{place}: '{shown(common[0][0], 30)}' {common[0][1]} times"


def _wrong_language(record: Record) -> Iterator[str]:
    named = "" if isinstance(record, Text) else language_key(record.meta)
    for place, asked, said in good_answers_of(record):
        if sum(map(str.isalpha, said)) < MIN_LETTERS_OF_LANGUAGE:
            continue
        is_told = sum(map(str.isalpha, asked)) >= MIN_LETTERS_OF_QUESTION
        wanted = told_language(asked) if is_told else None
        if named in Language.values():
            wanted = Language(named)
        given = told_language(said)
        if wanted is not None and given is not None and wanted is not given:
            yield f"{place} is in {given}, asked for was {wanted}"


# Preferences -------------------------------------------------------------------------------------


def _prompt_repeated(record: Record) -> Iterator[str]:
    if isinstance(record, Preference) and record.meta.get(REPEATED):
        yield "chosen or rejected came with the whole prompt before it"
        return
    for place, asked, said in answers_of(record):
        question = bare(asked)
        if len(question) >= MIN_REPEATED_PROMPT and bare(said).startswith(question):
            yield f"{place} begins with what was asked"


def _same_answers(record: Record) -> Iterator[str]:
    if isinstance(record, Preference) and bare(record.chosen) == bare(record.rejected):
        is_same = record.chosen == record.rejected
        yield "word by word" if is_same else "but for spaces, punctuation or script"


def _chosen_worse(record: Record) -> Iterator[str]:
    if not isinstance(record, Preference) or any(_same_answers(record)) is not False:
        return
    about = _context(record)
    chosen = _score(record.question, record.chosen, about)
    rejected = _score(record.question, record.rejected, about)
    for part, margin in MARGINS.items():
        better, worse = getattr(chosen, part), getattr(rejected, part)
        if better < worse - margin:
            yield f"{part} {better:+.2f}, the rejected answer has {worse:+.2f}"
            return


# Content -----------------------------------------------------------------------------------------


def _of_grade(*grades: str) -> Check:
    def check(record: Record) -> Iterator[str]:
        if isinstance(record, Text):
            return
        about = _context(record)
        for place, asked, said in good_answers_of(record):
            yield from _graded(place, _score(asked, said, about), grades)
        # What is thought is learnt as well; it need not have the manners of an answer.
        if "harm" in grades and (thought := _learnt_thought(record)):
            yield from _graded("thinking", _score(record.question, thought, about), grades)

    return check


def _learnt_thought(record: Conversation | Preference) -> str:
    return (
        record.thinking if isinstance(record, Conversation) and record.label is not False else ""
    )


def _graded(place: str, scores: RewardParts, grades: tuple[str, ...]) -> Iterator[str]:
    details = [
        f"{place}: {found.reason}: {shown(found.detail)}"
        for found in scores.findings
        if found.grade in grades and not _needs_label(found.reason, found.detail)
    ]
    yield from dict.fromkeys(details)


def _emergency_missed(record: Record) -> Iterator[str]:
    if isinstance(record, Text):
        return
    about = _context(record)
    for place, asked, said in good_answers_of(record):
        parts = _score(asked, said, about)
        details = [shown(found.detail) for found in parts.findings if found.grade == "omission"]
        is_alone = parts.need == "emergency" and parts.escalates in ("none", "refused")
        # What plays an emergency down is found as harm; nobody is called then either.
        if not details and is_alone and parts.safety < 0:
            details = ["nobody is called"]
        yield from (f"{place}: {detail}" for detail in dict.fromkeys(details))


def rules_of(record: Record) -> list[float]:
    """What the rules give each good answer of a record, -1 to 1."""
    if isinstance(record, Text):
        return []
    about = _context(record)
    return [_score(asked, said, about).rules for _, asked, said in good_answers_of(record)]


def _claimed_action(record: Record) -> Iterator[str]:
    if isinstance(record, Text) or record.meta.get("actions"):
        return
    about = _context(record)
    for place, asked, said in good_answers_of(record):
        claims = [
            found.detail.partition(": ")[2] or found.detail
            for found in _score(asked, said, about).findings
            if found.reason == _CLAIMS
        ]
        if not about.alerted:
            more = [match[0] for match in _MORE_CLAIMS.finditer(canonical(said))]
            claims += [claim for claim in more if not any(known in claim for known in claims)]
        for claim in dict.fromkeys(claims):
            yield f"{place}: {shown(claim)}"


_CLAIMS = "claims_action_not_done"
_OF_LABEL = {"wrong_drug_stated", "wrong_dose_stated", "wrong_frequency", "wrong_route"}
_MORE_CLAIMS = re.compile(
    r"我?(?:已经?|刚刚?)?(?:发出|送出|传送)了?[^。，]{0,12}(?:通知|警报|讯息|警示)|"
    r"我(?:会|将)[『「“‘']?(?:立刻|立即|马上)[』」”’']?(?:通报|通知|呼叫|联系|联络)[^。，]{0,8}|"
    r"(?<!如果)(?<!要是)(?<!若)(?<!是否)[您你][^。，？?]{0,6}\d{1,2}(?::\d{2}|点)[^。，？?]{0,6}已经?(?:吃|服|打|用)(?:过|了|药)|"
    r"\breminder (?:is |has been |was )?set (?:for|at) \d|"
    r"我(?:会|将)?[^。，]{0,4}在您的(?:档案|病历|纪录|记录)[^。，]{0,6}(?:注记|註记|记录|标记)"
)
"""What data has and a robot's model, which the verifier was written for, hardly says."""


def _needs_label(reason: str, detail: str) -> bool:
    """Whether a rule compares with the label of a delivery; data has none. Claims have a kind of
    their own."""
    return (
        reason == _CLAIMS
        or reason in _OF_LABEL
        or (reason == "start_new_drug" and detail.endswith("is not in this delivery"))
    )


@cache
def _rules() -> Rules:
    """The rules of the rewards, without learned readers: what they find a person can check."""
    from medbot_training.rewards.parts import RuleSettings
    from medbot_training.rewards.rules import Rules

    return Rules(RuleSettings(second_line=False))


@lru_cache(64)
def _scored(question: str, answer: str, about: Context) -> RewardParts:
    return _rules().score(question, answer, about)


def _score(question: str, answer: str, about: Context) -> RewardParts:
    return _scored(question, answer, about)


def _context(record: Conversation | Preference) -> Context:
    from medbot_training.rewards.parts import Context

    language = language_key(record.meta)
    scene, group = str(record.meta.get("scene", "")), str(record.meta.get("patient_group", ""))
    return Context(
        language=Language(language) if language in Language.values() else None,
        scene=Scene(scene) if scene in Scene.values() else None,
        patient_group=(
            PatientGroup(group) if group in PatientGroup.values() else PatientGroup.ADULT
        ),
        alerted=record.meta.get("alerted") is True,
    )


def _personal(record: Record) -> Iterator[str]:
    finder = default_deidentifier()
    found: Counter[tuple[str, str, str]] = Counter()
    for place, text in (*texts_of(record), *_meta_texts(record.meta, "meta")):
        for one in finder.find(text):
            words = text[one.start : one.end]
            # A surname with its title tells nobody apart.
            if one.kind == "name" and len(words) < 2:
                continue
            hidden = words[0] + "*" * min(len(words) - 1, 9)
            found[one.kind, hidden, place] += 1
    for (kind, hidden, place), count in found.items():
        times = f" {count} times" if count > 1 else ""
        yield f"{kind} '{hidden}' in {place}{times}"


def _meta_texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """All texts in `meta`, by their places."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _meta_texts(part, f"{place}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from _meta_texts(part, place)


CHECKS: dict[str, Check] = {
    "roles": _roles,
    "empty_question": _asks_nothing,
    "empty_answer": _empty,
    "control_token": _control,
    "unfilled": _unfilled,
    "cut_off": _cut_off,
    "broken_start": _broken_start,
    "broken_think": _broken_think,
    "broken_text": _broken_text,
    "repetition": _repetition,
    "wrong_language": _wrong_language,
    "prompt_repeated": _prompt_repeated,
    "same_answers": _same_answers,
    "chosen_worse": _chosen_worse,
    "unsafe": _of_grade("harm"),
    "unfit": _of_grade("unfit"),
    "emergency_missed": _emergency_missed,
    "claimed_action": _claimed_action,
    "personal_data": _personal,
}
"""The checks of one record, by the kind of their findings."""


def check_record(record: Record, kinds: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with a record by itself, of these kinds."""
    for kind, check in CHECKS.items():
        if kind in kinds:
            for detail in check(record):
                yield Finding(record.origin, kind, detail)
