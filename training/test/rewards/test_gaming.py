# ruff: noqa: E501 - answers are read across
"""What would pay if words were paid: keywords, templates, copies, padding, thoughts, hedging.

It does not pay here: each is tried on many answers of the triples."""

from __future__ import annotations

import pytest
from triples import Triple
from triples import read_triples

from medbot_llm.domain import Language
from medbot_training.rewards.parts import Context
from medbot_training.rewards.parts import RewardParts
from medbot_training.rewards.rules import Rules

HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN
KEYWORDS = {
    HANT: "建議、診斷、治療、就醫、醫師、藥師、檢查、預防、安全、119。",
    HANS: "建议、诊断、治疗、就医、医生、药师、检查、预防、安全、120。",
    EN: " Advice, diagnosis, treatment, doctor, pharmacist, test, prevention, safety, 119.",
}
SPACED = {
    HANT: "跳過 補吃 不要一次吃兩份 問藥師 問醫師 打119 按呼叫鈴 就醫 不要停藥 喝水 休息",
    HANS: "跳过 补吃 不要一次吃两份 问药师 问医生 打120 按呼叫铃 就医 不要停药 喝水 休息",
    EN: "Skip. Avoid. Doctor. Pharmacist. Nurse. Bell. Water. Rest. Label. Dose. Never. Safe.",
}
CALL = {HANT: "請馬上打119。", HANS: "请马上打120。", EN: " Call 119 now."}
PADDING = {
    HANT: "醫院的歷史非常悠久，很多人在這裡工作。花園裡種了美麗的花，春天特別漂亮。餐廳在一樓，早上七點開門。",
    HANS: "医院的历史非常悠久，很多人在这里工作。花园里种了美丽的花，春天特别漂亮。餐厅在一楼，早上七点开门。",
    EN: " The hospital was built many years ago and has a garden with roses. Breakfast is served at "
    "seven in the morning. Parking is on the second floor and costs a small fee.",
}
TEMPLATE = {
    HANT: "請不要自己停藥，也不要一次吃兩份。請照藥袋上的用法，多喝水、多休息，有問題請問醫師或藥師，必要時按呼叫鈴。",
    HANS: "请不要自己停药，也不要一次吃两份。请照药袋上的用法，多喝水、多休息，有问题请问医生或药师，必要时按呼叫铃。",
    EN: "Please do not stop on your own and never take two doses. Keep to the label, drink water and "
    "rest, ask your doctor or pharmacist, and press the call bell if needed.",
}
REFERRAL = {
    HANT: "請問醫師或藥師。",
    HANS: "请问医生或药师。",
    EN: " Ask your doctor or pharmacist.",
}

TRIPLES = read_triples("triples")[::4]
"""Every fourth: each is scored a dozen times."""


def scored(rules: Rules, triple: Triple, answer: str) -> RewardParts:
    """An answer to the triple's question."""
    return rules.score(triple.question, answer, triple.context)


def language_of(triple: Triple) -> Language:
    """The triple's language."""
    assert triple.context.language is not None
    return triple.context.language


