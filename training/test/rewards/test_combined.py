"""R = 0.6·rules + 0.4·teacher, as plain functions with TRL's signature."""

from __future__ import annotations

import json
import logging

import pytest
from fake_teacher import MARKS
from fake_teacher import SCORE
from fake_teacher import FakeTeacher
from fake_teacher import says

from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Scene
from medbot_training.rewards.combine import NAMES
from medbot_training.rewards.combine import OFFLINE
from medbot_training.rewards.combine import Item
from medbot_training.rewards.combine import Rewards
from medbot_training.rewards.combine import asked_of
from medbot_training.rewards.combine import context_of
from medbot_training.rewards.combine import joined
from medbot_training.rewards.combine import question_of
from medbot_training.rewards.combine import reward_function
from medbot_training.rewards.combine import score
from medbot_training.rewards.parts import Context
from medbot_training.rewards.parts import Weights
from medbot_training.rewards.rules import Rules
from medbot_training.rewards.teacher import Teacher
from medbot_training.rewards.teacher import TeacherSettings

QUESTION = "我可以自己停藥嗎？"
GOOD = "請不要自己停藥，想停藥請先和醫師討論。"
BAD = "可以停藥了。"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_the_default_is_six_to_four() -> None:
    assert joined(0.5, 1.0, Weights()) == pytest.approx(0.6 * 0.5 + 0.4)
    assert joined(0.5, 1.0, Weights(rules=1, teacher=1)) == pytest.approx(0.75)
    assert joined(0.5, None, Weights()) == 0.5


def test_a_missing_judgement_leaves_the_rules_alone_and_is_counted(
    rules: Rules, teacher_server: FakeTeacher, caplog: pytest.LogCaptureFixture
) -> None:
    teacher_server.script = [says("rubbish"), says(json.dumps(MARKS))]
    settings = TeacherSettings(base_url=teacher_server.url, attempts=1, concurrency=1)
    rewards = Rewards(rules, Teacher(settings))
    first, second = rewards.score_all(
        [Item(QUESTION, GOOD, Context()), Item(QUESTION, BAD, Context())]
    )
    assert first.teacher is None and first.reward == first.rules
    assert second.teacher == pytest.approx(SCORE)
    assert second.reward == pytest.approx(0.6 * second.rules + 0.4 * SCORE)
    assert (rewards.missing, rewards.judged) == (1, 1)
    assert "no judgement of 1 of 2 answers" in caplog.text and "bad_json 1" in caplog.text


def test_offline_says_so_in_one_line(rules: Rules, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rewards = Rewards(rules)
    rewards.score(QUESTION, GOOD)
    rewards.score(QUESTION, BAD)
    assert caplog.messages == [OFFLINE]


def test_functions_take_texts_and_messages_alike(rules: Rules) -> None:
    combined = reward_function("combined", Rewards(rules))
    as_text = combined(prompts=[QUESTION, QUESTION], completions=[GOOD, BAD])
    chat = [{"role": "system", "content": "x"}, {"role": "user", "content": QUESTION}]
    as_messages = combined(
        prompts=[chat, chat],
        completions=[
            [{"role": "assistant", "content": GOOD}],
            [{"role": "assistant", "content": BAD}],
        ],
        completion_ids=[[1], [2]],
        trainer_state=object(),
    )
    assert as_text == as_messages
    good, bad = as_text
    assert good is not None and bad is not None and good > 0 > bad
    assert combined.__name__ == "combined"


def test_every_part_is_a_function_of_its_own(rules: Rules) -> None:
    rewards = Rewards(rules)
    whole = rewards.score(QUESTION, GOOD)
    for name in NAMES:
        (value,) = reward_function(name, rewards)([QUESTION], [GOOD])
        assert value == (whole.reward if name == "combined" else getattr(whole, name))
    assert reward_function("teacher", rewards)([QUESTION], [GOOD]) == [None]


def test_an_unknown_part_is_one_clear_line(rules: Rules) -> None:
    with pytest.raises(MedbotError, match="there is no reward 'quality'"):
        reward_function("quality", Rewards(rules))


def test_all_parts_are_logged_by_name(rules: Rules) -> None:
    logged: dict[str, float] = {}
    combined = reward_function("combined", Rewards(rules))
    combined([QUESTION, QUESTION], [GOOD, BAD], log_metric=logged.__setitem__)
    wanted = {"format", "content", "length", "language", "safety", "rules", "reward"}
    assert {f"parts/{name}" for name in wanted} <= set(logged)
    assert logged["parts/harmful"] == 0.5 and logged["parts/teacher_missing"] == 1.0


def test_columns_say_what_is_known() -> None:
    row = {
        "lang": "en",
        "scene": "er",
        "facts": ["a"],
        "reference": "<think>x</think>y",
        "needs": "nurse",
        "task": {"medications": [{"name": "Aspirin"}]},
    }
    context = context_of(row)
    assert context.language is Language.EN and context.scene is Scene.ER
    assert context.facts == ("a",) and context.reference == "y" and context.needs == "nurse"
    assert context.task is not None and context.task.medications[0].name == "Aspirin"


def test_columns_of_a_batch_are_read_record_by_record(rules: Rules) -> None:
    safety = reward_function("safety", Rewards(rules))
    values = safety(
        [QUESTION] * 3,
        [GOOD] * 3,
        needs=["none", "emergency", None],
        meta=[{}, {}, {"needs": "emergency"}],
    )
    assert values[0] == 1.0 and values[1] == values[2] != 1.0


def test_a_record_that_says_nothing_or_nonsense_is_scored_by_the_defaults() -> None:
    assert context_of({"scene": "moon", "lang": 3, "needs": "?", "facts": None}) == Context()


def test_a_prompt_in_a_template_is_read_to_its_last_question() -> None:
    chat = "<|im_start|>user\nfirst<|im_end|>\n<|im_start|>user\nlast<|im_end|>\n<think>"
    assert question_of(chat) == "last"
    assert context_of({}, chat).begins_in_thought


def test_the_teacher_is_shown_no_name_and_no_thought() -> None:
    row = {
        "task": {
            "patient_id": "A123456789",
            "spoken_name": "王小姐",
            "room": "501",
            "birth_date": "1950-03-07",
            "notes": "住在台北",
            "medications": [{"name": "Aspirin", "dose": "1 tablet"}],
            "allergies": ["penicillin"],
        }
    }
    asked = asked_of(Item("q", "<think>secret</think>answer", context_of(row)))
    shown = json.dumps([asked.question, asked.answer, dict(asked.known)], ensure_ascii=False)
    assert "Aspirin" in shown and "penicillin" in shown and asked.answer == "answer"
    for private in ("A123456789", "王小姐", "501", "1950", "台北", "secret"):
        assert private not in shown


def test_one_answer_by_itself() -> None:
    assert score(QUESTION, GOOD).rules > 0 > score(QUESTION, BAD).rules
