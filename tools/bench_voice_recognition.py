"""A: how well speech is recognised, with and without repair by sound, and how fast."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from bench_voice_ours import Parts
from bench_voice_ours import delivery
from bench_voice_sounds import Said
from bench_voice_sounds import Studio
from bench_voice_sounds import in_babble
from bench_voice_sounds import said_by_turns
from bench_voice_sounds import sentences
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from medbot_llm.domain import Language
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.latency import percentile
from medbot_llm.text.language import to_script
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

SOUNDS: dict[str, float | None] = {"clean": None, "20 dB babble": 20.0, "10 dB babble": 10.0}
QUICK_SENTENCES = 10
_WORD = re.compile(r"[a-z0-9]+(?:['.][a-z0-9]+)*")
_CHINESE_SIGN = re.compile(r"[\u3400-\u9fff]|[a-z0-9]+(?:\.[0-9]+)?")


@dataclass
class Score:
    """Errors of one language in one sound, of words (English) or characters (Chinese)."""

    signs: int = 0
    errors: int = 0
    repaired_errors: int = 0
    better: int = 0
    worse: int = 0
    nothing: int = 0
    took_s: list[float] = field(default_factory=list)
    repair_s: list[float] = field(default_factory=list)
    by_voice: dict[str, list[int]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.signs)

    @property
    def repaired_rate(self) -> float:
        return self.repaired_errors / max(1, self.signs)


def recognition(parts: Parts, studio: Studio, *, quick: bool, details: bool) -> None:
    """Recognise every sentence in every sound."""
    wrong: list[str] = []
    tables: dict[Language, dict[str, Score]] = {}
    for language in Language:
        texts = sentences("recognition")[str(language)]
        texts = texts[:QUICK_SENTENCES] if quick else texts
        bar = tqdm(total=len(texts), desc=f"{language} voices")
        said = said_by_turns(studio, texts, language, bar)
        bar.close()
        repair = parts.vocabulary.repair(delivery(language))
        parts.recognizer.recognize(said[0].samples, language)
        scores = tables[language] = {name: Score() for name in SOUNDS}
        for index, one in enumerate(tqdm(said, desc=f"{language} recognition")):
            others = [other for other in said if other is not one]
            for name, snr_db in SOUNDS.items():
                sound = one.samples if snr_db is None else in_babble(one, others, snr_db, index)
                wrong += _score(scores[name], one, sound, parts, repair, name)
    tqdm.write("")
    tqdm.write(
        f"{'':<10} {'':<13} {'n':>3} {'errors':>8} {'repaired':>9} {'better':>7} {'worse':>6} "
        f"{'unheard':>8} {'s p50 / p95':>13} {'repair ms':>10}"
    )
    for language, scores in tables.items():
        kind = "CER" if language.is_chinese else "WER"
        for name, score in scores.items():
            took = sorted(score.took_s)
            tqdm.write(
                f"{language!s:<7}{kind} {name:<13} {len(took):>3} {score.rate:>8.3f} "
                f"{score.repaired_rate:>9.3f} {score.better:>7} {score.worse:>6} "
                f"{score.nothing:>8} {percentile(took, 0.5):>6.2f} / "
                f"{percentile(took, 0.95):.2f} "
                f"{percentile(sorted(score.repair_s), 0.95) * 1000:>10.0f}"
            )
    tqdm.write("by voice, clean, repaired:")
    for language, scores in tables.items():
        rates = scores["clean"].by_voice
        cells = (f"{voice} {errors / max(1, n):.3f}" for voice, (errors, n) in rates.items())
        tqdm.write(f"  {language}: " + ", ".join(cells))
    if details:
        for line in wrong:
            tqdm.write(line)
    tqdm.write("")


def _score(
    score: Score, said: Said, sound: Samples, parts: Parts, repair: object, name: str
) -> list[str]:
    language = said.language
    found = parts.recognizer.recognize(sound, language, voice_s=said.end_s - said.begin_s)
    text = found.text if found.has_words else ""
    begun = time.perf_counter()
    repaired = repair.repair(text, found.language).text if text else ""
    score.repair_s.append(time.perf_counter() - begun)
    wanted = signs(said.text, language)
    errors = Levenshtein.distance(wanted, signs(text, language))
    after = Levenshtein.distance(wanted, signs(repaired, language))
    score.signs += len(wanted)
    score.errors += errors
    score.repaired_errors += after
    score.better += after < errors
    score.worse += after > errors
    score.nothing += not text
    score.took_s.append(found.took_s)
    known = score.by_voice.setdefault(said.voice, [0, 0])
    known[0] += after
    known[1] += len(wanted)
    if not after and not errors:
        return []
    lost = f"  [{found.doubt}: {found.text}]" if not text else ""
    mark = "worse " if after > errors else "better" if after < errors else "      "
    return [f"{mark} {name}, {said.voice}: {said.text} → {text} → {repaired}{lost}"]


def signs(text: str, language: Language) -> Sequence[str]:
    """Words of English, or characters of Chinese in one script; no marks, numbers in digits."""
    plain = with_digits(canonical(text))
    if not language.is_chinese:
        return _WORD.findall(plain.lower())
    return _CHINESE_SIGN.findall(to_script(plain, Language.ZH_HANS).lower())
