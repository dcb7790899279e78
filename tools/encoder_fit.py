"""Fine-tune the sentence encoder on a task folder; needs PyTorch, and a GPU if it is to be quick.

    python tools/encoder_fit.py FOLDER [--jobs 6]

The folder holds `task.json` (examples, heads, how long to train), `base.npz` and
`tokenizer.json`; the step `prepare` of a training writes it. What comes out lies beside them:
`held_out.npz`, the scores of examples by an encoder that was trained without their fold, and
`weights.npz`, the encoder that the robot gets, rounded to eight bits. It stands alone on purpose
(torch, numpy, tokenizers): a folder can be carried to a machine with a GPU. What is already
trained for the same task is not trained again, so a run that was cut goes on.

An example is a text and, where the task has one, a context (the label that a sentence is about).
The context's tokens see each other only, and the text's tokens see both: so a context is computed
once, and kept, for all the sentences about it, on the robot and in a batch.

An encoder of fewer layers than an earlier one can learn from it, as DistilBERT does (Sanh et al.,
2019): it starts with some of its layers, and is shown what it says (`Task.keeps`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

SIZE, HEADS, INNER = 384, 12, 1536
"""Of multilingual-e5-small."""
EPSILON = 1e-12
BEGIN, PAD, END = 0, 1, 2
MAX_TOKENS = 126
"""Of a text; what is longer is cut."""
MAX_CONTEXT = 256
DROPOUT = 0.1
HEAD_RATE = 5
"""Times the rate of the encoder."""
WARM_UP = 0.1
DECAY = 0.01
SMOOTHING = 0.02
CHOICE_SMOOTHING = 0.05
CHOICE_WEIGHT = 0.3
NO_PUNCTUATION = 0.3
"""Share of the texts that are shown without punctuation, as recognisers write them."""
CHAT = 0.2
"""Share of the texts that are shown with a harmless one, where the task says so."""
CHAT_CHARS = 120
POOL = 32
"""So many batches are sorted by length together: less of each is padding."""
ALIKE = 6
"""Tokens by which texts of about one length differ."""
TOGETHER = 10
"""So many texts about one context are dealt together: it is computed once for them."""
CROSSED = 0.25
"""A teacher is asked about so many more texts, beside contexts that they were not written for."""
LOGIT_WEIGHT, STATE_WEIGHT = 0.1, 1.0
"""Of the squared distance from a teacher's scores, and from its states before the heads."""
WHOLE = -1
"""The part that is trained on every fold."""
ALWAYS = -2
"""The fold of examples that every part is trained on; they have no held-out scores."""

Rows = list[tuple[tuple[int, ...], list[int]]]
"""Pieces of a context, and of a text."""

_PUNCTUATION = re.compile(r"[，。！？、；：,.!?;:…]+(?!\d)")


