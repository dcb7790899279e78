"""Train the convolutional network of the triage's second line, for `tools/train_triage.py`.

The word vectors are the token embeddings of Qwen2.5-Coder-1.5B-Instruct (licence Apache-2.0), read
from the GGUF file that the catalog of models knows. Their main directions stay as they are; the
projection to the few dimensions that are shipped is learned with the network, so that words which
the training set does not have are placed by what it teaches of their neighbours. Needs PyTorch;
`medbot_llm/safety/sentence_net.py` applies what comes out without it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import nn
from torch.nn import functional

from medbot_llm.models.store import ModelStore
from medbot_llm.safety.sentence_net import KINDS
from medbot_llm.safety.sentence_net import REACH
from medbot_llm.safety.sentence_net import WIDTHS
from medbot_llm.safety.sentence_net import WORD_MARK
from medbot_llm.safety.sentence_net import SentenceNet
from medbot_llm.safety.sentence_net import Vocabulary
from medbot_llm.safety.sentence_net import marks_by_place
from medbot_llm.text.normal import canonical

SOURCE_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"
SOURCE = "token embeddings of Qwen/Qwen2.5-Coder-1.5B-Instruct, Apache-2.0, projected"
DIRECTIONS = 768
"""Main directions of the embeddings that the projection sees."""
SIZE = 96
"""Dimensions of a shipped vector."""
FILTERS = 128
"""Filters of each width."""
HIDDEN = 128
ENGLISH_WORDS, PIECES = 12_000, 2_000
"""How many of the commonest are taken; of Chinese all are."""
EPOCHS = 9
BATCH = 64
RATE = 2e-3
DECAY = 0.02
DROPOUT = 0.3
WORD_DROPOUT = 0.12
MARK_DROPOUT, ALL_MARKS_DROPOUT = 0.15, 0.1
NO_PUNCTUATION = 0.3
"""Share of the utterances that are shown without punctuation, as recognisers write them."""
CHAT = 0.25
"""Share of the utterances that are shown with a harmless one before or after them."""
CHAT_PLACES = 40
UNREAD_WEIGHT = 2.0
"""What a line that the rules' author has not read counts: on others the marks are too good."""
SMOOTHING = 0.02
CATEGORY_WEIGHT = 0.3
PUNCTUATION = range(20, 32)
"""Kinds of places that can be left out; "/", "%" and the blank of a figure of speech cannot."""

Floats = npt.NDArray[np.float32]
Marks = Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class Embeddings:
    """Strings in order of how common they are, and the main directions of their embeddings."""

    strings: tuple[str, ...]
    vectors: Floats


def load_embeddings() -> Embeddings:
    """Read the embeddings from the model's file; it is pulled where it is missing."""
    reader = GGUFReader(ModelStore().ensure(SOURCE_MODEL).main)
    field = reader.fields["tokenizer.ggml.tokens"]
    tokens = [_written(bytes(field.parts[i]).decode("utf-8")) for i in field.data]
    tensor = next(t for t in reader.tensors if t.name == "token_embd.weight")
    # Of several tokens for one canonical string that which is written so comes first.
    best: dict[str, tuple[bool, int]] = {}
    for number, token in enumerate(tokens):
        for pattern, prefix in (
            (r"[\u3400-\u4dbf\u4e00-\u9fff]{1,4}", ""),
            (r" [A-Za-z']+", WORD_MARK),
            (r"[a-z]{1,12}", ""),
        ):
            if token and re.fullmatch(pattern, token):
                plain = canonical(token)
                candidate = (plain != token.strip(), number)
                best[prefix + plain] = min(best.get(prefix + plain, candidate), candidate)
    strings = sorted(best, key=lambda string: best[string][1])
    is_word = np.array([string[0] == WORD_MARK for string in strings])
    is_piece = np.array([string[0].isascii() for string in strings]) & ~is_word
    is_common = np.where(
        is_word, np.cumsum(is_word) <= ENGLISH_WORDS, np.cumsum(is_piece) <= PIECES
    )
    is_letter = np.array([len(string) == 1 for string in strings])
    kept = np.flatnonzero(~(is_word | is_piece) | is_common | is_letter).tolist()
    numbers = [best[strings[i]][1] for i in kept]
    vectors = dequantize(tensor.data[numbers], tensor.tensor_type).astype(np.float32)
    strings = [strings[i] for i in kept]
    is_latin = np.array([string.isascii() for string in strings])
    for own in (is_latin, ~is_latin):
        vectors[own] -= vectors[own].mean(axis=0)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    vectors = vectors @ directions[:, ::-1][:, :DIRECTIONS]
    return Embeddings(tuple(strings), vectors / vectors.std())


def _written(token: str) -> str:
    """The text of a token whose bytes are written as printable characters; "" for half a one."""
    try:
        return bytes(_BYTE_BY_CHAR[char] for char in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return ""


def _byte_by_char() -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}


_BYTE_BY_CHAR = _byte_by_char()


