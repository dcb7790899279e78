"""However it is told to end, and whatever it is doing: the node ends soon, with status 0."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from node_test_kit import SCRIPT
from node_test_kit import Robot

END_WITHIN_S = 30.0
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def ends_well(node, number: signal.Signals, *, again: bool = False) -> None:
    """Send the signal, and perhaps more of them while it frees what it has."""
    began = time.monotonic()
    node.process.send_signal(number)
    while again and node.is_alive and time.monotonic() - began < 0.2:
        time.sleep(0.01)
        node.process.send_signal(number)
    assert node.process.wait(END_WITHIN_S) == 0
    assert "Traceback" not in node.log


@SIGNALS
def test_a_signal_mid_reply_still_publishes_the_last_chunk(
    start_node, robot: Robot, number: signal.Signals
) -> None:
    node = start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)
    robot.wait_active()
    robot.hand_over()
    robot.say("請說明")
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    ends_well(node, number, again=True)
    assert robot.next_reply()[-1].was_interrupted


@SIGNALS
def test_a_signal_while_the_model_loads(
    start_node, robot: Robot, small_model, number: signal.Signals
) -> None:
    node = start_node(autostart=True, model=small_model)
    robot.wait(lambda: "loading the model" in node.log, "the load to begin")
    ends_well(node, number, again=True)


@SIGNALS
def test_a_signal_before_it_is_configured(
    start_node, robot: Robot, number: signal.Signals
) -> None:
    node = start_node(engine="scripted", scripted__file=SCRIPT)
    assert robot.lifecycle_state() == "unconfigured"
    ends_well(node, number)


@pytest.mark.parametrize("arguments", [["--params-file", "/nowhere.yaml"], ["-p"]])
def test_wrong_ros_arguments_are_told_in_a_line(arguments: list[str]) -> None:
    executable = Path(get_package_prefix("medbot_llm")) / "lib/medbot_llm/dialogue_node"
    done = subprocess.run(
        [executable, "--ros-args", *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "dialogue_node: " in done.stderr and "Traceback" not in done.stderr
