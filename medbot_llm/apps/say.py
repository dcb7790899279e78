"""`medbot say`: a text in the robot's voice, to the loudspeaker or into a WAV file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from medbot_llm.apps.command_line import EXIT_INTERRUPTED
from medbot_llm.apps.ending import close_all
from medbot_llm.apps.ending import is_deep
from medbot_llm.apps.ending import leave_at_once
from medbot_llm.apps.sound_files import WavWriter
from medbot_llm.apps.sound_files import check_folder
from medbot_llm.apps.voice_devices import check_directions
from medbot_llm.apps.voice_devices import device_of
from medbot_llm.apps.voice_devices import start_or_raise
from medbot_llm.apps.voice_parts import ESPEAK
from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.apps.voice_parts import load_synthesizer
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.models.store import ModelStore
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import MouthSettings
from medbot_llm.speech.mouth import SpeakingState
from medbot_llm.speech.synthesizer import FASTEST
from medbot_llm.speech.synthesizer import SLOWEST
from medbot_llm.speech.synthesizer import CachedSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings
from medbot_llm.text.language import detect_language
from medbot_llm.text.sentences import split_sentences

AUTO = "auto"
MAX_CHARS = 40_000
"""About three hours of speech."""
POLL_S = 0.05
CLOSE_WITHIN_S = 1.5

_EPILOG = f"""\
examples:
  medbot say "早餐後吃一顆。"                            to the loudspeaker
  medbot say "Take 1 tablet (5 mg) BID." -o dose.wav     read as a person reads it
  medbot say "这个药一天两次。" --lang zh-Hans -o a.wav
  medbot say --voice am_michael --speed 0.85 "Good morning."
  fold -s leaflet.txt | medbot say - --lang en -o leaflet.wav

A sentence may mix Chinese and English. The language is told from the text where --lang does not
say it. --model {ESPEAK} is the light voice, which is there where there is no other.
"""


def add_parser(subparsers: Any) -> None:
    """Add `medbot say`."""
    parser = subparsers.add_parser(
        "say",
        help="read a text aloud, or into a sound file",
        description="Read a text aloud in the robot's voice, or into a WAV file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", metavar="TEXT", help="what to say; -: read standard input")
    parser.add_argument(
        "--lang",
        choices=(*Language.values(), AUTO),
        default=AUTO,
        help="language of the text (default: told from it)",
    )
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="write a WAV file instead of playing the sound"
    )
    parser.add_argument(
        "--voice", help="name of a voice, for both languages (default: one voice for each)"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help=f"rate of speech, {SLOWEST:g} to {FASTEST:g} (default: 1)",
    )
    parser.add_argument(
        "--model",
        default=VOICE_MODEL,
        help=f"an id of `medbot models list`, a folder, or {ESPEAK} (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of the synthesis (default: 2)")
    parser.add_argument(
        "--loudspeaker", metavar="DEVICE", help="index, name, or a part of the name"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say the text."""
    started = time.monotonic()
    text = _text(args.text)
    language = None if args.lang == AUTO else Language(args.lang)
    sentences = list(_sentences(text, language))
    if not sentences:
        raise MedbotError("there is nothing to say")
    settings = _settings(args)
    if args.out is not None:
        check_folder(args.out)
    if args.out is None:
        check_directions(needs_input=False, needs_output=True)
    voice = load_synthesizer(args.model, settings)
    if args.out is not None:
        with WavWriter(args.out, voice.rate) as file:
            for sentence, its_language in sentences:
                file.write(voice.synthesize(sentence, its_language).samples)
            if not file.samples:
                raise MedbotError("there is nothing to say")
        where, duration_s = args.out, file.duration_s
    else:
        where, duration_s = "played", _play(sentences, voice, args.loudspeaker)
    took_s = time.monotonic() - started
    print(f"{where}: {duration_s:.1f} s of speech in {took_s:.1f} s", file=sys.stderr)
    return 0


def _text(given: str) -> str:
    text = given
    if given == "-":
        data = sys.stdin.buffer.read(8 * MAX_CHARS)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise MedbotError("standard input is not UTF-8") from None
    if len(text) > MAX_CHARS:
        raise MedbotError(f"the text is longer than {MAX_CHARS} characters")
    return text


def _sentences(text: str, language: Language | None) -> Iterator[tuple[str, Language]]:
    """The sentences of a text, each with its language."""
    latest = language or detect_language(text, Language.ZH_HANT)
    for sentence in split_sentences(text):
        if any(char.isalnum() for char in sentence):
            latest = language or detect_language(sentence, latest)
            yield sentence, latest


def _settings(args: argparse.Namespace) -> VoiceSettings:
    if args.voice is None:
        return VoiceSettings(speed=args.speed, threads=args.threads)
    if args.model == ESPEAK:
        raise MedbotError(f"{ESPEAK} has no voices to choose from")
    found = ModelStore().resolve(args.model)
    folder = found if found.is_dir() else found.parent
    # A mistyped name would else be the fall-back voice's turn.
    there_are = sorted(path.stem for path in folder.glob("voices/*.bin"))
    if args.voice not in there_are:
        raise MedbotError(f"there is no voice {args.voice!r}; there are: {', '.join(there_are)}")
    return VoiceSettings(
        chinese=args.voice, english=args.voice, speed=args.speed, threads=args.threads
    )


def _play(
    sentences: list[tuple[str, Language]], voice: CachedSynthesizer, device: str | None
) -> float:
    """Play them to the end, the first while the others are worked out; how long it sounded, s."""
    listener = _Listener()
    mouth = Mouth(voice, MouthSettings(niceness=0), listener)
    loudspeaker = Loudspeaker(mouth.render, rate=mouth.rate, device=device_of(device))
    try:
        start_or_raise(loudspeaker)
        mouth.output_latency_s = loudspeaker.latency_s
        for number, (sentence, language) in enumerate(sentences):
            is_last = number == len(sentences) - 1
            mouth.say(
                ReplyChunk("say", number, sentence, language, ReplyKind.ANSWER, is_last=is_last)
            )
        while mouth.is_busy:
            time.sleep(POLL_S)
            if loudspeaker.problem:
                raise MedbotError(loudspeaker.problem)
        first, last = listener.first_at, time.monotonic()
    except KeyboardInterrupt:
        mouth.stop()
        close_all([mouth, loudspeaker], CLOSE_WITHIN_S)
        if is_deep(lambda: mouth.is_synthesizing, 0.0):
            leave_at_once(EXIT_INTERRUPTED)
        raise
    finally:
        close_all([mouth, loudspeaker], CLOSE_WITHIN_S)
    if listener.problem:
        raise MedbotError(listener.problem)
    return last - first


class _Listener:
    """Notes when the voice begins, and what it cannot say."""

    def __init__(self) -> None:
        self.first_at = time.monotonic()
        self.problem = ""
        self._has_begun = False

    def on_speaking(self, state: SpeakingState) -> None:
        if state.is_speaking and not self._has_begun:
            self.first_at, self._has_begun = state.first_audio_at, True

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        """No microphone hears it."""

    def on_problem(self, problem: str) -> None:
        self.problem = self.problem or problem