@dataclass(frozen=True)
class Task:
    """A task folder, read.

    Attributes:
        examples: text, context, yes (a 0 or 1 for each head), choice (-1: none), fold, weight,
            language.
        yes: Names of the heads that say yes or no.
        choices: Names of what one of is chosen.
        layers: Layers of the base that are used.
        chat: Whether texts are also shown amid harmless ones.
        ships: The fold whose encoder the robot gets: `WHOLE` for the one that has seen all.
        start: Folder in the task's with the weights.npz and tokenizer.json of an earlier training
            to go on from, heads included; "" to start from the base. It must have had the same
            heads, and must not have seen what is held out.
        keeps: Layers of the earlier training's encoder to start from, as many as `layers`; it is
            the teacher then. None: all of them, and no teacher.
    """

    examples: tuple[Mapping[str, Any], ...]
    yes: tuple[str, ...]
    choices: tuple[str, ...]
    layers: tuple[int, ...]
    epochs: int
    rate: float
    batch: int
    seed: int
    chat: bool
    ships: int = WHOLE
    start: str = ""
    keeps: tuple[int, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Task:
        values = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        names = ("examples", "yes", "choices", "layers", "keeps")
        lists = {name: tuple(values[name]) for name in names if name in values}
        return cls(**(values | lists))

    @property
    def outputs(self) -> int:
        """How many scores there are."""
        return len(self.yes) + len(self.choices)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that are held out in turn."""
        return tuple(sorted({example["fold"] for example in self.examples} - {ALWAYS}))


@dataclass(frozen=True)
class Batch:
    """Texts, padded, and the contexts that they are about, each once.

    Attributes:
        ids: Of the texts, shape (texts, n).
        is_text: What of it is no padding.
        context_ids: Of the contexts, shape (contexts, m).
        is_context: What of it is no padding.
        of: The context of each text.
        has_context: Whether it has one.
    """

    ids: Any
    is_text: Any
    context_ids: Any
    is_context: Any
    of: Any
    has_context: Any


class Layer(nn.Module):
    """One layer of BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Linear(SIZE, SIZE)
        self.keys = nn.Linear(SIZE, SIZE)
        self.values = nn.Linear(SIZE, SIZE)
        self.out = nn.Linear(SIZE, SIZE)
        self.norm = nn.LayerNorm(SIZE, eps=EPSILON)
        self.up = nn.Linear(SIZE, INNER)
        self.down = nn.Linear(INNER, SIZE)
        self.last_norm = nn.LayerNorm(SIZE, eps=EPSILON)
        self.dropout = nn.Dropout(DROPOUT)

    def known(self, x: Any) -> tuple[Any, Any]:
        """Keys and values of x, shape (batch, heads, n, size)."""
        return self._by_head(self.keys(x)), self._by_head(self.values(x))

    def forward(self, x: Any, known: tuple[Any, Any], mask: Any) -> Any:
        """Give the next x, shape (batch, n, size)."""
        seen = functional.scaled_dot_product_attention(
            self._by_head(self.queries(x)),
            *known,
            attn_mask=mask,
            dropout_p=DROPOUT if self.training else 0.0,
        )
        return self.after(x, seen.transpose(1, 2).reshape(x.shape))

    def after(self, x: Any, seen: Any) -> Any:
        """The next x from this one and what attention saw."""
        x = self.norm(x + self.dropout(self.out(seen)))
        return self.last_norm(x + self.dropout(self.down(functional.gelu(self.up(x)))))

    @staticmethod
    def _by_head(x: Any) -> Any:
        return x.view(x.shape[0], x.shape[1], HEADS, SIZE // HEADS).transpose(1, 2)


class Encoder(nn.Module):
    """The encoder with its heads: yes or no for each of `yes`, and one of `choices`."""

    def __init__(self, words: int, positions: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, SIZE)
        self.positions = nn.Embedding(positions, SIZE)
        self.kinds = nn.Embedding(2, SIZE)
        self.norm = nn.LayerNorm(SIZE, eps=EPSILON)
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.hidden = nn.Linear(2 * SIZE, SIZE)
        self.scores = nn.Linear(SIZE, outputs)

    def embedded(self, ids: Any, kind: int) -> Any:
        positions = self.positions.weight[: ids.shape[1]]
        return self.dropout(self.norm(self.words(ids) + positions + self.kinds.weight[kind]))

    def judged(self, x: Any, is_text: Any) -> Any:
        """Scores from what the last layer made of the text's tokens, shape (batch, outputs)."""
        return self.scores(self.dropout(self.state(x, is_text)))

    def state(self, x: Any, is_text: Any) -> Any:
        """What the heads see of a text, shape (batch, size)."""
        weights = is_text[..., None].to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1)
        largest = (x - 1e4 * (1 - weights)).amax(1)
        return functional.gelu(self.hidden(torch.cat([mean, largest], 1)))

    def forward(self, batch: Batch) -> tuple[Any, Any]:
        """Score a batch: scores, shape (texts, outputs), and states, (texts, size)."""
        about = self.embedded(batch.context_ids, 1)
        x = self.embedded(batch.ids, 0)
        mask_about = batch.is_context[:, None, None]
        is_seen = batch.is_context[batch.of] & batch.has_context[:, None]
        mask = torch.cat([is_seen, batch.is_text], 1)[:, None, None]
        last = self.layers[-1]
        for layer in self.layers:
            known = layer.known(about)
            both = [
                torch.cat([those[batch.of], own], 2)
                for those, own in zip(known, layer.known(x), strict=True)
            ]
            x = layer(x, tuple(both), mask)
            if layer is not last:
                about = layer(about, known, mask_about)
        state = self.state(x, batch.is_text)
        return self.scores(self.dropout(state)), state


def from_base(task: Task, folder: Path) -> Encoder:
    """The pre-trained encoder with new heads."""
    arrays = {name: _unpacked(array) for name, array in np.load(folder / "base.npz").items()}
    words = arrays["emb.word"].reshape(-1, SIZE)
    positions = arrays["emb.pos"].reshape(-1, SIZE)
    encoder = Encoder(len(words), len(positions), len(task.layers), task.outputs)

    def put(module: Any, name: str) -> None:
        for part, short in (("weight", "w"), ("bias", "b")):
            own = getattr(module, part)
            own.data.copy_(torch.from_numpy(arrays[f"{name}.{short}"]).reshape(own.shape))

    encoder.words.weight.data.copy_(torch.from_numpy(words))
    encoder.positions.weight.data.copy_(torch.from_numpy(positions))
    encoder.kinds.weight.data.copy_(torch.from_numpy(arrays["emb.type"].reshape(2, SIZE)))
    put(encoder.norm, "emb.ln")
    for layer, number in zip(encoder.layers, task.layers, strict=True):
        for module, name in (
            (layer.queries, "q"),
            (layer.keys, "k"),
            (layer.values, "v"),
            (layer.out, "ao"),
            (layer.norm, "aln"),
            (layer.up, "fi"),
            (layer.down, "fo"),
            (layer.last_norm, "oln"),
        ):
            put(module, f"l{number}.{name}")
    return encoder


def _unpacked(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if array.dtype != np.uint8:
        return array.astype(np.float32)
    blocks = array.reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], 1).astype(np.float32) - 8
    return np.asarray(halves * scales, np.float32).reshape(-1)


