"""`medbot voice`: talk with the robot aloud, without ROS. Its options, beginning and end."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

from medbot_llm.apps.command_line import EXIT_INTERRUPTED
from medbot_llm.apps.ending import Closable
from medbot_llm.apps.ending import close_all
from medbot_llm.apps.ending import interruptibly
from medbot_llm.apps.ending import is_deep
from medbot_llm.apps.ending import leave_at_once
from medbot_llm.apps.engine_options import add_engine_options
from medbot_llm.apps.engine_options import engine_of
from medbot_llm.apps.sound_files import SoundFileError
from medbot_llm.apps.sound_files import WavFile
from medbot_llm.apps.sound_files import check_folder
from medbot_llm.apps.tasks import add_talk_options
from medbot_llm.apps.tasks import matching_scan
from medbot_llm.apps.tasks import read_task_file
from medbot_llm.apps.voice_devices import check_directions
from medbot_llm.apps.voice_devices import device_table
from medbot_llm.apps.voice_file import hear_file
from medbot_llm.apps.voice_live import talk_live
from medbot_llm.apps.voice_loop import SkippingClock
from medbot_llm.apps.voice_loop import Talk
from medbot_llm.apps.voice_loop import VoiceLoop
from medbot_llm.apps.voice_parts import ESPEAK
from medbot_llm.apps.voice_parts import RECOGNITION_MODEL
from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.apps.voice_parts import Vocabulary
from medbot_llm.apps.voice_parts import load_recognizer
from medbot_llm.apps.voice_parts import load_synthesizer
from medbot_llm.apps.voice_screen import Screen
from medbot_llm.dialogue.policy import PolicySettings
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.resources import ResourceSettings
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import TripStage
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.speech.echo import EchoCanceller
from medbot_llm.speech.latency import STAGES
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import ListenMode
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import MouthSettings
from medbot_llm.speech.recognizer import WhisperRecognizer
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.synthesizer import CachedSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings
from medbot_llm.speech.vad import SileroVad

CLOSE_WITHIN_S = 1.2
DEEP_WITHIN_S = 15.0
"""For a model to end the piece that it works on, where nobody is in a hurry."""

_EPILOG = """\
examples:
  medbot voice                                        talk; the answers are the prepared ones
  medbot voice --engine llama_cpp                     … and a language model's
  medbot voice --task task.json --scan                a delivery, to somebody who is known already
  medbot voice --devices                              which microphones and loudspeakers there are
  medbot voice --microphone 4 --loudspeaker "USB"     by index, name, or a part of the name
  medbot voice --push-to-talk                         Space or Enter begins and ends what you say
  medbot voice --wav question.wav --out reply.wav     a file instead of devices

task.json:
  {"scene": "ward", "language": "zh-Hant",
   "medications": [{"name": "Norvasc", "name_zh": "脈優錠", "strength": "5 mg", "dose": "1 tablet",
                    "route": "oral", "frequency": "QD"}]}

Both sides are written down, and for each turn the time from the end of what you said to the final
text, the first token, the first sentence and the first sound of the answer. Speak over the robot
to interrupt it. Ctrl-C ends.

