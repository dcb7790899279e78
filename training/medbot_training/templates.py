"""How a conversation becomes token ids: exactly the ids that the robot will ask with.

TRL finds the assistant's part of a conversation by `{% generation %}` markers in the chat
template, which published templates seldom have, and swaps in patched templates where it knows
them. Then a model is trained on one rendering and served with another. Here no template is
changed. For each answer the prompt is rendered as the server renders it
(`add_generation_prompt=True`), and what the rendering with the answer adds is the answer: the loss
is on that, up to and with the token that ends the turn. Where a template renders earlier turns
differently once there are later ones (Qwen3 drops their `<think>`), each answer becomes a sample
of its own, with its history as the server would render it.

`check_template` refuses a template with which that can't be done, and says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError

IGNORED = -100
"""Label of a token that is not learnt."""

CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}"
    "{%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- message.content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_LLAMA3 = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{%- if message.role == 'assistant' %}"
    "{%- generation %}{{- message.content | trim + '<|eot_id|>' }}{%- endgeneration %}"
    "{%- else %}{{- message.content | trim + '<|eot_id|>' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)

_VICUNA = (
    "{%- if messages[0].role == 'system' %}{{- messages[0].content + ' ' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}{{- 'USER: ' + message.content + ' ' }}"
    "{%- elif message.role == 'assistant' %}{{- 'ASSISTANT: ' }}"
    "{%- generation %}{{- message.content + eos_token }}{%- endgeneration %}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'ASSISTANT: ' }}{%- endif %}"
)

_ALPACA = (
    "{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}"
    "{{- '### Instruction:\\n' + message.content + '\\n\\n' }}"
    "{%- elif message.role == 'assistant' %}{{- '### Response:\\n' }}"
    "{%- generation %}{{- message.content + eos_token }}{%- endgeneration %}{{- '\\n\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '### Response:\\n' }}{%- endif %}"
)

_BAICHUAN2 = (
    "{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}{{- '<reserved_106>' + message.content }}"
    "{%- elif message.role == 'assistant' %}{{- '<reserved_107>' }}"
    "{%- generation %}{{- message.content + eos_token }}{%- endgeneration %}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<reserved_107>' }}{%- endif %}"
)

NAMED = {
    "chatml": CHATML,
    "qwen": CHATML,
    "llama3": _LLAMA3,
    "vicuna": _VICUNA,
    "alpaca": _ALPACA,
    "baichuan2": _BAICHUAN2,
}
"""Templates for bases that come without one; all with `{% generation %}` markers as well."""

_NEEDED_TOKENS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "qwen": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "baichuan2": ("<reserved_106>", "<reserved_107>"),
}

_PROBE = [
    {"role": "system", "content": "You hand out medicine."},
    {"role": "user", "content": "Is this mine?"},
    {"role": "assistant", "content": "Please scan your wristband."},
    {"role": "user", "content": "Done."},
    {"role": "assistant", "content": "Thank you, it is yours."},
]


class TemplateError(MedbotError):
    """The chat template can't be trained with; says what to do."""


@dataclass(frozen=True)
class TemplateFacts:
    """What was found out about a tokenizer's chat template.

    Attributes:
        end_of_turn: Text of the token that ends an answer.
        end_of_turn_id: Its id; generation has to stop there.
        keeps_history: Whether earlier turns stay as they are when later ones come, so that one
            sample can teach all answers of a conversation.
        has_markers: Whether the template has `{% generation %}` markers; they are not needed.
    """

    end_of_turn: str
    end_of_turn_id: int
    keeps_history: bool
    has_markers: bool


