"""Train the triage's second line and its fusion with the rules: `make triage-train`.

Reads every `data/triage/*.tsv` (language, level, category, text) and fine-tunes a sentence encoder
on them (`encoder_fit.py`) with two heads that say yes or no (emergency; a human at all) and one
that names the category. `data/intents/*.tsv` (language, intent, text) tell what is wanted with
which words: a linear reader of the encoder's layers learns it for the dialogue, and those that are
harmless are shown to the encoder as well. Then trains how danger is joined with the rules, and
chooses the thresholds, on lines that the encoder was not shown; and only on those that nobody read
while the rules were written: on the others the rules look better than they are. Prints how the
ways of deciding compare on those lines, and writes `resource/triage/second_line.*`.

Fine-tuning takes minutes on a GPU and took 40 minutes on two cores that multiply in bfloat16. So
it comes in three steps: `prepare` writes .training/triage, then
`python tools/encoder_fit.py .training/triage` can run wherever PyTorch finds a GPU, and `finish`
does the rest. Without a step, all three are done.

When lines have been added, what the robot runs can be gone on from instead, in a tenth of the
time: name the new files as the last of LATER, and call `encoder_shipped.py resource/triage
.training/triage/start` before `prepare`. The new files are shown twice, and of the others a part,
so that nothing is forgotten.
"""

from __future__ import annotations

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
from encoder_base import SOURCE
from encoder_base import write_task
from encoder_fit import ALWAYS
from encoder_steps import DataChangedError
from encoder_steps import check_data
from encoder_steps import data_digest
from encoder_steps import note_data
from encoder_steps import run
from encoder_steps import step_from
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from medbot_llm.dialogue.intents import Intent
from medbot_llm.domain import Severity
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.encoder import ONNX_FILE
from medbot_llm.safety.encoder import PIECES_FILE
from medbot_llm.safety.encoder import SentenceEncoder
from medbot_llm.safety.fusion import Evidence
from medbot_llm.safety.fusion import inputs
from medbot_llm.safety.fusion import is_clear_emergency
from medbot_llm.safety.second_line import FORMAT
from medbot_llm.safety.second_line import HEADS
from medbot_llm.safety.second_line import LARGEST_LOGIT
from medbot_llm.safety.second_line import Judgement
from medbot_llm.safety.triage import SafetyTriage
from medbot_llm.text.normal import canonical

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "triage"
FOLDER = ROOT / ".training" / "triage"
INTENTS = ROOT / "data" / "intents"
OUTPUT = ROOT / "resource" / "triage"
LEVELS = ("emergency", "nurse", "none")
UNKNOWN = "unknown"
"""The level of a line that is only known by its intent."""
LAYERS = tuple(range(12))
EPOCHS, RATE, BATCH = 5, 2e-4, 96
"""Of (4 layers, 8 epochs), (6, 7) and (12, 6): found 0.851, 0.888 and 0.918 of the unread
emergencies at 4 % false ones, without the rules."""
EPOCHS_ON, RATE_ON = 1, 1e-4
"""The same, where an earlier training is gone on from …"""
TIMES_LATER, SHARE_EARLIER = 2, 0.35
"""… and how often each line that it did not know is shown, and what share of the others."""
HARMLESS = frozenset(
    {
        Intent.WHEN,
        Intent.HOW_MUCH,
        Intent.HOW_TO_TAKE,
        Intent.WITH_FOOD,
        Intent.WHAT_FOR,
        Intent.WHAT_IS_IT,
        Intent.STORAGE,
        Intent.DRIVING,
        Intent.ALCOHOL,
        Intent.PREGNANCY,
        Intent.BREASTFEEDING,
        Intent.CRUSH,
        Intent.MISSED_DOSE,
        Intent.NEXT_DOSE,
        Intent.REPEAT,
        Intent.OTHER_PATIENT,
        Intent.ARE_YOU_DOCTOR,
        Intent.IDENTITY_CLAIM,
        Intent.EMERGENCY_NUMBER,
        Intent.GREETING,
        Intent.FAREWELL,
        Intent.OTHER,
    }
)
"""Intents whose lines call nobody; of the others it depends."""
FOLDS = 8
HELD_OUT = 0
"""The fold that the encoder is not shown; on it all is weighed and reported."""
FUSION_FOLDS = 5
SEED = 20261126
FUSION_STRENGTH = 1.0
READ = ("en.tsv", "zh.tsv", "missed.tsv", "missed2.tsv", "short.tsv", "everyday.tsv")
"""Files that were read while the rules were written …"""
HALF_READ = "more.tsv"
"""… one of which every other line was …"""
TWINNED = "zh5.tsv"
"""… and one with each idea in both scripts, whose folds know each other."""
LATER = (
    ("en6.tsv", "zh6.tsv"),
    ("everyday.tsv", "missed2.tsv"),
    ("en7.tsv", "zh7.tsv"),
    ("everyday2en.tsv", "everyday2zh.tsv"),
    ("en8.tsv", "zh8.tsv", "talk8.tsv", "talk9.tsv"),
    ("talk10.tsv",),
    ("talk11en.tsv", "talk11zh.tsv"),
)
"""Files that came after a training, one group for each. They are read last and in this order, so
that the lines of the others keep their folds, and that training can be gone on from."""
START = "start"
"""Folder in FOLDER with weights.npz and tokenizer.json of an earlier training, with the same fold
held out; if it is there, `prepare` has them gone on from."""
FALSE_EMERGENCIES = 0.043
"""Share of the lines with level none that may be called an emergency, at most."""
FALSE_CALLS = 0.075
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
    is_later: bool
    intent: str = ""
    window: str = ""
    evidence: Evidence = NOTHING

    @property
    def levels(self) -> tuple[bool, bool]:
        """Whether an emergency, and whether anyone is needed."""
        return self.level == "emergency", self.level != "none"


