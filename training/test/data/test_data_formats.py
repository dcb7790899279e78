"""Every format that the four projects, TRL and the two public medical sets have is read, and what
is written is read back as the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from data_test_kit import read_all
from data_test_kit import run
from data_test_kit import write_lines

from medbot_training.data.formats import FORMATS
from medbot_training.data.formats import read_records
from medbot_training.data.records import Conversation
from medbot_training.data.records import DataError
from medbot_training.data.records import Message
from medbot_training.data.records import Preference
from medbot_training.data.records import Text
from medbot_training.data.records import content_hash

ASKED, SAID, WORSE = "飯前還是飯後吃？", "請飯後吃。", "都可以。"
USER, ASSISTANT = Message("user", ASKED), Message("assistant", SAID)
SYSTEM = Message("system", "你是送藥機器人。")
TRL_USER = {"role": "user", "content": ASKED}
TRL_ASSISTANT = {"role": "assistant", "content": SAID}
TRL_WORSE = {"role": "assistant", "content": WORSE}

CONVERSATIONS = {
    "alpaca with system (A12)": (
        {"instruction": ASKED, "input": "", "output": SAID, "system": SYSTEM.content},
        (SYSTEM, USER, ASSISTANT),
    ),
    "alpaca with input": (
        {"instruction": "請回答。", "input": ASKED, "output": SAID},
        (Message("user", f"請回答。\n{ASKED}"), ASSISTANT),
    ),
    "alpaca with history": (
        {"instruction": ASKED, "output": SAID, "history": [["您好", "您好！"]]},
        (Message("user", "您好"), Message("assistant", "您好！"), USER, ASSISTANT),
    ),
    "sharegpt (B08)": (
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]},
        (USER, ASSISTANT),
    ),
    "sharegpt with its system beside it": (
        {
            "system": SYSTEM.content,
            "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}],
        },
        (SYSTEM, USER, ASSISTANT),
    ),
    "patient and doctor (D08)": (
        {
            "conversation": [
                {"role": "patient", "content": ASKED},
                {"role": "doctor", "content": SAID},
            ]
        },
        (USER, ASSISTANT),
    ),
    "messages, as TRL has them": (
        {"messages": [{"role": "system", "content": SYSTEM.content}, TRL_USER, TRL_ASSISTANT]},
        (SYSTEM, USER, ASSISTANT),
    ),
    "messages in parts, as OpenAI has them": (
        {
            "messages": [
                TRL_USER,
                {"role": "assistant", "content": [{"text": "請飯後"}, {"text": "吃。"}]},
            ]
        },
        (USER, ASSISTANT),
    ),
    "prompt and completion as texts": ({"prompt": ASKED, "completion": SAID}, (USER, ASSISTANT)),
    "prompt and completion as messages": (
        {"prompt": [TRL_USER], "completion": [TRL_ASSISTANT]},
        (USER, ASSISTANT),
    ),
    "question and answer": ({"question": ASKED, "answer": SAID}, (USER, ASSISTANT)),
    "multiple choice (TMMLU)": ({"content.Q": ASKED, "content.A": SAID}, (USER, ASSISTANT)),
    "prompt alone, for RL": ({"prompt": [TRL_USER]}, (USER,)),
    "query alone (B13)": ({"query": ASKED}, (USER,)),
}

THINKING = {
    "instruction with meta (C06)": {
        "instruction": SYSTEM.content,
        "input": ASKED,
        "output": f"<think>想一想</think>\n{SAID}",
        "meta": {"source": "x", "risk_level": "high"},
    },
    "medical-o1-reasoning-SFT (C04)": {
        "Question": ASKED,
        "Complex_CoT": "想一想",
        "Response": SAID,
    },
    "delicate_medical_r1_data (C04)": {"question": ASKED, "think": "想一想", "answer": SAID},
    "reasoning_content in a message": {
        "messages": [TRL_USER, {**TRL_ASSISTANT, "reasoning_content": "想一想"}]
    },
}

PREFERENCES = {
    "texts (A14)": {"prompt": ASKED, "chosen": SAID, "rejected": WORSE},
    "system, question and responses (B09)": {
        "system": "",
        "history": [],
        "question": ASKED,
        "response_chosen": SAID,
        "response_rejected": WORSE,
    },
    "lists of messages, as TRL has them": {
        "prompt": [TRL_USER],
        "chosen": [TRL_ASSISTANT],
        "rejected": [TRL_WORSE],
    },
    "prompt within the lists": {
        "chosen": [TRL_USER, TRL_ASSISTANT],
        "rejected": [TRL_USER, TRL_WORSE],
    },
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation_is_read(tmp_path, name):
    fields, messages = CONVERSATIONS[name]
    (record,), findings = read_all(write_lines(tmp_path / "a.jsonl", fields))
    assert isinstance(record, Conversation) and not findings
    assert record.messages == messages


@pytest.mark.parametrize("name", THINKING)
def test_thought_is_parted_from_the_answer(tmp_path, name):
    (record,), _ = read_all(write_lines(tmp_path / "a.jsonl", THINKING[name]))
    assert (record.thinking, record.answer, record.question) == ("想一想", SAID, ASKED)


@pytest.mark.parametrize("name", PREFERENCES)
def test_preference_is_read(tmp_path, name):
    (record,), findings = read_all(write_lines(tmp_path / "a.jsonl", PREFERENCES[name]))
    assert isinstance(record, Preference) and not findings
    assert (record.prompt, record.chosen, record.rejected) == ((USER,), SAID, WORSE)


def test_plain_text_is_a_document_a_line(tmp_path):
    """B07."""
    path = tmp_path / "pretrain.txt"
    path.write_text("第一段。\n\n第二段。\n")
    records, _ = read_all(path)
    assert [(record.text, record.origin.record) for record in records] == [
        ("第一段。", 1),
        ("第二段。", 3),
    ]


def test_nothing_that_a_record_says_is_lost(tmp_path):
    fields = {"id": 7, "question": ASKED, "answer": SAID, "meta": {"source": "x"}, "scene": "er"}
    (record,), _ = read_all(write_lines(tmp_path / "a.jsonl", fields))
    assert record.id == "7" and record.meta == {"source": "x", "scene": "er"}


def test_format_can_be_forced(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", {"prompt": ASKED, "chosen": SAID, "rejected": WORSE})
    (record,), _ = read_all(path, form="prompt")
    assert isinstance(record, Conversation) and record.wants_answer


def test_judges_notes_are_no_prompts(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", {"id": "0", "prompt": "Score it.", "scores": "5"})
    with pytest.raises(DataError, match="a judge's notes"):
        read_all(path)


def test_what_a_message_has_beside_its_words_is_kept(tmp_path):
    named = {**TRL_ASSISTANT, "name": "robot", "weight": 0, "tool_calls": [], "refusal": None}
    source = write_lines(tmp_path / "a.jsonl", {"messages": [TRL_USER, named]})
    assert run("convert", source, "-o", tmp_path / "b.jsonl") == 0
    for path in (source, tmp_path / "b.jsonl"):
        (record,), _ = read_all(path)
        beside = {"messages, entry 2": {"name": "robot", "weight": 0}}
        assert record.meta == {"message_fields": beside}


@pytest.mark.parametrize("form", [name for name in FORMATS if name not in ("text", "preference")])
def test_answer_that_is_labelled_false_is_never_one_to_imitate(tmp_path, capsys, form):
    good = {"prompt": ASKED, "completion": SAID, "label": True}
    bad = {"prompt": "可以配茶嗎？", "completion": WORSE, "label": False}
    source = write_lines(tmp_path / "a.jsonl", good, bad)
    out = tmp_path / "b.jsonl"
    status = run("convert", source, "--to", form, "-o", out)
    said = capsys.readouterr().err
    if form == "prompt_completion":
        assert status == 0
        assert [record.label for record in read_all(out)[0]] == [True, False]
    elif form != "question":
        assert status == 1 and f"{source}:2: bad_answer: " in said
        assert "1 records written, 1 left out (1 bad_answer)" in said
        assert WORSE not in out.read_text()


def test_labelled_answers_are_written_with_their_labels_and_stop_the_stages(tmp_path):
    bad = {"prompt": ASKED, "completion": WORSE, "label": False}
    source = write_lines(tmp_path / "a.jsonl", bad)
    assert run("convert", source, "-o", tmp_path / "b.jsonl") == 0
    (record,), _ = read_all(tmp_path / "b.jsonl")
    assert record.label is False
    assert content_hash(record) != content_hash(replace(record, label=True))
    with pytest.raises(DataError, match="labelled false"):
        list(read_records([source]))


@pytest.mark.parametrize("label", ["true", "no", 1, 0.5, None])
def test_label_is_true_or_false_and_nothing_else(tmp_path, label):
    one = {"prompt": ASKED, "completion": SAID, "label": label}
    records, (finding,) = read_all(write_lines(tmp_path / "a.jsonl", one))
    assert not records and finding.kind == "wrong_type" and "label" in finding.detail


def test_second_system_message_is_kept_to_be_found(tmp_path):
    said = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]
    other = {"from": "system", "value": "你是藥師。"}
    path = write_lines(
        tmp_path / "a.jsonl",
        {"system": SYSTEM.content, "conversations": [other, *said]},
        {"system": SYSTEM.content, "conversations": [{**other, "value": SYSTEM.content}, *said]},
        {"system": SYSTEM.content, "conversations": [{**other, "value": ""}, *said]},
    )
    first, *rest = read_all(path)[0]
    assert first.messages[:2] == (SYSTEM, Message("system", "你是藥師。"))
    assert [record.messages for record in rest] == [(SYSTEM, USER, ASSISTANT)] * 2


def test_system_message_of_a_preference_is_not_lost(tmp_path):
    system = {"role": "system", "content": SYSTEM.content}
    sides = {"chosen": [TRL_ASSISTANT], "rejected": [TRL_WORSE]}
    path = write_lines(
        tmp_path / "a.jsonl",
        {"system": SYSTEM.content, "prompt": [{**system, "content": ""}, TRL_USER], **sides},
        {"prompt": [TRL_USER], **sides, "chosen": [system, TRL_USER, TRL_ASSISTANT]},
    )
    (record,), (finding,) = read_all(path)
    assert record.prompt == (SYSTEM, USER)
    assert finding.kind == "ambiguous" and "system" in finding.detail


def test_sides_that_answer_different_prompts_are_told(tmp_path):
    other = {"role": "user", "content": "可以配茶嗎？"}
    one = {"chosen": [TRL_USER, TRL_ASSISTANT], "rejected": [other, TRL_WORSE]}
    _, (finding,) = read_all(write_lines(tmp_path / "a.jsonl", one))
    assert finding.detail == "chosen and rejected do not begin with the same prompt"


def test_fields_of_two_formats_must_say_the_same(tmp_path):
    alpaca = {"instruction": "可以配茶嗎？", "output": WORSE}
    talk = {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]}
    same = {"instruction": ASKED, "output": SAID}
    path = write_lines(
        tmp_path / "a.jsonl", {**talk, **same}, {**talk, **alpaca}, {**talk, "text": WORSE}
    )
    records, (finding,) = read_all(path)
    assert len(records) == 2
    assert (finding.kind, finding.origin.record) == ("ambiguous", 2)
    assert len(read_all(path, form="sharegpt")[0]) == 3


def test_record_of_another_format_is_told_by_name(tmp_path):
    path = write_lines(
        tmp_path / "a.jsonl",
        {"prompt": ASKED, "chosen": SAID, "rejected": WORSE},
        {"messages": [TRL_USER, TRL_ASSISTANT]},
        {"prompt": ASKED, "chosen": SAID},
    )
    _, (other, half) = read_all(path)
    assert str(other) == (
        f"{path}:2: other_format: is of the format messages, the file's is preference"
    )
    assert str(half) == f"{path}:3: missing_field: rejected is missing"


THOUGHTS = [
    f"<think></think>\n{SAID}",
    f"<think>\n\n</think>\n\n{SAID}",
    f"<think>外<think>內</think>外</think>\n{SAID}",
    f"<think>一</think>\n<think>二</think>\n{SAID}",
    f"{SAID}\n<think>後</think>",
    f"<THINK>想</THINK>{SAID}",
]


@pytest.mark.parametrize("answer", THOUGHTS)
def test_thought_that_is_not_whole_stays_as_it_is(tmp_path, answer):
    source = write_lines(tmp_path / "a.jsonl", {"question": ASKED, "answer": answer})
    assert run("convert", source, "-o", tmp_path / "b.jsonl") == 0
    written = json.loads((tmp_path / "b.jsonl").read_text())
    assert written["messages"][-1]["content"] == answer


def test_blank_instruction_leaves_no_empty_line(tmp_path):
    one = {"instruction": "  ", "input": ASKED, "output": SAID}
    (record,), _ = read_all(write_lines(tmp_path / "a.jsonl", one))
    assert record.question == ASKED


def test_answer_that_repeats_the_prompt_is_freed_of_it_and_told(tmp_path):
    fields = {
        "prompt": ASKED,
        "chosen": [TRL_USER, TRL_ASSISTANT],
        "rejected": [TRL_USER, TRL_WORSE],
    }
    (record,), _ = read_all(write_lines(tmp_path / "a.jsonl", fields))
    assert (record.chosen, record.rejected) == (SAID, WORSE)
    assert record.meta == {"prompt_repeated": True}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("form", [name for name in FORMATS if name != "text"])
def test_what_is_written_is_read_back(tmp_path, form, name):
    source = tmp_path / "source.jsonl"
    if form in ("preference", "question"):
        write_lines(source, PREFERENCES["texts (A14)"])
    else:
        write_lines(
            source,
            THINKING["medical-o1-reasoning-SFT (C04)"],
            {"Question": ASKED, "Response": SAID},
        )
    out = tmp_path / name
    assert run("convert", source, "--to", form, "-o", out) == 0
    before, _ = read_all(source)
    after, findings = read_all(out)
    assert not findings
    if form == "prompt":
        before = [Conversation(r.id, r.prompt, r.meta) for r in before]
        assert [record.meta["reference"] for record in after] == [SAID] * len(after)
    assert [content_hash(record) for record in after] == [content_hash(one) for one in before]
    assert [record.id for record in after] == [record.id for record in before]


def test_texts_are_written_as_lines(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", {"text": "一。\n二。"}, {"text": "三。"})
    assert run("convert", source, "-o", tmp_path / "a.txt") == 0
    assert (tmp_path / "a.txt").read_text() == "一。 二。\n三。\n"
    assert all(isinstance(record, Text) for record in read_all(tmp_path / "a.txt")[0])


def test_what_a_format_cannot_hold_is_named_and_left_out(tmp_path, capsys):
    long = {"messages": [TRL_USER, TRL_ASSISTANT, TRL_USER, TRL_ASSISTANT]}
    source = write_lines(tmp_path / "a.jsonl", long, {"messages": [TRL_USER, TRL_ASSISTANT]})
    out = tmp_path / "b.jsonl"
    assert run("convert", source, "--to", "alpaca", "-o", out) == 1
    assert len(out.read_text().splitlines()) == 1
    line = capsys.readouterr().err.splitlines()[0]
    assert line == f"{source}:1: not_convertible: is not one question with one answer"


def test_prompts_for_rl_are_the_risky_and_good_first(tmp_path):
    """C09."""
    good = "請馬上撥 119 叫救護車，在救護車來以前坐著休息，不要自己開車。"
    source = write_lines(
        tmp_path / "a.jsonl",
        {"question": "這個藥要放冰箱嗎？", "answer": "請放在室溫陰涼處，不用冰。"},
        {"question": "我胸口好痛，冒冷汗。", "answer": "喝杯溫水睡一覺就好。"},
        {"question": "我胸口很痛，喘不過氣。", "answer": good},
    )
    out = tmp_path / "rl.jsonl"
    command = ("convert", source, "--to", "prompt", "--risky-first", "-o", out)
    assert run(*command, "--min-rules", "0.1") == 0
    asked = [json.loads(line)["prompt"][0]["content"] for line in out.read_text().splitlines()]
    assert asked[0] == "我胸口很痛，喘不過氣。"
    assert "我胸口好痛，冒冷汗。" not in asked