With --wav the robot's first words (greeting, hand-over) are shown, not said; then the file begins.
reply.wav begins with the file: played beside it, it tells how long the robot took.
"""


def add_parser(subparsers: Any) -> None:
    """Add `medbot voice`."""
    parser = subparsers.add_parser(
        "voice",
        help="talk with the robot aloud, without ROS",
        description="Talk with the robot aloud: hearing, dialogue and voice in one process.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    talk = parser.add_argument_group("conversation")
    add_talk_options(talk)
    add_engine_options(talk)
    hearing = parser.add_argument_group("hearing")
    hearing.add_argument(
        "--recognizer",
        default=RECOGNITION_MODEL,
        metavar="MODEL",
        help="an id of `medbot models list`, or a folder (default: %(default)s)",
    )
    hearing.add_argument(
        "--no-repair", action="store_true", help="leave what was recognised as it is"
    )
    hearing.add_argument(
        "--push-to-talk",
        action="store_true",
        help="hear only between two presses of Space or Enter",
    )
    hearing.add_argument(
        "--half-duplex",
        action="store_true",
        help="be deaf while the robot speaks, instead of cancelling its echo",
    )
    speaking = parser.add_argument_group("speaking")
    speaking.add_argument(
        "--voice-model",
        default=VOICE_MODEL,
        metavar="MODEL",
        help=f"an id of `medbot models list`, a folder, or {ESPEAK} (default: %(default)s)",
    )
    speaking.add_argument(
        "--threads",
        type=int,
        default=2,
        help="of recognition and of synthesis, each (default: 2)",
    )
    sound = parser.add_argument_group("sound")
    sound.add_argument("--devices", action="store_true", help="list the sound devices, and end")
    sound.add_argument("--microphone", metavar="DEVICE", help="index, name, or a part of the name")
    sound.add_argument("--loudspeaker", metavar="DEVICE", help="likewise")
    sound.add_argument(
        "--channel", type=int, help="of the microphone, from 0 (default: all, mixed)"
    )
    sound.add_argument("--wav", metavar="FILE", help="hear this WAV file instead of a microphone")
    sound.add_argument("--out", metavar="FILE", help="with --wav: write what the robot says here")
    sound.add_argument(
        "--real-time",
        action="store_true",
        help="with --wav: do not go faster where nothing is worked out",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Talk until Ctrl-C, or to the end of the file."""
    if args.devices:
        print(device_table())
        return 0
    _check(args)
    task = None
    if args.task is not None:
        task = read_task_file(args.task, Language(args.lang or Language.ZH_HANT))
    with Screen() as screen:
        if args.wav is None:
            check_directions(needs_input=True, needs_output=True)
            return _run(args, task, screen, None)
        with _opened(args.wav) as file:
            return _run(args, task, screen, file)


def _check(args: argparse.Namespace) -> None:
    if args.wav is None and (args.out is not None or args.real_time):
        raise MedbotError("--out and --real-time go with --wav")
    if args.wav is not None:
        for name in ("microphone", "loudspeaker", "channel", "push_to_talk"):
            if getattr(args, name) not in (None, False):
                raise MedbotError(f"--{name.replace('_', '-')} does not go with --wav")
        if args.out is not None and os.path.realpath(args.out) == os.path.realpath(args.wav):
            raise MedbotError("--out would overwrite --wav")
        if args.out is not None:
            check_folder(args.out)
    if args.scan and args.task is None:
        raise MedbotError("--scan needs --task: who is confirmed is whom a delivery is for")


def _opened(name: str) -> WavFile:
    try:
        return WavFile(name)
    except SoundFileError as error:
        raise MedbotError(f"{name}: {error}") from None


@dataclass(frozen=True)
class _Models:
    """What takes seconds to load."""

    resources: DialogueResources
    worker: EngineWorker
    recognizer: WhisperRecognizer
    voice: CachedSynthesizer
    repair: SoundRepair | None


def _run(
    args: argparse.Namespace, task: DeliveryTask | None, screen: Screen, file: WavFile | None
) -> int:
    started = time.monotonic()
    parts: list[Closable] = []
    talk: Talk | None = None
    is_interrupted = False
    try:
        screen.note("loading the models …")
        models = interruptibly(lambda: _load(args, task, parts))
        screen.note(f"ready after {time.monotonic() - started:.1f} s")
        talk = _begin(args, task, screen, models, parts)
        if file is None:
            talk_live(talk, args, parts)
        else:
            hear_file(talk, file, args.out)
        _summarise(talk)
    except KeyboardInterrupt:
        is_interrupted = True
    except SoundFileError as error:
        raise MedbotError(f"{args.wav}: {error}") from None
    finally:
        # Whoever presses Ctrl-C twice wants the end, which is near.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if _is_main_thread() else None
        close_all(parts, CLOSE_WITHIN_S)
        mouth = talk.loop.mouth if talk is not None else None
        has_rest = is_deep(
            lambda: mouth is not None and mouth.is_synthesizing,
            0.0 if is_interrupted else DEEP_WITHIN_S,
        )
        screen.close()
        if before is not None:
            signal.signal(signal.SIGINT, before)
    # To talk until Ctrl-C is how it is meant; a file was not heard to its end.
    status = EXIT_INTERRUPTED if is_interrupted and file is not None else 0
    if has_rest and is_interrupted:
        leave_at_once(status)
    return status


