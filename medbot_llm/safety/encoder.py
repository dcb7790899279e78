"""Apply a fine-tuned sentence encoder, on one core, in milliseconds.

A text becomes pieces, pieces become vectors, and some layers later there is a score for each of
the heads that it was trained with. The triage's second line and the verifier's are two such
encoders (`resource/*/second_line.onnx`), fine-tuned from multilingual-e5-small by the commands
`make triage-train` and `make verifier-train`; ONNX Runtime computes them. The files hold numbers
and the order of operations, nothing that is run as code.

Texts are canonical (`text/normal.py`).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from medbot_llm.domain import MedbotError

if TYPE_CHECKING:
    from importlib.abc import Traversable

ONNX_FILE, PIECES_FILE, ABOUT_FILE = "second_line.onnx", "pieces.json", "second_line.json"
BEGIN, END = 0, 2
MAX_TOKENS = 126
"""Of a text, as in training; what is longer is scored in parts."""
OVERLAP_TOKENS = 26
MAX_CONTEXT_TOKENS = 256
"""What is longer is cut."""

LONGEST_S = 5.0
"""A thousand times what scores take: whoever waits longer waits for nothing."""
_QUIET = 3
"""ONNX Runtime's level of logging: errors only."""


class EncoderError(MedbotError):
    """A file of the encoder is missing, damaged or of another format."""


@dataclass(frozen=True)
class Context:
    """What was computed of a context once: for each layer its keys and its values, float32, shape
    (1, heads, tokens, size)."""

    past: tuple[npt.NDArray[np.float32], ...]


class Begun:
    """Scores that another thread computes, while the caller's own goes on."""

    def __init__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        # ONNX Runtime reads them where they lie, for as long as it computes.
        self.inputs = inputs
        self._is_done = threading.Event()
        self._found: list[npt.NDArray[np.float32]] = []
        self._error = ""

    def ended(self, found: list[npt.NDArray[np.float32]], _: object, error: str) -> None:
        """What ONNX Runtime calls at the end."""
        self._found, self._error = found, error
        self._is_done.set()

    def result(self) -> npt.NDArray[np.float32]:
        """Wait for the scores, shape (outputs,).

        Raises:
            RuntimeError: They could not be computed.
        """
        if not self._is_done.wait(LONGEST_S):
            raise RuntimeError(f"no scores within {LONGEST_S:g} s")
        if self._error:
            raise RuntimeError(self._error)
        scores: npt.NDArray[np.float32] = self._found[0][0]
        return scores


class SentenceEncoder:
    """Scores texts. Nothing changes after it is made, so any thread may ask.

    Args:
        model: The ONNX file.
        pieces: The tokenizer, as JSON.
        outputs: How many scores there must be.
        is_beside: A thread of its own computes what is begun with `begin`.

    Raises:
        ValueError: One of them can't be used; names why.
    """

    def __init__(self, model: Path, pieces: str, outputs: int, *, is_beside: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        # Lengths differ from text to text, so that a pattern of what is needed helps none.
        options.enable_mem_pattern = False
        # The caller's own thread computes, or one that it waits for: no pool of threads, and none
        # that spins beside the language model.
        options.intra_op_num_threads = 2 if is_beside else 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _QUIET
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_str(pieces)
            _, _, *past = self._session.get_inputs()
            self._past = [value.name for value in past]
            self._made = [value.name.replace("past", "made") for value in past]
            # The length of a context is the one size that the file leaves open.
            self.nothing = Context(
                tuple(
                    np.zeros([n if isinstance(n, int) else 0 for n in value.shape], np.float32)
                    for value in past
                )
            )
            found = len(self.scores("a"))
        # Both libraries raise bare exceptions of many kinds for files that they can't read.
        except Exception as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None
        if found != outputs:
            raise ValueError(f"gives {found} scores, and {outputs} are needed")

    def scores(self, text: str, context: Context | None = None) -> npt.NDArray[np.float32]:
        """Score a text: shape (outputs,), of a long one those of the part with the highest first
        score.

        Args:
            text: Canonical.
            context: From `context`; None: none.
        """
        ids = self._ids(text)
        starts = range(0, max(1, len(ids) - OVERLAP_TOKENS), MAX_TOKENS - OVERLAP_TOKENS)
        parts = [
            self._run(["scores"], ids[start : start + MAX_TOKENS], 0, context or self.nothing)
            for start in starts
        ]
        return max((part[0][0] for part in parts), key=lambda scores: float(scores[0]))

    def begin(self, text: str, context: Context | None = None) -> Begun | None:
        """Begin to score a text; None: it is too long for that, and `scores` is to be asked."""
        ids = self._ids(text)
        if len(ids) > MAX_TOKENS:
            return None
        begun = Begun(self._inputs(ids, 0, context or self.nothing))
        self._session.run_async(["scores"], begun.inputs, begun.ended, None)
        return begun

    def context(self, text: str) -> Context:
        """Compute a context, to be asked of many times."""
        if not text:
            return self.nothing
        ids = self._ids(text)[:MAX_CONTEXT_TOKENS]
        return Context(tuple(self._run(self._made, ids, 1, self.nothing)))

    def _ids(self, text: str) -> list[int]:
        # The tokenizer takes no halves of characters, which garbled messages hold.
        ids: list[int] = self._tokenizer.encode(text.encode(errors="replace").decode()).ids
        return ids

    def _run(
        self, outputs: list[str], ids: list[int], kind: int, context: Context
    ) -> list[npt.NDArray[np.float32]]:
        inputs = self._inputs(ids, kind, context)
        found: list[npt.NDArray[np.float32]] = self._session.run(outputs, inputs)
        return found

    def _inputs(self, ids: list[int], kind: int, context: Context) -> dict[str, npt.NDArray[Any]]:
        return {
            "ids": np.array([[BEGIN, *ids, END]], np.int64),
            "kind": np.array([kind], np.int64),
            **dict(zip(self._past, context.past, strict=True)),
        }


def load(
    directory: Path | Traversable, form: int, command: str, *, is_beside: bool = False
) -> tuple[SentenceEncoder, dict[str, Any]]:
    """Read an encoder and what is said about it.

    Args:
        directory: Where its three files lie.
        form: The format that is read.
        command: What trains it anew, for errors.
        is_beside: As of `SentenceEncoder`.

    Raises:
        EncoderError: A file is missing, damaged, of another format, or of another training than
            the others.
    """
    try:
        about = json.loads((directory / ABOUT_FILE).read_text(encoding="utf-8"))
        if about["format"] != form:
            raise ValueError(
                f"is of format {about['format']}, and {form} is read; train it again with: "
                f"{command}"
            )
        pieces = (directory / PIECES_FILE).read_text(encoding="utf-8")
        outputs = sum(len(about[group]) for group in ("yes", "choices", "intents"))
        with importlib.resources.as_file(directory / ONNX_FILE) as model:
            if digest(model, pieces) != about["sha256"]:
                raise ValueError(
                    f"{ONNX_FILE} and {PIECES_FILE} are not those that it was written with"
                )
            return SentenceEncoder(model, pieces, outputs, is_beside=is_beside), about
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise EncoderError(f"{directory / ABOUT_FILE}: can't be used: {reason}") from None


def digest(model: Path, pieces: str) -> str:
    """SHA-256 of an encoder's files."""
    sha256 = hashlib.sha256(pieces.encode())
    with model.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
    return sha256.hexdigest()