def main() -> int:
    """Prepare, fine-tune, and finish; or one step of these."""
    step = step_from(__doc__.splitlines()[0])
    try:
        lines = judged_by_rules([*read_lines(data_files()), *read_intents(INTENTS)])
    except ValueError as error:
        print(f"train_triage: {error}", file=sys.stderr)
        return 2
    unread = sum(line.is_unread for line in lines)
    print(f"{len(lines)} lines, {unread} of them not read when the rules were written", flush=True)
    return run(step, FOLDER, lambda: prepare(lines), lambda: finish(lines))


# --- data ----------------------------------------------------------------------------------------


def data_files() -> list[Path]:
    """The files of training data, those that came later last."""
    return sorted(DATA.glob("*.tsv"), key=lambda file: (generation(file.name), file.name))


def generation(name: str) -> int:
    """Which training a file came after, from 1; 0: it was there from the beginning."""
    return next((number for number, group in enumerate(LATER, 1) if name in group), 0)


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
            is_unread = file.name not in (*READ, TWINNED) and (
                file.name != HALF_READ or index % 2 == 1
            )
            line = Line(*columns, is_unread, generation(file.name) == len(LATER))
            lines.setdefault(canonical(columns[3]), line)
    return list(lines.values())


def read_intents(directory: Path) -> list[Line]:
    """Read what is wanted with which words.

    Raises:
        ValueError: A line has not three columns, or an intent is unknown; names file and line.
    """
    lines: dict[str, Line] = {}
    for file in sorted(directory.glob("*.tsv")):
        for index, row in enumerate(file.read_text(encoding="utf-8").splitlines()):
            columns = [column.strip() for column in row.split("\t")]
            if len(columns) != 3 or columns[1] not in Intent.values():
                raise ValueError(f"{file.name}, line {index + 1}: needs language, intent, text")
            language, intent, text = columns
            level = "none" if intent in HARMLESS else UNKNOWN
            line = Line(language, level, "benign", text, False, False, intent)
            lines.setdefault(canonical(text), line)
    return list(lines.values())


def judged_by_rules(lines: Sequence[Line]) -> list[Line]:
    """Add what the rules find."""
    triage = SafetyTriage(second_line=None)
    return [
        Line(
            line.language,
            line.level,
            line.category,
            line.text,
            line.is_unread,
            line.is_later,
            line.intent,
            *triage.read(line.text, Circumstances()),
        )
        for line in lines
    ]


def folds_of(lines: Sequence[Line], count: int) -> list[int]:
    """Deal the lines into folds at random; near-copies share one, so that nothing leaks."""
    rng = random.Random(SEED)
    fold_by_key: dict[str, int] = {}
    folds = []
    for line in lines:
        key = re.sub(r"[\W\d_]+", "", canonical(line.text))[:12]
        folds.append(fold_by_key.setdefault(key, rng.randrange(count)))
    return folds


def categories_of(lines: Sequence[Line]) -> list[str]:
    """The categories of the lines that call someone."""
    return sorted({line.category for line in lines if line.level in LEVELS[:2]})


def intents_of(lines: Sequence[Line]) -> list[str]:
    """What lines want."""
    return sorted({line.intent for line in lines} - {""})