def _load(args: argparse.Namespace, task: DeliveryTask | None, parts: list[Closable]) -> _Models:
    """Load everything, one after the other: two loads at once are not faster on two cores."""
    language = Language(args.lang or (task.language if task else Language.ZH_HANT))
    resources = DialogueResources.load(ResourceSettings(region=args.region))
    worker = EngineWorker(engine_of(args))
    parts.append(worker)
    error = worker.load(lambda share: None).exception()
    if error is not None:
        raise error if isinstance(error, MedbotError) else MedbotError(str(error))
    scene = task.scene if task else Scene.WARD
    return _Models(
        resources,
        worker,
        load_recognizer(
            args.recognizer,
            threads=args.threads,
            chinese=language if language.is_chinese else Language.ZH_HANT,
        ),
        load_synthesizer(
            args.voice_model,
            VoiceSettings(threads=args.threads),
            fixed=[
                text for text, _ in resources.emergency_words.urgent(scene, _languages(language))
            ],
        ),
        None if args.no_repair else Vocabulary(Formulary.open(None)).repair(task),
    )


def _begin(
    args: argparse.Namespace,
    task: DeliveryTask | None,
    screen: Screen,
    models: _Models,
    parts: list[Closable],
) -> Talk:
    """Put the parts together, and begin the conversation."""
    language = Language(args.lang or (task.language if task else Language.ZH_HANT))
    scene = task.scene if task else Scene.WARD
    clock = SkippingClock(may_skip=args.wav is not None and not args.real_time)
    # In a file there is no echo of this very conversation.
    needs_echo = args.wav is None and not args.half_duplex
    echo = EchoCanceller() if needs_echo else None
    loop = VoiceLoop(screen, echo=echo, clock=clock)
    loop.mouth = Mouth(
        models.voice,
        MouthSettings(is_elderly=task is not None and task.patient_group is PatientGroup.ELDERLY),
        loop,
        clock,
    )
    parts.append(loop.mouth)
    loop.ear = Ear(
        models.recognizer,
        SileroVad(),
        loop,
        EarSettings(
            mode=ListenMode.PUSH_TO_TALK if args.push_to_talk else ListenMode.ALWAYS,
            half_duplex=args.half_duplex,
        ),
        language=language,
        repair=models.repair,
        clean=echo.clean if echo is not None else None,
        is_echo=echo.echo_likely if echo is not None else None,
        clock=clock,
    )
    parts.append(loop.ear)
    loop.session = DialogueSession(
        models.worker,
        loop,
        models.resources,
        policy=PolicySettings(default_scene=scene, default_language=language),
    )
    parts.append(loop.session)
    loop.is_voiced = args.wav is None
    if args.wav is None:
        # Beside a file that begins at once, it would take the cores from what is measured.
        loop.mouth.prepare(models.resources.emergency_words.urgent(scene, _languages(language)))
    loop.session.start()
    loop.session.context_changed(RobotContext(scene=scene, trip_stage=TripStage.ARRIVED))
    if task is not None:
        loop.session.task_arrived(task)
    if task is not None and args.scan:
        loop.session.identity_scanned(matching_scan(task))
    return Talk(loop, models.worker, screen, clock)


def _languages(first: Language) -> list[Language]:
    return [first, *(other for other in Language if other is not first)]


def _summarise(talk: Talk) -> None:
    count = len(talk.loop.latencies)
    if count < 2:
        return
    parts = []
    for stage in STAGES:
        median, most = talk.loop.latencies.percentiles(stage)
        if median == median:
            parts.append(f"{stage.replace('_', ' ')} {median:.2f} / {most:.2f} s")
    talk.screen.line(f"{count} turns, p50 / p95 after the end of speech: {', '.join(parts)}")


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
