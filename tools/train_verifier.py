"""Train the verifier's second line and how it is joined with the rules: `make verifier-train`.

Reads `data/verifier/*.tsv` (language, reason, sentence; true or false of any delivery) and
`data/verifier/*.jsonl` (a delivery and sentences about it) and fine-tunes a sentence encoder on
them (`encoder_fit.py`): one head says whether a sentence is unsafe, the other names the reason.
What the encoder is told of a delivery is what `Telling` writes. How its word and that of the rules
make a verdict is trained on the deliveries, on what encoders say that had not seen the delivery;
nobody read them while the rules were written. Prints how the ways of deciding compare, and writes
`resource/verifier/second_line.*`.

The steps are those of `train_triage.py`, with .training/verifier as the folder; and as there, what
the robot runs can be gone on from when deliveries have been added: name their files as LATER, and
call `encoder_shipped.py resource/verifier .training/verifier/start` before `prepare`. How both
lines are joined stays as it was then; a quarter of the new deliveries is held out, to see what has
come of it.

A training anew makes an encoder of six layers, which takes the robot twice as long as it may. Call
`encoder_shipped.py` then, and train once more: one of three begins with some of its layers, and
learns what it says of all sentences, those on file and others beside labels that they are not
about. From three layers it is gone on.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
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
from encoder_fit import WHOLE
from encoder_steps import DataChangedError
from encoder_steps import check_data
from encoder_steps import data_digest
from encoder_steps import note_data
from encoder_steps import run
from encoder_steps import step_from
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.tasks import read_task
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.safety.base import Brief
from medbot_llm.safety.encoder import ABOUT_FILE
from medbot_llm.safety.label_facts import LabelReader
from medbot_llm.safety.label_facts import TaskFacts
from medbot_llm.safety.second_opinion import FORMAT
from medbot_llm.safety.second_opinion import HEADS
from medbot_llm.safety.second_opinion import Opinion
from medbot_llm.safety.second_opinion import Telling
from medbot_llm.safety.second_opinion import as_read
from medbot_llm.safety.verdicts import Ruled
from medbot_llm.safety.verdicts import Verdicts
from medbot_llm.safety.verdicts import inputs
from medbot_llm.safety.verdicts import is_hard
from medbot_llm.safety.verifier import SafetyVerifier
from medbot_llm.text.normal import canonical

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "verifier"
FOLDER = ROOT / ".training" / "verifier"
OUTPUT = ROOT / "resource" / "verifier"
FINE = "fine"
LAYERS = tuple(range(6))
"""Of a training anew."""
EPOCHS, RATE, BATCH = 6, 3e-4, 64
FOLDS = 4
SEED = 20261126
STRENGTH = 1.0
LATER = ("pairs_twins.jsonl",)
"""Files of deliveries that came after a training, which `START` goes on from."""
START = "start"
"""Folder in FOLDER with weights.npz and tokenizer.json of the training before LATER."""
EPOCHS_ON, RATE_ON = 1, 1e-4
KEEPS = (0, 2, 5)
"""Those of six layers that the robot's encoder begins with."""
EPOCHS_SMALLER, RATE_SMALLER = 2, 3e-4
TIMES_LATER, SHARE_EARLIER = 3, 0.2
"""When one is gone on from: how often each new sentence is shown in an epoch, and what share of
the others."""
HELD_OUT = 0
BLOCKED_GOOD = 0.12
"""Share of the good sentences about a delivery that may be blocked, at most. Most of them are
twins of unsafe ones, written to be taken for them: of everyday ones about a third as many are
blocked (docs/performance.md)."""

