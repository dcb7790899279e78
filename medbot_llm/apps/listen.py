"""`medbot listen`: what is said in sound files, as JSON Lines.

The robot's own ear hears them: the same voice detection, guards against what Whisper invents, and
repair by sound. Only what belongs to a conversation is left out: first guesses, interruption, and
a clock. So a file is worked through as fast as the cores allow, one turn of it at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.apps.command_line import EXIT_INTERRUPTED
from medbot_llm.apps.command_line import EXIT_PROBLEM
from medbot_llm.apps.ending import leave_at_once
from medbot_llm.apps.json_lines import write_object
from medbot_llm.apps.sound_files import SoundFileError
from medbot_llm.apps.sound_files import WavFile
from medbot_llm.apps.tasks import read_task_file
from medbot_llm.apps.voice_parts import RECOGNITION_MODEL
from medbot_llm.apps.voice_parts import Vocabulary
from medbot_llm.apps.voice_parts import load_recognizer
from medbot_llm.domain import Language
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.endpointing import EndSettings
from medbot_llm.speech.endpointing import TurnEnd
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.recognizer import Recognizer
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.vad import SileroVad
from medbot_llm.speech.vad import VoiceDetector

AUTO = "auto"
TURN_SILENCE_S = 0.6
"""Silence at which a file is cut. Nobody waits for an answer, so there is no likely end before."""
POLL_S = 0.002

_EPILOG = """\
examples:
  medbot listen question.wav
      {"file": "question.wav", "text": "這個藥什麼時候吃", "lang": "zh-Hant", "confidence": 0.81}
  medbot listen --lang en ward/*.wav > said.jsonl     a whole folder; the order is kept
  medbot listen --lang zh-Hans 问题.wav               in Simplified characters
  medbot listen --task task.json question.wav         knows the medicines of this delivery by sound

Where words were repaired by their sound, "original" holds what the recogniser wrote; --no-repair
leaves it at that. Where nobody speaks, text is "". A file that can't be read is told in one line
on stderr, the others are done, and the exit status is 2.

Files are WAV of any rate and number of channels: 8, 16, 24 or 32 bits, or floats. Make one of
anything else by: ffmpeg -i recording.m4a recording.wav
"""


def add_parser(subparsers: Any) -> None:
    """Add `medbot listen`."""
    parser = subparsers.add_parser(
        "listen",
        help="write down what is said in sound files",
        description="Write down what is said in sound files: WAV in, JSON Lines out.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="WAV files")
    parser.add_argument(
        "--lang",
        choices=(*Language.values(), AUTO),
        default=AUTO,
        help="language that is spoken; auto finds it turn by turn, and writes Chinese in"
        " Traditional characters (default: %(default)s)",
    )
    parser.add_argument(
        "--task", type=Path, metavar="FILE", help="delivery whose words are known, a JSON file"
    )
    parser.add_argument(
        "--no-repair", action="store_true", help="leave what was recognised as it is"
    )
    parser.add_argument(
        "--model",
        default=RECOGNITION_MODEL,
        help="recogniser: an id of `medbot models list`, or a folder (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of the recogniser (default: 2)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Recognise every file."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        # The ear's thread may be deep in a recognition.
        leave_at_once(EXIT_INTERRUPTED)


def _run(args: argparse.Namespace) -> int:
    language = None if args.lang == AUTO else Language(args.lang)
    task = read_task_file(args.task) if args.task is not None else None
    recognizer = load_recognizer(
        args.model, threads=args.threads, chinese=language or Language.ZH_HANT
    )
    repair = None if args.no_repair else Vocabulary(Formulary.open(None)).repair(task)
    detector = SileroVad()
    has_failed = False
    with _progress(len(args.files)) as advance:
        for name in args.files:
            advance(name)
            try:
                transcript = transcribe(name, recognizer, detector, language, repair)
            except SoundFileError as error:
                has_failed = True
                advance("")
                print(f"medbot: listen: {name}: {error}", file=sys.stderr, flush=True)
                continue
            advance("")
            write_object({"file": name, **transcript.as_fields()})
    return EXIT_PROBLEM if has_failed else 0


@dataclass(frozen=True)
class Transcript:
    """What is said in a file.

    Attributes:
        text: "" where nobody speaks.
        original: As the recogniser wrote it.
        language: That of most of it; None where nobody speaks and none was asked for.
        confidence: 0 to 1; 0 where nobody speaks.
    """

    text: str
    original: str
    language: Language | None
    confidence: float

    def as_fields(self) -> dict[str, Any]:
        """As written by the command."""
        fields: dict[str, Any] = {
            "text": self.text,
            "lang": str(self.language or ""),
            "confidence": round(self.confidence, 3),
        }
        if self.original != self.text:
            fields["original"] = self.original
        return fields


def transcribe(
    file: str | Path,
    recognizer: Recognizer,
    detector: VoiceDetector,
    language: Language | None = None,
    repair: SoundRepair | None = None,
) -> Transcript:
    """Write down what is said in a WAV file.

    Args:
        language: That is spoken; None: found.
        repair: By sound; None: nothing is repaired.

    Raises:
        SoundFileError: The file can't be used.
        SpeechError: The recogniser fails.
    """
    turns = _Turns()
    detector.reset()
    with WavFile(file) as sound:
        ear = Ear(
            recognizer,
            detector,
            turns,
            EarSettings(
                end=EndSettings(
                    strategy=TurnEnd.SILENCE,
                    likely_end_s=TURN_SILENCE_S,
                    silence_s=TURN_SILENCE_S,
                ),
                guess_after_s=float("inf"),
                may_switch_language=language is None,
            ),
            language=language or Language.ZH_HANT,
            repair=repair,
        )
        at = 0.0
        for samples in sound.blocks():
            ear.feed(Block(samples, at))
            at += len(samples) / RATE
            # One turn at a time in memory.
            _wait(ear, turns)
            if language is None and turns.heard:
                # As in a conversation: people go on in the language in which they began.
                ear.set_language(turns.heard[-1].language)
        ear.end_turn()
        _wait(ear, turns)
        # Not where an error or Ctrl-C ends it: a recognition under way would be waited for.
        ear.close()
    return turns.joined(language)


def _wait(ear: Ear, turns: _Turns) -> None:
    while ear.is_recognising:
        time.sleep(POLL_S)
    if turns.problem:
        raise SpeechError(turns.problem)


class _Turns:
    """Collects what an ear hears."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.problem = ""

    def on_voice(self, started: float) -> None:
        """Nobody waits for it."""

    def on_words(self, heard: Heard) -> None:
        """No robot speaks that could be interrupted."""

    def on_nothing(self) -> None:
        """A noise."""

    def on_heard(self, heard: Heard) -> None:
        if heard.text:
            self.heard.append(heard)

    def on_problem(self, problem: str) -> None:
        self.problem = self.problem or problem

    def joined(self, language: Language | None) -> Transcript:
        """All turns as one."""
        if not self.heard:
            return Transcript("", "", language, 0.0)
        lengths: dict[Language, int] = {}
        for turn in self.heard:
            lengths[turn.language] = lengths.get(turn.language, 0) + len(turn.text)
        total = sum(lengths.values())
        return Transcript(
            text=" ".join(turn.text for turn in self.heard),
            original=" ".join(turn.original for turn in self.heard),
            language=max(lengths, key=lambda one: lengths[one]),
            confidence=sum(turn.confidence * len(turn.text) for turn in self.heard) / total,
        )


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A bar of files on a terminal; yields a function: with a name, that file begins, with "", it
    is done.
    """
    if count < 2 or not sys.stderr.isatty():
        yield lambda name: None
        return
    from tqdm import tqdm

    with tqdm(total=count, unit="file", file=sys.stderr, dynamic_ncols=True, leave=False) as bar:

        def advance(name: str) -> None:
            if name:
                bar.set_description(Path(name).name[-30:])
                return
            bar.update()
            if sys.stdout.isatty():
                # Out of the way of the line that follows; the next file draws it again.
                bar.clear()

        yield advance