def all_data() -> str:
    """SHA-256 of everything that is trained on."""
    return data_digest([*DATA.glob("*.tsv"), *INTENTS.glob("*.tsv")])


def prepare(lines: Sequence[Line]) -> None:
    """Write the folder for `encoder_fit.py`."""
    categories = categories_of(lines)
    goes_on = (FOLDER / START).is_dir()
    rng = random.Random(SEED)

    def times(line: Line, fold: int) -> int:
        if not goes_on or fold == HELD_OUT:
            return 1
        return TIMES_LATER if line.is_later else int(rng.random() < SHARE_EARLIER)

    examples = [
        {
            "text": line.window,
            "context": "",
            "yes": [int(yes) for yes in line.levels],
            "choice": -1 if line.level == "none" else categories.index(line.category),
            "fold": fold if fold == HELD_OUT else ALWAYS,
            "weight": 1.0,
            "language": line.language,
        }
        for line, fold in zip(lines, folds_of(lines, FOLDS), strict=True)
        if line.level != UNKNOWN
        for _ in range(times(line, fold))
    ]
    write_task(
        FOLDER,
        {
            "examples": examples,
            "yes": HEADS,
            "choices": categories,
            "layers": LAYERS,
            "epochs": EPOCHS_ON if goes_on else EPOCHS,
            "rate": RATE_ON if goes_on else RATE,
            "batch": BATCH,
            "seed": SEED,
            "chat": True,
            "ships": HELD_OUT,
            "start": START if goes_on else "",
        },
        [line.window for line in lines],
    )
    note_data(FOLDER, all_data())


# --- fusion --------------------------------------------------------------------------------------


def finish(lines: Sequence[Line]) -> int:
    """Join what was fine-tuned with the rules, report, and write it."""
    from encoder_export import write_about
    from encoder_export import write_files

    if not (FOLDER / "weights.npz").is_file():
        print("train_triage: nothing is trained; run tools/encoder_fit.py", file=sys.stderr)
        return 2
    try:
        check_data(FOLDER, all_data())
    except (OSError, DataChangedError) as error:
        print(f"train_triage: {error}; prepare it", file=sys.stderr)
        return 2
    folds = folds_of(lines, FOLDS)
    held_out = [line for line, fold in zip(lines, folds, strict=True) if fold == HELD_OUT]
    asking = [line for line in held_out if line.intent]
    intents = intents_of(lines)
    probe = probed(
        [
            line
            for line, fold in zip(lines, folds, strict=True)
            if line.intent and fold != HELD_OUT
        ],
        intents,
    )
    files = write_files(FOLDER, OUTPUT, probe=probe, intents=intents)
    weighed = [line for line in held_out if line.is_unread]
    print(f"weighed on {len(weighed)} lines that were held out, and unread")
    # As the robot scores them, in eight bits.
    encoder = SentenceEncoder(
        OUTPUT / ONNX_FILE,
        (OUTPUT / PIECES_FILE).read_text(encoding="utf-8"),
        sum(len(files[group]) for group in ("yes", "choices", "intents")),
    )
    scores = np.array([encoder.scores(line.window) for line in weighed], np.float64)
    first = len(files["yes"]) + len(files["choices"])
    report_categories(weighed, categories_of(lines), scores[:, 2:first])
    wanted = np.array([encoder.scores(line.window)[first:] for line in asking], np.float64)
    report_intents(asking, intents, wanted)
    logits, calibration = calibrated(weighed, scores[:, :2])
    about = {
        "format": FORMAT,
        **files,
        "calibration": calibration.round(5).tolist(),
        "fusion": fused(weighed, logits),
        "lines": len(lines),
        "data_sha256": all_data(),
        "base": SOURCE,
        "seed": SEED,
    }
    write_about(OUTPUT, about)
    return 0


def probed(lines: Sequence[Line], intents: Sequence[str]) -> Any:
    """Fit the reader of what is wanted on the encoder that was fine-tuned."""
    from encoder_fit import Task
    from encoder_fit import Training
    from encoder_fit import restored
    from encoder_probe import fit_probe

    training = Training(Task.read(FOLDER), FOLDER, "cpu")
    ordered = sorted(lines, key=lambda line: len(line.window))
    batches = []
    for first in range(0, len(ordered), BATCH):
        own = ordered[first : first + BATCH]
        batch = training.batch([{"context": "", "text": line.window} for line in own])
        batches.append((batch, [intents.index(line.intent) for line in own]))
    return fit_probe(restored(FOLDER), batches, len(intents))