NOT_RULED = Ruled()
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One sentence, and what the rules make of it.

    Attributes:
        delivery: Number of the delivery, -1 for none.
        is_later: It came after a training that can be gone on from.
        ruled: What the rules alone make of it.
    """

    language: Language
    reason: str
    sentence: str
    delivery: int = -1
    told: str = ""
    ruled: Ruled = NOT_RULED
    is_later: bool = False

    @property
    def is_unsafe(self) -> bool:
        return self.reason != FINE


def main() -> int:
    """Prepare, fine-tune, and finish; or one step of these."""
    step = step_from(__doc__.splitlines()[0])
    try:
        lines = read_lines(DATA)
    except ValueError as error:
        print(f"train_verifier: {error}", file=sys.stderr)
        return 2
    of_delivery = sum(line.delivery >= 0 for line in lines)
    print(f"{len(lines)} sentences, {of_delivery} of them about a delivery", flush=True)
    return run(step, FOLDER, lambda: prepare(lines), lambda: finish(lines))


# --- data ----------------------------------------------------------------------------------------


def read_lines(directory: Path) -> list[Line]:
    """Read the training data, with the rules' verdicts on sentences about a delivery.

    Raises:
        ValueError: A line can't be read; names file and line.
    """
    lines: dict[tuple[int, str], Line] = {}
    for file in sorted(directory.glob("*.tsv")):
        for index, row in enumerate(file.read_text(encoding="utf-8").splitlines()):
            columns = [column.strip() for column in row.split("\t")]
            if len(columns) != 3:
                raise ValueError(f"{file.name}, line {index + 1}: needs language, reason, text")
            line = Line(Language(columns[0]), columns[1], columns[2])
            lines.setdefault((-1, canonical(line.sentence)), line)
    formulary = Formulary.open()
    interactions = Interactions(formulary)
    verifier = SafetyVerifier(formulary, interactions, second_opinion=None)
    telling = Telling(formulary, interactions)
    reader = LabelReader(formulary)
    for number, (file, language, task, sentences) in enumerate(read_deliveries(directory)):
        told = telling.of(TaskFacts(task, reader), language)
        for reason, sentence in sentences:
            ruled = verifier.by_rules(sentence, language, Brief(task=task))
            line = Line(language, reason, sentence, number, told, ruled, file in LATER)
            lines.setdefault((number, canonical(sentence)), line)
    return list(lines.values())


def read_deliveries(
    directory: Path,
) -> Iterator[tuple[str, Language, DeliveryTask, list[tuple[str, str]]]]:
    """Read deliveries: file, language, task, and (reason, sentence) of each sentence."""
    for file in sorted(directory.glob("*.jsonl")):
        for index, row in enumerate(file.read_text(encoding="utf-8").splitlines()):
            where = f"{file.name}, line {index + 1}"
            try:
                record = Record(json.loads(row), where)
                language = record.one_of("lang", Language, Language.ZH_HANT)
                task = read_task(record.record("task"), language)
                sentences = [(reason, text) for _, reason, text in record.fields["sentences"]]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{where}: {error}") from None
            yield file.name, language, task, sentences


def folds_of(lines: Sequence[Line]) -> list[int]:
    """Deal the sentences into folds at random; those about one delivery share one."""
    rng = random.Random(SEED)
    own: dict[int, int] = {}
    return [
        rng.randrange(FOLDS)
        if line.delivery < 0
        else own.setdefault(line.delivery, rng.randrange(FOLDS))
        for line in lines
    ]


def reasons_of(lines: Sequence[Line]) -> list[str]:
    """The reasons for which sentences are unsafe."""
    return sorted({line.reason for line in lines if line.is_unsafe})


def prepare(lines: Sequence[Line]) -> None:
    """Write the folder for `encoder_fit.py`."""
    reasons = reasons_of(lines)
    goes_on = (FOLDER / START).is_dir()
    keeps: tuple[int, ...] = ()
    layers, epochs, rate = LAYERS, EPOCHS, RATE
    if becomes_smaller():
        layers = keeps = KEEPS
        epochs, rate = EPOCHS_SMALLER, RATE_SMALLER
    elif goes_on:
        layers, epochs, rate = KEEPS, EPOCHS_ON, RATE_ON
    shown = shown_again(lines) if goes_on else list(zip(lines, folds_of(lines), strict=True))
    examples = [
        {
            "text": as_read(line.sentence),
            "context": line.told,
            "yes": [int(line.is_unsafe)],
            "choice": reasons.index(line.reason) if line.is_unsafe else -1,
            "fold": fold,
            "weight": 1.0,
            "language": line.language.value,
        }
        for line, fold in shown
    ]
    write_task(
        FOLDER,
        {
            "examples": examples,
            "yes": HEADS,
            "choices": reasons,
            "layers": layers,
            "epochs": epochs,
            "rate": rate,
            "batch": BATCH,
            "seed": SEED,
            "chat": False,
            "ships": HELD_OUT if goes_on else WHOLE,
            "start": START if goes_on else "",
            "keeps": keeps,
        },
        [text for line in lines for text in (as_read(line.sentence), line.told)],
    )
    note_data(FOLDER, data_digest((*DATA.glob("*.tsv"), *DATA.glob("*.jsonl"))))


def becomes_smaller() -> bool:
    """Whether what is gone on from has all the layers of a training anew."""
    try:
        with np.load(FOLDER / START / "weights.npz") as stored:
            names = [name for name in stored.files if name.endswith(".last_norm.weight")]
    except OSError:
        return False
    return len(names) == len(LAYERS)


def shown_again(lines: Sequence[Line]) -> list[tuple[Line, int]]:
    """The sentences that a training which goes on is shown, and the fold of each."""
    rng = random.Random(SEED)
    is_whole = becomes_smaller()
    shown: list[tuple[Line, int]] = []
    for line, fold in zip(lines, folds_of(lines), strict=True):
        if line.is_later and fold == HELD_OUT:
            shown.append((line, HELD_OUT))
        elif is_whole:
            shown.append((line, ALWAYS))
        elif not line.is_later:
            shown += [(line, ALWAYS)] * int(rng.random() < SHARE_EARLIER)
        else:
            shown += [(line, ALWAYS)] * TIMES_LATER
    return shown


# --- fusion --------------------------------------------------------------------------------------


def finish(lines: Sequence[Line]) -> int:
    """Join what was fine-tuned with the rules, report, and write it."""
    from encoder_export import read_held_out
    from encoder_export import write_about
    from encoder_export import write_files

    goes_on = (FOLDER / START).is_dir()
    try:
        scores = read_held_out(FOLDER)
    except (OSError, ValueError) as error:
        print(f"train_verifier: {error}; run tools/encoder_fit.py", file=sys.stderr)
        return 2
    try:
        check_data(FOLDER, data_digest((*DATA.glob("*.tsv"), *DATA.glob("*.jsonl"))))
    except (OSError, DataChangedError) as error:
        print(f"train_verifier: {error}; prepare it", file=sys.stderr)
        return 2
    if goes_on:
        fusion = json.loads((OUTPUT / ABOUT_FILE).read_text(encoding="utf-8"))["fusion"]
        held_out = [(line, fold) for line, fold in shown_again(lines) if fold == HELD_OUT]
        compare(held_out, scores[~np.isnan(scores[:, 0])], fusion, reasons_of(lines))
    else:
        fusion = fused(lines, scores, np.array(folds_of(lines)))
    about = {
        "format": FORMAT,
        **write_files(FOLDER, OUTPUT),
        "fusion": fusion,
        "lines": len(lines),
        "data_sha256": data_digest((*DATA.glob("*.tsv"), *DATA.glob("*.jsonl"))),
        "base": SOURCE,
        "seed": SEED,
    }
    write_about(OUTPUT, about)
    return 0


def fused(lines: Sequence[Line], scores: Array, folds: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Train how both lines are joined, on sentences about deliveries; print how ways compare."""
    reasons = reasons_of(lines)
    rows = [i for i, line in enumerate(lines) if line.delivery >= 0]
    chosen = [lines[i] for i in rows]
    logits = scores[rows, 0]
    named = [reasons[i] for i in scores[rows, 1:].argmax(axis=1)]
    opinions = [Opinion(float(x), reason) for x, reason in zip(logits, named, strict=True)]
    vectors = DictVectorizer(sparse=False)
    table = vectors.fit_transform(
        [inputs(line.ruled, one) for line, one in zip(chosen, opinions, strict=True)]
    )
    wanted = np.array([line.is_unsafe for line in chosen])
    sums = np.zeros(len(chosen))
    for fold in range(FOLDS):
        out = folds[rows] == fold
        sums[out] = logistic(table[~out], wanted[~out]).decision_function(table[out])
    by_rules = np.array([line.ruled.verdict.blocked for line in chosen])
    hard = np.array([is_hard(line.ruled.verdict) for line in chosen])
    print("of sentences about a delivery: unsafe passed, good blocked")
    show(wanted, "rules alone", by_rules)
    ways = {
        "model alone": logits,
        "model or any rule": np.where(by_rules, np.inf, logits),
        "trained sum": sums,
        "trained sum, hard rules stand": np.where(hard, np.inf, sums),
    }
    for limit in (BLOCKED_GOOD / 2, BLOCKED_GOOD):
        for name, values in ways.items():
            show(wanted, f"{name}, at {limit:.1%}", values > cut(values, wanted, limit))
    limit = cut(ways["trained sum, hard rules stand"], wanted, BLOCKED_GOOD)
    report(chosen, named, hard | (sums > limit))
    model = logistic(table, wanted)
    return {
        "bias": round(float(model.intercept_[0]), 5),
        "weights": {
            name: round(float(weight), 5)
            for name, weight in zip(vectors.feature_names_, model.coef_[0], strict=True)
        },
        "threshold": round(limit, 5),
    }