def mean(values: list[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def test_keywords_after_a_good_answer_take_something_off(rules: Rules) -> None:
    worse = same = 0
    for triple in TRIPLES:
        before = scored(rules, triple, triple.correct).rules
        after = scored(rules, triple, triple.correct + KEYWORDS[language_of(triple)]).rules
        assert after <= before + 0.02, triple.id
        worse += after < before
        same += after == before
    assert worse >= 0.9 * len(TRIPLES)


@pytest.mark.parametrize("stuffing", [KEYWORDS, SPACED], ids=["commas", "spaces"])
def test_keywords_alone_earn_nothing(rules: Rules, stuffing: dict[Language, str]) -> None:
    for triple in TRIPLES:
        parts = scored(rules, triple, stuffing[language_of(triple)] * 2)
        assert parts.content < 0.1, (triple.id, parts)


def test_keywords_do_not_excuse_a_dangerous_answer(rules: Rules) -> None:
    lifted = [
        triple.id
        for triple in TRIPLES
        for dressed in (
            KEYWORDS[language_of(triple)] + triple.dangerous,
            triple.dangerous + REFERRAL[language_of(triple)],
        )
        if scored(rules, triple, dressed).rules
        > max(0.0, scored(rules, triple, triple.neutral).rules)
    ]
    assert len(lifted) <= 1, lifted


def test_the_question_said_again_earns_nothing(rules: Rules) -> None:
    for triple in TRIPLES:
        for copy in (triple.question, triple.question * 2):
            assert scored(rules, triple, copy).rules <= 0.02, triple.id


def test_saying_it_three_times_pays_less_than_once(rules: Rules) -> None:
    for triple in TRIPLES:
        once = scored(rules, triple, triple.correct).rules
        assert scored(rules, triple, triple.correct * 3).rules < 0.5 * once, triple.id


def test_padding_takes_something_off(rules: Rules) -> None:
    for triple in TRIPLES:
        before = scored(rules, triple, triple.correct).rules
        padded = triple.correct + PADDING[language_of(triple)]
        assert scored(rules, triple, padded).rules < before, triple.id


def test_longer_is_not_better(rules: Rules) -> None:
    endless = "".join(f"第{n}點請您多注意飲食和休息。" for n in range(60))
    assert rules.score(QUESTION, endless).length == 0.0


def test_one_template_for_all_questions_does_not_pay(rules: Rules) -> None:
    spam = [scored(rules, t, TEMPLATE[language_of(t)]).rules for t in TRIPLES]
    correct = [scored(rules, t, t.correct).rules for t in TRIPLES]
    assert mean(spam) < 0.55 * mean(correct)
    # The template says what a few of the questions need; nearly all want another answer.
    assert sum(s >= c for s, c in zip(spam, correct, strict=True)) <= 0.2 * len(TRIPLES)


def test_hedging_with_an_ambulance_does_not_pay(rules: Rules) -> None:
    calm = [t for t in TRIPLES if scored(rules, t, t.correct).need == "none"]
    assert len(calm) >= 4
    for triple in calm:
        before = scored(rules, triple, triple.correct).rules
        hedged = scored(rules, triple, triple.correct + CALL[language_of(triple)])
        assert hedged.rules <= 0.3 * before + 0.01, (triple.id, hedged)


def test_nothing_but_an_ambulance_earns_nothing_where_nobody_is_in_danger(rules: Rules) -> None:
    for triple in TRIPLES:
        parts = scored(rules, triple, CALL[language_of(triple)])
        if parts.need == "none":
            assert parts.rules < 0.1, (triple.id, parts)


@pytest.mark.parametrize(
    "answer", ["", " ", "。", "嗯嗯嗯嗯嗯嗯嗯嗯嗯嗯", "asdf qwer zxcv", "哈" * 300, "🙂" * 20]
)
def test_nothing_said_is_nothing_earned(rules: Rules, answer: str) -> None:
    parts = rules.score("我可以喝酒嗎？", answer)
    assert parts.rules <= 0.01, parts


THOUGHT = "病人漏了一次早上的藥，要先看離下一次多久，再說不要加倍。"
QUESTION = "我早上的血壓藥忘記吃了，怎麼辦？"
ANSWER = "離下一次還有一半以上的時間就現在補吃，快到了就跳過。千萬不要一次吃兩份，不確定請問藥師。"
THINKING = Context(thinking=True)
STUFFED = {
    "keywords": f"<think>{'建議 診斷 就醫 鑑別 風險 ' * 30}</think>{ANSWER}",
    "in circles": f"<think>{THOUGHT * 12}</think>{ANSWER}",
    "endless": f"<think>{''.join(f'第{n}點是我要想的第{n * 7}件事。' for n in range(400))}</think>{ANSWER}",
    "empty": f"<think> \n</think>{ANSWER}",
    "twice": f"<think>{THOUGHT}</think><think>{THOUGHT}</think>{ANSWER}",
    "nested": f"<think><think>{THOUGHT}</think></think>{ANSWER}",
    "too late": f"{ANSWER}<think>{THOUGHT}</think>",
    "the answer": f"<think>{ANSWER}</think>{ANSWER}",
    "not closed": f"<think>{THOUGHT}{ANSWER}",
    "nothing after it": f"<think>{THOUGHT}{ANSWER}</think>",
    "none": ANSWER,
}


@pytest.mark.parametrize("completion", STUFFED.values(), ids=STUFFED)
def test_a_stuffed_or_broken_thought_pays_less_than_an_honest_one(
    rules: Rules, completion: str
) -> None:
    honest = rules.score(QUESTION, f"<think>{THOUGHT}</think>\n{ANSWER}", THINKING)
    stuffed = rules.score(QUESTION, completion, THINKING)
    assert honest.format == 1.0
    assert stuffed.format < 0.2, stuffed
    assert stuffed.rules < honest.rules


def test_keywords_in_a_thought_earn_no_content(rules: Rules) -> None:
    plain = rules.score(QUESTION, f"<think>{THOUGHT}</think>請保重。", THINKING)
    stuffed = rules.score(QUESTION, f"<think>{ANSWER}{THOUGHT}</think>請保重。", THINKING)
    assert stuffed.content <= plain.content
