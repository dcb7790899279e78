"""Microphone and loudspeaker on a real sound server: what they give, and how they come back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sound_server import SoundServer
from sound_server import needs_sound_server
from sound_server import sound_server

from medbot_llm.speech import devices
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.devices import BLOCK
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.devices import Microphone
from medbot_llm.speech.devices import list_devices

pytestmark = needs_sound_server

CLOSE_LIMIT_S = 10.0


@pytest.fixture
def server() -> Iterator[SoundServer]:
    with sound_server() as running:
        yield running


class Ear:
    """A microphone, what it heard, and what was wrong meanwhile."""

    def __init__(self, device: str | int | None = "robot_mic", **options: Any) -> None:
        self.blocks: list[Block] = []
        self.problems: list[str] = []
        self.microphone = Microphone(
            self.blocks.append, device=device, on_problem=self.problems.append, **options
        )

    def __enter__(self) -> Ear:
        self.microphone.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.microphone.close()

    @property
    def heard(self) -> Samples:
        return np.concatenate([block.samples for block in self.blocks])

    def is_hearing(self) -> bool:
        return self.microphone.is_open and bool(self.blocks)

    def wait_for_more(self) -> None:
        heard = len(self.blocks)
        wait_for(lambda: len(self.blocks) > heard + 10)


class Voice:
    """A loudspeaker that plays one sound, then silence."""

    def __init__(
        self, sound: Samples | None = None, device: str | int | None = "robot_speaker"
    ) -> None:
        self.sound = np.zeros(0, np.float32) if sound is None else sound
        self.asked_at: list[float] = []
        self.problems: list[str] = []
        self.loudspeaker = Loudspeaker(
            self.source, rate=24_000, device=device, on_problem=self.problems.append
        )

    def source(self, frames: int) -> Samples:
        self.asked_at.append(time.monotonic())
        now, self.sound = self.sound[:frames], self.sound[frames:]
        return np.concatenate((now, np.zeros(frames - len(now), np.float32)))

    def __enter__(self) -> Voice:
        self.loudspeaker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.loudspeaker.close()


def wait_for(condition: Callable[[], bool], within_s: float = 60.0) -> float:
    """Fails where it does not come true; how long it took, s."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, "waited in vain"
        time.sleep(0.02)
    return time.monotonic() - started


def chirp(rate: int, seconds: float = 1.5) -> Samples:
    """From 200 to 6000 Hz, with soft ends."""
    times = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * (200 * times + (6000 - 200) / (2 * seconds) * times**2)
    ends = np.clip(np.minimum(times, seconds - times) / 0.02, 0, 1)
    return (0.5 * np.sin(phase) * ends).astype(np.float32)


