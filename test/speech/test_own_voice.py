"""The robot's own voice comes back from a simulated room: real voice, canceller, voice detector
and recogniser, on a clock of the test's own, so that a busy machine changes nothing.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from voice_test_kit import EN
from voice_test_kit import HANT
from voice_test_kit import _recognizer
from voice_test_kit import kokoro_voice
from voice_test_kit import need_voice_packages

from medbot_llm.domain import Language
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.echo import EchoCanceller
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.resampling import Resampler
from medbot_llm.speech.vad import FRAME
from medbot_llm.speech.vad import SileroVad

need_voice_packages()

DELAY_S = 0.04
AHEAD = 4 * FRAME
"""How much earlier the reference is told than it is audible: a loudspeaker's latency."""
DUCKED = 10 ** (-12 / 20)
SAID = [
    ("別擔心，偶爾忘記一次是常有的事。千萬不要一次吃兩份。", HANT),
    ("林女士您好，這是您的脈優錠，五毫克，每次一顆，每天一次，早餐後服用。", HANT),
    ("Do not worry, forgetting once happens to everyone. Never take two doses at once.", EN),
    ("這個藥可能會讓您頭暈，起身的時候請慢一點。如果喘不過氣，請馬上告訴護理師。", HANT),
]
ROOMS = [(0.2, -10.0), (0.3, -6.0), (0.5, -14.0)]
"""Reverberation, s, and level of the echo, dB."""


class Patient:
    """What the ear told, and whether the robot ducks or has stopped."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.words = ""
        self.finals: list[str] = []
        self.gain = 1.0

    def on_voice(self, started: float) -> None:
        self.gain = DUCKED

    def on_words(self, heard: Heard) -> None:
        self.words, self.gain = heard.text, 0.0

    def on_nothing(self) -> None:
        self.gain = 1.0

    def on_heard(self, heard: Heard) -> None:
        if not heard.is_partial:
            self.finals.append(heard.text)

    def on_problem(self, problem: str) -> None:
        self.told.append(problem)


def at_16k(text: str, language: Language) -> Samples:
    sound = kokoro_voice().synthesize(text, language)
    return Resampler(sound.rate, RATE).push(sound.samples)


def played_in(
    room: tuple[float, float], text: str, language: Language, seed: int, patient: Samples | None
) -> Patient:
    """The robot says `text`; after two seconds the patient may speak over it."""
    random = np.random.default_rng(seed)
    reverberation_s, level_db = room
    length = round(reverberation_s * RATE)
    response = random.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * 0.15
    response[0] = 1.0
    response = np.concatenate([np.zeros(round(DELAY_S * RATE)), response]) * 10 ** (level_db / 20)
    said = at_16k(text, language)
    total = RATE + len(said) + 3 * RATE
    dry = np.zeros(total + AHEAD + FRAME, np.float32)
    dry[RATE : RATE + len(said)] = said
    own = np.zeros(total + FRAME, np.float32)
    if patient is not None:
        own[3 * RATE : 3 * RATE + len(patient)] += patient[: len(own) - 3 * RATE]
    canceller, listener = EchoCanceller(), Patient()
    ear = Ear(
        _recognizer(),
        SileroVad(),
        listener,
        EarSettings(),
        language=language,
        clean=canceller.clean,
        is_echo=canceller.echo_likely,
    )
    ear.robot_says(text)
    ear.robot_speaks(True)
    tail = np.zeros(len(response) - 1)
    played = dry.copy()
    canceller.played(Sound(played[:AHEAD], RATE), 0.0)
    for start in range(0, total, FRAME):
        new = slice(start + AHEAD, start + AHEAD + FRAME)
        played[new] = dry[new] * listener.gain
        canceller.played(Sound(played[new], RATE), new.start / RATE)
        wet = np.convolve(played[start : start + FRAME], response)
        wet[: len(tail)] += tail
        tail = wet[FRAME:]
        noise = random.normal(0, 2e-4, FRAME)
        heard = wet[:FRAME] + noise + own[start : start + FRAME]
        ear.feed(Block(heard.astype(np.float32), start / RATE))
        while ear.is_recognising:
            time.sleep(0.001)
    ear.end_turn()
    while ear.is_recognising:
        time.sleep(0.001)
    ear.close()
    return listener


def trial(number: int) -> None:
    text, language = SAID[number % len(SAID)]
    heard = played_in(ROOMS[number % len(ROOMS)], text, language, number, None)
    assert (heard.words, heard.finals) == ("", []), number


@pytest.mark.parametrize("number", [2, 4, 5, 9])
def test_the_robots_own_voice_is_neither_an_interruption_nor_speech(number: int) -> None:
    trial(number)


@pytest.mark.slow
def test_the_robots_own_voice_is_no_speech_in_twenty_trials() -> None:
    for number in range(20):
        trial(number)


@pytest.mark.parametrize("number", [0, 3])
def test_a_patient_over_the_robot_is_heard(number: int) -> None:
    patient = at_16k("等一下，我想先問別的事情", HANT)
    text, _ = SAID[number]
    heard = played_in(ROOMS[number % len(ROOMS)], text, HANT, number, patient)
    assert heard.words
    assert "事情" in "".join(heard.finals)
