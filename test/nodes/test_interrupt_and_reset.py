"""A running reply can be stopped, and a conversation begun again."""

from node_test_kit import SCRIPT
from node_test_kit import Robot
from node_test_kit import amlodipine_task
from node_test_kit import spoken

from medbot_llm.msg import DialogueState
from medbot_llm.msg import Response


def test_interrupt_stops_the_reply_and_marks_its_end(scripted_robot: Robot) -> None:
    robot = scripted_robot
    robot.hand_over()
    robot.say("請說明")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")

    assert robot.trigger("interrupt").success
    reply = robot.next_reply()

    assert reply[-1].was_interrupted and reply[-1].is_last
    assert "第五句" not in spoken(reply)
    robot.no_reply()


def test_interrupt_without_a_reply_says_so(scripted_robot: Robot) -> None:
    answer = scripted_robot.trigger("interrupt")
    assert not answer.success and answer.message == "no reply to stop"


def test_reset_forgets_the_identity_and_greets_again(scripted_robot: Robot) -> None:
    robot = scripted_robot
    robot.hand_over()
    assert robot.trigger("reset").success
    assert robot.next_reply()[0].kind == Response.KIND_GREETING
    robot.wait(
        lambda: robot.states[-1].identity == DialogueState.IDENTITY_UNKNOWN, "a forgotten identity"
    )
    robot.say("這個藥怎麼吃？")
    assert robot.next_reply()[0].kind == Response.KIND_CLARIFICATION


def test_a_task_replaced_mid_reply_ends_the_reply_and_needs_a_new_scan(
    scripted_robot: Robot,
) -> None:
    robot = scripted_robot
    robot.hand_over()
    robot.say("請說明")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    robot.task_publisher.publish(amlodipine_task(task_id="T-2", spoken_name="陳先生"))

    assert robot.next_reply()[-1].was_interrupted
    greeting = robot.next_reply()
    assert greeting[0].kind == Response.KIND_GREETING and greeting[0].task_id == "T-2"
    assert "陳先生" not in spoken(greeting)
    robot.say("這個藥怎麼吃？")
    assert robot.next_reply()[0].kind == Response.KIND_CLARIFICATION


def test_the_same_task_again_changes_nothing(scripted_robot: Robot) -> None:
    scripted_robot.hand_over()
    scripted_robot.task_publisher.publish(amlodipine_task())
    scripted_robot.no_reply()


def test_an_empty_task_withdraws_the_current_one(scripted_robot: Robot) -> None:
    robot = scripted_robot
    robot.hand_over()
    robot.task_publisher.publish(amlodipine_task(task_id="", medications=[]))
    assert robot.next_reply()[0].kind == Response.KIND_FAREWELL
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_IDLE, "no task")


def test_alerts_repeat_until_they_are_acknowledged(start_node, robot: Robot) -> None:
    from medbot_llm.msg import AlertAck

    start_node(autostart=True, engine="scripted", scripted__file=SCRIPT, alert_repeat_s=1.0)
    robot.wait_active()
    robot.task_publisher.publish(amlodipine_task())
    robot.next_reply()
    robot.scan("mismatch")
    robot.wait(lambda: len(robot.alerts) >= 3, "two repetitions")
    assert [alert.repetition for alert in robot.alerts[:3]] == [0, 1, 2]
    assert len({alert.alert_id for alert in robot.alerts}) == 1
    assert robot.alerts[0].raised_at == robot.alerts[2].raised_at

    robot.ack_publisher.publish(AlertAck(alert_id=robot.alerts[0].alert_id, acknowledged_by="N-1"))
    robot.wait(lambda: robot.alerts[-1].acknowledged, "the acknowledgement")
    robot.wait(lambda: not robot.states[-1].open_alerts, "no open alert")
