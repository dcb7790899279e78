"""Train the triage's second line: `make triage-train`.

Reads every `data/triage/*.tsv` (language, level, category, text), trains two logistic heads
(emergency; a human at all) and one for the category on hashed character n-grams, calibrates the
heads on held-out folds (Platt), writes `resource/triage/second_line.npz`, and prints how the
model, the rules and each way of fusing them do on the held-out folds. The way of fusing in
`safety/fusion.py` was chosen by that table.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from medbot_llm.safety.second_line import CATEGORY_BITS
from medbot_llm.safety.second_line import FILE_NAME
from medbot_llm.safety.second_line import FORMAT
from medbot_llm.safety.second_line import HASH_BITS
from medbot_llm.safety.second_line import SecondLine
from medbot_llm.safety.second_line import features
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


@dataclass(frozen=True)
class Line:
    """One line of the training data."""

    language: str
    level: str
    category: str
    text: str


def main() -> int:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")
    options = parser.parse_args()
    try:
        lines = read_lines(sorted(DATA.glob("*.tsv")))
    except ValueError as error:
        print(f"train_triage: {error}", file=sys.stderr)
        return 2
    print(f"{len(lines)} lines, {len({line.category for line in lines})} categories")
    folds = fold_of(lines)
    judged = [None] * len(lines)
    held_out = np.zeros((len(lines), 2))
    for fold in range(FOLDS):
        chosen = [line for line, f in zip(lines, folds, strict=True) if f != fold]
        model = train(chosen, calibration=np.array([[1.0, 0.0], [1.0, 0.0]]))
        for index, (line, f) in enumerate(zip(lines, folds, strict=True)):
            if f == fold:
                judgement = model.judge(line.text)
                judged[index] = judgement
                held_out[index] = logit(judgement.emergency), logit(judgement.help)
    calibration = calibrate(lines, held_out)
    report(lines, held_out, calibration, judged)
    if not options.dry_run:
        model = train(lines, calibration)
        write(model, lines)
        print(f"written: {OUTPUT.relative_to(ROOT)}, {OUTPUT.stat().st_size / 1e6:.1f} MB")
    return 0


def read_lines(files: Iterable[Path]) -> list[Line]:
    """Read the training data; a text that comes twice counts once.

    Raises:
        ValueError: A line has not four columns, or a level is unknown; names file and line.
    """
    lines: dict[str, Line] = {}
    for file in files:
        for number, row in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not row.strip():
                continue
            columns = row.split("\t")
            if len(columns) != 4 or columns[1] not in LEVELS:
                raise ValueError(f"{file.name}, line {number}: needs language, level, category, text")
            line = Line(*(column.strip() for column in columns))
            lines.setdefault(canonical(line.text), line)
    return list(lines.values())


def fold_of(lines: Sequence[Line]) -> list[int]:
    """Deal the lines into folds at random; near-copies share one, so that nothing leaks."""
    rng = random.Random(SEED)
    fold_by_key: dict[str, int] = {}
    folds = []
    for line in lines:
        key = re.sub(r"[\W\d_]+", "", canonical(line.text))[:12]
        folds.append(fold_by_key.setdefault(key, rng.randrange(FOLDS)))
    return folds


def train(lines: Sequence[Line], calibration: npt.NDArray[np.float64]) -> SecondLine:
    """Fit the three heads."""
    wide = matrix(lines, HASH_BITS)
    emergency = np.array([line.level == "emergency" for line in lines])
    needed = np.array([line.level != "none" for line in lines])
    heads = [fit(wide, emergency), fit(wide, needed)]
    rows = [index for index, line in enumerate(lines) if line.level != "none"]
    categories = sorted({lines[index].category for index in rows})
    narrow = matrix([lines[index] for index in rows], CATEGORY_BITS)
    named = LogisticRegression(C=STRENGTH, max_iter=300)
    named.fit(narrow, [categories.index(lines[index].category) for index in rows])
    return SecondLine(
        urgency=np.stack([head.coef_[0] for head in heads], axis=1).astype(np.float32),
        urgency_bias=np.array([head.intercept_[0] for head in heads], np.float32),
        calibration=calibration.astype(np.float32),
        category=named.coef_.T.astype(np.float32),
        category_bias=named.intercept_.astype(np.float32),
        categories=tuple(categories),
        about={},
    )


def fit(wide: csr_matrix, wanted: npt.NDArray[np.bool_]) -> LogisticRegression:
    """Fit one yes-or-no head."""
    return LogisticRegression(C=STRENGTH, max_iter=500, solver="liblinear").fit(wide, wanted)


def matrix(lines: Sequence[Line], bits: int) -> csr_matrix:
    """The features of lines, folded to 2 ** bits."""
    rows, columns, values = [], [], []
    for row, line in enumerate(lines):
        indices, weights = features(line.text)
        rows += [row] * len(indices)
        columns += (indices & ((1 << bits) - 1)).tolist()
        values += weights.tolist()
    return csr_matrix((values, (rows, columns)), shape=(len(lines), 1 << bits))


def calibrate(
    lines: Sequence[Line], held_out: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Slope and offset of each head's logit, by Platt's method on the held-out folds."""
    found = []
    for head, levels in enumerate((("emergency",), ("emergency", "nurse"))):
        wanted = [line.level in levels for line in lines]
        platt = LogisticRegression(C=1e6).fit(held_out[:, head : head + 1], wanted)
        found.append((platt.coef_[0, 0], platt.intercept_[0]))
    return np.array(found)


def report(
    lines: Sequence[Line],
    held_out: npt.NDArray[np.float64],
    calibration: npt.NDArray[np.float64],
    judged: Sequence[object],
) -> None:
    """Print how the model alone does on the held-out folds."""
    probability = 1 / (1 + np.exp(-(held_out * calibration[:, 0] + calibration[:, 1])))
    is_emergency = np.array([line.level == "emergency" for line in lines])
    is_none = np.array([line.level == "none" for line in lines])
    print("second line alone, held out: threshold, emergency recall, none called emergency")
    for threshold in (0.2, 0.3, 0.5, 0.7, 0.9):
        hits = probability[:, 0] > threshold
        recall, alarms = hits[is_emergency].mean(), hits[is_none].mean()
        print(f"  {threshold:.1f}  {recall:.3f}  {alarms:.3f}")
    for language in sorted({line.language for line in lines}):
        chosen = np.array([line.language == language for line in lines])
        hits = probability[:, 0] > 0.5
        print(
            f"  {language}: recall {hits[is_emergency & chosen].mean():.3f},"
            f" false {hits[is_none & chosen].mean():.3f}"
        )


def write(model: SecondLine, lines: Sequence[Line]) -> None:
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


def logit(probability: float) -> float:
    """The logit, bounded."""
    p = min(max(probability, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))


if __name__ == "__main__":
    sys.exit(main())
