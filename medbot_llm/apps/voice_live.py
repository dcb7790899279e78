"""`medbot voice` with microphone and loudspeaker."""

from __future__ import annotations

import argparse
import os
import select
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

from medbot_llm.apps.ending import Closable
from medbot_llm.apps.voice_devices import device_of
from medbot_llm.apps.voice_devices import start_or_raise
from medbot_llm.apps.voice_loop import Talk
from medbot_llm.apps.voice_loop import VoiceLoop
from medbot_llm.apps.voice_screen import METER_EVERY_S
from medbot_llm.domain import MedbotError
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.devices import Microphone

TICK_S = 1.0
KEYS = (" ", "\n", "\r")


def talk_live(talk: Talk, args: argparse.Namespace, parts: list[Closable]) -> None:
    """Talk until Ctrl-C.

    Args:
        parts: What is to be closed at the end; the devices are added.

    Raises:
        MedbotError: A device can't be opened at the start; later it is waited for.
        BrokenPipeError: The reader of the output went away.
    """
    loop, screen = talk.loop, talk.screen
    loudspeaker = Loudspeaker(
        loop.mouth.render, rate=loop.mouth.rate, device=device_of(args.loudspeaker)
    )
    parts.append(loudspeaker)
    microphone = Microphone(loop.ear.feed, device=device_of(args.microphone), channel=args.channel)
    parts.append(microphone)
    start_or_raise(loudspeaker)
    start_or_raise(microphone)
    with ExitStack() as stack:
        button = stack.enter_context(Button(loop)) if args.push_to_talk else None
        problems = ("", "")
        next_tick = time.monotonic()
        while not screen.is_gone:
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                loop.mouth.output_latency_s = loudspeaker.latency_s
                loop.session.tick()
            now = (microphone.problem, loudspeaker.problem)
            for old, new in zip(problems, now, strict=True):
                if old != new:
                    loop.on_device(new)
            problems = now
            activity = loop.activity
            if button is not None and activity == "listening":
                activity = "Space: talk"
            screen.meter(microphone.level, activity, loop.partial)
            time.sleep(METER_EVERY_S)
    raise BrokenPipeError


class Button:
    """Space or Enter holds the button of push-to-talk, and lets it go. To be used in a `with`."""

    def __init__(self, loop: VoiceLoop) -> None:
        self._loop = loop
        try:
            self._file = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):
            raise MedbotError(
                "--push-to-talk needs a keyboard, and standard input is closed"
            ) from None
        self._before: Any = None
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="push-to-talk", daemon=True)

    def __enter__(self) -> Button:
        if os.isatty(self._file):
            import termios
            import tty

            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join(1.0)
        if self._before is not None:
            import termios

            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        while not self._has_ended.is_set():
            ready, _, _ = select.select([self._file], [], [], 0.2)
            if not ready:
                continue
            keys = os.read(self._file, 64).decode(errors="replace")
            if not keys:
                return
            for key in keys:
                if key in KEYS:
                    self._toggle()

    def _toggle(self) -> None:
        ear, mouth = self._loop.ear, self._loop.mouth
        if ear.is_pressed:
            ear.release()
            return
        mouth.earcon("listening")
        ear.press()