def likeness(heard: Samples, wanted: Samples) -> float:
    """Correlation of the wanted sound with that part of the heard one that fits best."""
    size = 1 << (len(heard) + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    lag = int(np.argmax(np.abs(products[: max(1, len(heard) - len(wanted) + 1)])))
    part = heard[lag : lag + len(wanted)]
    return float(np.corrcoef(part, wanted[: len(part)])[0, 1])


def strength(heard: Samples, frequency: float, rate: int = RATE) -> float:
    """Amplitude of one frequency."""
    times = np.arange(len(heard)) / rate
    return 2 * abs(complex(np.mean(heard * np.exp(-2j * np.pi * frequency * times))))


def insist_on_rate(monkeypatch: pytest.MonkeyPatch, native: int) -> list[int]:
    """Real streams of devices that accept one rate only; which rates were asked for."""
    import sounddevice

    asked: list[int] = []

    def insisting(original: Any) -> Any:
        def stream(**options: Any) -> Any:
            asked.append(options["samplerate"])
            if options["samplerate"] != native:
                raise sounddevice.PortAudioError("Invalid sample rate", -9997)
            return original(**options)

        return stream

    for name in ("InputStream", "OutputStream"):
        monkeypatch.setattr(sounddevice, name, insisting(getattr(sounddevice, name)))
    return asked


# What they give.


def test_a_microphone_hears_what_is_played(server: SoundServer) -> None:
    with Ear() as ear:
        wait_for(ear.is_hearing)
        server.play(Sound(chirp(48_000), 48_000))
        time.sleep(0.3)
    assert likeness(ear.heard, chirp(RATE)) > 0.99
    assert ear.microphone.dropped_blocks == 0
    assert ear.problems == []
    assert {len(block.samples) for block in ear.blocks} == {BLOCK}
    assert ear.blocks[0].samples.dtype == np.float32
    stamps = np.array([block.captured_at for block in ear.blocks])
    assert np.diff(stamps) == pytest.approx(BLOCK / RATE, abs=0.02)
    assert time.monotonic() - 2 < stamps[-1] < time.monotonic()


def test_a_loudspeaker_plays_what_its_source_gives(server: SoundServer) -> None:
    with server.recording() as recorded, Voice() as voice:
        wait_for(lambda: voice.loudspeaker.is_open)
        voice.sound = chirp(24_000)
        wait_for(lambda: not len(voice.sound))
        time.sleep(0.5)
    assert likeness(recorded[0], chirp(48_000)) > 0.99
    assert voice.problems == []
    assert 0.02 < voice.loudspeaker.latency_s < 0.3


@pytest.mark.parametrize("native", [44_100, 48_000])
def test_a_device_that_insists_on_its_rate_is_resampled(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch, native: int
) -> None:
    asked = insist_on_rate(monkeypatch, native)
    with Ear() as ear, Voice(device="patient_mouth") as voice:
        wait_for(lambda: ear.is_hearing() and voice.loudspeaker.is_open)
        voice.sound = chirp(24_000)
        wait_for(lambda: not len(voice.sound))
        time.sleep(0.5)
    assert likeness(ear.heard, chirp(RATE)) > 0.99
    assert asked[0] in (RATE, 24_000)
    assert native in asked


def test_a_rate_that_no_device_has_is_told(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    insist_on_rate(monkeypatch, 12_345)
    with Ear() as ear:
        wait_for(lambda: bool(ear.problems))
    assert "sample rate" in ear.problems[0].casefold()


def test_a_device_that_is_in_use_is_told_and_taken_when_it_is_free(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sounddevice

    original = sounddevice.InputStream
    tries: list[float] = []

    def stream(**options: Any) -> Any:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise sounddevice.PortAudioError("Device unavailable", -9985)
        return original(**options)

    monkeypatch.setattr(sounddevice, "InputStream", stream)
    with Ear() as ear:
        wait_for(lambda: ear.problems[1:] == [""])
    assert ear.problems[0] == 'the microphone "robot_mic" is in use by another program'
    assert tries[1] - tries[0] > 0.4
    assert tries[2] - tries[1] > 0.9


def test_one_channel_of_an_array_is_heard_alone(server: SoundServer) -> None:
    times = np.arange(3 * RATE) / RATE
    tones = np.stack([0.1 * np.sin(2 * np.pi * (400 + 200 * n) * times) for n in range(6)], axis=1)
    with (
        Ear("array", channel=3, channels=6) as one,
        Ear("array", channel=5, channels=6) as other,
    ):
        wait_for(lambda: one.is_hearing() and other.is_hearing())
        server.play(Sound(tones.ravel().astype(np.float32), RATE), "array", channels=6)
    for ear, channel in ((one, 3), (other, 5)):
        loud = [block.samples for block in ear.blocks if np.abs(block.samples).max() > 0.05]
        heard = np.concatenate(loud[5:-5])
        found = [strength(heard, 400 + 200 * n) for n in range(6)]
        assert int(np.argmax(found)) == channel
        assert found[channel] == pytest.approx(0.1, rel=0.1)
        assert sum(found) - found[channel] < 0.03


def test_a_channel_that_is_not_there_is_told(server: SoundServer) -> None:
    with Ear(channel=40) as ear:
        wait_for(lambda: bool(ear.problems))
    assert ear.problems == ['microphone "robot_mic" has no channel 40: it has 32 (from 0)']


def test_devices_are_listed(server: SoundServer) -> None:
    listed = {device.name: device for device in list_devices()}
    assert {"robot_mic", "robot_speaker"} <= set(listed)
    assert listed["robot_mic"].inputs > 0
    assert sum(device.is_default_input for device in listed.values()) == 1
    assert list_devices()[listed["robot_mic"].index].name == "robot_mic"


@pytest.mark.parametrize("name", ["robot_mic", "ROBOT_M", None, "index"])
def test_a_device_is_found(server: SoundServer, name: str | None) -> None:
    by_index = {device.name: device.index for device in list_devices()}
    with Ear(by_index["robot_mic"] if name == "index" else name) as ear:
        wait_for(ear.is_hearing)
    assert ear.problems == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", ['no microphone "nope"', "robot_mic", "array"]),
        (99, ['no microphone "99"', "robot_mic"]),
        ("robot", ["more than one", "robot_mic", "robot_speaker"]),
    ],
)
def test_a_device_that_is_unknown_or_not_the_only_one_is_told_with_those_there_are(
    server: SoundServer, name: str | int, words: list[str]
) -> None:
    with Ear(name) as ear:
        wait_for(lambda: bool(ear.problems))
    assert all(word in ear.problems[0] for word in words)


def test_level_and_clipping_can_be_read(server: SoundServer) -> None:
    square = np.tile(np.repeat(np.array([1.0, -1.0], np.float32), 40), 1200)
    with Ear() as ear:
        wait_for(ear.is_hearing)
        assert ear.microphone.level == -120
        player = threading.Thread(target=server.play, args=(Sound(square, 48_000),))
        player.start()
        wait_for(lambda: ear.microphone.clipped > 0.3 and ear.microphone.level > -3)
        player.join()
        wait_for(lambda: ear.microphone.clipped < 0.1 and ear.microphone.level < -100)


def test_digital_silence_is_told_and_taken_back(server: SoundServer) -> None:
    with Ear() as ear:
        wait_for(lambda: bool(ear.problems))
        assert "silence" in ear.problems[0]
        assert ear.microphone.is_open
        server.play(Sound(chirp(48_000, 0.5), 48_000))
        wait_for(lambda: ear.problems[1:] == [""])


# What goes wrong in the functions that they call.


def test_a_source_that_fails_plays_silence_and_is_told_once(server: SoundServer) -> None:
    is_failing = threading.Event()
    is_failing.set()

    def source(frames: int) -> Samples:
        if is_failing.is_set():
            raise ValueError("no voice")
        return np.full(frames, 0.25, np.float32)

    problems: list[str] = []
    with server.recording() as recorded:
        loudspeaker = Loudspeaker(
            source, rate=24_000, device="robot_speaker", on_problem=problems.append
        )
        loudspeaker.start()
        wait_for(lambda: bool(problems))
        time.sleep(1)
        assert problems == ["what the loudspeaker plays fails: ValueError: no voice"]
        is_failing.clear()
        wait_for(lambda: problems[1:] == [""])
        time.sleep(0.3)
        loudspeaker.close()
    assert 0 in recorded[0]
    assert np.median(recorded[0][recorded[0] > 0.1]) == pytest.approx(0.25, abs=0.01)


def test_a_listener_that_fails_is_told_once_and_hears_on(server: SoundServer) -> None:
    calls: list[Block] = []
    problems: list[str] = []

    def on_block(block: Block) -> None:
        calls.append(block)
        raise ValueError("no ears")

    def on_problem(problem: str) -> None:
        problems.append(problem)
        raise RuntimeError("and nobody to tell")

    microphone = Microphone(on_block, device="robot_mic", on_problem=on_problem)
    microphone.start()
    wait_for(lambda: len(calls) > 20 and bool(problems))
    microphone.close()
    assert problems == ["what hears the microphone fails: ValueError: no ears"]


def test_what_a_slow_listener_misses_is_counted_and_memory_is_bounded(
    server: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "QUEUE_S", 0.5)
    go_on = threading.Event()
    blocks: list[Block] = []

    def on_block(block: Block) -> None:
        blocks.append(block)
        go_on.wait(10)

    microphone = Microphone(on_block, device="robot_mic")
    microphone.start()
    wait_for(lambda: bool(blocks))
    time.sleep(2)
    assert microphone.dropped_blocks == pytest.approx((2 - 0.5) * RATE / BLOCK, abs=8)
    assert microphone._queue.qsize() <= 25
    dropped = microphone.dropped_blocks
    go_on.set()
    time.sleep(0.5)
    assert microphone.dropped_blocks <= dropped + 1
    stamps = np.diff([block.captured_at for block in blocks])
    assert stamps.max() == pytest.approx(1.5, abs=0.5)
    microphone.close()


def test_nothing_is_called_after_close(server: SoundServer) -> None:
    with Ear() as ear, Voice() as voice:
        wait_for(lambda: ear.is_hearing() and bool(voice.asked_at))
    blocks, asked = len(ear.blocks), len(voice.asked_at)
    time.sleep(0.3)
    assert (len(ear.blocks), len(voice.asked_at)) == (blocks, asked)
    assert not ear.microphone.is_open
    assert ear.problems == voice.problems == []
    with pytest.raises(SpeechError):
        ear.microphone.start()


# Devices that fail.


def test_both_directions_come_back_after_the_server_was_killed(server: SoundServer) -> None:
    with Ear() as ear, Voice() as voice:
        wait_for(lambda: ear.is_hearing() and voice.loudspeaker.is_open)
        for _ in range(2):
            ear.problems.clear()
            voice.problems.clear()
            server.kill()
            wait_for(lambda: bool(ear.problems) and bool(voice.problems))
            assert not ear.microphone.is_open
            time.sleep(1)
            server.start()
            wait_for(lambda: ear.problems[-1] == voice.problems[-1] == "")
            asked = len(voice.asked_at)
            ear.wait_for_more()
            assert len(voice.asked_at) > asked
            assert len(ear.problems) <= 4
        server.play(Sound(chirp(48_000), 48_000))
        time.sleep(0.3)
    assert likeness(ear.heard[-4 * RATE :], chirp(RATE)) > 0.99


def test_without_any_server_it_waits_for_one() -> None:
    with sound_server(is_running=False) as server, Ear() as ear, Voice(device=None) as voice:
        wait_for(lambda: bool(ear.problems) and bool(voice.problems))
        assert ear.problems == ["no microphone found"]
        assert voice.problems == ["no loudspeaker found"]
        server.start()
        wait_for(lambda: ear.problems[-1] == voice.problems[-1] == "")
        wait_for(ear.is_hearing)


def test_one_direction_goes_on_while_the_other_is_sought(server: SoundServer) -> None:
    with Voice() as voice:
        wait_for(lambda: voice.loudspeaker.is_open)
        with Ear("not there") as ear:
            wait_for(lambda: bool(ear.problems))
            time.sleep(3)
        asked = np.array(voice.asked_at)
        assert np.diff(asked[5:]).max() < 0.5
        assert voice.problems == []
        assert voice.loudspeaker.is_open


def test_pauses_between_tries_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(devices, "LONGEST_PAUSE_S", 0.4)
    tries: list[float] = []
    with sound_server(is_running=False):
        ear = Ear()
        find = ear.microphone._find_device

        def find_and_count() -> Any:
            tries.append(time.monotonic())
            return find()

        monkeypatch.setattr(ear.microphone, "_find_device", find_and_count)
        with ear:
            wait_for(lambda: len(tries) >= 8)
    pauses = np.diff(tries)
    assert pauses[0] < pauses[2] < pauses[4] + 0.2
    assert (pauses[4:] > 0.4).all()
    assert len(ear.problems) == 1


def test_a_server_that_hangs_is_told_and_close_does_not_wait_for_it(server: SoundServer) -> None:
    ear, voice = Ear(), Voice()
    with ear, voice:
        wait_for(lambda: ear.is_hearing() and voice.loudspeaker.is_open)
        server.freeze()
        wait_for(lambda: bool(ear.problems) and bool(voice.problems))
        assert "does not answer" in ear.problems[0]
        for stream in (ear.microphone, voice.loudspeaker):
            started = time.monotonic()
            stream.close()
            assert time.monotonic() - started < CLOSE_LIMIT_S
        server.thaw()
        threads = (ear.microphone._thread, voice.loudspeaker._thread)
        wait_for(lambda: not any(thread and thread.is_alive() for thread in threads))
    with Ear() as again:
        wait_for(again.is_hearing)


def test_a_server_that_hung_for_a_while_is_heard_again(server: SoundServer) -> None:
    with Ear() as ear:
        wait_for(ear.is_hearing)
        server.freeze()
        wait_for(lambda: bool(ear.problems))
        server.thaw()
        wait_for(lambda: ear.problems[-1] == "")
        ear.wait_for_more()


def test_a_program_ends_though_its_sound_server_hangs(server: SoundServer) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        import numpy as np
        from medbot_llm.speech.devices import Loudspeaker, Microphone
        ear = Microphone(lambda block: None, device="robot_mic")
        voice = Loudspeaker(lambda n: np.zeros(n, np.float32), rate=24000, device="robot_speaker")
        ear.start(), voice.start()
        while not (ear.is_open and voice.is_open):
            time.sleep(0.05)
        print("open", flush=True)
        sys.stdin.readline()
        started = time.monotonic()
        ear.close(), voice.close()
        print(time.monotonic() - started, flush=True)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        server.freeze()
        output, _ = child.communicate("close\n", timeout=10)
        assert float(output) < 2 * CLOSE_LIMIT_S
        assert child.returncode == 0
    finally:
        child.kill()
        server.thaw()


def test_a_machine_without_the_package_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SpeechError, match=r"pip install .*medbot_llm\[voice\]"):
        Microphone(lambda block: None)
    with pytest.raises(SpeechError, match="voice"):
        list_devices()