def compare(
    held_out: Sequence[tuple[Line, int]],
    scores: Array,
    fusion: Mapping[str, Any],
    reasons: Sequence[str],
) -> None:
    """Print what becomes of new sentences that were held out, as the lines are joined now."""
    verdicts = Verdicts.from_numbers(fusion)
    print(f"of {len(held_out)} new sentences held out: unsafe passed, good blocked")
    lines = [line for line, _ in held_out]
    named = [reasons[i] for i in scores[:, 1:].argmax(axis=1)]
    blocked = np.array(
        [
            (
                line.ruled.verdict
                if line.ruled.is_final
                else verdicts.decide(line.ruled, Opinion(float(logit), reason))
            ).blocked
            for line, logit, reason in zip(lines, scores[:, 0], named, strict=True)
        ]
    )
    by_rules = np.array([line.ruled.verdict.blocked for line in lines])
    wanted = np.array([line.is_unsafe for line in lines])
    show(wanted, "rules alone", by_rules)
    show(wanted, "both, joined as before", blocked)
    report(lines, named, blocked)


def logistic(rows: Array, wanted: npt.NDArray[np.bool_]) -> LogisticRegression:
    """Fit one sum."""
    model = LogisticRegression(C=STRENGTH, max_iter=500, solver="liblinear")
    return model.fit(rows, wanted)


