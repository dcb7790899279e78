"""Speech to text: Whisper through CTranslate2, guarded against what it invents.

Three things differ from `WhisperModel.transcribe` of faster-whisper, whose model, features and
tokenizer are used.

- **A short window.** Whisper was trained on 30 s and pads to them, so that a question of 3 s costs
  as much as one of 30. Here the encoder sees the utterance and a second of silence, at least 10 s
  in all: the same error rate, in a fifth of the time (docs/performance.md). Below some 5 s it
  falls into loops; what looks like one is recognised again in the full window, and what is unsure
  in a longer one.
- **No domain prompt.** Told of medicines, Whisper hears them in noise. `repair.py` does it by
  sound, and says so.
- **Guards.** What it writes without anyone having spoken is told by its own doubt, by loops, by
  more text than the voice could have said, and by known phrases (`resource/speech/phantoms.yaml`).
"""

from __future__ import annotations

import importlib.resources
import math
import re
import sys
import time
import types
import unicodedata
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
import yaml

from medbot_llm.domain import Language
from medbot_llm.domain import StringEnum
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.text.language import to_script

FRAMES_PER_S = 100
"""Mel frames a second, as Whisper was trained."""
FULL_WINDOW_S = 30.0
LEAST_WINDOW_S = 10.0
SILENCE_AFTER_S = 1.0
"""Silence behind the speech, without which the end is lost or repeated."""
LONGEST_S = FULL_WINDOW_S - SILENCE_AFTER_S

NO_SPEECH = 0.6
UNLIKELY_LOG_PROBABILITY = -1.0
"""Whisper's own thresholds for silence: its `no_speech_threshold` and `logprob_threshold`."""
UNSURE_LOG_PROBABILITY = -0.9
"""Below this, a confidence of 0.4, a final text is recognised a second time …"""
OTHER_WINDOW_S = 5.0
"""… in a window that is longer by this; the surer one of both is taken."""
MAX_COMPRESSION = 2.4
"""Whisper's own `compression_ratio_threshold`: text that compresses better is a loop."""
MIN_LOOP_CHARS = 24
MAX_HAN_PER_S = 12.0
MAX_LETTERS_PER_S = 32.0
"""More of a second of voice is more than anyone says: fast Mandarin has 8 syllables a second, fast
English some 20 letters."""
SHORT_VOICE_S = 0.5
SURE = 0.6
"""Confidence from which a lone "thank you" is believed."""
TOKENS_PER_S = 12
SPARE_TOKENS = 24

SWITCH_PROBABILITY = 0.85
SWITCH_VOICE_S = 0.8
"""How sure the language must be, and of how much voice, to leave that of the session."""

_LOOP = re.compile(r"(.{1,12}?)\1{5,}", re.DOTALL)
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]")


class Doubt(StringEnum):
    """Why nobody has said what was recognised."""

    NONE = ""
    SILENT = "no_speech"
    LOOP = "repetition"
    TOO_MUCH = "more_text_than_voice"
    PHANTOM = "phantom_phrase"


@dataclass(frozen=True)
class Recognition:
    """What was heard in a piece of sound.

    Attributes:
        text: In the script of the language; "" for nothing.
        language: Which was recognised.
        confidence: Geometric mean of the probabilities of its tokens, 0 to 1.
        doubt: Set where the text was most likely invented; nobody may act on it then.
        took_s: Time of the recognition, s.
    """

    text: str
    language: Language
    confidence: float
    doubt: Doubt = Doubt.NONE
    took_s: float = 0.0

    @property
    def has_words(self) -> bool:
        """Whether somebody said something that can be written down."""
        return not self.doubt and bool(re.search(r"\w", self.text))


class Recognizer(Protocol):
    """Turns sound into text. One thread at a time may use it."""

    def recognize(
        self,
        samples: Samples,
        language: Language,
        *,
        voice_s: float | None = None,
        may_switch: bool = True,
        careful: bool = True,
    ) -> Recognition:
        """Recognise one utterance.

        Args:
            samples: The utterance at RATE.
            language: Of the session; gives the script, and the language where it isn't clear.
            voice_s: How much of it is voice, s; None: all.
            may_switch: Whether another language may be found than the session's.
            careful: Search wider, for a final text; without it a first guess.

        Raises:
            SpeechError: the recognizer failed.
        """