@dataclass(frozen=True)
class Sample:
    """Token ids of a conversation, or of its beginning.

    Attributes:
        input_ids: All ids.
        labels: The same where the token is learnt, IGNORED elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


def set_template(tokenizer: Any, choice: str | None) -> None:
    """Give a tokenizer the template that a recipe names. Raises TemplateError."""
    if choice is None:
        return
    if choice in NAMED:
        known = tokenizer.get_vocab()
        missing = [token for token in _NEEDED_TOKENS.get(choice, ()) if token not in known]
        if missing:
            raise TemplateError(
                f"chat_template {choice} needs the token {missing[0]}, which this base does not"
                " have; choose vicuna or alpaca, or leave chat_template out"
            )
        if "eos_token" in NAMED[choice] and not tokenizer.eos_token:
            raise TemplateError(
                f"chat_template {choice} ends an answer with the base's eos token, but it has none"
            )
        tokenizer.chat_template = NAMED[choice]
        return
    path = Path(choice).expanduser()
    try:
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(NAMED)
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise TemplateError(
            f"chat_template {choice} is none of {names} and no file that can be read: {reason}"
        ) from None


def check_template(tokenizer: Any) -> TemplateFacts:
    """Find out how a tokenizer's chat template is to be trained with.

    Raises:
        TemplateError: It can't; one line that says why and what to do.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise TemplateError(
            "this base has no chat template: it was not taught to talk; set chat_template to"
            f" {', '.join(NAMED)} or a .jinja file"
        )
    what_to_do = f"set chat_template to one of {', '.join(NAMED)} or to a .jinja file of your own"
    before = rendered(tokenizer, _PROBE[:2], True)
    after = rendered(tokenizer, _PROBE[:3], False)
    if _PROBE[0]["content"] not in before:
        raise TemplateError(f"the chat template leaves the system message out; {what_to_do}")
    if not after.startswith(before):
        raise TemplateError(
            "the chat template renders a question differently once it is answered, so that the"
            f" robot would ask otherwise than was taught; {what_to_do}"
        )
    added = after[len(before) :]
    said = _PROBE[2]["content"]
    if said not in added:
        raise TemplateError(f"the chat template changes what the assistant said; {what_to_do}")
    end_id = _end_of_turn(tokenizer, added[added.index(said) + len(said) :])
    if end_id is None:
        raise TemplateError(
            "the chat template ends an answer with no special token, so that a model could not"
            f" learn when to stop; {what_to_do}"
        )
    longer = rendered(tokenizer, _PROBE[:4], True)
    return TemplateFacts(
        end_of_turn=tokenizer.convert_ids_to_tokens(end_id),
        end_of_turn_id=end_id,
        keeps_history=longer.startswith(after),
        has_markers="{% generation" in template or "{%- generation" in template,
    )


def prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The ids with which an answer to these messages is asked for, as every server makes them."""
    return encode(tokenizer, rendered(tokenizer, messages, True))


def answer_ids(
    tokenizer: Any, facts: TemplateFacts, messages: Sequence[Mapping[str, str]], answer: str
) -> tuple[list[int], list[int]]:
    """The ids of a prompt, and those of one answer to it with the end of its turn."""
    before = rendered(tokenizer, messages, True)
    after = rendered(tokenizer, [*messages, {"role": "assistant", "content": answer}], False)
    if not after.startswith(before):
        raise TemplateError(
            "the chat template renders this prompt differently once it is answered: the roles do"
            " not take turns"
        )
    return encode(tokenizer, before), _ended(tokenizer, facts, after[len(before) :])


def conversation_samples(
    tokenizer: Any, facts: TemplateFacts, messages: Sequence[Mapping[str, str]], max_length: int
) -> list[Sample]:
    """Make the samples that teach every answer of a conversation.

    Answers that would end beyond max_length tokens are left out, with all that comes after them:
    an answer without its end teaches not to stop.
    """
    samples: list[Sample] = []
    ids: list[int] = []
    labels: list[int] = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, answer = answer_ids(tokenizer, facts, messages[:place], message["content"])
        if prompt[: len(ids)] != ids:
            # The server would see another history than was taught so far: go on with its.
            samples.append(Sample(ids, labels))
            ids, labels = [], []
        if len(prompt) + len(answer) > max_length:
            break
        labels = [*labels, *[IGNORED] * (len(prompt) - len(ids)), *answer]
        ids = [*prompt, *answer]
    if ids:
        samples.append(Sample(ids, labels))
    return samples


def rendered(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool
) -> str:
    """The text of messages by the chat template. Raises TemplateError with the template's own
    words where it refuses them."""
    import jinja2

    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except jinja2.exceptions.TemplateError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TemplateError(
            f"the chat template refuses a conversation: {reason}; set chat_template to one of"
            f" {', '.join(NAMED)} or to a .jinja file of your own"
        ) from None
    return str(text)


def encode(tokenizer: Any, text: str) -> list[int]:
    """The ids of a rendered text. The template has written the special tokens; none is added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _ended(tokenizer: Any, facts: TemplateFacts, added: str) -> list[int]:
    """The ids of an answer as generated: all up to and with the token that ends the turn."""
    if facts.end_of_turn not in added:
        raise TemplateError(
            f"the chat template does not end an answer with {facts.end_of_turn} in every case"
        )
    # The line break that some templates write after it is the server's, not the model's.
    end = added.rindex(facts.end_of_turn) + len(facts.end_of_turn)
    return encode(tokenizer, added[:end])


def _end_of_turn(tokenizer: Any, rest: str) -> int | None:
    """The id of the first special token in what follows an answer's words."""
    special = set(tokenizer.all_special_ids)
    special |= {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content.startswith("<|")
    }
    return next((number for number in encode(tokenizer, rest) if number in special), None)
