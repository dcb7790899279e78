"""A GGUF as llama.cpp sees it: its next-token logits, and how the robot's engine asks it.

Every call of llama.cpp is made by the thread that calls these functions, one at a time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import shutil
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.llama_cpp import LlamaCppEngine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_training.export.folders import ExportError
from medbot_training.prompting import ChatMessages

logger = logging.getLogger(__name__)

QUANTIZATIONS = {
    "f16": 1,
    "bf16": 32,
    "q8_0": 7,
    "q6_k": 18,
    "q5_k_m": 17,
    "q5_k_s": 16,
    "q5_0": 8,
    "q4_k_m": 15,
    "q4_k_s": 14,
    "q4_0": 2,
}
"""Names of kinds of weights → llama.cpp's number for them (enum llama_ftype)."""
_LITTLE_BYTES = 4_000_000
"""With less free space than this, an error in writing is taken for a full disk."""


@functools.cache
def llama() -> Any:
    """The library, with its talk in our log. Raises ExportError where there is none."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise ExportError(
            f"llama-cpp-python can't be loaded ({error}); run make setup-training"
        ) from None
    llama_cpp.llama_backend_init()
    return llama_cpp


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep llama.cpp's talk off the terminal; gives its lines, for the reason of an error."""
    lib = llama()
    lines: list[str] = []

    def on_line(level: int, text: bytes, _user_data: object) -> None:
        lines.append(text.decode("utf-8", "replace").strip())
        del lines[:-20]
        logger.debug("llama.cpp: %s", lines[-1])

    callback = lib.llama_log_callback(on_line)
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield lines
    finally:
        # The library keeps the bare pointer: never leave it one that is gone.
        lib.llama_log_set(_silent(lib), ctypes.c_void_p(0))


@functools.cache
def _silent(lib: Any) -> Any:
    return lib.llama_log_callback(lambda *_: None)


def _threads() -> int:
    """As many as PyTorch takes: OMP_NUM_THREADS holds for both."""
    import torch

    return int(torch.get_num_threads())


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write a GGUF of 16-bit weights with fewer bits a weight. Raises ExportError."""
    lib = llama()
    params = lib.llama_model_quantize_default_params()
    params.ftype = QUANTIZATIONS[kind]
    params.nthread = _threads()
    with _quiet() as lines:
        failed = lib.llama_model_quantize(
            os.fsencode(source), os.fsencode(target), ctypes.byref(params)
        )
    if failed:
        said = next((line for line in reversed(lines) if "fail" in line or "error" in line), "")
        if "writ" in said or shutil.disk_usage(target.parent).free < _LITTLE_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        raise ExportError(f"llama.cpp could not make {target.name}: {said or 'no reason given'}")


def encoded_by_robot(
    model: Path, conversations: Sequence[ChatMessages], adapter: Path | None = None
) -> list[list[int]]:
    """The ids with which the robot's engine asks a GGUF for the next message.

    Raises:
        ExportError: The engine can't load it.
    """
    engine = LlamaCppEngine(
        LlamaCppOptions(model=str(model), adapter=str(adapter or ""), n_ctx=64, n_batch=32)
    )
    try:
        engine.load(lambda _: None)
        return [
            engine.encode([ChatMessage(ChatRole(m["role"]), m["content"]) for m in messages])
            for messages in conversations
        ]
    except EngineError as error:
        raise ExportError(f"the robot can't load {model.name}: {error}") from None
    finally:
        engine.close()
        # The engine's log callback stays with the engine; ours goes back in.
        llama().llama_log_set(_silent(llama()), ctypes.c_void_p(0))


class Runner:
    """A GGUF that is loaded, with or without an adapter beside it.

    Args:
        model: The GGUF.
        n_ctx: Room for tokens.
        adapter: A LoRA as GGUF.

    Raises:
        ExportError: llama.cpp can't load it.
    """

    def __init__(self, model: Path, n_ctx: int, adapter: Path | None = None) -> None:
        lib = self._lib = llama()
        self._adapter: Any = None
        self._context: Any = None
        with _quiet() as lines:
            self._model = lib.llama_model_load_from_file(
                os.fsencode(model), lib.llama_model_default_params()
            )
            if not self._model:
                raise ExportError(f"llama.cpp can't load {model.name}: {' '.join(lines[-2:])}")
            params = lib.llama_context_default_params()
            params.n_ctx = n_ctx
            params.n_batch = params.n_ubatch = min(n_ctx, 512)
            params.n_threads = params.n_threads_batch = _threads()
            params.n_outputs_max = 1
            params.no_perf = True
            self._context = lib.llama_init_from_model(self._model, params)
            if not self._context:
                self.close()
                raise ExportError(f"llama.cpp has no memory to run {model.name}")
            if adapter is not None:
                self._apply(adapter, lines)
        self.vocab = lib.llama_model_get_vocab(self._model)
        self.vocabulary_size = int(lib.llama_vocab_n_tokens(self.vocab))

    def _apply(self, adapter: Path, lines: list[str]) -> None:
        lib = self._lib
        self._adapter = lib.llama_adapter_lora_init(self._model, os.fsencode(adapter))
        if not self._adapter:
            self.close()
            raise ExportError(
                f"llama.cpp can't put {adapter.name} beside its base: {' '.join(lines[-2:])}"
            )
        adapters = (lib.llama_adapter_lora_p_ctypes * 1)(self._adapter)
        scales = (ctypes.c_float * 1)(1.0)
        lib.llama_set_adapters_lora(self._context, adapters, 1, scales)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory."""
        if self._context:
            self._lib.llama_free(self._context)
            self._context = None
        if self._adapter:
            self._lib.llama_adapter_lora_free(self._adapter)
            self._adapter = None
        if self._model:
            self._lib.llama_model_free(self._model)
            self._model = None

    def ends(self, token: int) -> bool:
        """Whether generation stops at a token."""
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token))

    def answer_logits(self, prompt: Sequence[int], answer: Sequence[int]) -> Any:
        """The logits before each id of an answer, one id at a time as the robot generates.

        Returns:
            A float32 tensor, len(answer) x vocabulary.
        """
        import numpy as np
        import torch

        lib = self._lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        size = int(lib.llama_n_batch(self._context))
        parts = [list(prompt[start : start + size]) for start in range(0, len(prompt), size)]
        rows = np.empty((len(answer), self.vocabulary_size), dtype=np.float32)
        for place, token in enumerate([None, *answer[:-1]]):
            for part in parts if token is None else [[token]]:
                ids = (lib.llama_token * len(part))(*part)
                code = lib.llama_decode(self._context, lib.llama_batch_get_one(ids, len(part)))
                if code != 0:
                    raise ExportError(f"llama.cpp failed on a question (code {code})")
            row = lib.llama_get_logits_ith(self._context, -1)
            rows[place] = np.ctypeslib.as_array(row, shape=(self.vocabulary_size,))
        return torch.from_numpy(rows)
