"""Train the triage's second line and its fusion with the rules: `make triage-train`.

Reads every `data/triage/*.tsv` (language, level, category, text). Trains two logistic heads
(emergency; a human at all) and one for the category on hashed character n-grams and on what the
rules' tables see, and a small network with the same three heads (`triage_net.py`), both on folds,
and weighs their logits by a logistic sum on the lines that were held out. Then trains how that is
joined with the rules, and chooses the thresholds. All that is weighed and reported is so on lines
alone that were not read when the rules were written (`UNREAD`): on the others the rules look
better than they are. Prints how the ways of deciding compare on those lines, and writes
`resource/triage/second_line.npz`. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from triage_net import SOURCE
from triage_net import UNREAD_WEIGHT
from triage_net import Task
from triage_net import applied
from triage_net import examples_of
from triage_net import load_embeddings
from triage_net import scores_of
from triage_net import train_net

from medbot_llm.domain import Severity
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.fusion import Evidence
from medbot_llm.safety.fusion import inputs
from medbot_llm.safety.fusion import is_clear_emergency
from medbot_llm.safety.second_line import CATEGORY_BITS
from medbot_llm.safety.second_line import FILE_NAME
from medbot_llm.safety.second_line import FORMAT
from medbot_llm.safety.second_line import HASH_BITS
from medbot_llm.safety.second_line import LARGEST_LOGIT
from medbot_llm.safety.second_line import Judgement
from medbot_llm.safety.second_line import SecondLine
from medbot_llm.safety.second_line import features
from medbot_llm.safety.second_line import log_softmax
from medbot_llm.safety.sentence_net import ARRAYS as NET_ARRAYS
from medbot_llm.safety.sentence_net import SentenceNet
from medbot_llm.safety.triage import SafetyTriage
from medbot_llm.text.normal import canonical

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "triage"
OUTPUT = ROOT / "resource" / "triage" / FILE_NAME
LEVELS = ("emergency", "nurse", "none")
FOLDS = 5
SEED = 20261126
STRENGTH = 30.0
"""Inverse of the regularisation (scikit-learn's C); of 3, 10, 30, 100 the best on held-out
folds."""
FUSION_STRENGTH = 1.0
UNREAD = ("en2.tsv", "zh2.tsv", "hans2.tsv")
"""Files that nobody read while the rules were written …"""
HALF_READ = "more.tsv"
"""… and one of which every second line was not."""
FALSE_EMERGENCIES = 0.04
"""Share of the lines with level none that may be called an emergency, at most."""
FALSE_CALLS = 0.09
"""Share of them that may call anyone."""

NOTHING = Evidence()
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One line of the training data, and what the rules make of it."""

    language: str
    level: str
    category: str
    text: str
    is_unread: bool
    window: str = ""
    traits: tuple[str, ...] = ()
    marks: tuple[tuple[str, int, int], ...] = ()
    evidence: Evidence = NOTHING


def main() -> int:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")
    options = parser.parse_args()
    try:
        lines = judged_by_rules(read_lines(sorted(DATA.glob("*.tsv"))))
    except ValueError as error:
        print(f"train_triage: {error}", file=sys.stderr)
        return 2
    unread = np.array([line.is_unread for line in lines])
    print(f"{len(lines)} lines, {unread.sum()} of them not read when the rules were written")
    folds = np.array(fold_of(lines))
    task = net_task(lines)
    print(f"{len(task.embeddings.strings)} word vectors", flush=True)
    by_net, net = net_scores(task, folds)
    linear, categories = held_out(lines, folds)
    report_categories(lines, unread, categories, by_net[:, 2:])
    both = np.stack([linear, by_net[:, :2]], axis=2)
    for name, one in (("linear model", both[:, :, :1]), ("network", both[:, :, 1:])):
        print(f"{name} alone:")
        logits, _ = calibrated(lines, one, folds, unread)
        fused(lines, logits, folds, unread)
    print("both models:")
    logits, calibration = calibrated(lines, both, folds, unread)
    fusion = fused(lines, logits, folds, unread)
    if not options.dry_run:
        write(train(lines, calibration, net), task, lines, fusion)
        print(f"written: {OUTPUT.relative_to(ROOT)}, {OUTPUT.stat().st_size / 1e6:.1f} MB")
    return 0


# --- data ----------------------------------------------------------------------------------------


def read_lines(files: Iterable[Path]) -> list[Line]:
    """Read the training data; a text that comes twice counts once.

    Raises:
        ValueError: A line has not four columns, or a level is unknown; names file and line.
    """
    lines: dict[str, Line] = {}
    for file in files:
        for index, row in enumerate(file.read_text(encoding="utf-8").splitlines()):
            if not row.strip():
                continue
            columns = [column.strip() for column in row.split("\t")]
            if len(columns) != 4 or columns[1] not in LEVELS:
                raise ValueError(
                    f"{file.name}, line {index + 1}: needs language, level, category, text"
                )
            is_unread = file.name in UNREAD or (file.name == HALF_READ and index % 2 == 1)
            lines.setdefault(canonical(columns[3]), Line(*columns, is_unread))
    return list(lines.values())


def judged_by_rules(lines: Sequence[Line]) -> list[Line]:
    """Add what the rules see and find."""
    triage = SafetyTriage(second_line=None)
    judged = []
    for line in lines:
        window, reading, evidence = triage.read(line.text, Circumstances())
        own = (line.language, line.level, line.category, line.text, line.is_unread)
        marks = tuple(reading.marks())
        judged.append(Line(*own, window, tuple(reading.traits()), marks, evidence))
    return judged


def fold_of(lines: Sequence[Line]) -> list[int]:
    """Deal the lines into folds at random; near-copies share one, so that nothing leaks."""
    rng = random.Random(SEED)
    fold_by_key: dict[str, int] = {}
    folds = []
    for line in lines:
        key = re.sub(r"[\W\d_]+", "", canonical(line.text))[:12]
        folds.append(fold_by_key.setdefault(key, rng.randrange(FOLDS)))
    return folds


# --- the second line -----------------------------------------------------------------------------


def train(lines: Sequence[Line], calibration: Array, net: SentenceNet) -> SecondLine:
    """Fit the linear model's three heads, and put the network beside it."""
    wide = matrix(lines, HASH_BITS)
    emergency = np.array([line.level == "emergency" for line in lines])
    needed = np.array([line.level != "none" for line in lines])
    heads = [fit(wide, wanted, STRENGTH) for wanted in (emergency, needed)]
    categories = categories_of(lines)
    rows = [line for line in lines if line.level != "none"]
    named = fit_category(rows, categories)
    return SecondLine(
        urgency=np.stack([head.coef_[0] for head in heads], axis=1).astype(np.float32),
        urgency_bias=np.array([head.intercept_[0] for head in heads], np.float32),
        calibration=calibration.astype(np.float32),
        category=named.coef_.T.astype(np.float32),
        category_bias=named.intercept_.astype(np.float32),
        categories=tuple(categories),
        about={},
        net=net,
    )


def categories_of(lines: Sequence[Line]) -> list[str]:
    """The categories of the lines that call someone."""
    return sorted({line.category for line in lines if line.level != "none"})


def fit_category(rows: Sequence[Line], categories: Sequence[str]) -> LogisticRegression:
    """Fit the head that names the category."""
    named = LogisticRegression(C=STRENGTH, max_iter=200)
    return named.fit(matrix(rows, CATEGORY_BITS), [categories.index(r.category) for r in rows])


def held_out(lines: Sequence[Line], folds: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """The linear model's logits of both urgency heads for every line, and its scores of the
    categories, by one that has not seen the line."""
    wide = matrix(lines, HASH_BITS)
    found = np.zeros((len(lines), 2))
    for head, levels in enumerate((("emergency",), ("emergency", "nurse"))):
        wanted = np.array([line.level in levels for line in lines])
        for fold in range(FOLDS):
            out = folds == fold
            model = fit(wide[~out], wanted[~out], STRENGTH)
            found[out, head] = model.decision_function(wide[out])
    categories = categories_of(lines)
    scores = np.zeros((len(lines), len(categories)))
    narrow = matrix(lines, CATEGORY_BITS)
    for fold in range(FOLDS):
        rows = [
            line
            for line, own in zip(lines, folds, strict=True)
            if own != fold and line.level != "none"
        ]
        scores[folds == fold] = fit_category(rows, categories).decision_function(
            narrow[folds == fold]
        )
    return found, scores


def net_task(lines: Sequence[Line]) -> Task:
    """What the network is trained on."""
    embeddings = load_embeddings()
    names = sorted({name for line in lines for name, _, _ in line.marks})
    categories = categories_of(lines)
    return Task(
        embeddings=embeddings,
        mark_names=tuple(names),
        examples=examples_of(
            [line.window for line in lines],
            [line.marks for line in lines],
            embeddings.strings,
            names,
        ),
        urgent=np.array(
            [(line.level == "emergency", line.level != "none") for line in lines], np.float32
        ),
        category=np.array(
            [-1 if line.level == "none" else categories.index(line.category) for line in lines]
        ),
        categories=len(categories),
        weights=np.array([UNREAD_WEIGHT if one.is_unread else 1.0 for one in lines], np.float32),
        languages=tuple(line.language for line in lines),
    )


_net_job: tuple[Task, npt.NDArray[np.int64]] | None = None
"""What the processes that train share with the one that began them."""


def net_scores(task: Task, folds: npt.NDArray[np.int64]) -> tuple[Array, SentenceNet]:
    """The network's scores for every line by one that has not seen it; and one that has seen all
    of them."""
    global _net_job
    _net_job = (task, folds)
    found = np.zeros((len(folds), 2 + task.categories))
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(FOLDS + 1, os.cpu_count() or 1), context) as pool:
        # The one that sees every line first: it takes longest.
        whole, *parts = pool.map(_train_without, (-1, *range(FOLDS)))
    for fold, scores in enumerate(parts):
        found[folds == fold] = scores
    return found, whole


def _train_without(fold: int) -> Any:
    assert _net_job is not None
    task, folds = _net_job
    net = train_net(task, np.flatnonzero(folds != fold).tolist(), SEED)
    if fold < 0:
        return applied(net, task)
    return scores_of(net, task, np.flatnonzero(folds == fold).tolist())


def fit(rows: Any, wanted: npt.NDArray[np.bool_], strength: float) -> LogisticRegression:
    """Fit one yes-or-no head."""
    return LogisticRegression(C=strength, max_iter=500, solver="liblinear").fit(rows, wanted)


def matrix(lines: Sequence[Line], bits: int) -> csr_matrix:
    """The features of lines, folded to 2 ** bits."""
    rows, columns, values = [], [], []
    for row, line in enumerate(lines):
        indices, weights = features(line.window, line.traits)
        rows.append(np.full(len(indices), row))
        columns.append(indices & ((1 << bits) - 1))
        values.append(weights)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return csr_matrix(entries, shape=(len(lines), 1 << bits))


def calibrated(
    lines: Sequence[Line],
    logits: Array,
    folds: npt.NDArray[np.int64],
    unread: npt.NDArray[np.bool_],
) -> tuple[Array, Array]:
    """Join the models' held-out logits (lines, heads, models), by Platt's method on the unread
    lines.

    Returns:
        The logits, those of each fold joined by what the others taught; and the weights of each
        model and an offset, for each head, by all of them.
    """
    joined = np.zeros(logits.shape[:2])
    weights = []
    for head, levels in enumerate((("emergency",), ("emergency", "nurse"))):
        wanted = np.array([line.level in levels for line in lines])
        table = logits[:, head]
        for fold in range(FOLDS):
            rows = unread & (folds != fold)
            platt = LogisticRegression(C=1e6).fit(table[rows], wanted[rows])
            joined[folds == fold, head] = platt.decision_function(table[folds == fold])
        platt = LogisticRegression(C=1e6).fit(table[unread], wanted[unread])
        weights.append((*platt.coef_[0], platt.intercept_[0]))
    return np.clip(joined, -LARGEST_LOGIT, LARGEST_LOGIT), np.array(weights)


def report_categories(
    lines: Sequence[Line], unread: npt.NDArray[np.bool_], linear: Array, net: Array
) -> None:
    """Print how often each model names the right category."""
    needed = np.array([line.level != "none" for line in lines]) & unread
    categories = categories_of(lines)
    right = np.array([categories.index(line.category) for line in lines if line.level != "none"])
    right = right[unread[[line.level != "none" for line in lines]]]
    print("category of unread lines that call someone:")
    for name, scores in (
        ("linear model", linear),
        ("network", net),
        ("both", log_softmax(linear) + log_softmax(net)),
    ):
        print(f"  {name:<42} {(scores[needed].argmax(axis=1) == right).mean():.3f}")


# --- fusion --------------------------------------------------------------------------------------


def fused(
    lines: Sequence[Line],
    logits: Array,
    folds: npt.NDArray[np.int64],
    unread: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Train how both lines are joined, on unread lines; print how that and other ways do."""
    rows = [i for i in range(len(lines)) if unread[i]]
    chosen = [lines[i] for i in rows]
    values = [
        inputs(line.evidence, Judgement(0.0, 0.0, "", *logits[i]))
        for i, line in zip(rows, chosen, strict=True)
    ]
    vectors = DictVectorizer(sparse=False)
    table = vectors.fit_transform(values)
    own_folds = folds[rows]
    heads: dict[str, Any] = {}
    sums = {}
    for name, levels, limit in (
        ("emergency", ("emergency",), FALSE_EMERGENCIES),
        ("help", ("emergency", "nurse"), FALSE_CALLS),
    ):
        wanted = np.array([line.level in levels for line in chosen])
        sums[name] = np.zeros(len(chosen))
        for fold in range(FOLDS):
            out = own_folds == fold
            model = fit(table[~out], wanted[~out], FUSION_STRENGTH)
            sums[name][out] = model.decision_function(table[out])
        model = fit(table, wanted, FUSION_STRENGTH)
        if name == "emergency":
            sums[name][[is_clear_emergency(line.evidence) for line in chosen]] = LARGEST_LOGIT
        heads[name] = {
            "bias": float(model.intercept_[0]),
            "weights": dict(zip(vectors.feature_names_, map(float, model.coef_[0]), strict=True)),
            "threshold": threshold(chosen, sums[name], limit),
        }
    report(chosen, logits[rows], sums, heads)
    return heads


def threshold(lines: Sequence[Line], sums: Array, limit: float) -> float:
    """The lowest threshold at which not more than `limit` of the none-lines pass."""
    none = np.array([line.level == "none" for line in lines])
    return float(np.quantile(sums[none], 1 - limit))


def report(
    lines: Sequence[Line], logits: Array, sums: Mapping[str, Array], heads: Mapping[str, Any]
) -> None:
    """Print how each way of deciding does on the unread lines, at the same false alarms."""
    by_rules = np.array([line.evidence.severity is Severity.EMERGENCY for line in lines])
    clear = np.array([is_clear_emergency(line.evidence) for line in lines])
    alone = np.where(clear, LARGEST_LOGIT, logits[:, 0])
    either = np.where(by_rules, LARGEST_LOGIT, logits[:, 0])
    fused_sums = sums["emergency"]
    print("on unread lines: emergency recall, none-lines called an emergency")
    show(lines, "rules alone", by_rules)
    for name, values in (
        ("second line, clear rules stand", alone),
        ("second line or any rule", either),
        ("trained sum of both, clear rules stand", fused_sums),
    ):
        show(lines, name, values > threshold(lines, values, FALSE_EMERGENCIES))
    strict = fused_sums > threshold(lines, fused_sums, FALSE_EMERGENCIES / 2)
    show(lines, "the same, at half the false emergencies", strict)
    called = fused_sums > heads["emergency"]["threshold"]
    helped = called | (sums["help"] > heads["help"]["threshold"])
    none, nurse = (
        np.array([line.level == level for line in lines]) for level in ("none", "nurse")
    )
    print(f"  nurse lines that call someone: {helped[nurse].mean():.3f}")
    print(f"  nurse lines called an emergency: {called[nurse].mean():.3f}")
    print(f"  none-lines that call anyone: {helped[none].mean():.3f}")
    for language in sorted({line.language for line in lines}):
        own = np.array([line.language == language for line in lines])
        of_language = [one for one in lines if one.language == language]
        show(of_language, f"fused, {language}", called[own])
        show(of_language, f"fused, {language}, at half the false emergencies", strict[own])
        show(of_language, f"rules alone, {language}", by_rules[own])


def show(lines: Sequence[Line], name: str, called: npt.NDArray[np.bool_]) -> None:
    """Print one row."""
    emergency = np.array([line.level == "emergency" for line in lines])
    none = np.array([line.level == "none" for line in lines])
    print(f"  {name:<42} {called[emergency].mean():.3f}  {called[none].mean():.3f}")


# --- writing -------------------------------------------------------------------------------------


def data_digest(directory: Path = DATA) -> str:
    """SHA-256 of the training data: names and contents of the files, in order."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.tsv")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def write(model: SecondLine, task: Task, lines: Sequence[Line], fusion: Mapping[str, Any]) -> None:
    """Write the numbers, small, with what they come from."""
    about = {
        "format": FORMAT,
        "categories": list(model.categories),
        "lines": len(lines),
        "data_sha256": data_digest(),
        "word_vectors": SOURCE,
        "marks": list(task.mark_names),
        "seed": SEED,
        "C": STRENGTH,
        "fusion": fusion,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        about=json.dumps(about),
        urgency=model._urgency.astype(np.float16),
        urgency_bias=model._urgency_bias,
        calibration=model._calibration,
        category=model._category.astype(np.float16),
        category_bias=model._category_bias,
        net_strings="\n".join(task.embeddings.strings),
        **{f"net_{name}": model._net.numbers[name] for name in NET_ARRAYS},
    )
    OUTPUT.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    sys.exit(main())
