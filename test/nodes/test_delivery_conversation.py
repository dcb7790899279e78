"""A whole delivery over the topics: real rclpy, two processes, a real GGUF model."""

import math
import re

from node_test_kit import Robot
from node_test_kit import amlodipine_task
from node_test_kit import spoken

from medbot_llm.msg import DialogueState
from medbot_llm.msg import Response
from medbot_llm.msg import RobotContext

SECRETS = ("脈優", "Norvasc", "amlodipine", "5 mg", "林女士", "1950", "P-77", "盤尼西林", "高血壓")
HAN = re.compile(r"[\u4e00-\u9fff]")


def test_a_delivery_from_greeting_to_answers(talking_robot: Robot) -> None:
    robot = talking_robot

    robot.task_publisher.publish(amlodipine_task())
    greeting = robot.next_reply()
    assert {chunk.kind for chunk in greeting} == {Response.KIND_GREETING}
    assert greeting[0].task_id == "T-1" and greeting[0].language == "zh-Hant"
    assert [chunk.is_last for chunk in greeting] == [False] * (len(greeting) - 1) + [True]
    assert "手圈" in spoken(greeting)
    assert not any(secret in spoken(greeting) for secret in SECRETS)
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_IDENTIFY, "identify")

    robot.say("這是什麼藥？給誰的？")
    locked = robot.next_reply()
    assert not any(secret in spoken(locked) for secret in SECRETS)

    robot.scan("match")
    handover = robot.next_reply()
    assert {chunk.kind for chunk in handover} == {Response.KIND_HANDOVER}
    for fact in ("林女士", "脈優錠", "5 mg", "1", "每天一次", "早餐後"):
        assert fact in spoken(handover)
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_QUESTIONS, "questions")
    assert robot.states[-1].identity == DialogueState.IDENTITY_CONFIRMED

    robot.say("這個藥什麼時候吃？", utterance_id="u-1")
    answer = robot.next_reply()
    assert {chunk.kind for chunk in answer} == {Response.KIND_ANSWER}
    assert answer[0].utterance_id == "u-1" and answer[0].language == "zh-Hant"
    assert HAN.search(spoken(answer))
    assert 0 < answer[0].time_to_first_token <= answer[0].time_to_first_sentence
    assert not answer[-1].was_interrupted

    robot.say("When should I take this medicine?")
    english = robot.next_reply()
    assert {chunk.kind for chunk in english} == {Response.KIND_ANSWER}
    assert english[0].language == "en"
    assert not HAN.search(spoken(english).replace("脈優錠", ""))
    assert re.search(r"\w{3,}", spoken(english))

    texts = [chunk.text for chunk in robot.responses if chunk.text]
    robot.wait(lambda: robot.texts == texts, "the same words as plain strings")


def test_a_second_utterance_cancels_the_reply_to_the_first(talking_robot: Robot) -> None:
    robot = talking_robot
    robot.hand_over()
    robot.say("請把怎麼吃這個藥、要注意什麼，慢慢講給我聽。", utterance_id="first")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    robot.say("好，那我可以喝牛奶嗎？", utterance_id="second")

    first = robot.next_reply()
    second = robot.next_reply()

    assert first[0].utterance_id == "first" and second[0].utterance_id == "second"
    # The first may have ended by itself just before; if not, it says that it was cut short.
    assert first[-1].was_interrupted or first[-1].text
    assert not second[-1].was_interrupted and spoken(second)


def test_plain_strings_are_answered_like_speech(talking_robot: Robot) -> None:
    from std_msgs.msg import String

    talking_robot.hand_over()
    talking_robot.text_publisher.publish(String(data="一天要吃幾次？"))
    answer = talking_robot.next_reply()
    assert answer[0].kind == Response.KIND_ANSWER and answer[0].utterance_id == ""


def test_partial_results_are_not_answered(scripted_robot: Robot) -> None:
    scripted_robot.hand_over()
    scripted_robot.say("這個藥", is_partial=True)
    scripted_robot.no_reply()


def test_the_greeting_waits_for_the_arrival(scripted_robot: Robot) -> None:
    robot = scripted_robot
    robot.context_publisher.publish(RobotContext(trip_stage="en_route"))
    robot.task_publisher.publish(amlodipine_task())
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_APPROACH, "the approach")
    robot.no_reply()
    robot.context_publisher.publish(RobotContext(trip_stage="arrived", place="5A"))
    assert robot.next_reply()[0].kind == Response.KIND_GREETING


def test_times_are_unknown_where_no_one_spoke(scripted_robot: Robot) -> None:
    scripted_robot.task_publisher.publish(amlodipine_task())
    greeting = scripted_robot.next_reply()
    assert math.isnan(greeting[0].time_to_first_sentence)
    assert math.isnan(greeting[0].time_to_first_token)