@dataclass(frozen=True)
class Example:
    """An utterance as the network sees it: rows (inner, word, kind) and marks of each place."""

    rows: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Task:
    """Everything that training needs.

    Attributes:
        embeddings: The word vectors.
        mark_names: Names of the marks.
        examples: The utterances.
        urgent: Whether emergency, whether help; shape (n, 2).
        category: Number of the category, -1 for none.
        categories: How many categories there are.
        weights: What each line counts.
        languages: Of each line.
    """

    embeddings: Embeddings
    mark_names: tuple[str, ...]
    examples: tuple[Example, ...]
    urgent: Floats
    category: npt.NDArray[np.int64]
    categories: int
    weights: Floats
    languages: tuple[str, ...]


def examples_of(
    windows: Sequence[str], marks: Sequence[Marks], strings: Sequence[str], names: Sequence[str]
) -> tuple[Example, ...]:
    """Bring utterances to the form in which the network sees them."""
    vocabulary = Vocabulary.of(strings)
    numbers = {name: number for number, name in enumerate(names)}
    found = []
    for window, own in zip(windows, marks, strict=True):
        places = vocabulary.places(window)
        table = np.zeros((len(places), len(names)), np.uint8)
        for place, number in marks_by_place(places, own, numbers):
            table[place, number] = 1
        found.append(Example(np.array([place[2:] for place in places]), table))
    return tuple(found)


