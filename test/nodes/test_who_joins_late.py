"""What holds until it is replaced reaches those who come later."""

from collections.abc import Iterator

import pytest
from node_test_kit import SCRIPT
from node_test_kit import Place
from node_test_kit import Robot
from node_test_kit import amlodipine_task

from medbot_llm.msg import Response


@pytest.fixture
def latecomer() -> Iterator[list[Robot]]:
    peers: list[Robot] = []
    yield peers
    for peer in peers:
        peer.close()


def test_a_late_subscriber_gets_the_current_state_and_open_alerts(
    scripted_robot: Robot, latecomer: list[Robot], place: Place
) -> None:
    scripted_robot.task_publisher.publish(amlodipine_task())
    scripted_robot.next_reply()
    scripted_robot.scan("mismatch")
    scripted_robot.next_reply()

    late = Robot(place)
    latecomer.append(late)

    late.wait(lambda: late.states and late.states[-1].task_id == "T-1", "the current task")
    late.wait(lambda: late.alerts, "the open alert")
    assert late.alerts[0].category == "identity_mismatch"


def test_a_node_that_starts_late_takes_up_the_current_task(start_node, robot: Robot) -> None:
    robot.task_publisher.publish(amlodipine_task(task_id="old"))
    robot.task_publisher.publish(amlodipine_task(task_id="current"))
    start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)
    greeting = robot.next_reply()
    assert greeting[0].kind == Response.KIND_GREETING and greeting[0].task_id == "current"
    robot.no_reply()
