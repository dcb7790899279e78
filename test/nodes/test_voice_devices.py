"""Sound devices go and come back, a button and presence decide when the robot listens, and a long
day leaves no trace: the real nodes on a sound server that the tests kill.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_test_kit import SCRIPT
from std_msgs.msg import Bool
from voice_robot import VoiceRobot
from voice_robot import until
from voice_robot import voice_robot

from medbot_llm.domain import Language
from medbot_llm.msg import RobotContext
from medbot_llm.msg import VoiceActivity
from medbot_llm.nodes import qos

from sound_server import needs_sound_server  # isort: skip  # voice_robot finds its folder

pytestmark = needs_sound_server
HANT = Language.ZH_HANT
DIALOGUE = {"engine": "scripted", "scripted.file": SCRIPT}
ERROR = b"\x02"
COMES_BACK_S = 60.0
"""The longest pause between two tries is 10 s; the rest is for a busy machine."""
SOAK_MINUTES = float(os.environ.get("MEDBOT_SOAK_MINUTES", "30"))
GROWTH_MB = 40.0


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceRobot]:
    with voice_robot(tmp_path_factory.mktemp("voice"), DIALOGUE) as made:
        yield made


def level(robot: VoiceRobot, what: str) -> bytes:
    return bytes(robot.robot.diagnostics[what].level)


def test_a_sound_server_that_dies_is_told_and_taken_up_again(robot: VoiceRobot) -> None:
    robot.server.kill()
    for what in ("microphone", "loudspeaker"):
        robot.robot.wait(lambda what=what: level(robot, what) == ERROR, f"{what} at ERROR")
        assert what in robot.robot.diagnostics[what].message
    # The dialogue goes on without a voice.
    robot.robot.say("你好")
    robot.robot.wait(lambda: robot.robot.responses, "an answer in text")
    robot.server.start()
    robot.robot.wait(lambda: level(robot, "loudspeaker") != ERROR, "the loudspeaker", COMES_BACK_S)
    before, replies = len(robot.robot.speech), len(robot.robot.responses)
    assert until(lambda: _is_heard(robot, before), COMES_BACK_S)
    for speech in robot.finals(before):
        robot.wait_for_answer(speech, replies)
    assert all(node.is_alive for node in robot.nodes.values())


def _is_heard(robot: VoiceRobot, before: int) -> bool:
    """Say something; whether it has been heard."""
    robot.say("請問有人在嗎？", HANT)
    return until(lambda: robot.finals(before), 8.0)


def test_muted_by_parameter_it_says_nothing_and_is_heard_again_later(robot: VoiceRobot) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    def mute(value: bool) -> None:
        client = robot.robot.node.create_client(SetParameters, "speaker_node/set_parameters")
        assert client.wait_for_service(30.0)
        time.sleep(0.2)
        change = Parameter("mute", value=value).to_parameter_msg()
        future = client.call_async(SetParameters.Request(parameters=[change]))
        robot.robot.wait(future.done, "the parameter to be set")
        assert future.result().results[0].successful

    robot.wait_quiet()
    mute(True)
    spoken = len(robot.robot.speaking)
    robot.robot.say("你好")
    robot.robot.wait(lambda: robot.robot.responses[-1].is_last, "the answer in text")
    time.sleep(2.0)
    assert not any(state.is_speaking for state in robot.robot.speaking[spoken:])
    mute(False)
    robot.robot.say("你好")
    robot.robot.wait(
        lambda: any(state.is_speaking for state in robot.robot.speaking[spoken:]), "its voice"
    )
    robot.wait_quiet()


def test_a_button_opens_the_ear(tmp_path: Path) -> None:
    with voice_robot(tmp_path, DIALOGUE, {"mode": "push_to_talk"}) as robot:
        button = robot.robot.node.create_publisher(Bool, "push_to_talk", qos.EVENTS)
        robot.robot.wait(button.get_subscription_count, "a subscription to push_to_talk")
        robot.say("請問有人在嗎？", HANT)
        time.sleep(1.5)
        assert robot.robot.speech == []
        button.publish(Bool(data=True))
        robot.robot.wait(lambda: robot.told(VoiceActivity.STATE_LISTENING, 0), "the ear to open")
        robot.say("請問有人在嗎？", HANT)
        button.publish(Bool(data=False))
        [speech] = robot.robot.wait(lambda: robot.finals(0), "speech")
        assert "請問" in speech.text or "嗎" in speech.text
        robot.wait_quiet()


def test_presence_opens_the_ear(tmp_path: Path) -> None:
    with voice_robot(tmp_path, DIALOGUE, {"mode": "presence"}) as robot:
        robot.say("請問有人在嗎？", HANT)
        time.sleep(1.5)
        assert robot.robot.speech == []
        robot.robot.context_publisher.publish(RobotContext(trip_stage="arrived"))
        robot.robot.wait(lambda: robot.told(VoiceActivity.STATE_LISTENING, 0), "the ear to open")
        robot.say("請問有人在嗎？", HANT)
        robot.robot.wait(lambda: robot.finals(0), "speech")
        robot.wait_quiet()


@pytest.mark.slow
def test_half_an_hour_of_talk_leaves_memory_flat_and_drops_nothing(robot: VoiceRobot) -> None:
    """The caches fill in the first rounds; from then on nothing may grow."""
    ends = time.monotonic() + SOAK_MINUTES * 60
    settled: dict[str, float] = {}
    rounds = 0
    while time.monotonic() < ends:
        robot.be_answered("請問這個藥要怎麼吃？", HANT)
        rounds += 1
        if rounds == 10:
            settled = {name: node.memory_mb() for name, node in robot.nodes.items()}
    grown = {name: robot.nodes[name].memory_mb() - mb for name, mb in settled.items()}
    print(f"{rounds} rounds, grown by (MB): {grown}")
    assert settled and max(grown.values()) < GROWTH_MB, grown
    values = {v.key: v.value for v in robot.robot.diagnostics["microphone"].values}
    assert values["blocks dropped"] == "0"
