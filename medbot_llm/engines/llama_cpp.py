"""llama.cpp in this process, through llama-cpp-python's low-level API.

The high-level `llama_cpp.Llama` hides four things that a robot needs, so this engine stands on the
C API that the same package exposes:

- *loading reports its progress*, and a damaged file is an error with llama.cpp's own reason, not a
  crash;
- *a prefill can be stopped* while it runs, by llama.cpp's abort callback, without asking Python
  for its lock;
- *the prompt's prefix stays* in the context's memory between calls, and only what differs is
  worked through;
- *a LoRA adapter is swapped* between two replies without loading the model again.

Each call here must be made from one and the same thread (see `worker.py`).
"""

from __future__ import annotations

import codecs
import ctypes
import logging
import os
import re
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import PromptTooLongError
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.memory import return_freed_memory

logger = logging.getLogger(__name__)

GGUF_MAGIC = b"GGUF"
GGML_LOG_LEVEL_ERROR = 4
"""As in ggml.h; the list in llama-cpp-python's own `_logger.py` is of an older version."""
SMALLEST_CONTEXT_TOKENS = 64
REPEAT_PENALTY_WINDOW_TOKENS = 64
"""How far back the repeat penalty looks; llama.cpp's own default."""
TURNS_DROPPED_AT_ONCE = 4
"""Turns leave the context window in blocks of this many messages, so that the prompt's beginning,
and with it the work kept from the last reply, stays the same for several turns."""
TEMPLATE_PROBE = "7f3a"
"""A user's words that no template contains by itself."""
ABORTED = 2
"""`llama_decode`'s return value when the abort callback stopped it."""


@dataclass(frozen=True)
class LlamaCppOptions:
    """How to load and run a GGUF model.

    Attributes:
        model: The GGUF file, or what `locate` knows it by; where `parts` knows it for an adapter,
            its base is loaded with it.
        adapter: A LoRA adapter as GGUF, likewise; "" none.
        adapter_scale: Strength of the adapter; 1.0 as trained, 0.0 off.
        n_ctx: Context window, tokens; cut to what the model was trained for.
        n_batch: Most tokens worked through in one step of a prefill.
        n_threads: CPU threads that generate; 0 takes every core this process may use.
        n_threads_batch: CPU threads that work through prompts; 0 as many as n_threads.
        n_gpu_layers: Layers kept on the GPU; -1 all of them. Without a GPU build nothing is
            offloaded.
        chat_template: A Jinja chat template instead of the GGUF's own; "" takes the GGUF's.
        enable_thinking: Passed to the chat template; models like Qwen3 reason before they answer
            if it is True.
        use_mmap: Map the file instead of reading it into memory. Off by default: llama.cpp repacks
            most weights for the CPU, and a mapped file then stays beside the repacked copy (1.86
            against 1.27 GB for a 1.1 GB model, at the same speed and load time).
    """

    model: str
    adapter: str = ""
    adapter_scale: float = 1.0
    n_ctx: int = 4096
    n_batch: int = 512
    n_threads: int = 0
    n_threads_batch: int = 0
    n_gpu_layers: int = 0
    chat_template: str = ""
    enable_thinking: bool = False
    use_mmap: bool = False


