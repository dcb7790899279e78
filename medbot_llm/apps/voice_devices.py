"""Sound devices of the commands: found, listed, opened or refused in one line."""

from __future__ import annotations

import time

from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.devices import START_WITHIN_S
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.devices import Microphone
from medbot_llm.speech.devices import list_devices

_POLL_S = 0.02


def device_of(name: str | None) -> str | int | None:
    """A device as named on the command line: index, name, or a part of it; None: the default."""
    text = (name or "").strip()
    if not text:
        return None
    return int(text) if text.isdecimal() else text


def start_or_raise(stream: Microphone | Loudspeaker) -> None:
    """Open a stream, and wait until sound flows.

    Raises:
        SpeechError: It cannot be opened; nobody would be served by waiting for it.
    """
    stream.start()
    until = time.monotonic() + START_WITHIN_S + 1.0
    while not stream.is_open:
        if stream.problem:
            raise SpeechError(stream.problem)
        if time.monotonic() > until:
            raise SpeechError("the sound device does not answer")
        time.sleep(_POLL_S)


def check_directions(*, needs_input: bool, needs_output: bool) -> None:
    """See whether there are devices at all, before models are loaded. Raises SpeechError."""
    devices = list_devices()
    if needs_input and not any(device.inputs for device in devices):
        raise SpeechError("no microphone found; --wav FILE does without one")
    if needs_output and not any(device.outputs for device in devices):
        raise SpeechError("no loudspeaker found")


def device_table() -> str:
    """All devices, a line each. Raises SpeechError where there are none."""
    devices = list_devices()
    if not devices:
        raise SpeechError("no sound devices found")
    lines = []
    for device in devices:
        defaults = [
            what
            for what, is_default in (
                ("default microphone", device.is_default_input),
                ("default loudspeaker", device.is_default_output),
            )
            if is_default
        ]
        about = f"{device.inputs} in, {device.outputs} out, {device.rate} Hz, {device.driver}"
        marked = f"  ({', '.join(defaults)})" if defaults else ""
        lines.append(f"{device.index:>3}  {device.name}  [{about}]{marked}")
    return "\n".join(lines)