class WhisperRecognizer:
    """A Whisper model in CTranslate2's format."""

    def __init__(
        self,
        model: Path,
        *,
        threads: int = 2,
        device: str = "cpu",
        compute_type: str = "int8",
        beam_size: int = 5,
        chinese: Language = Language.ZH_HANT,
    ) -> None:
        """Load. Raises SpeechError.

        Args:
            model: Folder with model.bin, config.json, tokenizer.json and the vocabulary.
            threads: Threads of its own.
            device: "cpu" or "cuda".
            compute_type: As CTranslate2 names them: int8, int8_float16, float16, float32.
            beam_size: Hypotheses of a final text.
            chinese: Script of Chinese heard in an English session.
        """
        # faster-whisper imports PyAV to read files, whose wheel brings x264 and x265 (GPL) along.
        # Sound comes as samples here, so an empty module takes its place.
        sys.modules.setdefault("av", types.ModuleType("av"))
        try:
            from faster_whisper import WhisperModel
            from faster_whisper.tokenizer import Tokenizer
        except ImportError as error:
            raise SpeechError(
                f'speech recognition is not installed ({error}): pip install "medbot_llm[voice]"'
            ) from error
        if not (model / "model.bin").is_file():
            raise SpeechError(f"no Whisper model in {model}: medbot models pull whisper-base")
        try:
            self._model = WhisperModel(
                str(model),
                device=device,
                compute_type=compute_type,
                cpu_threads=threads,
                local_files_only=True,
            )
        except Exception as error:  # CTranslate2's and tokenizers' have no common base
            raise SpeechError(f"the Whisper model in {model} cannot be loaded: {error}") from error
        self._tokenizers = {
            code: Tokenizer(self._model.hf_tokenizer, True, task="transcribe", language=code)
            for code in ("zh", "en")
        }
        self._beam_size = beam_size
        self._chinese = chinese
        _phantoms()

    def recognize(
        self,
        samples: Samples,
        language: Language,
        *,
        voice_s: float | None = None,
        may_switch: bool = True,
        careful: bool = True,
    ) -> Recognition:
        """See `Recognizer`."""
        started = time.monotonic()
        try:
            return self._recognize(samples, language, voice_s, may_switch, careful, started)
        except SpeechError:
            raise
        except Exception as error:  # CTranslate2's errors have no common base
            raise SpeechError(f"the speech recognition failed: {error}") from error

    def _recognize(
        self,
        samples: Samples,
        language: Language,
        voice_s: float | None,
        may_switch: bool,
        careful: bool,
        started: float,
    ) -> Recognition:
        # What is behind the window can't be heard; the listener cuts turns before.
        samples = samples[: int(LONGEST_S * RATE)]
        seconds = len(samples) / RATE
        voice_s = seconds if voice_s is None else voice_s
        features = self._model.feature_extractor(samples)
        window_s = max(LEAST_WINDOW_S, seconds + SILENCE_AFTER_S)
        beams = self._beam_size if careful else 1
        encoded = self._encode(features, window_s)
        if may_switch:
            language = self._language(encoded, language, voice_s)
        heard = self._decode(encoded, language, beams, seconds)
        if careful and _is_loop(heard[0]):
            encoded = self._encode(features, FULL_WINDOW_S)
            heard = self._decode(encoded, language, beams, seconds)
        elif careful and heard[0] and heard[1] < UNSURE_LOG_PROBABILITY:
            # Whisper ends a text early where words of two languages meet, and seldom so twice.
            encoded = self._encode(features, min(FULL_WINDOW_S, window_s + OTHER_WINDOW_S))
            again = self._decode(encoded, language, beams, seconds)
            heard = max(heard, again, key=lambda one: one[1])
        text, log_probability, no_speech = heard
        confidence = math.exp(min(0.0, log_probability))
        return Recognition(
            text=to_script(text, language),
            language=language,
            confidence=confidence,
            doubt=doubt_of(text, confidence, no_speech, voice_s),
            took_s=time.monotonic() - started,
        )

    def _encode(self, features: Any, window_s: float) -> Any:
        window = np.zeros((features.shape[0], round(window_s * FRAMES_PER_S)), np.float32)
        length = min(window.shape[1], features.shape[1])
        window[:, :length] = features[:, :length]
        return self._model.encode(window)

    def _language(self, encoded: Any, session: Language, voice_s: float) -> Language:
        """The session's language, unless another is clearly spoken."""
        found = {name[2:-2]: p for name, p in self._model.model.detect_language(encoded)[0]}
        chinese = found.get("zh", 0.0) + found.get("yue", 0.0)
        english = found.get("en", 0.0)
        other = english if session.is_chinese else chinese
        share = other / max(chinese + english, 1e-9)
        if voice_s < SWITCH_VOICE_S or other < 0.5 or share < SWITCH_PROBABILITY:
            return session
        return Language.EN if session.is_chinese else self._chinese

    def _decode(
        self, encoded: Any, language: Language, beams: int, seconds: float
    ) -> tuple[str, float, float]:
        """Text, mean log-probability of a token, probability of no speech."""
        tokenizer = self._tokenizers["zh" if language.is_chinese else "en"]
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        result = self._model.model.generate(
            encoded,
            [prompt],
            beam_size=beams,
            max_length=len(prompt) + SPARE_TOKENS + int(TOKENS_PER_S * seconds),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
        )[0]
        text = tokenizer.decode(result.sequences_ids[0])
        text = unicodedata.normalize("NFC", text).replace("\ufffd", "").strip()
        return text, float(result.scores[0]), float(result.no_speech_prob)


def doubt_of(text: str, confidence: float, no_speech: float, voice_s: float) -> Doubt:
    """Why a recognised text was most likely never said.

    Args:
        confidence: Of the text, 0 to 1.
        no_speech: Probability of Whisper's own that nobody spoke.
        voice_s: How much voice there was, s.
    """
    if no_speech > NO_SPEECH and confidence < math.exp(UNLIKELY_LOG_PROBABILITY):
        return Doubt.SILENT
    if _is_loop(text):
        return Doubt.LOOP
    room = max(voice_s, SHORT_VOICE_S)
    if len(_HAN.findall(text)) > MAX_HAN_PER_S * room:
        return Doubt.TOO_MUCH
    if len(_LETTER.findall(text)) > MAX_LETTERS_PER_S * room:
        return Doubt.TOO_MUCH
    plain = re.sub(r"[^\w\s.]", "", text).strip(" .").lower()
    always, alone = _phantoms()
    if any(phrase in plain for phrase in always):
        return Doubt.PHANTOM
    if plain in alone and (confidence < SURE or voice_s < SHORT_VOICE_S):
        return Doubt.PHANTOM
    return Doubt.NONE


def _is_loop(text: str) -> bool:
    if len(text) < MIN_LOOP_CHARS:
        return False
    data = text.encode()
    return bool(_LOOP.search(text)) or len(data) / len(zlib.compress(data)) > MAX_COMPRESSION


@cache
def _phantoms() -> tuple[tuple[str, ...], frozenset[str]]:
    file = importlib.resources.files("medbot_llm.resource").joinpath("speech/phantoms.yaml")
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple(data["always"]), frozenset(data["alone"])