class _LlamaLog:
    """Routes llama.cpp's log into `logging`, and keeps its last errors to say why a load
    failed.
    """

    def __init__(self, lib: Any) -> None:
        self.errors: list[str] = []
        # llama.cpp keeps the bare function pointer: the object must live as long as the library.
        self._callback = lib.llama_log_callback(self._on_line)
        self._lib = lib

    def install(self) -> None:
        self._lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _on_line(self, level: int, text: bytes, _user_data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if level == GGML_LOG_LEVEL_ERROR:
            self.errors = [*self.errors[-3:], line]
        # llama.cpp's warnings and errors are details of ours, which say what to do.
        logger.debug("llama.cpp: %s", line)

    def clear(self) -> None:
        """Forget the errors of what was done before."""
        self.errors = []

    def reason(self) -> str:
        """The innermost of the errors since `clear`, without llama.cpp's function names."""
        first = self.errors[0] if self.errors else ""
        return re.sub(r"^(llama_\w+|gguf_\w+|\w+_impl|ggml_\w+): ?(error: ?)?", "", first).strip()


_log: _LlamaLog | None = None


def _load_library() -> Any:
    """Import llama_cpp once and take over its log.

    Raises:
        ModelLoadError: llama-cpp-python is not installed or does not run on this machine.
    """
    global _log
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelLoadError(
            "llama-cpp-python cannot be loaded; install it with `make setup` or "
            f"`pip install 'medbot_llm[llama]'` ({error})"
        ) from error
    if _log is None:
        llama_cpp.llama_backend_init()
        _log = _LlamaLog(llama_cpp)
    _log.clear()
    _log.install()
    return llama_cpp


class _AbortFlag:
    """A byte that llama.cpp's threads look at after every node of the graph, without Python's
    lock.

    A Python function as abort callback would take the GIL some 20,000 times a second. C's `strlen`
    has the callback's shape, `bool f(void *)`: over this two-byte buffer it gives 0 while the
    first byte is NUL, and 1 once it is set.
    """

    def __init__(self, lib: Any) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        self._lock = threading.Lock()
        self._armed_for: CancelToken | None = None
        self.data = ctypes.cast(self._buffer, ctypes.c_void_p)
        address = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self.callback = lib.ggml_abort_callback(address)

    def arm(self, cancel: CancelToken) -> None:
        """Let `cancel`, and from now on no other token, stop the computation."""
        with self._lock:
            self._armed_for = cancel
            self._buffer[0] = b"\0"

        def on_cancel() -> None:
            with self._lock:
                if self._armed_for is cancel:
                    self._buffer[0] = b"\1"

        cancel.on_cancel(on_cancel)


def alone(name: str) -> tuple[str, str]:
    """A model's name stands for a model without an adapter."""
    return name, ""


class LlamaCppEngine:
    """Words replies with a GGUF model through llama.cpp. See `Engine` for what each method
    promises.
    """

    def __init__(
        self,
        options: LlamaCppOptions,
        locate: Callable[[str], Path] = Path,
        parts: Callable[[str], tuple[str, str]] = alone,
    ) -> None:
        """`locate` finds the file of a model or adapter, e.g. `ModelStore.resolve`; `parts` tells
        the model and the adapter that a model's name stands for, e.g. `ModelStore.parts`."""
        self._options = options
        self._locate = locate
        self._parts = parts
        self._name = Path(options.model).name
        # The adapter that the model's name brings.
        self._own_adapter = ""
        self._lib: Any = None
        self._model: Any = None
        self._context: Any = None
        self._vocab: Any = None
        self._adapter: Any = None
        self._adapter_path = ""
        self._abort: _AbortFlag | None = None
        self._formatter: Any = None
        self._control_text: re.Pattern[str] | None = None
        self._n_ctx = 0
        # Tokens whose keys and values the context's memory holds, in order.
        self._evaluated: list[int] = []
        self._latest_max_tokens = Sampling().max_tokens

    # --- loading and freeing ---------------------------------------------------------------------

    def load(self, progress: ProgressCallback) -> None:
        """Load model, context, chat template and adapter; frees what was loaded before.

        Raises:
            ModelLoadError: file missing, damaged, without a usable chat template, or out of
                memory.
        """
        self.close()
        model, self._own_adapter = self._parts(self._options.model)
        if self._own_adapter and self._options.adapter:
            raise ModelLoadError(
                f"the model {self._own_adapter} is an adapter itself; set the model to {model}, or"
                " leave adapter empty"
            )
        self._name = Path(model).name
        path = self._locate(model)
        _check_gguf(path, "model")
        self._lib = _load_library()
        try:
            self._load_model(path, progress)
            self._formatter = self._make_formatter()
            self._make_context()
            self._control_text = self._find_control_text()
            if self._options.adapter or self._own_adapter:
                self.set_adapter(self._options.adapter, self._options.adapter_scale)
        except BaseException:
            self.close()
            raise

    def _load_model(self, path: Path, progress: ProgressCallback) -> None:
        lib = self._lib
        params = lib.llama_model_default_params()
        params.n_gpu_layers = self._options.n_gpu_layers
        params.load_mode = (
            lib.LLAMA_LOAD_MODE_MMAP if self._options.use_mmap else lib.LLAMA_LOAD_MODE_NONE
        )

        stopped: list[Exception] = []

        def on_progress(share: float, _user_data: object) -> bool:
            # An exception cannot pass through C: stop the load, and raise it on this side.
            try:
                progress(share)
            except Exception as error:
                stopped.append(error)
            return not stopped

        # Keep a reference until the load is over: llama.cpp holds the bare pointer.
        callback = lib.llama_progress_callback(on_progress)
        params.progress_callback = callback
        self._model = lib.llama_model_load_from_file(os.fsencode(path), params)
        if stopped:
            raise stopped[0]
        if not self._model:
            raise ModelLoadError(
                f"the model {path} cannot be loaded: {self._reason('llama.cpp gives no reason')}; "
                "fetch it again with `medbot models pull` or give another model"
            )
        self._vocab = lib.llama_model_get_vocab(self._model)

    def _make_context(self) -> None:
        lib = self._lib
        trained = lib.llama_model_n_ctx_train(self._model)
        n_ctx = min(self._options.n_ctx, trained) if trained > 0 else self._options.n_ctx
        if n_ctx < self._options.n_ctx:
            logger.warning("the context window is cut to the model's %d tokens", n_ctx)
        threads = self._options.n_threads or len(os.sched_getaffinity(0))
        params = lib.llama_context_default_params()
        params.n_ctx = max(n_ctx, SMALLEST_CONTEXT_TOKENS)
        params.n_batch = min(self._options.n_batch, params.n_ctx)
        params.n_ubatch = params.n_batch
        # Only the last token of a prompt needs logits; the default keeps room for all of them,
        # which for a vocabulary of 150,000 is 300 MB.
        params.n_outputs_max = 1
        params.n_threads = threads
        params.n_threads_batch = self._options.n_threads_batch or threads
        params.no_perf = True
        self._abort = _AbortFlag(lib)
        params.abort_callback = self._abort.callback
        params.abort_callback_data = self._abort.data
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise ModelLoadError(
                f"no context of {n_ctx} tokens can be made for {self._name}: "
                f"{self._reason('probably too little memory')}; lower n_ctx or n_gpu_layers"
            )
        self._n_ctx = lib.llama_n_ctx(self._context)
        self._evaluated = []

    def _make_formatter(self) -> Any:
        """Compile the chat template in llama_cpp's sandbox, which renders as transformers does."""
        import jinja2
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self._options.chat_template
        if not template:
            raw = self._lib.llama_model_chat_template(self._model, None)
            template = raw.decode("utf-8", "replace") if raw else ""
        if not template:
            raise ModelLoadError(
                f"{self._name} has no chat template, so it is not a chat model; "
                "choose an instruction-tuned GGUF, or give the template it was trained with "
                "(chat_template)"
            )
        lib, vocab = self._lib, self._vocab
        try:
            formatter = Jinja2ChatFormatter(
                template=template,
                bos_token=self._token_text(lib.llama_vocab_bos(vocab)),
                eos_token=self._token_text(lib.llama_vocab_eos(vocab)),
            )
            probe = [("system", "-"), ("user", "-"), ("assistant", "-"), ("user", TEMPLATE_PROBE)]
            prompt = formatter(messages=[{"role": r, "content": c} for r, c in probe]).prompt
            if TEMPLATE_PROBE not in prompt:
                raise ValueError("it leaves out what the user says")
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise ModelLoadError(f"the chat template cannot be used: {error}") from error
        return formatter

    def _find_control_text(self) -> re.Pattern[str] | None:
        """A pattern of every token text that this model's template uses as control, e.g.
        <|im_end|>.
        """
        lib, vocab = self._lib, self._vocab
        texts = [
            self._token_text(token)
            for token in range(lib.llama_vocab_n_tokens(vocab))
            if lib.llama_vocab_is_control(vocab, token)
        ]
        alternatives = "|".join(
            re.escape(text) for text in sorted(texts, key=len, reverse=True) if len(text) > 1
        )
        return re.compile(alternatives) if alternatives else None

    def set_adapter(self, path: str, scale: float) -> None:
        """Swap the LoRA adapter; "" takes it off, but for one that the model's name brings. What
        was worked through with the old one is forgotten.

        Raises:
            ModelLoadError: not a GGUF adapter, or not one for this model. The former adapter
                stays.
        """
        self._require_loaded()
        lib = self._lib
        adapter = None
        path = path or self._own_adapter
        if path:
            file = self._locate(path)
            _check_gguf(file, "adapter")
            self._clear_reason()
            adapter = lib.llama_adapter_lora_init(self._model, os.fsencode(file))
            if not adapter:
                raise ModelLoadError(
                    f"the adapter {path} does not fit {self._name}: "
                    f"{self._reason('llama.cpp gives no reason')}"
                )
        count = 1 if adapter else 0
        adapters = (lib.llama_adapter_lora_p_ctypes * 1)(adapter)
        scales = (ctypes.c_float * 1)(scale)
        if lib.llama_set_adapters_lora(self._context, adapters, count, scales):
            if adapter:
                lib.llama_adapter_lora_free(adapter)
            raise ModelLoadError(f"the adapter {path} cannot be used: {self._reason('no reason')}")
        if self._adapter:
            lib.llama_adapter_lora_free(self._adapter)
        self._adapter = adapter
        self._adapter_path = f"{path} x {scale:g}" if path else ""
        self._forget_from(0)

    def close(self) -> None:
        """Free adapter, context and model."""
        lib = self._lib
        if self._context:
            lib.llama_free(self._context)
            self._context = None
        if self._adapter:
            lib.llama_adapter_lora_free(self._adapter)
            self._adapter = None
        if self._model:
            lib.llama_model_free(self._model)
            self._model = None
            return_freed_memory()
        self._vocab = None
        self._formatter = None
        self._adapter_path = ""
        self._n_ctx = 0
        self._evaluated = []

    def info(self) -> EngineInfo:
        """What is loaded now."""
        return EngineInfo(
            engine="llama_cpp",
            model=self._name,
            adapter=self._adapter_path,
            context_tokens=self._n_ctx,
        )

    # --- serving ---------------------------------------------------------------------------------

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Work through `messages` up to where the next message's text would begin."""
        self._require_loaded()
        tokens = self._shared_prefix(messages)
        # What does not fit will be shortened by `stream`, and then begins differently.
        if 0 < len(tokens) <= self._room(self._latest_max_tokens):
            self._evaluate(tokens, cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Generate the reply, one piece a token."""
        self._require_loaded()
        lib = self._lib
        self._latest_max_tokens = sampling.max_tokens
        prompt, rendered = self._fit(messages, sampling.max_tokens)
        if rendered.rstrip().endswith("<think>"):
            # The template opened the model's thoughts for it: say so, or they would pass for the
            # answer.
            yield "<think>"
        if not self._evaluate(prompt, cancel):
            return
        sampler = self._make_sampler(sampling)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        one = (lib.llama_token * 1)()
        try:
            for _ in range(min(sampling.max_tokens, self._n_ctx - len(prompt))):
                token = lib.llama_sampler_sample(sampler, self._context, -1)
                if lib.llama_vocab_is_eog(self._vocab, token):
                    break
                yield decoder.decode(self._piece(token))
                if cancel.cancelled:
                    return
                one[0] = token
                result = lib.llama_decode(self._context, lib.llama_batch_get_one(one, 1))
                if result == ABORTED:
                    self._forget_from(len(self._evaluated))
                    return
                if result != 0:
                    self._forget_from(0)
                    raise EngineError(f"llama.cpp failed to generate (code {result})")
                self._evaluated.append(token)
            rest = decoder.decode(b"", final=True)
            if rest:
                yield rest
        finally:
            lib.llama_sampler_free(sampler)

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a plain text."""
        self._require_loaded()
        return len(self._tokenize(text, add_special=False))

    # --- prompt to tokens ------------------------------------------------------------------------

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The prompt as the model's chat template writes it, with the reply's opening at its
        end.
        """
        self._require_loaded()
        rows = [{"role": str(m.role), "content": self._harmless(m.content)} for m in messages]
        try:
            response = self._formatter(
                messages=rows, enable_thinking=self._options.enable_thinking
            )
        except Exception as error:  # templates raise what they like
            raise EngineError(
                f"the model's chat template refuses the messages: {error}"
            ) from error
        return str(response.prompt)

    def encode(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids of the rendered prompt; what training and serving must agree on."""
        return self._encode_rendered(self.render(messages))

    def _encode_rendered(self, rendered: str) -> list[int]:
        # Templates that write the beginning-of-sequence token themselves must not get a second
        # one.
        bos = self._token_text(self._lib.llama_vocab_bos(self._vocab))
        has_bos = bool(bos) and rendered.startswith(bos)
        return self._tokenize(rendered, add_special=not has_bos)

    def _harmless(self, text: str) -> str:
        """Take out text that this model's tokenizer would read as a control token.

        The prompt builder neutralises what it fills in; this is the second line, by the model's
        own list."""
        if self._control_text is None:
            return text
        # What one pass takes out can bring together another one: "<|im_<|im_end|>end|>".
        while (harmless := self._control_text.sub("", text)) != text:
            text = harmless
        return text

    def _room(self, max_tokens: int) -> int:
        """Tokens of the context window that a prompt may take beside a reply of max_tokens."""
        return self._n_ctx - min(max_tokens, self._n_ctx // 2)

    def _fit(self, messages: Sequence[ChatMessage], max_tokens: int) -> tuple[list[int], str]:
        """Encode as many of the newest turns as fit beside the system prompt and the reply."""
        system, turns = list(messages[:1]), list(messages[1:])
        room = self._room(max_tokens)
        while True:
            rendered = self.render([*system, *turns])
            tokens = self._encode_rendered(rendered)
            if len(tokens) <= room:
                return tokens, rendered
            if len(turns) <= 1:
                raise PromptTooLongError(
                    f"the system prompt and the newest message need {len(tokens)} tokens, and "
                    f"only {room} of n_ctx {self._n_ctx} are left beside the reply; raise n_ctx "
                    "or lower max_tokens"
                )
            turns = turns[min(TURNS_DROPPED_AT_ONCE, len(turns) - 1) :]
            while len(turns) > 1 and turns[0].role is not ChatRole.USER:
                turns = turns[1:]

    def _shared_prefix(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Tokens that begin every prompt which goes on from `messages` with a user's words.

        Found by comparing two such prompts, since many templates refuse a prompt without a user's
        turn."""
        one, other = (
            self.encode([*messages, ChatMessage(ChatRole.USER, probe)]) for probe in ("A", "一")
        )
        return one[: _common_length(one, other)]

    def _tokenize(self, text: str, *, add_special: bool) -> list[int]:
        raw = text.encode("utf-8", "replace")
        capacity = len(raw) + 2
        while True:
            tokens = (self._lib.llama_token * capacity)()
            count = self._lib.llama_tokenize(
                self._vocab, raw, len(raw), tokens, capacity, add_special, True
            )
            if count >= 0:
                return list(tokens[:count])
            capacity = -count

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        count = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[:count] if count > 0 else b""

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        raw = self._lib.llama_vocab_get_text(self._vocab, token)
        return raw.decode("utf-8", "replace") if raw else ""

    # --- the context's memory --------------------------------------------------------------------

    def _evaluate(self, tokens: list[int], cancel: CancelToken) -> bool:
        """Bring the memory to exactly `tokens`, working through only what differs; False if
        cancelled.

        From here on `cancel` also stops llama.cpp in the middle of its computation (on the CPU; a
        GPU is stopped between two batches)."""
        lib = self._lib
        assert self._abort is not None
        self._abort.arm(cancel)
        self._clear_reason()
        # The last token is always worked through again: sampling needs its logits.
        keep = min(_common_length(self._evaluated, tokens), len(tokens) - 1)
        keep = self._forget_from(keep)
        n_batch = lib.llama_n_batch(self._context)
        for start in range(keep, len(tokens), n_batch):
            if cancel.cancelled:
                return False
            part = tokens[start : start + n_batch]
            batch = (lib.llama_token * len(part))(*part)
            result = lib.llama_decode(self._context, lib.llama_batch_get_one(batch, len(part)))
            if result == ABORTED:
                self._forget_from(start)
                return False
            if result != 0:
                self._forget_from(0)
                raise EngineError(
                    f"llama.cpp failed on a prompt of {len(tokens)} tokens (code {result}): "
                    f"{self._reason('no reason given')}"
                )
            self._evaluated.extend(part)
        return True

    def _forget_from(self, position: int) -> int:
        """Drop what the memory holds from `position` on; returns the position really kept.

        Recurrent models cannot drop a part of their state: they start again from nothing."""
        memory = self._lib.llama_get_memory(self._context)
        if not self._lib.llama_memory_seq_rm(memory, 0, position, -1):
            self._lib.llama_memory_clear(memory, True)
            position = 0
        del self._evaluated[position:]
        return position

    def _make_sampler(self, sampling: Sampling) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        stages = []
        if sampling.repeat_penalty != 1.0:
            stages.append(
                lib.llama_sampler_init_penalties(
                    lib.llama_vocab_n_tokens(self._vocab),
                    REPEAT_PENALTY_WINDOW_TOKENS,
                    sampling.repeat_penalty,
                    0.0,
                    0.0,
                )
            )
        if sampling.temperature <= 0:
            stages.append(lib.llama_sampler_init_greedy())
        else:
            seed = lib.LLAMA_DEFAULT_SEED if sampling.seed is None else sampling.seed
            stages += [
                lib.llama_sampler_init_top_k(sampling.top_k),
                lib.llama_sampler_init_top_p(sampling.top_p, 1),
                lib.llama_sampler_init_min_p(sampling.min_p, 1),
                lib.llama_sampler_init_temp(sampling.temperature),
                lib.llama_sampler_init_dist(seed),
            ]
        for stage in stages:
            lib.llama_sampler_chain_add(chain, stage)
        return chain

    def _require_loaded(self) -> None:
        if not self._context:
            raise EngineUnavailableError("no model is loaded")

    def _clear_reason(self) -> None:
        if _log is not None:
            _log.clear()

    def _reason(self, default: str) -> str:
        return (_log.reason() if _log else "") or default


def _check_gguf(path: Path, what: str) -> None:
    """Tell a missing or foreign file apart from a damaged one before llama.cpp sees it."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except FileNotFoundError:
        raise ModelLoadError(
            f"the {what} file {path} does not exist; fetch one with `medbot models pull` or "
            "correct the path"
        ) from None
    except OSError as error:
        raise ModelLoadError(f"the {what} file {path} cannot be read: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise ModelLoadError(f"{path} is not a GGUF file, so it cannot serve as the {what}")


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the beginning that two token lists share."""
    length = 0
    for left, right in zip(one, other):  # noqa: B905 - the shorter one ends it
        if left != right:
            break
        length += 1
    return length
