"""What two models are compared on: the robot's own questions, and some that were trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.data.records import Text
from medbot_training.data.records import full_answer
from medbot_training.prompting import ChatMessages
from medbot_training.prompting import PromptMaker
from medbot_training.templates import TemplateFacts
from medbot_training.templates import answer_ids
from medbot_training.templates import encode
from medbot_training.templates import prompt_ids

FROM_DATA = 4
"""Records of the training's data that are asked too."""
MOST_PROMPT_TOKENS = 1536
COMPARED_TOKENS = 48
"""Positions compared at the end of each text; the logits of all would fill the memory."""

TASK: dict[str, Any] = {
    "task_id": "check",
    "scene": "ward",
    "spoken_name": "王小姐",
    "room": "501",
    "bed": "2",
    "medications": [
        {
            "name": "Amlodipine 5 mg tablet",
            "name_zh": "脈優錠 5 毫克",
            "generic_name": "amlodipine",
            "strength": "5 mg",
            "dose": "1 tablet",
            "route": "PO",
            "frequency": "QD PC",
        }
    ],
}
_QUESTIONS = {
    "zh-Hant": ("這個藥怎麼吃？", "這個藥每天吃一次，飯後吃。"),
    "zh-Hans": ("我忘记吃药了，怎么办？", "别担心，请不要一次吃两倍的量。"),
    "en": ("May I take it with grapefruit juice?", "Please ask your pharmacist first."),
}
_TEXTS = tuple(f"{question} {answer}" for question, answer in _QUESTIONS.values())


@dataclass(frozen=True)
class Probe:
    """A text on which models are compared.

    Attributes:
        messages: What is asked; [] for plain text.
        prompt: Its ids, as a server asks with them.
        answer: Ids of an answer with the end of its turn; of plain text: [].
    """

    messages: ChatMessages
    prompt: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.answer]


def make_probes(
    tokenizer: Any, facts: TemplateFacts | None, files: Sequence[Path] = ()
) -> list[Probe]:
    """Make the probes for a model.

    Args:
        tokenizer: Its tokenizer.
        facts: What is known of its chat template; None: it has none, and gets plain text.
        files: Data of its training; the first records that are no plain text are asked too.
    """
    if facts is None:
        return [Probe([], encode(tokenizer, text), []) for text in _TEXTS]
    found = []
    for messages, answer in itertools.chain(_own_questions(), _trained_questions(files)):
        prompt = prompt_ids(tokenizer, messages)
        if len(prompt) > MOST_PROMPT_TOKENS:
            continue
        _, ids = answer_ids(tokenizer, facts, messages, answer)
        found.append(Probe(messages, prompt, ids[:COMPARED_TOKENS]))
    # A base whose tokenizer needs many tokens for Chinese, or whose window is small.
    return found or [Probe([], encode(tokenizer, text), []) for text in _TEXTS]


def _own_questions() -> Iterable[tuple[ChatMessages, str]]:
    """The robot's own prompt for a task, in its three languages, and a question without one."""
    prompts = PromptMaker()
    for language, (question, answer) in _QUESTIONS.items():
        messages = (Message("user", question), Message("assistant", answer))
        meta = {"language": language, "speaker": "patient", "task": TASK}
        yield prompts.prompt(Conversation(language, messages, meta)), answer
    question, answer = _QUESTIONS["en"]
    yield [{"role": "user", "content": question}], answer


def _trained_questions(files: Sequence[Path]) -> Iterable[tuple[ChatMessages, str]]:
    from medbot_training.stages.prepare import read_all

    prompts = PromptMaker()
    given = 0
    for record in read_all(files):
        if isinstance(record, Text):
            return
        answer = full_answer(record) if isinstance(record, Conversation) else record.chosen
        messages = prompts.prompt(record)
        if answer and messages and messages[-1]["role"] == "user":
            yield messages, answer
            given += 1
        if given == FROM_DATA:
            return
