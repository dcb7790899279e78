"""One conversation, the same ids everywhere: in training, as transformers asks, in the merged
model, and as the robot's engine asks the exported GGUF. A model that is asked otherwise than it
was taught answers far worse, and nothing else would tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.llama_cpp import LlamaCppEngine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_training import templates
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.export.answers import greedy_answers
from medbot_training.export.converter import convert_model
from medbot_training.export.converter import without_markers
from medbot_training.export.llama_runner import Runner
from medbot_training.export.merge import load_own_tokenizer
from medbot_training.export.merge import load_plain
from medbot_training.export.probes import COMPARED_TOKENS
from medbot_training.export.probes import TASK
from medbot_training.export.probes import Probe
from medbot_training.prompting import ChatMessages
from medbot_training.prompting import PromptMaker

from .conftest import RECIPES

TEMPLATES = ("chatml", "llama3", "vicuna", "alpaca", "baichuan2")
_SPECIAL = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<reserved_106>",
    "<reserved_107>",
)
_SAID = {
    "zh-Hant": ("這個藥怎麼吃？", "每次 1 顆，飯後吃。", "可以配葡萄柚汁嗎？", "請先問藥師。"),
    "zh-Hans": ("这个药怎么吃？", "每次 1 片，饭后吃。", "忘记吃了怎么办？", "不要一次吃两倍。"),
    "en": ("How do I take it?", "1 tablet, after a meal.", "It's 3.5 mg?", "Ask the nurse."),
}


def conversation(language: str) -> ChatMessages:
    """A conversation under the robot's own prompt for a task."""
    question, answer, second, last = _SAID[language]
    messages = (
        Message("user", question),
        Message("assistant", answer),
        Message("user", second),
        Message("assistant", last),
    )
    meta = {"language": language, "speaker": "patient", "task": TASK}
    return PromptMaker().conversation(Conversation(language, messages, meta))


@pytest.fixture(scope="session")
def all_tokens(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the special tokens of every template."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_special_tokens({"additional_special_tokens": list(_SPECIAL)})
    tokenizer.bos_token = "<|begin_of_text|>"
    model = AutoModelForCausalLM.from_pretrained(tiny)
    model.resize_token_embeddings(len(tokenizer))
    folder = tmp_path_factory.mktemp("all-tokens") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def one_gguf(all_tokens: Path) -> Path:
    """That as GGUF."""
    tokenizer = AutoTokenizer.from_pretrained(all_tokens)
    target = all_tokens / "all.gguf"
    facts = templates.check_template(tokenizer)
    convert_model(all_tokens, target, facts, tokenizer.chat_template)
    return target


def robot_ids(gguf: Path, messages: ChatMessages, template: str = "") -> list[int]:
    """The ids that the robot's engine would ask with."""
    engine = LlamaCppEngine(LlamaCppOptions(str(gguf), n_ctx=64, chat_template=template))
    engine.load(lambda _: None)
    try:
        return engine.encode([ChatMessage(ChatRole(m["role"]), m["content"]) for m in messages])
    finally:
        engine.close()


def check_all(tokenizer: Any, asked: Callable[[ChatMessages], list[int]]) -> None:
    """Compare the ids of training, of transformers and of the robot, in three languages."""
    facts = templates.check_template(tokenizer)
    for language in _SAID:
        talk = conversation(language)
        (sample,) = templates.conversation_samples(tokenizer, facts, talk, 4096)
        for place in (2, 4):
            of_transformers = tokenizer.apply_chat_template(
                talk[:place], add_generation_prompt=True, tokenize=True, return_dict=False
            )
            of_training = sample.input_ids[: len(of_transformers)]
            assert of_training == of_transformers, (language, place)
            assert asked(talk[:place]) == of_training, (language, place)
            # What is learnt begins there, and nothing before it is.
            assert sample.labels[len(of_training) - 1] == templates.IGNORED
            assert sample.labels[len(of_training)] != templates.IGNORED


def named(folder: Path, name: str) -> Any:
    """The tokenizer of a folder with one of our templates."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    templates.set_template(tokenizer, name)
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_are_the_same_everywhere(name: str, all_tokens: Path, one_gguf: Path) -> None:
    tokenizer = named(all_tokens, name)
    template = without_markers(tokenizer.chat_template)
    check_all(tokenizer, lambda talk: robot_ids(one_gguf, talk, template))


def test_ids_of_the_merged_and_exported_model(merged: Path, exported: Path, adapter: Path) -> None:
    (f16,) = exported.glob("*-f16.gguf")
    for folder in (adapter, merged):
        check_all(AutoTokenizer.from_pretrained(folder), lambda talk: robot_ids(f16, talk))


def test_trained_model_stops(merged: Path, exported: Path) -> None:
    """In llama.cpp too it gives an answer that it was taught, word by word, and ends its turn."""
    tokenizer, facts = load_own_tokenizer(merged)
    messages = [
        {"role": "system", "content": "你是送藥機器人，只說你知道的，其他的請問護理師。"},
        {"role": "user", "content": "這是什麼藥？"},
    ]
    probe = Probe(messages, templates.prompt_ids(tokenizer, messages), [])
    (expected,) = greedy_answers(load_plain(merged, "float32"), tokenizer, facts, [probe])
    assert expected.ids[-1] == facts.end_of_turn_id
    engine = LlamaCppEngine(LlamaCppOptions(str(next(exported.glob("*-q8_0.gguf"))), n_ctx=512))
    engine.load(lambda _: None)
    greedy = Sampling(temperature=0.0, repeat_penalty=1.0, max_tokens=COMPARED_TOKENS)
    asked = [ChatMessage(ChatRole(m["role"]), m["content"]) for m in messages]
    said = "".join(engine.stream(asked, greedy, CancelToken()))
    engine.close()
    assert said == tokenizer.decode(expected.ids[:-1])
    taught = map(json.loads, (RECIPES / "smoke" / "sft.jsonl").read_text().splitlines())
    assert said in {record["messages"][-1]["content"] for record in taught}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_gguf_of_each_template(name: str, all_tokens: Path, tmp_path: Path) -> None:
    """Converted with the template in it: the robot takes the GGUF's own, and stops at its end."""
    folder = tmp_path / "model"
    shutil.copytree(all_tokens, folder, ignore=shutil.ignore_patterns("*.gguf"))
    tokenizer = named(folder, name)
    tokenizer.save_pretrained(folder)
    facts = templates.check_template(tokenizer)
    target = tmp_path / "model.gguf"
    convert_model(folder, target, facts, tokenizer.chat_template)
    check_all(AutoTokenizer.from_pretrained(folder), lambda talk: robot_ids(target, talk))
    with Runner(target, 64) as runner:
        assert runner.ends(facts.end_of_turn_id)


@pytest.mark.parametrize("name", TEMPLATES)
def test_without_markers_it_renders_the_same(name: str, all_tokens: Path) -> None:
    talk = conversation("zh-Hant")
    tokenizer = named(all_tokens, name)
    for messages, asks in ((talk, False), (talk[:-1], True)):
        with_markers = templates.rendered(tokenizer, messages, asks)
        other = named(all_tokens, name)
        other.chat_template = without_markers(tokenizer.chat_template)
        assert "generation" not in other.chat_template.replace("add_generation_prompt", "")
        assert templates.rendered(other, messages, asks) == with_markers
