"""Train the triage's second line and its fusion with the rules: `make triage-train`.

Reads every `data/triage/*.tsv` (language, level, category, text). Trains two logistic heads
(emergency; a human at all) and one for the category on hashed character n-grams and on what the
rules' tables see, and calibrates the heads on held-out folds (Platt). Then trains how they are
joined with the rules, and chooses the thresholds, on lines alone that were not read when the rules
were written (`UNREAD`): on the others the rules look better than they are. Prints how the ways of
fusing compare on those lines, and writes `resource/triage/second_line.npz`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import re
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

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
    logits = held_out_logits(lines, folds)
    calibration = calibrated(lines, logits)
    logits = np.clip(logits * calibration[:, 0] + calibration[:, 1], -LARGEST_LOGIT, LARGEST_LOGIT)
    fusion = fused(lines, logits, folds, unread)
    if not options.dry_run:
        write(train(lines, calibration), lines, fusion)
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
        judged.append(Line(*own, window, tuple(reading.traits()), evidence))
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


def train(lines: Sequence[Line], calibration: Array) -> SecondLine:
    """Fit the three heads."""
    wide = matrix(lines, HASH_BITS)
    emergency = np.array([line.level == "emergency" for line in lines])
    needed = np.array([line.level != "none" for line in lines])
    heads = [fit(wide, wanted, STRENGTH) for wanted in (emergency, needed)]
    rows = [line for line in lines if line.level != "none"]
    categories = sorted({line.category for line in rows})
    named = LogisticRegression(C=STRENGTH, max_iter=200)
    named.fit(matrix(rows, CATEGORY_BITS), [categories.index(line.category) for line in rows])
    return SecondLine(
        urgency=np.stack([head.coef_[0] for head in heads], axis=1).astype(np.float32),
        urgency_bias=np.array([head.intercept_[0] for head in heads], np.float32),
        calibration=calibration.astype(np.float32),
        category=named.coef_.T.astype(np.float32),
        category_bias=named.intercept_.astype(np.float32),
        categories=tuple(categories),
        about={},
    )


def held_out_logits(lines: Sequence[Line], folds: npt.NDArray[np.int64]) -> Array:
    """The logits of both urgency heads for every line, by a model that has not seen it."""
    wide = matrix(lines, HASH_BITS)
    found = np.zeros((len(lines), 2))
    for head, levels in enumerate((("emergency",), ("emergency", "nurse"))):
        wanted = np.array([line.level in levels for line in lines])
        for fold in range(FOLDS):
            out = folds == fold
            model = fit(wide[~out], wanted[~out], STRENGTH)
            found[out, head] = model.decision_function(wide[out])
    return found


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


def calibrated(lines: Sequence[Line], logits: Array) -> Array:
    """Slope and offset of each head's logit, by Platt's method on the held-out folds."""
    found = []
    for head, levels in enumerate((("emergency",), ("emergency", "nurse"))):
        wanted = [line.level in levels for line in lines]
        platt = LogisticRegression(C=1e6).fit(logits[:, head : head + 1], wanted)
        found.append((platt.coef_[0, 0], platt.intercept_[0]))
    return np.array(found)


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
        show([one for one in lines if one.language == language], f"fused, {language}", called[own])


def show(lines: Sequence[Line], name: str, called: npt.NDArray[np.bool_]) -> None:
    """Print one row."""
    emergency = np.array([line.level == "emergency" for line in lines])
    none = np.array([line.level == "none" for line in lines])
    print(f"  {name:<42} {called[emergency].mean():.3f}  {called[none].mean():.3f}")


# --- writing -------------------------------------------------------------------------------------


def write(model: SecondLine, lines: Sequence[Line], fusion: Mapping[str, Any]) -> None:
    """Write the numbers, half precision, with what they come from."""
    digest = hashlib.sha256()
    for line in sorted(lines, key=lambda one: one.text):
        digest.update("\t".join((line.language, line.level, line.category, line.text)).encode())
    about = {
        "format": FORMAT,
        "categories": list(model.categories),
        "lines": len(lines),
        "data_sha256": digest.hexdigest(),
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
    )
    OUTPUT.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    sys.exit(main())