# Under load.


def hear_under_load(server: SoundServer, seconds: float) -> None:
    """Fails where a block is lost while all processors have more than enough to do."""
    times = np.arange(int((seconds + 3) * 8000)) / 8000
    tone = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    burn = [sys.executable, "-c", "while True: sum(range(100000))"]
    with Ear() as ear, Voice() as voice:
        wait_for(lambda: ear.is_hearing() and voice.loudspeaker.is_open)
        burners = [subprocess.Popen(burn) for _ in range(2 * (os.cpu_count() or 2))]
        try:
            player = threading.Thread(target=server.play, args=(Sound(tone, 8000),))
            player.start()
            wait_for(lambda: ear.microphone.level > -20)
            ear.blocks.clear()
            time.sleep(seconds)
            blocks = list(ear.blocks)
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()
        player.join()
    assert ear.microphone.dropped_blocks == 0
    assert len(blocks) == pytest.approx(seconds * RATE / BLOCK, rel=0.02, abs=8)
    # A sine keeps its phase only where no sample is missing.
    heard = np.concatenate([block.samples for block in blocks])
    turns = np.exp(-2j * np.pi * 440 * np.arange(len(heard)) / RATE)
    usable = len(heard) // 1600 * 1600
    phases = np.angle((heard * turns)[:usable].reshape(-1, 1600).mean(axis=1))
    assert np.abs(np.angle(np.exp(1j * np.diff(phases)))).max() < 0.1
    assert ear.problems == voice.problems == []


def test_ten_seconds_under_full_load_lose_nothing(server: SoundServer) -> None:
    hear_under_load(server, 10)


@pytest.mark.slow
def test_ten_minutes_under_full_load_lose_nothing(server: SoundServer) -> None:
    hear_under_load(server, 600)
