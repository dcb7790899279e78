"""Which engine words the answers: the same options for all commands that talk."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from medbot_llm.apps.threads import spin_little
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import MedbotError
from medbot_llm.engines.base import Engine
from medbot_llm.engines.build import EngineKind
from medbot_llm.engines.build import EngineSettings
from medbot_llm.engines.build import build_engine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_llm.engines.openai_api import OpenAiOptions
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.scripted import ScriptedEngine
from medbot_llm.models.store import ModelStore

_FACTS = re.compile(r"\n【[^】]*】\s*(?P<facts>.+)\Z", re.DOTALL)


def add_engine_options(
    parser: argparse._ActionsContainer, default: EngineKind = EngineKind.SCRIPTED
) -> None:
    """Give a command the options of its engine."""
    parser.add_argument(
        "--engine",
        choices=EngineKind.values(),
        default=default.value,
        help="what words the answers; scripted without a script repeats the plan's facts"
        " (default: %(default)s)",
    )
    parser.add_argument("--script", type=Path, help="script of engine scripted, a YAML file")
    parser.add_argument(
        "--model",
        default="qwen2.5-coder-1.5b-instruct-q4_k_m",
        help="model of engine llama_cpp: an id of `medbot models list`, or a GGUF file",
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="of openai_api")


def engine_of(args: argparse.Namespace) -> Engine:
    """The engine that these options ask for, not loaded yet. Raises MedbotError."""
    spin_little()
    kind = EngineKind(args.engine)
    if args.script is not None and kind is not EngineKind.SCRIPTED:
        raise MedbotError("--script is for --engine scripted")
    if kind is EngineKind.SCRIPTED and args.script is None:
        return facts_engine()
    settings = EngineSettings(
        kind=kind,
        llama_cpp=LlamaCppOptions(model=args.model),
        openai_api=OpenAiOptions(base_url=args.base_url),
        script=str(args.script or ""),
    )
    store = ModelStore()
    return build_engine(settings, store.resolve, store.parts)


def facts_engine() -> Engine:
    """The engine of a dry run: it repeats the facts of the plan."""
    return ScriptedEngine(Script(default=_say_the_facts))


def _say_the_facts(messages: Sequence[ChatMessage]) -> str:
    """What a dry run says in the model's place: the facts of the plan, or whom to ask."""
    asked = messages[-1].content
    facts = _FACTS.search(asked)
    if facts is not None:
        return facts["facts"]
    is_chinese = re.search(r"[\u4e00-\u9fff]", asked) is not None
    if is_chinese:
        return "抱歉，這個我沒辦法回答，請問護理師或藥師。"
    return "Sorry, I can't answer that; please ask the nurse or pharmacist."
