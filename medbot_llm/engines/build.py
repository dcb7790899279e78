"""Make the engine that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from medbot_llm.domain import StringEnum
from medbot_llm.engines.base import Engine
from medbot_llm.engines.fallback import FallbackEngine
from medbot_llm.engines.llama_cpp import LlamaCppEngine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_llm.engines.llama_cpp import alone
from medbot_llm.engines.openai_api import OpenAiEngine
from medbot_llm.engines.openai_api import OpenAiOptions
from medbot_llm.engines.scripted import ScriptedEngine


class EngineKind(StringEnum):
    """The engines there are."""

    LLAMA_CPP = "llama_cpp"
    OPENAI_API = "openai_api"
    SCRIPTED = "scripted"


@dataclass(frozen=True)
class EngineSettings:
    """Which engine serves, which takes over when it is gone, and the options of each.

    Attributes:
        kind: The engine that serves.
        fallback: The engine that takes over where `kind` does not answer; None none.
        llama_cpp: For EngineKind.LLAMA_CPP.
        openai_api: For EngineKind.OPENAI_API.
        script: For EngineKind.SCRIPTED: its YAML file.
    """

    kind: EngineKind
    fallback: EngineKind | None = None
    llama_cpp: LlamaCppOptions = field(default_factory=lambda: LlamaCppOptions(model=""))
    openai_api: OpenAiOptions = field(default_factory=OpenAiOptions)
    script: str = ""


def build_engine(
    settings: EngineSettings,
    locate: Callable[[str], Path] = Path,
    parts: Callable[[str], tuple[str, str]] = alone,
) -> Engine:
    """Make the engine, not loaded yet. `locate` finds the file of a model or adapter by its name;
    `parts` gives the model and the adapter that a model's name stands for.
    """
    engine = _build(settings.kind, settings, locate, parts)
    if settings.fallback is None or settings.fallback is settings.kind:
        return engine
    return FallbackEngine(engine, _build(settings.fallback, settings, locate, parts))


def _build(
    kind: EngineKind,
    settings: EngineSettings,
    locate: Callable[[str], Path],
    parts: Callable[[str], tuple[str, str]],
) -> Engine:
    if kind is EngineKind.OPENAI_API:
        return OpenAiEngine(settings.openai_api)
    if kind is EngineKind.SCRIPTED:
        return ScriptedEngine.from_file(Path(settings.script))
    return LlamaCppEngine(settings.llama_cpp, locate, parts)
