"""Two robots on one ROS domain, each in its own namespace, do not hear each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from node_test_kit import SCRIPT
from node_test_kit import NodeProcess
from node_test_kit import Place
from node_test_kit import Robot
from node_test_kit import amlodipine_task

from medbot_llm.msg import Response


@pytest.fixture
def other_robot(place: Place, tmp_path: Path) -> Iterator[Robot]:
    """A second robot in the same domain, whose node serves the same script."""
    neighbour = Place(place.domain_id, f"{place.namespace}_neighbour")
    values = {"autostart": True, "engine": "scripted", "scripted.file": SCRIPT}
    process = NodeProcess(neighbour, tmp_path / "neighbour.log", values)
    robot = Robot(neighbour)
    robot.process = process
    try:
        robot.wait_active()
        yield robot
    finally:
        robot.close()
        status = process.stop()
    assert status == 0


def test_each_robot_answers_for_its_own_task_only(
    scripted_robot: Robot, other_robot: Robot
) -> None:
    scripted_robot.task_publisher.publish(amlodipine_task(task_id="here"))
    assert scripted_robot.next_reply()[0].task_id == "here"
    other_robot.no_reply()

    other_robot.task_publisher.publish(amlodipine_task(task_id="there"))
    assert other_robot.next_reply()[0].task_id == "there"
    scripted_robot.no_reply()


def test_a_scan_and_an_interrupt_reach_one_robot_only(
    scripted_robot: Robot, other_robot: Robot
) -> None:
    other_robot.task_publisher.publish(amlodipine_task())
    other_robot.next_reply()
    scripted_robot.hand_over()
    scripted_robot.say("請說明")
    scripted_robot.wait(
        lambda: scripted_robot.responses[scripted_robot._read :], "the first sentence"
    )
    assert other_robot.trigger("interrupt").message == "no reply to stop"
    assert not scripted_robot.next_reply()[-1].was_interrupted
    other_robot.no_reply()
    assert other_robot.states[-1].identity == "unknown"


def test_diagnostics_tell_the_robots_apart(scripted_robot: Robot, other_robot: Robot) -> None:
    for robot in (scripted_robot, other_robot):
        status = robot.wait(lambda robot=robot: robot.diagnostics.get("dialogue"), "diagnostics")
        assert status.hardware_id == f"{robot.node.get_namespace()}/dialogue_node"


def test_a_node_that_was_killed_takes_up_its_task_again(start_node, robot: Robot) -> None:
    node = start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)
    robot.wait_active()
    robot.hand_over()
    robot.say("請說明")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    node.process.kill()
    node.process.wait()
    robot._read = len(robot.responses)

    start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)

    greeting = robot.next_reply()
    assert greeting[0].kind == Response.KIND_GREETING and greeting[0].task_id == "T-1"
    robot.scan()
    assert robot.next_reply()[0].kind == Response.KIND_HANDOVER
