"""`medbot voice --wav`: a file through the loop, and what is said into another.

A file is heard in real time whenever something is being worked out, and faster where nothing is:
the clock then jumps ahead instead of waiting. So the reply lies in its file where a patient would
have heard it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np

from medbot_llm.apps.sound_files import WavFile
from medbot_llm.apps.sound_files import WavWriter
from medbot_llm.apps.voice_loop import Talk
from medbot_llm.apps.voice_screen import METER_EVERY_S
from medbot_llm.domain import MedbotError
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import level_dbfs
from medbot_llm.speech.devices import BLOCK

BLOCK_S = BLOCK / RATE
OPENING_WITHIN_S = 60.0
"""For the words before a file, and the model's reading of its prompt."""
LONGEST_AFTER_S = 300.0
"""Of the replies behind the end of a file."""
TAIL_S = 0.3
"""Silence behind the last word of a file."""


def hear_file(talk: Talk, file: WavFile, out: str | None) -> None:
    """Hear a file to its end, and what is said then.

    Args:
        out: Where what the robot says is written, from the file's beginning on; None: nowhere.

    Raises:
        SoundFileError: The file is not what it seemed.
        MedbotError: The conversation does not begin, or not end.
    """
    _wait_for_opening(talk)
    talk.loop.is_voiced = True
    with ExitStack() as stack:
        writer = None
        if out is not None:
            writer = stack.enter_context(WavWriter(out, talk.loop.mouth.rate))
        pump = _Pump(talk, writer)
        for samples in file.blocks():
            pump.pass_on(samples)
        silence = np.zeros(BLOCK, np.float32)
        quiet_s, after_s = 0.0, 0.0
        while quiet_s < TAIL_S:
            if after_s > LONGEST_AFTER_S:
                raise MedbotError(f"the robot still speaks {after_s:g} s after the file's end")
            pump.pass_on(silence)
            after_s += BLOCK_S
            quiet_s = quiet_s + BLOCK_S if talk.loop.is_quiet else 0.0


def _wait_for_opening(talk: Talk) -> None:
    settled = talk.loop.session.settled()
    until = time.monotonic() + OPENING_WITHIN_S
    while not settled.is_set() or talk.worker.is_working:
        if time.monotonic() > until:
            raise MedbotError(f"the conversation did not begin within {OPENING_WITHIN_S:g} s")
        time.sleep(0.02)


class _Pump:
    """Moves sound between a file, the ear, the mouth and another file, a block at a time."""

    def __init__(self, talk: Talk, writer: WavWriter | None) -> None:
        self._talk = talk
        self._writer = writer
        self._started = talk.clock()
        self._blocks = 0
        self._next_meter = 0.0
        if writer is not None:
            # A block is heard when all of it is there, and what is said then sounds after it.
            writer.write(np.zeros(self._samples_until(1), np.float32))

    def _samples_until(self, blocks: int) -> int:
        return round(blocks * BLOCK_S * self._talk.loop.mouth.rate)

    def pass_on(self, samples: Samples) -> None:
        """Hear a block, and say one."""
        talk = self._talk
        at = self._started + self._blocks * BLOCK_S
        self._blocks += 1
        talk.clock.wait_until(at + BLOCK_S, lambda: talk.is_working)
        talk.loop.ear.feed(Block(samples, at))
        said = talk.loop.mouth.render(
            self._samples_until(self._blocks + 1) - self._samples_until(self._blocks)
        )
        if self._writer is not None:
            self._writer.write(said)
        if talk.screen.is_gone:
            raise BrokenPipeError
        if time.monotonic() >= self._next_meter:
            self._next_meter = time.monotonic() + METER_EVERY_S
            talk.screen.meter(level_dbfs(samples), talk.loop.activity, talk.loop.partial)
