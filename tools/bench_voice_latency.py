"""B and C: from the end of speech to the answer, ours and pipecat's; D: pauses in questions."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bench_voice_ours import Hearing
from bench_voice_ours import ListeningEar
from bench_voice_ours import Loop
from bench_voice_ours import Parts
from bench_voice_ours import Turn
from bench_voice_peer import Pipecat
from bench_voice_peer import Server
from bench_voice_peer import is_installed
from bench_voice_sounds import Said
from bench_voice_sounds import Studio
from bench_voice_sounds import said_by_turns
from bench_voice_sounds import sentences
from tqdm import tqdm

from medbot_llm.domain import Language
from medbot_llm.speech.latency import percentile

LANGUAGES = (Language.ZH_HANT, Language.EN)
ASKS_WITH = {Language.ZH_HANT: "zm_yunjian", Language.EN: "am_michael"}
STAGES = {
    "recognised": "the whole is recognised",
    "final_text": "final text",
    "first_token": "first token",
    "first_sentence": "first sentence",
    "first_audio": "first audio",
}
GOAL = 0.75
"""Ours, as a share of pipecat's, at most."""
QUICK_QUESTIONS = 3
QUICK_PAUSES = 4
TURN_ENDS = {"smart": "pipecat, Smart Turn", "0.6": "pipecat, 0.6 s", "0.0": "pipecat, 0 s"}
"""pipecat's ways to end a turn, behind Silero's 0.2 s: its default, its plain one, and that
without its own wait."""


def show(text: str = "") -> None:
    """Print above the progress bar."""
    tqdm.write(text)


# --- B and C ---------------------------------------------------------------------------------


def latency(
    parts: Parts, studio: Studio, *, quick: bool, peer: bool, turn_end: str = "smart"
) -> None:
    """Ask both loops the same questions in turn."""
    with_peer = peer and is_installed()
    if peer and not with_peer:
        show("pipecat is not installed: `make bench-voice` does it; only our loop is measured")
    logs = Path(tempfile.gettempdir())
    for language in LANGUAGES:
        listed = sentences("latency")[str(language)]
        questions = [*listed["model"]][: QUICK_QUESTIONS if quick else -1]
        prepared = [*listed["prepared"]][: 1 if quick else None]
        said = [studio.say(text, language, ASKS_WITH[language]) for text in questions]
        # The last of the list sets everything in motion, and is not counted.
        first = studio.say(listed["model"][-1], language, ASKS_WITH[language])
        more = [studio.say(text, language, ASKS_WITH[language]) for text in prepared]
        loop = Loop(parts, language)
        server = other = None
        try:
            warm_up = loop.ask(first)
            if with_peer:
                server = Server(parts.model_file, parts.cores, logs / "bench-voice-server.log")
                # The question itself leaves: what stays is what the robot has said so far.
                other = Pipecat(
                    parts,
                    language,
                    logs / "bench-voice-pipecat.log",
                    server=server,
                    prompt=loop.prompt()[:-1],
                    turn_end=turn_end,
                )
                other.ask(first)
            show(f"{language}: the first turn, not counted: {warm_up.first_audio:.2f} s")
            ours, theirs = _in_turn(loop, other, said)
            own_words = [loop.ask(one) for one in tqdm(more, desc=f"{language} prepared")]
        finally:
            loop.close()
            if other is not None:
                other.close()
            if server is not None:
                server.close()
        _report_latency(language, ours, theirs, own_words, TURN_ENDS.get(turn_end, turn_end))


def _in_turn(
    loop: Loop, other: Pipecat | None, said: Sequence[Said]
) -> tuple[list[Turn], list[Turn]]:
    ours, theirs = [], []
    for index, question in enumerate(tqdm(said, desc=f"{said[0].language} questions")):
        if other is not None and index % 2:
            theirs.append(other.ask(question))
        ours.append(loop.ask(question))
        if other is not None and not index % 2:
            theirs.append(other.ask(question))
        for turn, who in ((ours[-1], "ours"), *(((theirs[-1], "pipecat"),) if other else ())):
            show(
                f"  {who:<8} {_s(turn.final_text)} {_s(turn.first_token)} "
                f"{_s(turn.first_sentence)} {_s(turn.first_audio)}  "
                f"{turn.heard[:30]} → {turn.answer[:40]} ({turn.kind})"
            )
    return ours, theirs