class Net(nn.Module):
    """What `SentenceNet` applies, in PyTorch."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        strings = task.embeddings.strings
        single = [i for i, s in enumerate(strings) if len(s) == 1 and s >= "\u3400"]
        vectors = torch.from_numpy(task.embeddings.vectors)
        nothing = torch.zeros(1, vectors.shape[1])
        self.words = torch.cat([nothing, vectors])
        self.characters = torch.cat([nothing, vectors[single]])
        self.is_latin = torch.tensor([False, *(s.isascii() for s in strings)])
        self.from_word = nn.Linear(DIRECTIONS, SIZE, bias=False)
        self.from_character = nn.Linear(DIRECTIONS, SIZE, bias=False)
        for linear in (self.from_word, self.from_character):
            nn.init.normal_(linear.weight, std=1 / math.sqrt(DIRECTIONS))
        self.kinds = nn.Embedding(KINDS, SIZE)
        nn.init.normal_(self.kinds.weight, std=0.3)
        self.marks = nn.Linear(len(task.mark_names), SIZE, bias=False)
        self.filters = nn.ModuleList(
            nn.Conv1d(SIZE, FILTERS, width, padding=width // 2) for width in WIDTHS
        )
        wide = FILTERS * len(WIDTHS)
        self.attention = nn.Linear(wide, 1, bias=False)
        self.hidden = nn.Linear(2 * wide, HIDDEN)
        self.out = nn.Linear(HIDDEN, 2 + task.categories)
        self.dropout = nn.Dropout(DROPOUT)
        self.input_dropout = nn.Dropout(DROPOUT / 2)

    def forward(self, rows: Any, marks: Any, mask: Any) -> Any:
        """Give the logits of emergency and help, and the categories' scores, for a batch."""
        inner, word, kind = rows.unbind(-1)
        if self.training:
            inner = inner * (torch.rand(inner.shape) > WORD_DROPOUT)
            word = word * (torch.rand(word.shape) > WORD_DROPOUT)
            marks = marks * (torch.rand(len(marks), 1, marks.shape[2]) > MARK_DROPOUT)
            marks = marks * (torch.rand(len(marks), 1, 1) > ALL_MARKS_DROPOUT)
        x = self._looked_up(word, self._word_vectors)
        x = x + self._looked_up(inner, lambda i: self.from_character(self.characters[i]))
        x = x + self.kinds(kind) + self.marks(marks)
        x = (self.input_dropout(x) * mask[..., None]).transpose(1, 2)
        h = torch.cat([functional.relu(f(x))[..., : x.shape[2]] for f in self.filters], 1)
        h = h.transpose(1, 2)
        outside = (1 - mask[..., None]) * -1e4
        weights = torch.softmax(self.attention(h) + outside, 1)
        pooled = torch.cat([(h + outside).amax(1), (h * weights).sum(1)], 1)
        return self.out(self.dropout(functional.relu(self.hidden(self.dropout(pooled)))))

    def _looked_up(self, rows: Any, vectors: Any) -> Any:
        """Project each row that comes once, however often it comes."""
        different, places = torch.unique(rows, return_inverse=True)
        return functional.embedding(places, vectors(different))

    def _word_vectors(self, rows: Any) -> Any:
        # An English word is its own inside.
        both = self.from_word.weight + self.from_character.weight
        latin = self.is_latin[rows][:, None]
        vectors = self.words[rows]
        return torch.where(latin, functional.linear(vectors, both), self.from_word(vectors))

    @torch.no_grad()
    def numbers(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of `SentenceNet`."""
        self.eval()
        words, word_scale = _in_bytes(self._word_vectors(torch.arange(len(self.words))))
        characters, character_scale = _in_bytes(self.from_character(self.characters))
        filters = np.zeros((2 * REACH + 1, SIZE, FILTERS * len(WIDTHS)), np.float32)
        for number, (width, conv) in enumerate(zip(WIDTHS, self.filters, strict=True)):
            for offset in range(width):
                own = slice(number * FILTERS, (number + 1) * FILTERS)
                filters[REACH - width // 2 + offset, :, own] = conv.weight[:, :, offset].T
        return {
            "words": words,
            "characters": characters,
            "scales": np.stack([word_scale, character_scale]),
            "kinds": self.kinds.weight.numpy().astype(np.float16),
            "marks": self.marks.weight.numpy().T.astype(np.float16),
            "filters": filters.reshape(-1, filters.shape[2]).astype(np.float16),
            "filters_bias": torch.cat([conv.bias for conv in self.filters]).numpy(),
            "attention": self.attention.weight[0].numpy(),
            "hidden": self.hidden.weight.numpy().T.astype(np.float16),
            "hidden_bias": self.hidden.bias.numpy(),
            "out": self.out.weight.numpy().T,
            "out_bias": self.out.bias.numpy(),
        }


def _in_bytes(vectors: Any) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round to eight bits, with one scale for each dimension; a few far values are cut."""
    values = vectors.numpy()
    scale = np.maximum(np.quantile(np.abs(values), 0.9995, axis=0), 1e-6) / 127
    return np.clip(np.rint(values / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def train_net(task: Task, rows: Sequence[int], seed: int) -> Net:
    """Train on some of the lines."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    net = Net(task)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(rows) // BATCH + 2 + len(rows) // (BATCH * 16))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.1
    )
    chat: dict[str, list[int]] = {}
    for i in rows:
        if not task.urgent[i, 1]:
            chat.setdefault(task.languages[i], []).append(i)
    for _ in range(EPOCHS):
        for batch in _batches(task, rows, rng):
            net.train()
            shown = [_varied(task, i, chat, rng) for i in batch]
            output = net(*_padded(shown))
            weights = torch.from_numpy(task.weights[batch])
            wanted = torch.from_numpy(task.urgent[batch]) * (1 - 2 * SMOOTHING) + SMOOTHING
            losses = functional.binary_cross_entropy_with_logits(
                output[:, :2], wanted, reduction="none"
            )
            loss = (losses * weights[:, None]).sum() / weights.sum()
            category = torch.from_numpy(task.category[batch])
            if (category >= 0).any():
                loss = loss + CATEGORY_WEIGHT * functional.cross_entropy(
                    output[:, 2:], category, ignore_index=-1, label_smoothing=0.05
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return net


def _batches(task: Task, rows: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Deal the lines into batches of about equal length."""
    order = list(rows)
    rng.shuffle(order)
    batches = []
    for begin in range(0, len(order), BATCH * 16):
        pool = sorted(order[begin : begin + BATCH * 16], key=lambda i: len(task.examples[i].rows))
        batches.extend(pool[i : i + BATCH] for i in range(0, len(pool), BATCH))
    rng.shuffle(batches)
    return batches


def _varied(task: Task, i: int, chat: dict[str, list[int]], rng: random.Random) -> Example:
    """Show an utterance now and then without punctuation, or amid chat."""
    example = task.examples[i]
    if rng.random() < NO_PUNCTUATION:
        stays = ~np.isin(example.rows[:, 2], PUNCTUATION)
        if stays.any():
            example = Example(example.rows[stays], example.marks[stays])
    if rng.random() < CHAT and len(example.rows) < CHAT_PLACES and chat.get(task.languages[i]):
        other = task.examples[rng.choice(chat[task.languages[i]])]
        if len(other.rows) < CHAT_PLACES:
            both = (example, other) if rng.random() < 0.5 else (other, example)
            return Example(
                np.concatenate([one.rows for one in both]),
                np.concatenate([one.marks for one in both]),
            )
    return example


def _padded(examples: Sequence[Example]) -> tuple[Any, Any, Any]:
    longest = max(len(example.rows) for example in examples)
    rows = np.zeros((len(examples), longest, 3), np.int64)
    marks = np.zeros((len(examples), longest, examples[0].marks.shape[1]), np.float32)
    mask = np.zeros((len(examples), longest), np.float32)
    for i, example in enumerate(examples):
        rows[i, : len(example.rows)] = example.rows
        marks[i, : len(example.rows)] = example.marks
        mask[i, : len(example.rows)] = 1
    return torch.from_numpy(rows), torch.from_numpy(marks), torch.from_numpy(mask)


@torch.no_grad()
def scores_of(net: Net, task: Task, rows: Sequence[int]) -> Floats:
    """What a network makes of some of the lines."""
    net.eval()
    order = sorted(range(len(rows)), key=lambda k: len(task.examples[rows[k]].rows))
    found = np.zeros((len(rows), 2 + task.categories), np.float32)
    for begin in range(0, len(order), 128):
        own = order[begin : begin + 128]
        found[own] = net(*_padded([task.examples[rows[k]] for k in own])).numpy()
    return found


def applied(net: Net, task: Task) -> SentenceNet:
    """The network as the robot has it."""
    return SentenceNet(task.embeddings.strings, task.mark_names, net.numbers())
