"""What people want, told from their words, in three languages and in either script."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbot_llm.dialogue.intents import Answer
from medbot_llm.dialogue.intents import Intent
from medbot_llm.dialogue.intents import Intents
from medbot_llm.dialogue.intents import IntentsError
from medbot_llm.dialogue.intents import guessed

INTENTS = Intents()

CASES = {
    Intent.MISSED_DOSE: [
        "我早上忘記吃藥了",
        "昨晚漏打一次胰島素",
        "I missed my dose",
        "忘了吃怎么办",
    ],
    Intent.NEXT_DOSE: [
        "那晚上八点的还照常吗",
        "下一次要往後延嗎",
        "and then tonights still at eight?",
        "do I move the next one as well",
    ],
    Intent.DOUBLE_DOSE: ["可以一次吃兩顆嗎", "can I take a double dose", "我能不能多吃一颗"],
    Intent.STOP_MEDICINE: ["可以停藥嗎", "when can I stop taking this", "感觉好了可以不吃吗"],
    Intent.WHEN: ["這個什麼時候吃", "When do I take it?", "几点吃比较好"],
    Intent.HOW_MUCH: ["一次吃幾顆", "how many tablets", "吃多少"],
    Intent.HOW_TO_TAKE: ["這個要怎麼用", "How do I use this?", "怎么吃"],
    Intent.WHAT_IS_IT: ["這是什麼藥", "What is this?", "送什么来"],
    Intent.WHAT_FOR: ["這個治什麼的", "What is it for?", "为什么要吃这个"],
    Intent.SIDE_EFFECTS: ["有什麼副作用", "any side effects", "会不会头晕"],
    Intent.WITH_FOOD: ["要空腹吃嗎", "before meals or after meals", "饭前还是饭后"],
    Intent.ALCOHOL: ["可以喝酒嗎", "can I have a beer"],
    Intent.DRIVING: ["吃了可以開車嗎", "may I drive"],
    Intent.PREGNANCY: ["孕婦可以吃嗎", "is it safe in pregnancy"],
    Intent.CRUSH: ["可以磨粉嗎", "can I crush it", "吞不下去怎么办"],
    Intent.STORAGE: ["要放冰箱嗎", "where do I put it, the fridge?"],
    Intent.ALLERGY_SAID: ["我對盤尼西林過敏", "I'm allergic to aspirin", "我青霉素过敏"],
    Intent.CONDITION_SAID: ["我懷孕了", "I am breastfeeding", "我有蚕豆症"],
    Intent.DOSE_SAID: ["醫師說改成吃半顆", "my doctor said to take 2"],
    Intent.CALL_STAFF: ["幫我叫護理師", "please call the nurse", "我要找药师"],
    Intent.ARE_YOU_DOCTOR: ["你是醫生嗎", "are you a real nurse", "你是谁"],
    Intent.DIAGNOSIS: ["我是不是得了癌症", "what's wrong with me", "检查结果怎么样"],
    Intent.OPIOID_REQUEST: ["多給我一點嗎啡", "I want more oxycodone"],
    Intent.UNSURE_TAKEN: [
        "我忘記早上有沒有吃過了",
        "不知道是吃了还是没吃",
        "早上的藥我不確定吃過沒有",
        "藥到底吃過了沒我真的忘了",
        "I forgot whether I took it",
        "can't remember if mum has had her tablet",
        "did I take it already? I don't know",
    ],
    Intent.REPEAT_PILL: ["再給我一顆", "where is my medicine"],
    Intent.IDENTITY_CLAIM: ["我就是本人", "I am his doctor", "我是她女儿"],
    Intent.REPEAT: ["再說一次", "can you say that again", "没听清楚"],
    Intent.INSULT: ["你這個笨蛋", "you stupid thing"],
    Intent.FAREWELL: [
        "沒事了，辛苦你，掰掰。",
        "Right, that's everything, ta. Cheerio!",
        "謝謝",
        "that's all, thanks",
        "没有了，谢谢",
    ],
    Intent.GREETING: ["你好", "Good morning!"],
    Intent.EMERGENCY_NUMBER: ["救護車要打幾號", "call an ambulance"],
    Intent.OTHER_PATIENT: ["隔壁床那個阿伯是吃什麼？", "what is the man in the next bed taking?"],
    Intent.OTHER: ["今天天氣真好", "nice weather today", "我孙子明天来看我"],
}


@pytest.mark.parametrize(
    ("intent", "text"), [(intent, text) for intent, texts in CASES.items() for text in texts]
)
def test_what_is_wanted_is_told_from_the_words(intent: Intent, text: str) -> None:
    assert INTENTS.of(text) is intent


@pytest.mark.parametrize(
    "text", ["我沒有對藥過敏", "會不會過敏", "no known allergies", "if I were pregnant"]
)
def test_what_is_denied_or_supposed_is_no_statement(text: str) -> None:
    assert INTENTS.of(text) not in (Intent.ALLERGY_SAID, Intent.CONDITION_SAID)


def test_another_medicine_makes_a_statement_of_taking_and_a_question_of_together() -> None:
    assert INTENTS.of("I also take ibuprofen", names_other=True) is Intent.ALSO_TAKING
    assert INTENTS.of("我平常有吃普拿疼", names_other=True) is Intent.ALSO_TAKING
    assert INTENTS.of("I take it at eight") is not Intent.ALSO_TAKING
    assert INTENTS.of("Can I take ibuprofen with it?", names_other=True) is Intent.TOGETHER
    assert INTENTS.of("可以吃普拿疼嗎", names_other=True) is not Intent.ALSO_TAKING


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("對", Answer.YES),
        ("是的，沒錯", Answer.YES),
        ("yes that's right", Answer.YES),
        ("不是", Answer.NO),
        ("不對，你聽錯了", Answer.NO),
        ("No, I'm not", Answer.NO),
        ("對，就是盤尼西林，沒錯", Answer.YES),
        ("對，就是那個，小時候打完還喘不過氣", Answer.YES),
        ("没错，就是磺胺", Answer.YES),
        ("Yes, aspirin, that's right.", Answer.YES),
        ("yes, but not aspirin", Answer.NEITHER),
        ("對，但是我沒有在吃了", Answer.NEITHER),
        ("是嗎？", Answer.NEITHER),
        ("對不起", Answer.NEITHER),
        ("不是啦，你聽錯，我說的是十四單位", Answer.NO),
        ("Sorry, no, I said fifteen.", Answer.NO),
        ("什麼？", Answer.NEITHER),
        ("", Answer.NEITHER),
    ],
)
def test_yes_and_no(text: str, answer: Answer) -> None:
    assert INTENTS.answer(text) is answer


@pytest.mark.parametrize(
    "text",
    [
        "以前吃磺胺類的藥，嘴裡起泡、皮都掉了，住了半個月院",
        "那個針打完當晚嘴唇發紫，被送急診",
        "Aspirin shuts my lungs down. Last time I ended up in intensive care.",
        "Years back they gave me Bactrim and my mouth blistered",
    ],
)
def test_a_reaction_tells_of_an_allergy_beside_a_name_only(text: str) -> None:
    assert INTENTS.of(text, names_allergen=True) is Intent.ALLERGY_SAID
    assert INTENTS.of(text) is not Intent.ALLERGY_SAID


@pytest.mark.parametrize("text", ["吃普拿疼會起疹子嗎", "Can it give me a rash like aspirin?"])
def test_a_question_about_a_reaction_is_none(text: str) -> None:
    assert INTENTS.of(text, names_allergen=True) is not Intent.ALLERGY_SAID


def test_several_questions_of_one_utterance() -> None:
    told = INTENTS.each("這個藥會有什麼副作用？還有一天要吃幾次？")
    assert told == [Intent.SIDE_EFFECTS, Intent.HOW_MUCH]
    told = INTENTS.each("What is it for and how many do I take?")
    assert told == [Intent.WHAT_FOR, Intent.HOW_MUCH]


def test_a_question_may_tell_that_something_is_taken_already() -> None:
    assert INTENTS.tells_of_taking("可以一起吃嗎？我每天都吃")
    assert INTENTS.tells_of_taking("I've got some at home, had one last night.")
    assert not INTENTS.tells_of_taking("可以跟這個一起吃嗎？")
    assert not INTENTS.tells_of_taking("Can I take it with this?")


@pytest.mark.parametrize("text", ["", "。。。", "\x00", "🎈" * 50, "x" * 20000, "\ud800"])
def test_anything_can_be_said(text: str) -> None:
    assert INTENTS.of(text) is Intent.OTHER


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("intents: [{id: nothing, any: [a]}]\nanswers: {}", "nothing"),
        ("intents: [{id: when, any: ['(']}]\nanswers: {}", "regular expression"),
        ("intents: []", "answers"),
        ("[", "can't be read"),
    ],
)
def test_wrong_patterns_are_named(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "intents.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(IntentsError, match=named):
        Intents(file)


@pytest.mark.parametrize(
    ("name", "share", "without", "intent"),
    [
        ("when", 0.6, set(), Intent.WHEN),
        ("when", 0.4, set(), Intent.OTHER),
        ("call_staff", 0.6, set(), Intent.OTHER),
        ("call_staff", 0.8, set(), Intent.CALL_STAFF),
        ("together", 0.99, {Intent.TOGETHER}, Intent.OTHER),
        ("", 0.0, set(), Intent.OTHER),
        ("of an encoder to come", 1.0, set(), Intent.OTHER),
    ],
)
def test_a_guess_counts_where_it_is_sure_enough(
    name: str, share: float, without: set[Intent], intent: Intent
) -> None:
    assert guessed(name, share, without=without) is intent
