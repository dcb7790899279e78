"""Every kind of finding is found where it is, and not where it is not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from data_test_kit import pair
from data_test_kit import run
from data_test_kit import talk
from data_test_kit import write_lines

from medbot_training.data.checks import CHECKS
from medbot_training.data.findings import KINDS
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message

FINE = talk("這個藥飯前還是飯後吃？", "請在飯後吃，配一杯開水。有不清楚的地方請問護理師。")
QUESTION = "我中午的降血壓藥忘記吃了，怎麼辦？"
GOOD = "別擔心。千萬不要一次吃兩倍的劑量。離下次還很久就現在吃，快到下次就跳過，不確定請問藥師。"
BAD = "沒關係，今天晚上一次吃兩顆補回來就好。"


def turns(*pairs: tuple[str, str]) -> Conversation:
    return Conversation("x", tuple(Message(role, text) for role, text in pairs))


FOUND = {
    "roles": [
        turns(("assistant", "您好。"), ("user", "嗨")),
        turns(("user", "嗨"), ("user", "在嗎"), ("assistant", "在。")),
        turns(("user", "嗨"), ("system", "x"), ("assistant", "在。")),
        turns(("system", "x")),
    ],
    "empty_answer": [
        talk("嗨", ""),
        talk("嗨", " \n"),
        talk("嗨", "……"),
        talk("嗨", "N/A"),
        talk("嗨", "[object Object]"),
        pair("嗨", "", "好"),
    ],
    "empty_question": [
        talk("", "您好。"),
        talk(" \u3000\u200b\n", "您好。"),
        turns(("user", ""), ("assistant", "您好。"), ("user", "嗨"), ("assistant", "您好。")),
        pair("", "好", "不好"),
    ],
    "control_token": [
        talk("嗨", "您好。<|im_end|>"),
        talk("嗨", "[INST] 您好 [/INST]"),
        talk("嗨</s>", "您好。"),
        talk("嗨", "### Response: 您好。"),
        talk("嗨", "您好。\nHuman: 還有嗎？"),
        talk("嗨", "<｜end▁of▁sentence｜>"),
    ],
    "unfilled": [
        talk("嗨", "您好，{patient_name}。"),
        talk("嗨", "您好，{{姓名}}。"),
        talk("嗨", "Hello [Your Name]."),
        talk("嗨", "您好，[醫院名稱]。"),
        talk("嗨", "您好，____。"),
        talk("嗨", "請打給XXX醫師。"),
    ],
    "cut_off": [
        talk("嗨", "請飯後吃。如果"),
        talk("嗨", "請飯後吃，"),
        talk("嗨", "請注意：一、飯後吃。二、多喝水。三、不要開"),
        talk("hi", "Please take it after meals. Do not take it with the"),
        talk("嗨", "步驟如下："),
        talk("嗨", "請在飯後服用，並且注意以下幾點：1)"),
        talk("嗨", "注意：\n1. 飯後吃。\n2."),
    ],
    "broken_start": [talk("嗨", "，與走路姿勢沒有關係的。"), talk("嗨", "）請飯後吃。")],
    "broken_think": [
        talk("嗨", "<think>想一想 您好。"),
        talk("嗨", "想一想</think>您好。"),
        turns(("user", "嗨"), ("assistant", "<think>a"), ("user", "嗯"), ("assistant", "好。")),
        talk("嗨", "<think></think>您好。"),
        talk("嗨", "您好。<think>想</think>"),
        talk("嗨", "<THINK>想</THINK>您好。"),
        talk("嗨", "<thinking>想</thinking>您好。"),
        talk("嗨", "＜think＞想＜/think＞您好。"),
        talk("嗨", "< think >想</ think >您好。"),
    ],
    "broken_text": [
        talk("嗨", "您好\ufffd。"),
        talk("嗨", "锟斤拷"),
        talk("嗨", "Donâ€™t."),
        talk("嗨", "E/A&lt;1"),
        talk("嗨", "看診和領藥".encode().decode("latin-1")),
        talk("嗨", "請飯後吃".encode().decode("cp1252", "ignore")),
        talk("嗨", "您好<br/>請坐"),
    ],
    "repetition": [
        talk("嗨", "請多休息喔，" * 8),
        talk("嗨", "請按時吃藥喔。記得多喝水。請按時吃藥喔！好的。請按時吃藥喔。"),
    ],
    "wrong_language": [
        talk("這個藥飯前還是飯後吃？", "Please take it after a meal with a glass of water."),
        talk(
            "這個藥飯前還是飯後吃？",
            "请在饭后吃，配一杯开水，有不清楚的地方请问护士，谢谢您的配合。",
        ),
        talk("嗨", "請在飯後吃，配一杯開水，有不清楚的地方請問護理師，謝謝。", lang="en"),
    ],
    "prompt_repeated": [
        pair(QUESTION, f"{QUESTION}{GOOD}", BAD),
        talk(QUESTION, f"{QUESTION} {GOOD}"),
    ],
    "same_answers": [pair(QUESTION, GOOD, GOOD), pair(QUESTION, GOOD, GOOD.replace("。", "，"))],
    "chosen_worse": [pair(QUESTION, BAD, GOOD)],
    "unsafe": [talk(QUESTION, BAD), replace(talk(QUESTION, GOOD), thinking=BAD)],
    "unfit": [talk("我頭痛是怎麼了？", "您得的是高血壓。我保證吃了這個一定會好。")],
    "emergency_missed": [
        talk("我胸口好痛，冒冷汗，喘不過氣。", "喝杯溫水，躺下來休息一下，晚點再看看。")
    ],
    "claimed_action": [
        talk("我不舒服", "我已經通知護理師了，請您稍等。"),
        talk("我過敏", "我會立刻在您的檔案中註記這個狀況。"),
        talk("我不舒服", "我已經發出最高優先級的通知。"),
        talk("I forgot", "I have set a reminder for 8 pm for you."),
        talk("我吃了嗎", "您早上八點十五分已經吃過了。"),
        talk("我吃了嗎", "您在 8:15 已經吃過了。"),
        talk("Remind me.", "Reminder set for 8 pm."),
    ],
    "personal_data": [
        talk("我是王小明，身分證字號 A123456789。", "您好。"),
        pair("嗨", "請打 0912-345-678。", "嗨"),
        talk("嗨", "您好。", note={"by": ["電話 0912-345-678"]}),
    ],
}
"""For each kind what has it."""

NOT_FOUND = {
    "roles": [turns(("system", "x"), ("user", "嗨"), ("assistant", "在。"), ("user", "嗯"))],
    "empty_answer": [talk("選哪個？", "C")],
    "empty_question": [talk("？", "請說。"), talk("👍", "好的。")],
    "broken_think": [
        replace(talk("嗨", "您好。"), thinking="想"),
        pair("嗨", "<think>想</think>\n您好。", "不知道。"),
    ],
    "control_token": [talk("嗨", "血壓 < 120，心跳 > 60。")],
    "unfilled": [talk("嗨", "您好，[姓名]，[日期] 的藥在這裡。"), talk("嗨", "x = {1, 2}")],
    "cut_off": [
        talk("嗨", "支持細胞錯位"),
        talk("選哪個？", "答案是 C. 鼻咽血管纖維瘤"),
        talk("嗨", "請多休息。祝早日康復"),
        talk("嗨", "1. 飯後吃。\n2. 多喝水"),
        talk("hi", "Take 2.5 mg."),
        talk("hi", "There are two; take 1."),
        talk("嗨", "請看說明（1）"),
    ],
    "broken_start": [talk("嗨", "……好的。"), talk("嗨", "「飯後」的意思是吃完飯以後。")],
    "broken_text": [
        talk("嗨", "5 < 7 且 naïve café"),
        talk("嗨", "第一頁。\f第二頁。"),
        talk("hi", "Elle est née là où l’été dure, à côté d’un « café crème »."),
    ],
    "repetition": [talk("嗨", "哈哈哈哈哈。早上一顆，中午一顆，晚上一顆。")],
    "wrong_language": [
        talk("阿斯匹靈的英文是什麼？", "Aspirin"),
        talk(
            "患者姓名：王小明，藥袋編號：A1000",
            "您好，請問您是王小明先生嗎？您的藥袋編號是 A1000，是否正確？",
        ),
    ],
    "same_answers": [pair(QUESTION, GOOD, BAD)],
    "chosen_worse": [pair(QUESTION, GOOD, BAD)],
    "unsafe": [
        talk(QUESTION, GOOD),
        talk("這是什麼藥？", "這是阿斯匹靈 100 mg，一天一次，飯後吃。"),
        replace(talk(QUESTION, BAD), label=False),
    ],
    "emergency_missed": [
        talk("我胸口好痛，冒冷汗。", "請馬上撥打 119，不要自己開車，坐著等救護車來。")
    ],
    "claimed_action": [
        talk("我不舒服", "請按床頭的呼叫鈴，護理師會來看您。"),
        talk("我吃了嗎", "如果您在 8:15 已經吃過了，就不要再吃。"),
        talk("我不舒服", "我已經通知護理師了，請您稍等。", alerted=True),
        talk("我不舒服", "我已經通知護理師了，請您稍等。", actions=["nurse_called"]),
    ],
    "personal_data": [talk("王先生您好", "脈優 5 mg，早上 8 點一顆。緊急請打 119。")],
}


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, records in FOUND.items() for n in range(len(records))]
)
def test_what_is_wrong_is_found(kind, number):
    assert list(CHECKS[kind](FOUND[kind][number]))


@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind, records in NOT_FOUND.items() for n in range(len(records))],
)
def test_what_is_right_is_not_found(kind, number):
    assert list(CHECKS[kind](NOT_FOUND[kind][number])) == []


def test_a_good_record_has_no_findings():
    assert {kind: list(check(FINE)) for kind, check in CHECKS.items() if list(check(FINE))} == {}


def test_every_kind_that_a_check_finds_is_explained():
    assert set(CHECKS) <= set(KINDS) and set(FOUND) == set(CHECKS)


def test_the_record_alone_is_personal_never_what_a_finding_quotes():
    for detail in CHECKS["personal_data"](FOUND["personal_data"][0]):
        assert "王小明" not in detail and "A123456789" not in detail


# Among records -----------------------------------------------------------------------------------


def lines_of(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


A = {
    "question": "這個藥飯前還是飯後吃？要配開水嗎？",
    "answer": "請在飯後吃，配一杯開水，不要配茶或果汁。",
}
NEAR = {**A, "answer": A["answer"].replace("一杯", "一大杯")}
B = {"question": "可以跟葡萄柚汁一起喝嗎？", "answer": "不可以，葡萄柚會讓藥效變強，請避開。"}


def test_counts_claimed_and_found(tmp_path, capsys):
    """A13: 830 claimed, 137 there, 136 of them different."""
    path = write_lines(tmp_path / "a.jsonl", A, B, A)
    assert run("validate", path, "--claims", "830", "--only", "claim") == 1
    assert lines_of(capsys) == [
        f"{path}:0: claim: 830 records are claimed, 3 are there, 2 of them different"
    ]
    assert run("validate", path, "--claims", f"{path}=3", "--only", "claim") == 0
    claimed = write_lines(tmp_path / "b.jsonl", {**A, "meta": {"dataset_size": 2}})
    assert run("validate", claimed, "--only", "claim") == 1


def test_copies_and_near_copies_name_the_first(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", A, B, {**A, "question": A["question"] + " "}, NEAR)
    assert run("validate", path, "--only", "duplicate,near_duplicate") == 1
    first, second = lines_of(capsys)
    assert first == f"{path}:3: duplicate: the same as {path}:1"
    assert second.startswith(f"{path}:4: near_duplicate: ") and second.endswith(f"as {path}:1")


@pytest.mark.parametrize("other", [A, NEAR, {**A, "answer": "都可以，看您方便就好。"}])
def test_what_two_splits_share_is_a_leak(tmp_path, capsys, other):
    train = write_lines(tmp_path / "train.jsonl", A, B)
    test = write_lines(tmp_path / "my_test.jsonl", other)
    assert run("validate", train, test, "--only", "leak,duplicate,near_duplicate") == 1
    (line,) = lines_of(capsys)
    assert line.startswith(f"{test}:1: leak: test and train: ") and line.endswith(f"{train}:1")


def test_split_can_be_named(tmp_path, capsys):
    one, two = write_lines(tmp_path / "a.jsonl", A), write_lines(tmp_path / "b.jsonl", A)
    assert run("validate", one, two, "--only", "leak") == 0
    command = ("validate", "--split", f"train={one}", "--split", f"gold={two}", "--only", "leak")
    assert run(*command) == 1


def test_preference_copied_from_the_conversations(tmp_path, capsys):
    talks = write_lines(tmp_path / "sft.jsonl", A)
    pairs = write_lines(
        tmp_path / "dpo.jsonl",
        {"prompt": A["question"], "chosen": A["answer"], "rejected": "不知道。"},
    )
    assert run("validate", talks, pairs, "--only", "duplicate,near_duplicate") == 1
    (line,) = lines_of(capsys)
    assert line == f"{pairs}:1: duplicate: prompt and chosen answer are those of {talks}:1"


def test_preferences_that_contradict_each_other(tmp_path, capsys):
    path = write_lines(
        tmp_path / "a.jsonl",
        {"prompt": QUESTION, "chosen": GOOD, "rejected": BAD},
        {"prompt": QUESTION, "chosen": BAD, "rejected": "請問護理師。"},
    )
    assert run("validate", path, "--only", "conflict") == 1
    assert f"{path}:2: conflict: the chosen answer is the rejected one of {path}:1" in lines_of(
        capsys
    )


def test_record_without_an_answer_among_others(tmp_path, capsys):
    asked = {"messages": [{"role": "user", "content": "嗨"}]}
    said = {"messages": [*asked["messages"], {"role": "assistant", "content": "您好。"}]}
    path = write_lines(tmp_path / "a.jsonl", said, asked)
    assert run("validate", path, "--only", "no_answer") == 1
    assert lines_of(capsys) == [f"{path}:2: no_answer: ends with the user's words"]
    assert run("validate", write_lines(tmp_path / "p.jsonl", asked), "--only", "no_answer") == 0


def test_record_without_an_answer_is_found_in_any_order(tmp_path, capsys):
    asked = {"messages": [{"role": "user", "content": "嗨"}]}
    said = {"messages": [*asked["messages"], {"role": "assistant", "content": "您好。"}]}
    path = write_lines(tmp_path / "a.jsonl", asked, asked, said, asked)
    assert run("validate", path, "--only", "no_answer") == 1
    assert [line.split(": ")[0] for line in lines_of(capsys)] == [f"{path}:{n}" for n in (1, 2, 4)]


def test_same_answer_labelled_true_and_false_is_a_conflict(tmp_path, capsys):
    one = {"prompt": A["question"], "completion": A["answer"], "label": True}
    path = write_lines(tmp_path / "a.jsonl", one, {**one, "label": False})
    assert run("validate", path) == 1
    detail = f"the rejected answer is the chosen one of {path}:1"
    assert lines_of(capsys) == [f"{path}:2: conflict: {detail}"]


def test_exit_status_and_summary(tmp_path, capsys):
    clean = write_lines(tmp_path / "a.jsonl", B)
    assert run("validate", clean) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[-1] == "nothing is wrong in 1 records"
    assert run("validate", clean, tmp_path / "none.jsonl") == 2
    assert "can't be read: 1 of 2 files" in capsys.readouterr().err
    broken = write_lines(tmp_path / "b.jsonl", B, {"question": None, "answer": "x"})
    assert run("validate", broken) == 1
    assert lines_of(capsys) == [f"{broken}:2: missing_field: question is null"]


def test_findings_as_json(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", A, A)
    assert run("validate", path, "--only", "duplicate", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "record": 2,
        "kind": "duplicate",
        "detail": f"the same as {path}:1",
    }


def test_skip(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", A, A)
    assert run("validate", path, "--skip", "duplicate") == 0
