"""Every transition there and back, what is refused meanwhile, and where the memory goes."""

from node_test_kit import SCRIPT
from node_test_kit import Robot
from node_test_kit import amlodipine_task

from medbot_llm.msg import Response

GROWTH_ALLOWED_MB = 25
"""What a second round may add: allocator slack and Python's caches, not a model (490 MB)."""


def test_every_transition_twice_without_growth(start_node, robot: Robot, small_model) -> None:
    node = start_node(model=small_model)
    memory: dict[str, list[float]] = {"loaded": [], "freed": []}
    for _ in range(2):
        assert robot.lifecycle_state() == "unconfigured"
        assert robot.transition("configure")
        assert robot.lifecycle_state() == "inactive"
        for _ in range(2):
            assert robot.transition("activate")
            robot.wait_active()
            robot.task_publisher.publish(amlodipine_task())
            assert robot.next_reply()[0].kind == Response.KIND_GREETING
            robot.scan()
            assert robot.next_reply()[0].kind == Response.KIND_HANDOVER
            robot.say("這個藥什麼時候吃？", utterance_id="q")
            assert robot.next_reply()[0].kind == Response.KIND_ANSWER
            assert robot.transition("deactivate")
        memory["loaded"].append(node.memory_mb())
        assert robot.transition("cleanup")
        memory["freed"].append(node.memory_mb())

    model_mb = small_model.stat().st_size / 2**20
    assert memory["loaded"][1] - memory["loaded"][0] < GROWTH_ALLOWED_MB, memory
    assert memory["freed"][1] - memory["freed"][0] < GROWTH_ALLOWED_MB, memory
    assert memory["loaded"][0] - memory["freed"][0] > 0.8 * model_mb, memory
    assert memory["loaded"][0] < model_mb + 550, memory


def test_deactivating_ends_the_running_reply(start_node, robot: Robot) -> None:
    start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)
    robot.wait_active()
    robot.hand_over()
    robot.say("請說明")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    assert robot.transition("deactivate")
    assert robot.next_reply()[-1].was_interrupted


def test_what_comes_while_inactive_is_refused_with_a_reason(start_node, robot: Robot) -> None:
    node = start_node(engine="scripted", scripted__file=SCRIPT)
    assert robot.transition("configure")
    robot.wait(lambda: robot.speech_publisher.get_subscription_count(), "the subscriptions")
    robot.task_publisher.publish(amlodipine_task())
    robot.say("你好")
    robot.no_reply()
    for topic in ("delivery_task", "speech"):
        robot.wait(lambda topic=topic: f"a message on {topic} was refused" in node.log, "a reason")
    assert robot.trigger("interrupt").message == "refused: the node is not active"
    assert robot.trigger("reset").message == "refused: the node is not active"

    # The task's publisher still offers it: activating takes it up.
    assert robot.transition("activate")
    assert robot.next_reply()[0].kind == Response.KIND_GREETING


def test_configuring_says_how_far_it_is(start_node, robot: Robot, small_model) -> None:
    node = start_node(model=small_model)
    assert robot.transition("configure")
    assert "loading the model" in node.log and "the model is ready after" in node.log
    status = robot.wait(
        lambda: (
            robot.diagnostics.get("model")
            if robot.diagnostics.get("model") and robot.diagnostics["model"].message == "ready"
            else None
        ),
        "ready diagnostics",
    )
    values = {pair.key: pair.value for pair in status.values}
    assert values["model"] == small_model.name and values["engine"] == "llama_cpp"


def test_impossible_transitions_are_refused_and_nothing_ends(start_node, robot: Robot) -> None:
    node = start_node(engine="scripted", scripted__file=SCRIPT)
    for name in ("activate", "deactivate", "cleanup"):
        assert not robot.transition(name)
    assert robot.transition("configure")
    for name in ("configure", "deactivate"):
        assert not robot.transition(name)
    assert robot.transition("activate")
    for name in ("activate", "configure", "cleanup"):
        assert not robot.transition(name)
    assert robot.lifecycle_state() == "active"
    assert "transition 2" in node.log  # ours or, from Kilted on, rclpy's own line
    robot.hand_over()