def cut(values: Array, wanted: npt.NDArray[np.bool_], limit: float) -> float:
    """The lowest threshold at which not more than `limit` of the good sentences are blocked."""
    good = np.sort(values[~wanted])[::-1]
    return float(good[int(limit * len(good))])


def show(wanted: npt.NDArray[np.bool_], name: str, blocked: npt.NDArray[np.bool_]) -> None:
    """Print one row."""
    print(f"  {name:<48} {(~blocked)[wanted].mean():.3f}  {blocked[~wanted].mean():.3f}")


def report(lines: Sequence[Line], named: Sequence[str], blocked: npt.NDArray[np.bool_]) -> None:
    """Print what passes by reason and language, and how often the right reason is named."""
    passed: Counter[str] = Counter()
    all_of: Counter[str] = Counter()
    right = found = 0
    for line, reason, is_blocked in zip(lines, named, blocked, strict=True):
        for key in (line.reason, f"{line.language.value}, {'unsafe' if line.is_unsafe else FINE}"):
            all_of[key] += 1
            passed[key] += not is_blocked
        if line.is_unsafe and is_blocked:
            found += 1
            right += (line.ruled.verdict.reason or reason) == line.reason
    for key in sorted(all_of):
        print(f"    {key:<36} passed {passed[key]}/{all_of[key]}")
    print(f"  right reason, where an unsafe one is blocked: {right / max(found, 1):.3f}")


if __name__ == "__main__":
    sys.exit(main())
