"""The parameters of `dialogue_node`, and the settings of the core that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node

from medbot_llm.dialogue.advice import HoldFrom
from medbot_llm.dialogue.policy import PolicySettings
from medbot_llm.dialogue.resources import ResourceSettings
from medbot_llm.dialogue.session import YIELD_TO_VOICE_S
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Scene
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.build import EngineKind
from medbot_llm.engines.build import EngineSettings
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_llm.engines.openai_api import OpenAiOptions
from medbot_llm.engines.worker import Timeouts
from medbot_llm.nodes.parameter_table import AUTOSTART
from medbot_llm.nodes.parameter_table import ParameterSpec
from medbot_llm.nodes.parameter_table import ParameterTable

DEFAULT_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"
PRIMARY_SHARE = 0.4
"""Share of the time-out for the first token that a server gets where a fall-back stands by."""
ENGINES = EngineKind.values()
DIALOGUE_PARAMETERS: tuple[ParameterSpec, ...] = (
    AUTOSTART,
    ParameterSpec(
        "default_scene",
        "ward",
        "Scene while neither the task nor the robot's context names one.",
        choices=Scene.values(),
    ),
    ParameterSpec(
        "default_language",
        "zh-Hant",
        "Language until a task or a speaker brings another one.",
        choices=Language.values(),
    ),
    ParameterSpec("engine", "llama_cpp", "What runs the language model.", choices=ENGINES),
    ParameterSpec(
        "fallback_engine",
        "",
        "Engine that takes over while the first one does not answer; empty: prepared words only.",
        choices=("", *ENGINES),
    ),
    ParameterSpec(
        "require_model",
        False,
        "Fail to configure where the model cannot be loaded, instead of serving prepared words.",
    ),
    ParameterSpec(
        "model",
        DEFAULT_MODEL,
        "Model for llama_cpp: an id of `medbot models list`, or a GGUF file.",
    ),
    ParameterSpec(
        "adapter",
        "",
        "LoRA adapter (GGUF file, id, or a server's name for it). Empty: none.",
        live=True,
    ),
    ParameterSpec(
        "adapter_scale", 1.0, "Strength of the adapter; 1 as trained, 0 off.", 0, 4, live=True
    ),
    ParameterSpec("llama_cpp.n_ctx", 4096, "Context window, tokens.", 64, 131072),
    ParameterSpec(
        "llama_cpp.n_batch", 512, "Most tokens of a prompt worked through in one step.", 16, 8192
    ),
    ParameterSpec(
        "llama_cpp.n_threads",
        0,
        "CPU threads that generate; 0: every core the process may use.",
        0,
        256,
    ),
    ParameterSpec(
        "llama_cpp.n_threads_batch",
        0,
        "CPU threads that work through prompts; 0: as many as n_threads.",
        0,
        256,
    ),
    ParameterSpec("llama_cpp.n_gpu_layers", 0, "Layers on the GPU; -1: all.", -1, 1000),
    ParameterSpec(
        "llama_cpp.use_mmap", False, "Map the model file instead of reading it into memory."
    ),
    ParameterSpec(
        "llama_cpp.chat_template",
        "",
        "File of a Jinja chat template to use instead of the model's own. Empty: the model's.",
    ),
    ParameterSpec(
        "enable_thinking",
        False,
        "Let models that can think before they answer; their thoughts are never spoken.",
    ),
    ParameterSpec(
        "sampling.temperature",
        0.3,
        "Randomness; 0 always takes the likeliest token.",
        0,
        2,
        live=True,
    ),
    ParameterSpec(
        "sampling.top_k",
        40,
        "Choose among this many likeliest tokens; 0: all.",
        0,
        1000,
        live=True,
    ),
    ParameterSpec(
        "sampling.top_p",
        0.9,
        "Choose among the tokens that make up this probability.",
        0,
        1,
        live=True,
    ),
    ParameterSpec(
        "sampling.min_p",
        0.05,
        "Leave out tokens less likely than this share of the likeliest.",
        0,
        1,
        live=True,
    ),
    ParameterSpec(
        "sampling.repeat_penalty", 1.1, "Penalty on repeated tokens; 1: none.", 0.5, 2, live=True
    ),
    ParameterSpec("sampling.max_tokens", 200, "Longest reply, tokens.", 1, 4096, live=True),
    ParameterSpec(
        "sampling.seed",
        -1,
        "Seed of the random choice; -1: a new one each reply.",
        -1,
        2**31 - 1,
        live=True,
    ),
    ParameterSpec(
        "timeouts.first_token_s",
        15.0,
        "Longest wait for the model's first token, s; then prepared words.",
        0.1,
        600,
    ),
    ParameterSpec(
        "timeouts.between_tokens_s", 5.0, "Longest wait between two tokens, s.", 0.1, 600
    ),
    ParameterSpec(
        "timeouts.first_sentence_s",
        25.0,
        "Longest wait for the first whole sentence, thoughts included, s; then prepared words.",
        0.1,
        600,
    ),
    ParameterSpec(
        "yield_to_voice_s",
        YIELD_TO_VOICE_S,
        "How long the model stands still at most while the voice works out the first sound of a "
        "reply, s. 0 where they do not share cores.",
        0,
        10,
    ),
    ParameterSpec(
        "openai_api.base_url", "http://127.0.0.1:8000/v1", "Server for engine openai_api."
    ),
    ParameterSpec("openai_api.model", "", "Model name on that server; empty: the first it lists."),
    ParameterSpec(
        "openai_api.api_key_env",
        "OPENAI_API_KEY",
        "Environment variable that holds the server's key.",
    ),
    ParameterSpec(
        "openai_api.connect_timeout_s", 2.0, "Longest wait for a connection, s.", 0.1, 60
    ),
    ParameterSpec("scripted.file", "", "Script for engine scripted, a YAML file."),
    ParameterSpec(
        "prompts_directory", "", "Folder with a hospital's own prompts; empty: the built-in ones."
    ),
    ParameterSpec(
        "formulary",
        "",
        "Database made by `medbot formulary`; empty: the version in use.",
    ),
    ParameterSpec(
        "region",
        "tw",
        "Whose emergency and crisis numbers are told; a region of resource/emergency.yaml.",
    ),
    ParameterSpec(
        "emergency_words", "", "File like resource/emergency.yaml; empty: the built-in one."
    ),
    ParameterSpec(
        "identity_rules", "", "File like resource/identity.yaml; empty: the built-in one."
    ),
    ParameterSpec(
        "hold_from",
        "major",
        "From which severity of an interaction on a delivery is held back for staff.",
        choices=HoldFrom.values(),
    ),
    ParameterSpec("min_confidence", 0.35, "Speech recognised with less is asked for again.", 0, 1),
    ParameterSpec(
        "max_utterance_chars", 1000, "Longer speech is asked for again, shorter.", 20, 20000
    ),
    ParameterSpec(
        "alert_repeat_s",
        10.0,
        "An alert is published again after this long without acknowledgement, s.",
        1,
        600,
    ),
)


class DialogueParameters(ParameterTable):
    """The parameters of `dialogue_node`, as the settings of the core."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, DIALOGUE_PARAMETERS)

    def sampling(self, changes: Mapping[str, Any] | None = None) -> Sampling:
        """How tokens are chosen, with `changes` that are about to be taken."""

        def value(name: str) -> Any:
            full = f"sampling.{name}"
            return (changes or {}).get(full, self[full])

        seed = value("seed")
        return Sampling(
            temperature=float(value("temperature")),
            top_k=value("top_k"),
            top_p=float(value("top_p")),
            min_p=float(value("min_p")),
            repeat_penalty=float(value("repeat_penalty")),
            max_tokens=value("max_tokens"),
            seed=None if seed < 0 else seed,
        )

    def engine(self) -> EngineSettings:
        """Which engine, and how.

        Raises:
            MedbotError: the chat template's file cannot be read, or a script is not named.
        """
        fallback = self["fallback_engine"]
        if "scripted" in (self["engine"], fallback) and not self["scripted.file"]:
            raise MedbotError("engine scripted needs a script; set scripted.file")
        return EngineSettings(
            kind=EngineKind(self["engine"]),
            fallback=EngineKind(fallback) if fallback else None,
            llama_cpp=LlamaCppOptions(
                model=self["model"],
                adapter=self["adapter"],
                adapter_scale=self["adapter_scale"],
                n_ctx=self["llama_cpp.n_ctx"],
                n_batch=self["llama_cpp.n_batch"],
                n_threads=self["llama_cpp.n_threads"],
                n_threads_batch=self["llama_cpp.n_threads_batch"],
                n_gpu_layers=self["llama_cpp.n_gpu_layers"],
                use_mmap=self["llama_cpp.use_mmap"],
                chat_template=_read_template(self["llama_cpp.chat_template"]),
                enable_thinking=self["enable_thinking"],
            ),
            openai_api=OpenAiOptions(
                base_url=self["openai_api.base_url"],
                model=self["openai_api.model"],
                api_key_env=self["openai_api.api_key_env"],
                connect_timeout_s=self["openai_api.connect_timeout_s"],
                # A fall-back must still have time to answer within the whole.
                first_token_timeout_s=self["timeouts.first_token_s"]
                * (PRIMARY_SHARE if fallback else 1.0),
                between_tokens_timeout_s=self["timeouts.between_tokens_s"],
                disable_thinking=not self["enable_thinking"],
            ),
            script=self["scripted.file"],
        )

    def resources(self) -> ResourceSettings:
        """Which words, rules and facts to use."""

        def path(name: str) -> Path | None:
            return Path(self[name]) if self[name] else None

        return ResourceSettings(
            prompts=path("prompts_directory"),
            formulary=path("formulary"),
            identity_rules=path("identity_rules"),
            emergency_words=path("emergency_words"),
            region=self["region"],
        )

    def timeouts(self) -> Timeouts:
        """How long a reply waits for the model."""
        return Timeouts(
            first_token_s=self["timeouts.first_token_s"],
            between_tokens_s=self["timeouts.between_tokens_s"],
            first_sentence_s=self["timeouts.first_sentence_s"],
        )

    def policy(self) -> PolicySettings:
        """What the hospital sets for the hand-over."""
        return PolicySettings(
            default_scene=Scene(self["default_scene"]),
            default_language=Language(self["default_language"]),
            min_confidence=self["min_confidence"],
            max_utterance_chars=self["max_utterance_chars"],
            hold_from=HoldFrom(self["hold_from"]),
        )


def _read_template(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MedbotError(f"the chat template {path} cannot be read: {error}") from error
