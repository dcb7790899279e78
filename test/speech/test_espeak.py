"""espeak-ng as a program: what it gives, and what happens when it fails, hangs or is missing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from voice_test_kit import EN
from voice_test_kit import HANT
from voice_test_kit import heard
from voice_test_kit import need_voice_packages

from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.espeak import LONGEST_LINE
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.espeak import EspeakSynthesizer

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def program(folder: Path, script: str) -> str:
    """A stand-in for espeak-ng that behaves badly."""
    path = folder / "espeak-ng"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@needs_espeak
def test_each_line_gets_its_own_sounds():
    lines = ["Amlodipine", "three point five", "don't", "Amlodipine", "word " * 40]
    sounds = EspeakPhonemes().ipa(lines)
    assert sounds[0] == sounds[3] == "ˈæmlədˌɪpa^ɪn"
    assert len(sounds[4]) > len(sounds[1]) > 0
    assert all("\n" not in line for line in sounds)


@needs_espeak
def test_a_line_with_the_end_of_a_sentence_stays_one():
    assert len(EspeakPhonemes().ipa(["Hello. There! You?", "next"])) == 2
    assert len(EspeakPhonemes().ipa(["", "next"])) == 2


@needs_espeak
def test_what_was_asked_is_remembered(tmp_path):
    count = tmp_path / "count"
    counting = program(tmp_path, f'echo x >> {count}\nexec {shutil.which("espeak-ng")} "$@"')
    phonemes = EspeakPhonemes(counting)
    assert phonemes.ipa(["Panadol"]) == phonemes.ipa(["Panadol"])
    assert count.read_text().count("x") == 1


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 3", "failed"),
        ("echo broken >&2; exit 1", "broken"),
        ("sleep 30", "more than"),
    ],
)
def test_a_program_that_fails_or_hangs_is_reported(tmp_path, script, problem):
    started = time.monotonic()
    with pytest.raises(SpeechError, match=problem):
        EspeakPhonemes(program(tmp_path, script), timeout_s=0.5).ipa(["hello"])
    with pytest.raises(SpeechError, match=problem):
        EspeakSynthesizer(program(tmp_path, script), timeout_s=0.5).synthesize("hello", EN)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("script", ["echo", "printf 'RIFFxxxxWAVEfmt '", "head -c 4000 /dev/zero"])
def test_a_program_that_gives_no_sound_is_reported(tmp_path, script):
    with pytest.raises(SpeechError, match=r"no sound|another format"):
        EspeakSynthesizer(program(tmp_path, script)).synthesize("hello", EN)


def test_a_missing_program_says_what_to_install():
    assert not EspeakPhonemes("no-such-program").is_installed
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        EspeakPhonemes("no-such-program").ipa(["hello"])
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        EspeakSynthesizer("no-such-program")


@needs_espeak
def test_the_light_voice_is_understood_in_english():
    need_voice_packages()
    sound = EspeakSynthesizer().synthesize(
        "Please take one tablet after breakfast with a glass of water.", EN
    )
    words = heard(sound, EN)
    assert all(word in words for word in ("take", "tablet", "breakfast", "water")), words


@needs_espeak
def test_the_light_voice_takes_speed_and_garbage():
    voice = EspeakSynthesizer()
    fast, slow = (
        voice.synthesize("Take one tablet a day.", EN, speed=speed) for speed in (1.5, 0.7)
    )
    assert slow.duration_s > 1.3 * fast.duration_s
    for text in ("", "  ", "!!!", "[[]]", "😀"):
        assert not len(voice.synthesize(text, HANT).samples)
    for text in ("[[h@'loU]] hello", "--help", "-f /etc/passwd", "<voice>", "a\0b\ud800c"):
        assert np.isfinite(voice.synthesize(text, EN).samples).all()


@needs_espeak
def test_lines_are_never_longer_than_the_program_reads():
    assert LONGEST_LINE * 4 < 999
