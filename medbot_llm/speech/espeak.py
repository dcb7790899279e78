"""espeak-ng as a program of its own: how English sounds, and a light voice to fall back on.

espeak-ng is under GPL-3. So it is never loaded into this process: its program reads text from a
pipe and answers on another. A call takes 5 ms of the CPU, whatever is in it, up to some ten lines.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from medbot_llm.domain import Language
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.levelling import finished
from medbot_llm.speech.spoken_form import spoken_form

PROGRAM = "espeak-ng"
TIMEOUT_S = 10.0
"""For one call. It takes milliseconds; one that hangs must not keep the robot silent."""
TIE = "^"
"""What stands between the two halves of a diphthong or an affricate."""
LONGEST_LINE = 240
"""Characters of a line; espeak-ng reads lines of at most 999 bytes."""
REMEMBERED = 4096
"""Lines of which the sounds are kept."""

RATE = 22_050
"""Samples a second that espeak-ng gives, Hz."""
WORDS_A_MINUTE = 165
"""At speed 1: about as fast as Kokoro speaks. espeak-ng's own default is 175."""
MOST_WORDS_A_MINUTE = 450
LEAST_WORDS_A_MINUTE = 80
"""The limits of `espeak-ng -s`."""
MAX_CHARS = 4000
"""Of one text that is read aloud; the rest is left out."""

_VOICES = {Language.EN: "en-us", Language.ZH_HANT: "cmn", Language.ZH_HANS: "cmn"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PHONEMES_FOLLOW = re.compile(r"\[\[+|\]\]+")
"""What would make espeak-ng read phoneme codes."""
_LANGUAGE_FLAG = re.compile(r"\([a-z-]+\)")


class EspeakPhonemes:
    """How English words sound, in IPA. Any thread may ask.

    Args:
        program: Name or path of espeak-ng.
    """

    def __init__(self, program: str = PROGRAM, *, timeout_s: float = TIMEOUT_S) -> None:
        self._program = program
        self._timeout_s = timeout_s
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_installed(self) -> bool:
        """Whether the program is on this machine."""
        return shutil.which(self._program) is not None

    def ipa(self, lines: Sequence[str]) -> list[str]:
        """The sounds of each line, words without marks, with TIE inside double sounds.

        Args:
            lines: At most LONGEST_LINE characters each.

        Raises:
            SpeechError: espeak-ng is missing or fails.
        """
        with self._lock:
            unknown = [line for line in dict.fromkeys(lines) if line not in self._known]
        found = dict(zip(unknown, self._ask(unknown), strict=True)) if unknown else {}
        with self._lock:
            self._known.update(found)
            result = []
            for line in lines:
                # What many texts ask for at once may be gone again.
                sounds = self._known.get(line, found.get(line, ""))
                result.append(sounds)
                if line in self._known:
                    self._known.move_to_end(line)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return result

    def _ask(self, lines: Sequence[str]) -> list[str]:
        clean = [" ".join(_CONTROL.sub(" ", line).split()) for line in lines]
        heard = self._call(clean)
        if len(heard) != len(clean):
            # A line in which it saw the end of a sentence gives two; each by itself, then.
            heard = [" ".join(self._call([line])) for line in clean]
        return heard

    def _call(self, lines: Sequence[str]) -> list[str]:
        command = ["-q", "--ipa", f"--tie={TIE}", "-v", _VOICES[Language.EN], "-b", "1"]
        text = "".join(f"{line}\n" for line in lines)
        output = run_espeak(self._program, command, text, self._timeout_s)
        answer = _LANGUAGE_FLAG.sub("", output.decode("utf-8", "replace"))
        return [" ".join(line.split()) for line in answer.splitlines() if line.strip()]


class EspeakSynthesizer:
    """The light voice: intelligible English, poor Chinese, a few milliseconds a sentence.

    Args:
        program: Name or path of espeak-ng.

    Raises:
        SpeechError: It is not installed.
    """

    def __init__(self, program: str = PROGRAM, *, timeout_s: float = TIMEOUT_S) -> None:
        if shutil.which(program) is None:
            raise SpeechError(missing(program))
        self._program = program
        self._timeout_s = timeout_s
        self.rate = RATE

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        """Read a text aloud.

        Raises:
            SpeechError: espeak-ng fails.
        """
        text = spoken_form(text[:MAX_CHARS], language)
        text = _PHONEMES_FOLLOW.sub(" ", _CONTROL.sub(" ", text))
        if not any(char.isalnum() for char in text):
            return Sound(np.zeros(0, np.float32), self.rate)
        words = round(WORDS_A_MINUTE * speed)
        words = min(MOST_WORDS_A_MINUTE, max(LEAST_WORDS_A_MINUTE, words))
        command = ["--stdin", "--stdout", "-b", "1", "-v", _VOICES[language], "-s", str(words)]
        output = run_espeak(self._program, command, text + "\n", self._timeout_s)
        samples, rate = _samples(output)
        return Sound(finished(samples, rate), rate)


def run_espeak(program: str, options: Iterable[str], text: str, timeout_s: float) -> bytes:
    """What espeak-ng writes for a text.

    Raises:
        SpeechError: It is missing, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            [program, *options],
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise SpeechError(missing(program)) from None
    except subprocess.TimeoutExpired:
        raise SpeechError(f"{program} took more than {timeout_s:g} s") from None
    except OSError as error:
        raise SpeechError(f"{program} can't be run: {error}") from None
    if done.returncode:
        reason = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        raise SpeechError(f"{program} failed ({done.returncode}): {reason}")
    return done.stdout


def missing(program: str) -> str:
    """What to do where espeak-ng is not installed."""
    return f"{program} is not installed; English is read with it: sudo apt install espeak-ng"


def _samples(wave: bytes) -> tuple[Samples, int]:
    """Samples of a WAV file of 16 bits whose header was written before its end was known.

    Raises:
        SpeechError: It is none.
    """
    start = wave.find(b"data", 12, 4096) + 8
    if wave[:4] != b"RIFF" or wave[8:16] != b"WAVEfmt " or start < 8:
        raise SpeechError("espeak-ng gave no sound")
    channels, rate = int.from_bytes(wave[22:24], "little"), int.from_bytes(wave[24:28], "little")
    bits = int.from_bytes(wave[34:36], "little")
    if channels != 1 or bits != 16 or not 8000 <= rate <= 48_000:
        raise SpeechError("espeak-ng gave sound of another format")
    end = start + (len(wave) - start) // 2 * 2
    return np.frombuffer(wave[start:end], "<i2").astype(np.float32) / 32768.0, rate
