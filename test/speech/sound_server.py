"""A sound server of a test's own: PulseAudio with sinks that end nowhere, seen through ALSA.

What is played into the sink `mic` is what the device `robot_mic` records; what is played to the
device `robot_speaker` can be recorded from the sink `speaker`. Nothing of it touches the machine's
own sound: home, run-time folder, socket and configuration lie in a folder that is deleted at the
end, and the server dies with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound

NEEDED = {
    "pulseaudio": "pulseaudio",
    "pactl": "pulseaudio-utils",
    "paplay": "pulseaudio-utils",
    "parec": "pulseaudio-utils",
}
START_WITHIN_S = 20.0


@dataclass(frozen=True)
class Sink:
    """A loudspeaker that is none; its monitor is a microphone that hears exactly that."""

    name: str
    rate: int
    channel_map: str

    @property
    def channels(self) -> int:
        return len(self.channel_map.split(","))


# The order of ALSA's channels: with any other, the server mixes them where clients open them.
SIX = "front-left,front-right,rear-left,rear-right,front-center,lfe"
SINKS = (
    Sink("speaker", 48_000, "front-left,front-right"),
    Sink("mic", 48_000, "mono"),
    Sink("array", 16_000, SIX),
)

ALSA = """
pcm.robot_mic {{ type pulse server "{server}" device "mic.monitor" }}
pcm.robot_speaker {{ type pulse server "{server}" device "speaker" }}
pcm.patient_mouth {{ type pulse server "{server}" device "mic" }}
pcm.array {{ type pulse server "{server}" device "array.monitor" }}
pcm.!default {{ type pulse server "{server}" }}
"""


def missing() -> str:
    """Which Debian packages a sound server still needs here; empty: none."""
    packages = {package for program, package in NEEDED.items() if shutil.which(program) is None}
    folders = [*Path("/usr/lib").glob("*/alsa-lib"), Path("/usr/lib/alsa-lib")]
    if not any((folder / "libasound_module_pcm_pulse.so").is_file() for folder in folders):
        packages.add("libasound2-plugins")
    return " ".join(sorted(packages))


needs_sound_server = pytest.mark.skipif(
    bool(missing()), reason=f"a sound server needs: sudo apt install {missing()}"
)


class SoundServer:
    """May be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix:{folder}/pulse"
        (folder / "run").mkdir(mode=0o700)
        (folder / ".asoundrc").write_text(ALSA.format(server=self.address))
        (folder / "client.conf").write_text("autospawn = no\n")
        self.environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PULSE_SERVER": self.address,
            "PULSE_CLIENTCONFIG": str(folder / "client.conf"),
            "PULSE_COOKIE": str(folder / "cookie"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it serves."""
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        command += ["--use-pid-file=no", "--realtime=no", "--high-priority", "--disable-shm"]
        socket = self.address.removeprefix("unix:")
        with contextlib.suppress(FileNotFoundError):
            Path(socket).unlink()
        command += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"]
        for sink in SINKS:
            # Without rewinds it takes 50 ms of sound at a time, else up to 2 s.
            options = f"rate={sink.rate} channels={sink.channels} channel_map={sink.channel_map}"
            command += ["-L", f"module-null-sink norewinds=1 sink_name={sink.name} {options}"]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_WITHIN_S
        while self.run("pactl", "info", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """As if it had crashed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It is there, but answers nobody any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """A client program of the server."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, env=environment, check=check, capture_output=True, timeout=700
        )

    def play(self, sound: Sound, sink: str = "mic", *, channels: int = 1) -> None:
        """Play to the end; by a program of the server's, none of ours. `sound` is interleaved."""
        raw = self.folder / f"played-{threading.get_ident()}.raw"
        raw.write_bytes(np.asarray(sound.samples, np.float32).tobytes())
        form = ["--raw", "--format=float32le", f"--rate={sound.rate}", f"--channels={channels}"]
        form += [f"--channel-map={SIX}"] if channels == 6 else []
        self.run("paplay", *form, f"--device={sink}", str(raw))

    @contextlib.contextmanager
    def recording(self, sink: str = "speaker", rate: int = 48_000) -> Iterator[list[Samples]]:
        """What the sink plays, mono, meanwhile: one array in the list, after the end."""
        form = ["--raw", "--format=float32le", f"--rate={rate}", "--channels=1"]
        raw = self.folder / f"recorded-{threading.get_ident()}.raw"
        recorded: list[Samples] = []
        with raw.open("wb") as file:
            recorder = subprocess.Popen(
                ["parec", *form, "--latency-msec=20", f"--device={sink}.monitor"],
                env={**os.environ, **self.environment},
                stdout=file,
            )
            try:
                deadline = time.monotonic() + START_WITHIN_S
                while not raw.stat().st_size and time.monotonic() < deadline:
                    time.sleep(0.02)
                yield recorded
                time.sleep(0.2)
            finally:
                recorder.terminate()
                recorder.wait()
        whole = raw.read_bytes()
        recorded.append(np.frombuffer(whole[: len(whole) // 4 * 4], np.float32))


@contextlib.contextmanager
def sound_server(*, is_running: bool = True) -> Iterator[SoundServer]:
    """A server that this process and its children reach as the machine's only one."""
    # Not pytest's folder: the name of a socket may have 107 letters.
    folder = Path(tempfile.mkdtemp(prefix="medbot-sound-"))
    server = SoundServer(folder)
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        if is_running:
            server.start()
        yield server
    finally:
        server.kill()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