def calibrated(lines: Sequence[Line], scores: Array) -> tuple[Array, Array]:
    """Make logits of held-out scores (lines, heads) by Platt's method.

    Returns:
        The logits; and factor and offset for each head, shape (heads, 2).
    """
    numbers = []
    for head in range(scores.shape[1]):
        wanted = [line.levels[head] for line in lines]
        platt = LogisticRegression(C=1e6).fit(scores[:, [head]], wanted)
        numbers.append((platt.coef_[0, 0], platt.intercept_[0]))
    calibration = np.array(numbers)
    logits = scores * calibration[:, 0] + calibration[:, 1]
    return np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT), calibration


def fused(lines: Sequence[Line], logits: Array) -> dict[str, Any]:
    """Train how both lines are joined; print how that and other ways do."""
    values = [
        inputs(line.evidence, Judgement(0.0, 0.0, "", *row))
        for line, row in zip(lines, logits, strict=True)
    ]
    vectors = DictVectorizer(sparse=False)
    table = vectors.fit_transform(values)
    folds = np.array(folds_of(lines, FUSION_FOLDS))
    heads: dict[str, Any] = {}
    sums = {}
    limits = (FALSE_EMERGENCIES, FALSE_CALLS)
    for head, (name, limit) in enumerate(zip(HEADS, limits, strict=True)):
        wanted = np.array([line.levels[head] for line in lines])
        sums[name] = np.zeros(len(lines))
        for fold in range(FUSION_FOLDS):
            out = folds == fold
            sums[name][out] = logistic(table[~out], wanted[~out]).decision_function(table[out])
        model = logistic(table, wanted)
        if name == "emergency":
            sums[name][[is_clear_emergency(line.evidence) for line in lines]] = LARGEST_LOGIT
        heads[name] = {
            "bias": round(float(model.intercept_[0]), 5),
            "weights": {
                feature: round(float(weight), 5)
                for feature, weight in zip(vectors.feature_names_, model.coef_[0], strict=True)
            },
            "threshold": round(threshold(lines, sums[name], limit), 5),
        }
    report(lines, logits, sums, heads)
    return heads


def logistic(rows: Array, wanted: npt.NDArray[np.bool_]) -> LogisticRegression:
    """Fit one sum."""
    model = LogisticRegression(C=FUSION_STRENGTH, max_iter=500, solver="liblinear")
    return model.fit(rows, wanted)


def threshold(lines: Sequence[Line], sums: Array, limit: float) -> float:
    """The lowest threshold at which not more than `limit` of the none-lines pass."""
    none = np.array([line.level == "none" for line in lines])
    return float(np.quantile(sums[none], 1 - limit))


# --- report --------------------------------------------------------------------------------------


def report_categories(lines: Sequence[Line], categories: Sequence[str], scores: Array) -> None:
    """Print how often the right category is named."""
    rows = [i for i, line in enumerate(lines) if line.level != "none"]
    right = [categories.index(lines[i].category) for i in rows]
    share = (scores[rows].argmax(axis=1) == right).mean()
    print(f"category of lines that call someone: {share:.3f}")


def report_intents(lines: Sequence[Line], intents: Sequence[str], scores: Array) -> None:
    """Print how often the right intent is named, and how often if it is sure."""
    right = np.array([intents.index(line.intent) for line in lines])
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    largest = shares.max(axis=1) / shares.sum(axis=1)
    is_right = scores.argmax(axis=1) == right
    print(f"intent of {len(lines)} lines: {is_right.mean():.3f}")
    for least in (0.3, 0.5, 0.7, 0.9):
        sure = largest >= least
        print(f"  where sure by {least:.0%}: {is_right[sure].mean():.3f}, of {sure.mean():.3f}")


def report(
    lines: Sequence[Line], logits: Array, sums: Mapping[str, Array], heads: Mapping[str, Any]
) -> None:
    """Print how each way of deciding does, at the same false alarms."""
    by_rules = np.array([line.evidence.severity is Severity.EMERGENCY for line in lines])
    clear = np.array([is_clear_emergency(line.evidence) for line in lines])
    alone = logits[:, 0]
    fused_sums = sums["emergency"]
    print("emergency recall, none-lines called an emergency:")
    show(lines, "rules alone", by_rules)
    for name, values in (
        ("second line alone", alone),
        ("second line, clear rules stand", np.where(clear, LARGEST_LOGIT, alone)),
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


if __name__ == "__main__":
    sys.exit(main())
