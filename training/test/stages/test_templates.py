"""What is learnt is what is asked: ids, labels and the end of a turn, by any template."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from medbot_training import templates

_TALK = [
    {"role": "system", "content": "你是送藥機器人。"},
    {"role": "user", "content": "這是什麼藥？"},
    {"role": "assistant", "content": "請先掃描手環。"},
    {"role": "user", "content": "好了。"},
    {"role": "assistant", "content": "謝謝，這是您的藥。"},
]

# Qwen3's own, as published: earlier thoughts are dropped from the history.
_QWEN3 = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set content = message.content %}
{%- set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip() %}
{%- set content = content.split('</think>')[-1].lstrip() %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if thought and loop.last %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}
{{- content + '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


def _with_tokens(tokenizer: Any, *tokens: str) -> Any:
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.bos_token = "<|endoftext|>"
    return tokenizer


@pytest.mark.parametrize("name", ["chatml", "llama3", "vicuna", "alpaca", "baichuan2", "trl"])
def test_learnt_ids_are_asked_ids(tokenizer: Any, name: str) -> None:
    _with_tokens(
        tokenizer,
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<reserved_106>",
        "<reserved_107>",
    )
    if name == "trl":
        from trl import chat_template_utils

        tokenizer.chat_template = chat_template_utils.qwen2_5_chat_template
    else:
        templates.set_template(tokenizer, name)
    facts = templates.check_template(tokenizer)
    assert facts.keeps_history
    (sample,) = templates.conversation_samples(tokenizer, facts, _TALK, 1024)
    # The beginning is, id by id, what a server would ask with.
    for place in (2, 4):
        asked = tokenizer.apply_chat_template(
            _TALK[:place], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert sample.input_ids[: len(asked)] == asked
        # … and what is learnt begins right there, and ends with the end of the turn.
        answer = []
        for label in sample.labels[len(asked) :]:
            if label == templates.IGNORED:
                break
            answer.append(label)
        assert answer[-1] == facts.end_of_turn_id
        assert tokenizer.decode(answer[:-1]) == _TALK[place]["content"]
    learnt = [label for label in sample.labels if label != templates.IGNORED]
    assert learnt.count(facts.end_of_turn_id) == 2
    assert len(sample.labels) == len(sample.input_ids)


def test_our_labels_are_those_of_generation_markers(tokenizer: Any) -> None:
    facts = templates.check_template(tokenizer)
    assert facts.has_markers
    (sample,) = templates.conversation_samples(tokenizer, facts, _TALK, 1024)
    marked = tokenizer.apply_chat_template(
        _TALK, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    # The template writes one more line break at the very end.
    assert marked["input_ids"][: len(sample.input_ids)] == sample.input_ids
    mask = [int(label != templates.IGNORED) for label in sample.labels]
    assert marked["assistant_masks"][: len(mask)] == mask


def test_a_template_that_drops_thoughts_gives_a_sample_an_answer(tokenizer: Any) -> None:
    tokenizer.chat_template = _QWEN3
    facts = templates.check_template(tokenizer)
    talk = copy.deepcopy(_TALK)
    talk[2]["content"] = "<think>\n先確認身分\n</think>\n\n請先掃描手環。"
    talk[4]["content"] = "<think>\n已確認\n</think>\n\n謝謝，這是您的藥。"
    samples = templates.conversation_samples(tokenizer, facts, talk, 1024)
    assert len(samples) == 2
    second = tokenizer.decode(samples[1].input_ids)
    assert "先確認身分" not in second and "已確認" in second
    asked = templates.prompt_ids(tokenizer, talk[:4])
    assert samples[1].input_ids[: len(asked)] == asked
    assert set(samples[1].labels[: len(asked)]) == {templates.IGNORED}


def test_no_answer_is_cut_off(tokenizer: Any) -> None:
    facts = templates.check_template(tokenizer)
    (whole,) = templates.conversation_samples(tokenizer, facts, _TALK, 1024)
    (first,) = templates.conversation_samples(tokenizer, facts, _TALK, len(whole.input_ids) - 1)
    assert first.input_ids[-1] == facts.end_of_turn_id
    assert first.labels.count(facts.end_of_turn_id) == 1
    assert templates.conversation_samples(tokenizer, facts, _TALK, 10) == []


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "no chat template"),
        ("{{ messages[-1].content }}", "leaves the system message out"),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}"
            "{% endif %}",
            "no system role",
        ),
        (
            "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
            "no special token",
        ),
        (
            "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>Answer:' }}{% endif %}",
            "renders a question differently",
        ),
    ],
)
def test_refused_with_what_to_do(tokenizer: Any, template: str | None, words: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(templates.TemplateError) as refused:
        templates.check_template(tokenizer)
    assert words in str(refused.value)
    assert "chat_template" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_named_template_without_its_tokens(tokenizer: Any) -> None:
    with pytest.raises(templates.TemplateError, match="needs the token"):
        templates.set_template(tokenizer, "llama3")
    with pytest.raises(templates.TemplateError, match="no file that can be read"):
        templates.set_template(tokenizer, "no-such")
