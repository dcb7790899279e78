"""The change of the sample rate: what passes, what is kept out, and that pieces make no seams."""

from __future__ import annotations

import numpy as np
import pytest

from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import level_dbfs
from medbot_llm.speech.resampling import Resampler

RATES = [(48000, 16000), (44100, 16000), (24000, 48000), (24000, 44100), (24000, 16000)]


def tone(frequency: float, rate: int, seconds: float = 1.0) -> Samples:
    times = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_tone_comes_out_as_itself_at_its_own_time(source: int, target: int) -> None:
    heard = Resampler(source, target).push(tone(1000, source))
    wanted = tone(1000, target)[: len(heard)]
    middle = slice(target // 20, len(heard) - target // 20)
    assert level_dbfs((heard - wanted)[middle]) < -75
    assert len(heard) == pytest.approx(target, abs=target * 0.003)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_pieces_of_any_size_give_the_same_as_the_whole(source: int, target: int) -> None:
    rng = np.random.default_rng(1)
    sound = rng.uniform(-1, 1, source // 2).astype(np.float32)
    whole = Resampler(source, target).push(sound)
    pieces = Resampler(source, target)
    heard, start = [], 0
    while start < len(sound):
        size = int(rng.integers(0, 700))
        heard.append(pieces.push(sound[start : start + size]))
        start += size
    np.testing.assert_allclose(np.concatenate(heard), whole, atol=1e-6)


@pytest.mark.parametrize("source", [48000, 44100])
def test_what_recognition_cannot_represent_does_not_fold_into_speech(source: int) -> None:
    for frequency in (9000, 12000, 20000):
        heard = Resampler(source, 16000).push(tone(frequency, source))
        assert level_dbfs(heard[800:-800]) < -65, frequency


@pytest.mark.parametrize("frequency", [100, 3400, 6800])
def test_speech_frequencies_keep_their_level(frequency: int) -> None:
    heard = Resampler(48000, 16000).push(tone(frequency, 48000))
    assert level_dbfs(heard[800:-800]) == pytest.approx(
        level_dbfs(tone(frequency, 48000)), abs=0.3
    )


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_puller_is_told_how_much_to_push(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    for count in (240, 1, 480, 0, 37, 1024):
        needed = resampler.input_for(count)
        assert len(resampler.push(np.zeros(needed, np.float32))) in (
            [0] if count == 0 else range(count, count + 3)
        )


def test_the_same_rate_passes_untouched_and_the_delay_is_short() -> None:
    sound = tone(500, 16000)
    assert Resampler(16000, 16000).push(sound) is sound
    assert Resampler(16000, 16000).delay_s == 0
    assert Resampler(48000, 16000).delay_s == pytest.approx(0.0015)
    assert Resampler(24000, 44100).delay_s == pytest.approx(0.001)
