"""Learn when 要 was meant for 藥, from the project's own Chinese lines; write the weights.

A fifth of the lines is held out for the figures that are printed; the weights that are written are
learned from the rest. Takes a minute.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

from medbot_llm.domain import Language
from medbot_llm.speech.homophones import MEDICINE
from medbot_llm.speech.homophones import SURE
from medbot_llm.speech.homophones import WANT
from medbot_llm.speech.homophones import WEIGHTS_FILE
from medbot_llm.speech.homophones import contexts
from medbot_llm.text.language import to_script

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 12
RATE = 0.3
DECAY = 1e-3
RARE = 2
"""A context that was seen less often says nothing."""
SEED = 1

Sample = tuple[tuple[str, ...], bool]


def main() -> int:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "resource/speech" / WEIGHTS_FILE
    )
    output = parser.parse_args().output
    lines = sorted(chinese_lines())
    random.Random(SEED).shuffle(lines)
    cut = len(lines) * 4 // 5
    weights = train([sample for line in lines[:cut] for sample in samples(line)])
    held_out = [sample for line in lines[cut:] for sample in samples(line)]
    for threshold in (0.5, 0.7, 0.8, SURE, 0.95):
        meant = [probability(weights, names) >= threshold for names, is_it in held_out if is_it]
        spoiled = [
            probability(weights, names) >= threshold for names, is_it in held_out if not is_it
        ]
        print(
            f"from {threshold:.2f}: of {len(meant)} {MEDICINE} come back {sum(meant)} "
            f"({sum(meant) / len(meant):.3f}), of {len(spoiled)} {WANT} are spoiled "
            f"{sum(spoiled)} ({sum(spoiled) / len(spoiled):.3f})"
        )
    rounded = {name: round(weight, 2) for name, weight in sorted(weights.items())}
    kept = {name: weight for name, weight in rounded.items() if weight}
    text = json.dumps(kept, ensure_ascii=False, indent=0, sort_keys=True)
    output.write_text(text + "\n", encoding="utf-8")
    print(f"{len(kept)} weights in {output.relative_to(ROOT) if output.is_absolute() else output}")
    return 0


def chinese_lines() -> set[str]:
    """Chinese texts of data/, in Simplified characters and without punctuation."""
    texts: set[str] = set()
    for file in sorted((ROOT / "data").glob("*/*")):
        raw = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            rows = (json.loads(line) for line in raw.splitlines() if line.strip())
            texts.update(text for row in rows for text in strings_of(row))
        elif file.suffix == ".tsv":
            texts.update(cell for line in raw.splitlines() for cell in line.split("\t"))
    said = (re.sub(r"[\W_]+", "", to_script(text, Language.ZH_HANS)) for text in texts)
    return {line for line in said if MEDICINE in line or WANT in line}


def strings_of(value: object) -> Iterable[str]:
    """All texts in a record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings_of(part)


def samples(line: str) -> list[Sample]:
    """Each 要 and 药 of a line: what stands around it, and whether it is 药."""
    heard = line.replace(MEDICINE, WANT)
    return [
        (tuple(contexts(heard, place)), char == MEDICINE)
        for place, char in enumerate(line)
        if char in (MEDICINE, WANT)
    ]


def train(known: Sequence[Sample]) -> dict[str, float]:
    """Logistic regression by AdaGrad."""
    counts = Counter(name for names, _ in known for name in names)
    order = [([name for name in names if counts[name] >= RARE], is_it) for names, is_it in known]
    weights: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(lambda: 1e-8)
    shuffled = random.Random(SEED)
    for _ in range(EPOCHS):
        shuffled.shuffle(order)
        for names, is_it in order:
            error = probability(weights, names) - is_it
            for name in names:
                gradient = error + DECAY * weights[name]
                squares[name] += gradient * gradient
                weights[name] -= RATE * gradient / math.sqrt(squares[name])
    return weights


def probability(weights: dict[str, float], names: Iterable[str]) -> float:
    """That it is 药."""
    return 1 / (1 + math.exp(-sum(weights.get(name, 0.0) for name in names)))


if __name__ == "__main__":
    sys.exit(main())