def _report_latency(
    language: Language,
    ours: Sequence[Turn],
    theirs: Sequence[Turn],
    own_words: Sequence[Turn],
    theirs_name: str,
) -> None:
    by_model = [turn for turn in ours if turn.by_model]
    other_words = [turn for turn in ours if not turn.by_model]
    answered = [turn for turn in theirs if not math.isnan(turn.first_audio)]
    show()
    show(
        f"{language}, s after the end of speech, p50 / p95; ours: {len(by_model)} turns in the "
        f"model's words of {len(ours)}; {theirs_name}: {len(answered)} of {len(theirs)}"
    )
    show(f"  {'':<26} {'ours':>13} {theirs_name:>21} {'ours / theirs':>15}")
    for stage, name in STAGES.items():
        mine, other = _percentiles(by_model, stage), _percentiles(answered, stage)
        show(f"  {name:<26} {_pair(mine):>13} {_pair(other):>21} {_ratios(mine, other):>15}")
    steps = list(STAGES)[1:]
    for before, stage in pairwise(steps):
        mine = _step(by_model, before, stage)
        other = _step(answered, before, stage)
        name = f"  {STAGES[before]} → {STAGES[stage]}"
        show(f"  {name:<26} {_pair(mine):>13} {_pair(other):>21} {_ratios(mine, other):>15}")
    mine, other = _percentiles(by_model, "first_audio"), _percentiles(answered, "first_audio")
    if answered and by_model:
        met = all(one <= GOAL * two for one, two in zip(mine, other, strict=True))
        show(
            f"  at least 25 % faster to the first audio, at p50 and p95: {'yes' if met else 'NO'}"
        )
    if other_words:
        mine = _percentiles(other_words, "first_audio")
        show(
            f"  apart: {len(other_words)} turns in which prepared words took the model's place: "
            f"first audio {_pair(mine)}"
        )
    if own_words:
        text, audio = _percentiles(own_words, "final_text"), _percentiles(own_words, "first_audio")
        show(
            f"  apart: {len(own_words)} questions for prepared words: final text {_pair(text)}, "
            f"first audio {_pair(audio)}"
        )
    for name, turns in (("ours", ours), (theirs_name, theirs)):
        if turns:
            early = sum(turn.early_ends > 0 for turn in turns)
            pieces = sum(turn.pieces > 1 for turn in turns)
            show(
                f"  {name}: answered before the question was over {early} of {len(turns)}; "
                f"recognised in pieces {pieces}"
            )
    show()


def _percentiles(turns: Sequence[Turn], stage: str) -> tuple[float, float]:
    return _p50_p95([getattr(turn, stage) for turn in turns])


def _step(turns: Sequence[Turn], before: str, after: str) -> tuple[float, float]:
    return _p50_p95([getattr(turn, after) - getattr(turn, before) for turn in turns])


def _p50_p95(found: Sequence[float]) -> tuple[float, float]:
    values = sorted(value for value in found if not math.isnan(value))
    return percentile(values, 0.5), percentile(values, 0.95)


def _s(value: float) -> str:
    return f"{value:5.2f}" if not math.isnan(value) else "    –"


def _pair(pair: tuple[float, float]) -> str:
    return f"{_s(pair[0])} / {_s(pair[1]).strip()}"


def _ratios(mine: tuple[float, float], other: tuple[float, float]) -> str:
    if any(math.isnan(value) for value in (*mine, *other)):
        return "–"
    return " / ".join(
        f"{one / two:.2f}" if two > 0 else "–" for one, two in zip(mine, other, strict=True)
    )


# --- D ---------------------------------------------------------------------------------------


def pauses(parts: Parts, studio: Studio, *, quick: bool, peer: bool) -> None:
    """Let every ear hear questions with a pause inside."""
    with_peer = peer and is_installed()
    if peer and not with_peer:
        show("pipecat is not installed: `make bench-voice` does it; only our ear is measured")
    log = Path(tempfile.gettempdir()) / "bench-voice-pipecat.log"
    rows: dict[str, dict[Language, list[Hearing]]] = {}
    for language in LANGUAGES:
        texts = sentences("pauses")[str(language)]
        texts = texts[:: max(1, len(texts) // QUICK_PAUSES)] if quick else texts
        said = said_by_turns(studio, texts, language)
        ears: dict[str, Callable[[], ListeningEar | Pipecat]] = {
            "ours": lambda language=language: ListeningEar(parts, language)
        }
        if with_peer:
            for kind, name in list(TURN_ENDS.items())[:2]:
                ears[name] = lambda language=language, kind=kind: Pipecat(
                    parts, language, log, turn_end=kind
                )
        for name, make in ears.items():
            ear = make()
            try:
                bar = tqdm(said, desc=f"{language} {name}")
                rows.setdefault(name, {})[language] = [ear.hear(one) for one in bar]
            finally:
                ear.close()
    show()
    show("questions with a pause of 0.3 to 0.8 s inside: turns ended at the pause,")
    show("and recognised in pieces")
    for name, found in rows.items():
        cells = []
        for language, hearings in found.items():
            early = sum(hearing.early_ends > 0 for hearing in hearings)
            pieces = sum(len(hearing.texts) > 1 for hearing in hearings)
            cells.append(f"{language}: {early} and {pieces} of {len(hearings)}")
        show(f"  {name:<22} " + ";  ".join(cells))
    for name, found in rows.items():
        for hearings in found.values():
            for hearing in hearings:
                if hearing.early_ends:
                    show(f"  {name} ended early: {hearing.said.text} → {hearing.texts}")
    show()
