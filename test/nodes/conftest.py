"""The real node in its own process, on a ROS domain of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_test_kit import SCRIPT
from node_test_kit import NodeProcess
from node_test_kit import Place
from node_test_kit import Robot

PATIENT = {
    "timeouts.first_token_s": 120.0,
    "timeouts.between_tokens_s": 60.0,
    "timeouts.first_sentence_s": 300.0,
}
"""Time-outs for a machine that other work keeps busy."""

StartNode = Callable[..., NodeProcess]


@pytest.fixture
def place() -> Place:
    """Where this test's robot is, and no other."""
    return Place.of_its_own()


@pytest.fixture
def start_node(place: Place, tmp_path: Path) -> Iterator[StartNode]:
    """Start dialogue_node with parameters; it is stopped, and must stop well, after the test."""
    processes: list[NodeProcess] = []

    def start(**parameters: Any) -> NodeProcess:
        values = {name.replace("__", "."): value for name, value in parameters.items()}
        log = tmp_path / f"dialogue_node_{len(processes)}.log"
        processes.append(NodeProcess(place, log, PATIENT | values))
        return processes[-1]

    yield start
    for process in processes:
        was_alive = process.is_alive
        status = process.stop()
        print(f"--- log of {process.name} (exit {status}):", process.log, sep="\n")
        if was_alive:
            assert status == 0, "the node did not end cleanly"
        assert "Traceback" not in process.log


@pytest.fixture
def robot(place: Place) -> Iterator[Robot]:
    """The rest of the robot."""
    peer = Robot(place)
    yield peer
    peer.close()


@pytest.fixture
def talking_robot(start_node: StartNode, robot: Robot, small_model: Path) -> Robot:
    """A robot whose node serves the small real model."""
    robot.process = start_node(autostart=True, model=small_model, sampling__seed=1)
    robot.wait_active()
    return robot


@pytest.fixture
def scripted_robot(start_node: StartNode, robot: Robot) -> Robot:
    """A robot whose node serves a script: for what does not depend on the model."""
    robot.process = start_node(autostart=True, engine="scripted", scripted__file=SCRIPT)
    robot.wait_active()
    return robot
