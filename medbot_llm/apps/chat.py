"""`medbot chat`: type with the robot, without ROS and without sound.

The real session, policy, triage, gate and verifier talk, on the model that is asked for: the
quickest way to try a model that was just trained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import Any

from tqdm import tqdm

from medbot_llm.apps.ending import close_all
from medbot_llm.apps.ending import interruptibly
from medbot_llm.apps.ending import is_deep
from medbot_llm.apps.ending import leave_at_once
from medbot_llm.apps.engine_options import add_engine_options
from medbot_llm.apps.engine_options import engine_of
from medbot_llm.apps.simulate import SystemEvent
from medbot_llm.apps.simulate import scan_of
from medbot_llm.apps.tasks import add_talk_options
from medbot_llm.apps.tasks import read_task_file
from medbot_llm.dialogue.policy import PolicySettings
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.resources import ResourceSettings
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.domain import Alert
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.engines.build import EngineKind
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.prompts.untrusted import MAX_SPEECH_CHARS
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.safety.base import Verdict

TURN_TIMEOUT_S = 300.0
CLOSE_WITHIN_S = 2.0
PROMPT = "you    "

_EPILOG = """\
examples:
  medbot chat                                   with the default model
  medbot chat --model ward-v1                   with one that `medbot models add` took
  medbot chat --task task.json --scan           a delivery, to somebody who is known already
  echo 這個藥怎麼吃？ | medbot chat --task task.json --scan     one answer, for a script

While you type:
  /scan      the wristband fits        /mismatch   it does not
  /staff     a staff badge             /timeout    nobody says anything
  /reset     begin again               /quit       end (as Ctrl-D and Ctrl-C do)

task.json is as for `medbot voice`. Sentences that the verifier kept back and calls for a human are
shown.
"""


def add_parser(subparsers: Any) -> None:
    """Add `medbot chat`."""
    parser = subparsers.add_parser(
        "chat",
        help="type with the robot, without ROS",
        description="Type with the robot: the whole dialogue, on a model of your choice.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_talk_options(parser)
    add_engine_options(parser, EngineKind.LLAMA_CPP)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Chat until the input ends."""
    if args.scan and args.task is None:
        raise MedbotError("--scan is for a delivery: give it with --task")
    language = Language(args.lang or Language.ZH_HANT)
    task = None if args.task is None else read_task_file(args.task, language)
    worker = EngineWorker(engine_of(args))
    session = None
    try:
        resources = interruptibly(
            lambda: DialogueResources.load(ResourceSettings(region=args.region))
        )
        _load(worker)
        session = DialogueSession(
            worker,
            _Shown(),
            resources,
            policy=PolicySettings(
                default_scene=task.scene if task else Scene.WARD,
                default_language=task.language if task else language,
            ),
        )
        session.start()
        _begin(session, task, is_scanned=args.scan)
        for line in _lines():
            if not _take(session, task, line):
                break
        return 0
    except KeyboardInterrupt:
        close_all([worker, *([session] if session else [])], CLOSE_WITHIN_S)
        if is_deep(lambda: worker.is_working, CLOSE_WITHIN_S):
            leave_at_once(130)
        raise
    finally:
        close_all([worker, *([session] if session else [])], CLOSE_WITHIN_S)


def _load(worker: EngineWorker) -> None:
    """Load the model; its progress is shown where somebody watches."""
    bar = tqdm(total=100, desc="model", unit="%", leave=False, disable=not sys.stderr.isatty())
    with bar:

        def show(share: float) -> None:
            bar.update(round(100 * share) - bar.n)

        loading = worker.load(show)
        error = interruptibly(loading.exception)
    if error is not None:
        raise error if isinstance(error, MedbotError) else MedbotError(str(error))


def _begin(session: DialogueSession, task: DeliveryTask | None, *, is_scanned: bool) -> None:
    scene = task.scene if task is not None else Scene.WARD
    session.context_changed(RobotContext(scene=scene, trip_stage=TripStage.ARRIVED))
    if task is not None:
        session.task_arrived(task)
        if is_scanned:
            _settle(session)
            session.identity_scanned(scan_of(SystemEvent.SCAN_OK, task))
    _settle(session)


def _lines() -> Iterator[str]:
    """What is typed, or piped in, line by line."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  the arrow keys work

        while True:
            try:
                yield input(PROMPT)
            except EOFError:
                print()
                return
    for line in sys.stdin:
        print(f"{PROMPT}{line.rstrip()}", flush=True)
        yield line


def _take(session: DialogueSession, task: DeliveryTask | None, line: str) -> bool:
    """Answer a line; False: it asks to end."""
    text = line.strip()
    if text == "/quit":
        return False
    if text.startswith("/"):
        _command(session, task, text)
    elif text:
        session.heard(Utterance(neutralise(text, MAX_SPEECH_CHARS)))
    _settle(session)
    return True


def _command(session: DialogueSession, task: DeliveryTask | None, text: str) -> None:
    commands: dict[str, Callable[[], None]] = {
        "/reset": session.reset,
        "/timeout": session.silence,
    }
    if task is not None:
        for name, event in (
            ("/scan", SystemEvent.SCAN_OK),
            ("/mismatch", SystemEvent.SCAN_MISMATCH),
            ("/staff", SystemEvent.STAFF_OVERRIDE),
        ):
            commands[name] = partial(session.identity_scanned, scan_of(event, task))
    if text in commands:
        commands[text]()
    elif task is None and text in ("/scan", "/mismatch", "/staff"):
        print("       (nothing is delivered: give a delivery with --task)")
    else:
        print(f"       (there is no {text}; there are {', '.join([*sorted(commands), '/quit'])})")


def _settle(session: DialogueSession) -> None:
    """Wait until all that was left is answered."""
    if not interruptibly(lambda: session.settled().wait(TURN_TIMEOUT_S)):
        raise MedbotError(f"an answer did not end within {TURN_TIMEOUT_S:g} s")


class _Shown:
    """Writes down what the robot does."""

    def on_reply(self, chunk: ReplyChunk) -> None:
        if chunk.text:
            print(f"robot  {chunk.text}", flush=True)

    def on_alert(self, alert: Alert) -> None:
        print(f"alert  {alert.severity}: {alert.category} ({alert.reason})", flush=True)

    def on_state(self, snapshot: Snapshot) -> None:
        """What stage it is tells the words."""

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        print(f"kept   {sentence}  ({verdict.reason}: {verdict.detail})", flush=True)