def tokens(tokenizer: Tokenizer, text: str, limit: int) -> list[int]:
    """The ids of a text."""
    return [BEGIN, *tokenizer.encode(text).ids[:limit], END]


def batch_of(rows: Rows, device: str) -> Batch:
    """Pad rows of (context, text)."""
    contexts = {context: number for number, context in enumerate({c: None for c, _ in rows})}
    # One that is not there is a piece of padding, which nothing sees.
    context_ids, is_context = _padded([context or (PAD,) for context in contexts])
    ids, is_text = _padded([text for _, text in rows])
    of = np.array([contexts[context] for context, _ in rows])
    has_context = np.array([bool(context) for context, _ in rows])
    arrays = (ids, is_text, context_ids, is_context, of, has_context)
    return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    width = max(map(len, rows))
    ids = np.full((len(rows), width), PAD, np.int64)
    is_real = np.zeros(ids.shape, bool)
    for row, own in enumerate(rows):
        ids[row, : len(own)] = own
        is_real[row, : len(own)] = True
    return ids, is_real


class Training:
    """Trains one part: all folds but one, or everything."""

    def __init__(self, task: Task, folder: Path, device: str) -> None:
        self.task = task
        self.folder = folder
        self.device = device
        self._is_quick_in_bf16 = device != "cpu" or torch.cpu._is_avx512_bf16_supported()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._context = cache(
            lambda text: tuple(tokens(self.tokenizer, text, MAX_CONTEXT)) if text else ()
        )
        self._text = cache(lambda text: tokens(self.tokenizer, text, MAX_TOKENS))
        self._teacher: Encoder | None = None

    def fit(self, fold: int) -> Encoder:
        """Train without one fold (`WHOLE`: with all)."""
        task = self.task
        seed = task.seed * 100 + fold
        rng = random.Random(seed)
        torch.manual_seed(seed)
        examples = [example for example in task.examples if example["fold"] != fold]
        self._harmless = {
            language: [
                e["text"]
                for e in examples
                if not any(e["yes"]) and e["language"] == language and len(e["text"]) < CHAT_CHARS
            ]
            for language in {e["language"] for e in examples}
        }
        encoder = started(task, self.folder).to(self.device)
        if task.keeps:
            self._teacher = earlier(task, self.folder).to(self.device)
        new = [*encoder.hidden.parameters(), *encoder.scores.parameters()]
        old = [p for p in encoder.parameters() if all(p is not other for other in new)]
        optimizer = torch.optim.AdamW(
            [{"params": old, "lr": task.rate}, {"params": new, "lr": HEAD_RATE * task.rate}],
            weight_decay=DECAY,
            fused=self.device != "cpu",
        )
        steps = task.epochs * math.ceil(len(examples) / task.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda i: min((i + 1) / (WARM_UP * steps), (steps - i) / ((1 - WARM_UP) * steps)),
        )
        began = time.monotonic()
        step = 0
        for _ in range(task.epochs):
            for batch in self._batches(examples, rng):
                loss = self._loss(encoder, batch, rng)
                if not torch.isfinite(loss):
                    raise SystemExit(f"encoder_fit: the loss is {loss} at step {step + 1}")
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                step += 1
                if step % 50 == 0 or step == steps:
                    left = (time.monotonic() - began) / step * (steps - step)
                    name = "whole" if fold == WHOLE else f"fold {fold}"
                    print(f"{name}: {step}/{steps}, loss {loss:.3f}, {left:.0f} s", flush=True)
        return encoder

    def _batches(
        self, examples: Sequence[Mapping[str, Any]], rng: random.Random
    ) -> list[Sequence[Mapping[str, Any]]]:
        """Deal the examples into batches of about equal lengths, in random order."""
        of_context: dict[str, list[Mapping[str, Any]]] = {}
        for example in rng.sample(examples, len(examples)):
            of_context.setdefault(example["context"], []).append(example)
        dealt: list[list[Mapping[str, Any]]] = []
        for context, own in of_context.items():
            if context:
                own.sort(key=lambda example: len(example["text"]))
            size = TOGETHER if context else 1
            dealt += [own[first : first + size] for first in range(0, len(own), size)]
        rng.shuffle(dealt)
        size = self.task.batch
        batches: list[Sequence[Mapping[str, Any]]] = []
        pool: list[list[Mapping[str, Any]]] = []
        waiting = 0
        for group in dealt:
            pool.append(group)
            waiting += len(group)
            if waiting >= size * POOL or group is dealt[-1]:
                pool.sort(key=self._lengths)
                order = [example for one in pool for example in one]
                batches += [order[first : first + size] for first in range(0, len(order), size)]
                pool, waiting = [], 0
        rng.shuffle(batches)
        return batches

    def _lengths(self, group: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Texts of about one length first, and among these contexts of about one length."""
        longest = max(len(self._text(example["text"])) for example in group)
        return longest // ALIKE, len(self._context(group[0]["context"]))

    def _loss(
        self, encoder: Encoder, examples: Sequence[Mapping[str, Any]], rng: random.Random
    ) -> Any:
        encoder.train()
        rows = [self._row(example["context"], self._varied(example, rng)) for example in examples]
        if self._teacher is not None:
            rows += self._crossed(examples, rows, rng)
        batch = batch_of(rows, self.device)
        output, states = self._apply(encoder, batch)
        loss = self._loss_of_labels(output[: len(examples)], examples)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            wanted, wanted_states = self._apply(self._teacher, batch)
        return (
            loss
            + LOGIT_WEIGHT * functional.mse_loss(output, wanted)
            + STATE_WEIGHT * functional.mse_loss(states, wanted_states)
        )

    @staticmethod
    def _crossed(examples: Sequence[Mapping[str, Any]], rows: Rows, rng: random.Random) -> Rows:
        """Texts of a batch beside other contexts of it, in the same language."""
        of_language: dict[str, list[int]] = {}
        for number, example in enumerate(examples):
            of_language.setdefault(example["language"], []).append(number)
        chosen = rng.sample(range(len(rows)), math.ceil(CROSSED * len(rows)))
        others = [rng.choice(of_language[examples[number]["language"]]) for number in chosen]
        return [(rows[other][0], rows[own][1]) for own, other in zip(chosen, others, strict=True)]

    def _loss_of_labels(self, output: Any, examples: Sequence[Mapping[str, Any]]) -> Any:
        weights = torch.tensor([e["weight"] for e in examples], device=self.device)
        heads = len(self.task.yes)
        wanted = torch.tensor([e["yes"] for e in examples], dtype=torch.float, device=self.device)
        losses = functional.binary_cross_entropy_with_logits(
            output[:, :heads], wanted * (1 - 2 * SMOOTHING) + SMOOTHING, reduction="none"
        )
        loss = (losses.mean(1) * weights).sum() / weights.sum()
        choice = torch.tensor([e["choice"] for e in examples], device=self.device)
        if (choice >= 0).any():
            loss = loss + CHOICE_WEIGHT * functional.cross_entropy(
                output[:, heads:], choice, ignore_index=-1, label_smoothing=CHOICE_SMOOTHING
            )
        return loss

    def batch(self, examples: Sequence[Mapping[str, Any]]) -> Batch:
        """Examples as they are."""
        rows = [self._row(example["context"], example["text"]) for example in examples]
        return batch_of(rows, self.device)

    def _row(self, context: str, text: str) -> tuple[tuple[int, ...], list[int]]:
        return self._context(context), self._text(text)

    def _apply(self, encoder: Encoder, batch: Batch) -> tuple[Any, Any]:
        with torch.autocast(self.device, torch.bfloat16, enabled=self._is_quick_in_bf16):
            scores, states = encoder(batch)
        return scores.float(), states.float()

    def _varied(self, example: Mapping[str, Any], rng: random.Random) -> str:
        """Show a text now and then without punctuation, or amid chat."""
        text: str = example["text"]
        is_english = example["language"] == "en"
        if rng.random() < NO_PUNCTUATION:
            text = _PUNCTUATION.sub(" " if is_english else "", text).strip() or text
        harmless = self._harmless.get(example["language"])
        if self.task.chat and harmless and len(text) < CHAT_CHARS and rng.random() < CHAT:
            between = rng.choice((", ", " ", ". ") if is_english else (",", "", "。"))
            both = (text, rng.choice(harmless))
            return between.join(both if rng.random() < 0.5 else both[::-1])
        return text

    def scores(
        self, encoder: Encoder, examples: Sequence[Mapping[str, Any]]
    ) -> npt.NDArray[np.float32]:
        """The scores of examples, shape (n, outputs)."""
        encoder.eval()
        found = np.zeros((len(examples), encoder.scores.out_features), np.float32)

        def place(number: int) -> tuple[str, int]:
            return examples[number]["context"], len(examples[number]["text"])

        order = sorted(range(len(examples)), key=place)
        with torch.no_grad():
            for first in range(0, len(order), 256):
                own = order[first : first + 256]
                batch = self.batch([examples[i] for i in own])
                found[own] = self._apply(encoder, batch)[0].cpu().numpy()
        return found


def rounded(encoder: Encoder) -> dict[str, npt.NDArray[Any]]:
    """The weights: matrices in eight bits with a scale for each row, the rest as it is."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in encoder.state_dict().items():
        values = tensor.float().cpu().numpy()
        if values.ndim == 2 and values.size > 10_000:
            scales = np.maximum(np.abs(values).max(1, keepdims=True), 1e-8) / 127
            found[name] = np.rint(values / scales).astype(np.int8)
            found[f"{name}.scale"] = scales[:, 0].astype(np.float32)
        else:
            found[name] = values.astype(np.float32)
    return found


def started(task: Task, folder: Path) -> Encoder:
    """What a training begins with: the base, or an earlier training's encoder."""
    if not task.start:
        return from_base(task, folder)
    encoder = earlier(task, folder)
    if task.keeps:
        encoder.layers = nn.ModuleList(encoder.layers[number] for number in task.keeps)
    return encoder


def earlier(task: Task, folder: Path) -> Encoder:
    """The encoder to go on from, with the vocabulary of this folder."""
    encoder = restored(folder / task.start)
    # What the earlier texts were not written with has the base's weights.
    words = from_base(task, folder).words.weight.detach().clone()
    row_of = {piece: row for row, piece in enumerate(pieces(folder / task.start))}
    for row, piece in enumerate(pieces(folder)):
        if piece in row_of:
            words[row] = encoder.words.weight[row_of[piece]].detach()
    encoder.words = nn.Embedding.from_pretrained(words, freeze=False)
    return encoder


def pieces(folder: Path) -> list[str]:
    """The vocabulary of a folder's tokenizer."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return [piece for piece, _ in tokenizer["model"]["vocab"]]


def restored(folder: Path) -> Encoder:
    """The encoder of `weights.npz`."""
    arrays = dict(np.load(folder / "weights.npz").items())
    encoder = Encoder(
        len(arrays["words.weight"]),
        len(arrays["positions.weight"]),
        len({name.split(".")[1] for name in arrays if name.startswith("layers.")}),
        len(arrays["scores.bias"]),
    )
    state = {}
    for name in encoder.state_dict():
        values = arrays[name].astype(np.float32)
        if f"{name}.scale" in arrays:
            values = values * arrays[f"{name}.scale"][:, None]
        state[name] = torch.from_numpy(values)
    encoder.load_state_dict(state)
    return encoder.eval()


def digest_of(folder: Path) -> str:
    """SHA-256 of the inputs in a task folder."""
    digest = hashlib.sha256()
    names = ["task.json", "base.npz", "tokenizer.json"]
    if start := Task.read(folder).start:
        names += [f"{start}/weights.npz", f"{start}/tokenizer.json"]
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def train_part(folder: Path, fold: int, device: str) -> None:
    """Train one part and write what came out."""
    digest = digest_of(folder)
    task = Task.read(folder)
    training = Training(task, folder, device)
    encoder = training.fit(fold)
    file = folder / "parts" / f"{fold}.npz"
    results = rounded(encoder) if fold == task.ships else {}
    if fold != WHOLE:
        own = [example for example in task.examples if example["fold"] == fold]
        results["held_out"] = training.scores(encoder, own)
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_suffix(".tmp.npz")
    np.savez(unfinished, digest=digest, **results)  # type: ignore[arg-type]
    unfinished.replace(file)


def gather(folder: Path, task: Task) -> None:
    """Put the parts together."""
    folds = np.array([example["fold"] for example in task.examples])
    scores = np.full((len(folds), task.outputs), np.nan, np.float32)
    for fold in task.folds:
        scores[folds == fold] = np.load(folder / "parts" / f"{fold}.npz")["held_out"]
    np.savez(folder / "held_out.npz", scores=scores, digest=digest_of(folder))
    (folder / "weights.npz").write_bytes((folder / "parts" / f"{task.ships}.npz").read_bytes())


def is_done(folder: Path, fold: int) -> bool:
    """Whether a part has been trained for these inputs."""
    try:
        with np.load(folder / "parts" / f"{fold}.npz") as stored:
            return str(stored["digest"]) == digest_of(folder)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def main() -> int:
    """Train what is missing, each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a task folder, from prepare")
    parser.add_argument("--jobs", type=int, default=1, help="parts trained at once (default: 1)")
    parser.add_argument("--device", help='"cuda" or "cpu" (default: a GPU if there is one)')
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.part is not None:
        train_part(folder, options.part, device)
        return 0
    if not (folder / "task.json").is_file():
        print(f"encoder_fit: {folder} holds no task.json; prepare it first", file=sys.stderr)
        return 2
    task = Task.read(folder)
    waiting = [fold for fold in sorted({task.ships, *task.folds}) if not is_done(folder, fold)]
    running: list[subprocess.Popen[bytes]] = []
    failed = False
    while (waiting and not failed) or running:
        while waiting and not failed and len(running) < options.jobs:
            command = [sys.executable, __file__, str(folder), "--device", device]
            running.append(subprocess.Popen([*command, "--part", str(waiting.pop(0))]))
        ended = [job for job in running if job.poll() is not None]
        failed |= any(job.returncode for job in ended)
        running = [job for job in running if job not in ended]
        time.sleep(0.2)
    if failed or not all(is_done(folder, fold) for fold in (task.ships, *task.folds)):
        print("encoder_fit: a part failed; what is done is kept, run it again", file=sys.stderr)
        return 1
    gather(folder, task)
    print(f"written: {folder}/held_out.npz and weights.npz")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what is done is kept
