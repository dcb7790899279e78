"""Echo: the robot in a room that does not exist, and a person who speaks over it or does not."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import threading
import time
import wave
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sound_server import needs_sound_server
from sound_server import sound_server

from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.audio import level_dbfs
from medbot_llm.speech.devices import BLOCK
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.devices import Microphone
from medbot_llm.speech.echo import EchoCanceller
from medbot_llm.speech.echo import EchoMeasure
from medbot_llm.speech.echo import _Track
from medbot_llm.speech.resampling import Resampler
from medbot_llm.speech.vad import SileroVad

pytestmark = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the voices need: sudo apt install espeak-ng"
)

ROBOT_RATE = 24_000
ROBOT = (
    ("en-us", "Good morning. I bring your medicine. Please take one tablet after breakfast."),
    ("cmn", "早安，這是您今天的藥。請在早餐後服用一顆，配一杯溫開水。請問您還有問題嗎？"),
    ("en-us", "Do not take two at once. If you feel dizzy, please tell the nurse at once."),
)
PERSON = ("en-gb+f3", "Wait a moment please. I am allergic to penicillin. Can I still take this?")
VOICE = 0.5
"""Probability from which a frame counts as voice."""


@cache
def spoken(voice: str, text: str, rate: int, level: float) -> Samples:
    """By a program, at this level in dBFS."""
    made = subprocess.run(
        ["espeak-ng", "-v", voice, "--stdout", text], capture_output=True, check=True
    ).stdout
    with wave.open(io.BytesIO(made)) as file:
        native = file.getframerate()
    whole = np.frombuffer(made[44 : 44 + (len(made) - 44) // 2 * 2], np.int16) / np.float32(32768)
    sound = Resampler(native, rate).push(np.append(whole, np.zeros(400, np.float32)))
    loud = sound[np.abs(sound) > 0.01]
    return sound * np.float32(10 ** ((level - level_dbfs(loud)) / 20))


@cache
def robot(level: float = -20.0) -> Samples:
    """Some 15 s of it, at its own rate."""
    pause = np.zeros(ROBOT_RATE // 3, np.float32)
    return np.concatenate(
        [part for say in ROBOT for part in (spoken(*say, ROBOT_RATE, level), pause)]
    )


def room(
    seed: int, *, reverb_s: float = 0.3, delay_s: float = 0.04, gain_db: float = -10
) -> Samples:
    """What a room does to a click: 40 ms later, noise that dies away by 60 dB in `reverb_s`."""
    rng = np.random.default_rng(seed)
    count = int(reverb_s * RATE)
    tail = rng.normal(0, 1, count) * 10 ** (-3 * np.arange(count) / count)
    tail[0] = 3
    tail *= 10 ** (gain_db / 20) / np.sqrt(np.sum(tail**2))
    return np.append(np.zeros(int(delay_s * RATE)), tail).astype(np.float32)


def in_room(sound: Samples, response: Samples) -> Samples:
    size = 1 << (len(sound) + len(response)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(sound)].astype(np.float32)


def echo_of(sound: Samples, response: Samples) -> Samples:
    """What the microphone hears of the robot, with a little noise of its own."""
    heard = in_room(Resampler(ROBOT_RATE, RATE).push(sound), response)
    noise = np.random.default_rng(7).normal(0, 0.001, len(heard))
    return heard + noise.astype(np.float32)


def person(length: int, level: float = -22.0) -> Samples:
    """Speaks all the time, with a breath between."""
    once = np.append(spoken(*PERSON, RATE, level), np.zeros(6000, np.float32))
    return np.resize(once, length)


def voices(sound: Samples) -> np.ndarray:
    vad = SileroVad()
    frames = sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return np.array([vad.probability(frame) > VOICE for frame in frames])


@dataclass
class Run:
    """The canceller in step with the world's clock.

    Attributes:
        early_s: How long before a sound is audible it is told.
        wrong_s: By how much `audible_at` is too late.
        jitter_s: By how much it jumps about, to either side.
        drift: How much slower the loudspeaker's clock is than the microphone's.
        ahead_s: How much of what follows is told with every fifth piece.
    """

    canceller: EchoCanceller = field(default_factory=EchoCanceller)
    early_s: float = 0.09
    wrong_s: float = 0.0
    jitter_s: float = 0.0
    drift: float = 0.0
    ahead_s: float = 0.0
    started: float = 5000.0
    blocks: list[Block] = field(default_factory=list)

    def hear(self, recorded: Samples, played: Samples) -> Samples:
        """What remains of it."""
        rng = np.random.default_rng(3)
        told, piece = 0, ROBOT_RATE // 50
        for start in range(0, len(recorded) - BLOCK + 1, BLOCK):
            now = (start + BLOCK) / RATE + 0.02
            while (at := told / ROBOT_RATE * (1 + self.drift)) - self.early_s <= now:
                sound = Sound(played[told : told + piece], ROBOT_RATE)
                if not len(sound.samples):
                    break
                jitter = rng.uniform(-self.jitter_s, self.jitter_s)
                end = told + piece
                to = end + round(self.ahead_s * ROBOT_RATE) if told % (5 * piece) == 0 else end
                audible_at = self.started + at + self.wrong_s + jitter
                self.canceller.played(sound, audible_at, played[end:to])
                told += piece
            block = Block(recorded[start : start + BLOCK], self.started + start / RATE)
            self.blocks.append(self.canceller.clean(block))
        return np.concatenate([block.samples for block in self.blocks])

    def likely(self) -> np.ndarray:
        return np.array([self.canceller.echo_likely(block) for block in self.blocks])


class Remembering(EchoCanceller):
    """Keeps every measure."""

    def __init__(self, **options: bool) -> None:
        super().__init__(**options)
        self.measures: list[EchoMeasure] = []

    def clean(self, block: Block) -> Block:
        cleaned = super().clean(block)
        self.measures.append(self.measure(cleaned))
        return cleaned

    def likely(self) -> np.ndarray:
        return np.array([measure.is_echo for measure in self.measures])


# The echo alone.


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_robot_does_not_hear_itself(seed: int) -> None:
    heard = echo_of(robot(), room(seed))
    assert voices(heard).mean() > 0.5
    cleaned = Run().hear(heard, robot())
    assert level_dbfs(heard) - level_dbfs(cleaned) > 20
    assert voices(cleaned).mean() < 0.03


@pytest.mark.parametrize(
    "world",
    [
        {"jitter_s": 0.01},
        {"jitter_s": 0.01, "drift": 1e-4},
        {"wrong_s": 0.03},
        {"wrong_s": -0.03},
        {"early_s": 20.0},
    ],
    ids=str,
)
def test_stamps_may_be_inexact_and_clocks_may_drift(world: dict[str, float]) -> None:
    heard = echo_of(robot(), room(1))
    if drift := world.get("drift"):
        heard = np.interp(
            np.arange(len(heard)) * (1 - drift), np.arange(len(heard)), heard
        ).astype(np.float32)
    cleaned = Run(**world).hear(heard, robot())
    assert level_dbfs(heard) - level_dbfs(cleaned) > 20
    assert voices(cleaned).mean() < 0.03


@pytest.mark.parametrize("gain_db", [-20, 0])
def test_a_soft_and_a_loud_echo_go_too(gain_db: int) -> None:
    heard = echo_of(robot(), room(1, gain_db=gain_db, reverb_s=0.5))
    cleaned = Run().hear(heard, robot())
    assert level_dbfs(heard) - level_dbfs(cleaned) > 15
    assert voices(cleaned).mean() < 0.03


def test_a_loudspeaker_that_distorts_is_not_taken_for_a_person() -> None:
    distorted = np.tanh(robot() * 12) / 6
    heard = echo_of(distorted.astype(np.float32), room(1))
    canceller = Remembering()
    cleaned = Run(canceller).hear(heard, robot())
    assert (voices(cleaned) & ~canceller.likely()).mean() < 0.03


def test_what_was_foreseen_may_be_told_late() -> None:
    heard = echo_of(robot(), room(1))
    late = Remembering()
    Run(late, early_s=-0.1).hear(heard, robot())
    assert np.mean([measure.is_blind for measure in late.measures]) > 0.9
    canceller = Remembering()
    cleaned = Run(canceller, early_s=-0.1, ahead_s=0.5).hear(heard, robot())
    assert level_dbfs(heard) - level_dbfs(cleaned) > 15
    assert (voices(cleaned) & ~canceller.likely()).mean() < 0.03
    # But for the first words, which nobody can foresee.
    assert np.mean([measure.is_blind for measure in canceller.measures]) < 0.1
    assert canceller.late_s < 0.3


def test_a_reply_that_is_cut_and_another_one_are_followed() -> None:
    first, second = robot()[: 3 * ROBOT_RATE], robot()[6 * ROBOT_RATE :]
    pause = np.zeros(ROBOT_RATE * 7 // 10, np.float32)
    whole = np.concatenate((first, pause, second))
    heard = echo_of(whole, room(2))
    canceller = EchoCanceller()
    # All of the first reply was told ahead; then it was cut.
    canceller.played(Sound(robot()[: 5 * ROBOT_RATE], ROBOT_RATE), 5000.0)
    cleaned = Run(canceller, early_s=0.2).hear(heard, whole)
    assert level_dbfs(heard) - level_dbfs(cleaned) > 20
    assert voices(cleaned).mean() < 0.03


# A person.


def test_a_person_alone_passes_at_the_time_that_is_told() -> None:
    for options in (
        {},
        {"cancels_echo": False},
        {"suppresses_noise": True},
        {"suppresses_noise": True, "cancels_echo": False},
    ):
        click = np.random.default_rng(5).normal(0, 0.001, 2 * RATE).astype(np.float32)
        click[RATE : RATE + 8] = 0.8
        run = Run(EchoCanceller(**options))
        cleaned = run.hear(click, np.zeros(0, np.float32))
        at = run.blocks[0].captured_at + int(np.argmax(np.abs(cleaned))) / RATE
        assert at == pytest.approx(run.started + 1 + 4 / RATE, abs=0.0015), options
        assert {len(block.samples) for block in run.blocks} == {BLOCK}
        assert run.canceller.delay_s <= 0.022


def test_a_person_over_the_echo_is_detected() -> None:
    heard = echo_of(robot(), room(1))
    speech = person(len(heard))
    speaks = voices(speech)
    canceller = Remembering()
    cleaned = Run(canceller).hear(heard + speech, robot())
    found = voices(cleaned)
    assert found[speaks].mean() > 0.65
    assert (found & ~canceller.likely())[speaks].mean() > 0.6


def test_a_person_while_the_robot_is_only_heard_elsewhere_is_no_echo() -> None:
    speech = person(len(Resampler(ROBOT_RATE, RATE).push(robot())))
    canceller = Remembering()
    cleaned = Run(canceller).hear(speech, robot())
    found = voices(cleaned)
    assert found[voices(speech)].mean() > 0.8
    assert canceller.likely()[found].mean() < 0.1


def test_without_cancellation_the_echo_is_known_for_what_it_is() -> None:
    canceller = Remembering(cancels_echo=False)
    cleaned = Run(canceller).hear(echo_of(robot(), room(2)), robot())
    found = voices(cleaned)
    assert found.mean() > 0.5
    assert canceller.likely()[found].mean() > 0.9


@pytest.mark.slow
def test_a_person_over_the_echo_is_understood(whisper_model: Path) -> None:
    from faster_whisper import WhisperModel

    # As in life: the robot lowers its voice soon after the person began.
    start = 3 * RATE
    ducked = robot().copy()
    ducked[round((start / RATE + 0.4) * ROBOT_RATE) :] *= 0.25
    heard = echo_of(ducked, room(1))
    speech = np.zeros_like(heard)
    once = spoken(*PERSON, RATE, -22.0)
    speech[start : start + len(once)] = once
    cleaned = Run().hear(heard + speech, ducked)
    whisper = WhisperModel(str(whisper_model), device="cpu", compute_type="int8", cpu_threads=2)

    def text_of(sound: Samples) -> str:
        part = sound[start : start + len(once) + RATE // 4]
        return " ".join(s.text for s in whisper.transcribe(part, language="en")[0]).casefold()

    text = text_of(cleaned)
    assert "allergic to penicillin" in text, text
    assert "take this" in text, text


# What goes wrong.


def test_a_reference_that_comes_too_late_is_as_none_and_counted() -> None:
    heard = echo_of(robot(), room(1))
    run = Run(early_s=-1.0)
    cleaned = run.hear(heard, robot())
    assert run.canceller.late_s == pytest.approx(len(robot()) / ROBOT_RATE, abs=3)
    assert abs(level_dbfs(cleaned) - level_dbfs(heard)) < 3
    assert run.likely().any(), "whose voice it is cannot be told then"


def test_a_microphone_that_was_away_goes_on() -> None:
    heard = echo_of(robot(), room(1))
    run = Run()
    run.hear(heard[: 4 * RATE], robot()[: 4 * ROBOT_RATE])
    run.started += 60.0
    before = len(run.blocks)
    run.hear(heard, robot())
    cleaned = np.concatenate([block.samples for block in run.blocks[before:]])
    assert level_dbfs(heard) - level_dbfs(cleaned) > 15
    assert run.blocks[-1].captured_at > run.started


def test_memory_is_bounded_however_much_is_told_ahead() -> None:
    canceller = EchoCanceller()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, ROBOT_RATE).astype(np.float32)
    for second in range(120):
        canceller.played(Sound(noise, ROBOT_RATE), 100.0 + second)
    assert canceller._reference._samples.nbytes <= 30 * RATE * 4
    for number in range(200):
        canceller.clean(Block(np.zeros(BLOCK, np.float32), 100.0 + number * BLOCK / RATE))
    assert len(canceller._measures) <= 64


def test_played_and_clean_may_be_called_at_once() -> None:
    canceller = EchoCanceller()
    stop = threading.Event()
    errors: list[BaseException] = []

    def play() -> None:
        at = 10.0
        while not stop.is_set():
            try:
                canceller.played(Sound(np.full(480, 0.1, np.float32), ROBOT_RATE), at)
            except BaseException as error:
                errors.append(error)
                return
            at += 0.02

    player = threading.Thread(target=play)
    player.start()
    for number in range(300):
        canceller.clean(Block(np.zeros(BLOCK, np.float32), 10.0 + number * BLOCK / RATE))
    stop.set()
    player.join()
    assert errors == []


def test_a_block_of_an_odd_length_is_refused() -> None:
    with pytest.raises(ValueError, match="500 samples"):
        EchoCanceller().clean(Block(np.zeros(500, np.float32), 1.0))


def test_a_machine_without_livekit_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "livekit", None)
    with pytest.raises(SpeechError, match=r"pip install .*medbot_llm\[voice\]"):
        EchoCanceller()


# The time line.


def test_pieces_whose_stamps_jitter_lie_side_by_side() -> None:
    track, rng = _Track(), np.random.default_rng(4)
    end = None
    for number in range(2000):
        start, count = track.place(50 + number * 0.02 + rng.uniform(-0.01, 0.01), 320)
        assert end in (None, start)
        end = start + count
    assert end == pytest.approx((50 + 2000 * 0.02) * RATE, abs=0.02 * RATE)


def test_drift_is_followed_by_single_samples() -> None:
    track = _Track()
    counts = []
    for number in range(30_000):
        start, count = track.place(50 + number * 0.02 * 1.0002, 320)
        counts.append(count)
    assert set(counts) <= {320, 321}
    assert start == pytest.approx((50 + 29_999 * 0.02 * 1.0002) * RATE, abs=0.03 * RATE)


def test_pieces_that_come_late_and_then_at_once_leave_no_seam() -> None:
    track, end = _Track(), None
    for number in range(500):
        late = max(0, 5 - number % 40) * 0.02 if number > 50 else 0
        start, count = track.place(50 + number * 0.02 + late, 320)
        assert end in (None, start), number
        end = start + count


def test_what_all_stamps_agree_on_is_believed_soon() -> None:
    track = _Track()
    for number in range(100):
        # As at the start of a stream: five at once, then one after the other.
        start, _ = track.place(50 + max(0, number - 4) * 0.02, 320)
    assert start == (50 + 95 * 0.02) * RATE


def test_a_pause_is_kept_as_one() -> None:
    track = _Track()
    track.place(50.0, 320)
    assert track.place(51.0, 320) == (51 * RATE, 320)
    assert track.place(49.0, 320) == (49 * RATE, 320)


# With real streams.


@needs_sound_server
def test_through_real_devices_the_robot_does_not_hear_itself() -> None:
    """The loudspeaker plays into the sink whose monitor is the microphone."""
    raw: list[Samples] = []
    blocks: list[Block] = []
    canceller = Remembering()
    # The streams settle before it speaks.
    left = np.append(np.zeros(ROBOT_RATE), robot()[: 8 * ROBOT_RATE] / 2).astype(np.float32)

    def source(frames: int) -> Samples:
        nonlocal left
        now, left = left[:frames], left[frames:]
        now = np.append(now, np.zeros(frames - len(now), np.float32))
        canceller.played(Sound(now, ROBOT_RATE), time.monotonic() + loudspeaker.latency_s)
        return now

    def on_block(block: Block) -> None:
        raw.append(block.samples)
        blocks.append(canceller.clean(block))

    with sound_server():
        loudspeaker = Loudspeaker(source, rate=ROBOT_RATE, device="patient_mouth")
        microphone = Microphone(on_block, device="robot_mic")
        microphone.start()
        loudspeaker.start()
        deadline = time.monotonic() + 30
        while len(left) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.3)
        loudspeaker.close()
        microphone.close()
    heard = np.concatenate(raw)
    cleaned = np.concatenate([block.samples for block in blocks])
    assert voices(heard).mean() > 0.4
    # By seconds: a machine that is overloaded makes gaps, after which the delay is sought anew.
    seconds = [slice(start, start + RATE) for start in range(0, len(heard) - RATE, RATE)]
    louder = [level_dbfs(heard[part]) - level_dbfs(cleaned[part]) for part in seconds]
    spoken_in = [gain for part, gain in zip(seconds, louder, strict=True) if heard[part].any()]
    assert np.median(spoken_in[1:]) > 20
    assert (voices(cleaned) & ~canceller.likely()).mean() < 0.05
    assert canceller.late_s < 0.2


def test_where_the_reference_came_too_late_nothing_is_taken_for_a_person() -> None:
    canceller = EchoCanceller()
    silence = np.zeros(512, np.float32)

    def heard(number: int) -> bool:
        return canceller.echo_likely(canceller.clean(Block(silence, number * 512 / RATE)))

    canceller.played(Sound(silence, RATE), 0.0)
    assert not any(heard(number) for number in range(10))
    canceller.played(Sound(np.full(1600, 0.1, np.float32), RATE), 0.2)
    assert all(heard(number) for number in range(10, 24))
    assert [heard(number) for number in range(24, 60)][10:] == [False] * 26
