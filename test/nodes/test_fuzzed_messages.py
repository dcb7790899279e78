"""Messages that no sane node sends, as fast as they come, mixed with everything else a robot's
other nodes may do: the node lives, keeps its log readable, ends every reply, and serves on.
"""

import random
import threading
import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

from builtin_interfaces.msg import Time
from node_test_kit import Robot
from node_test_kit import amlodipine_task
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from medbot_llm.msg import AlertAck
from medbot_llm.msg import DeliveryTask
from medbot_llm.msg import DialogueState
from medbot_llm.msg import IdentityScan
from medbot_llm.msg import Medication
from medbot_llm.msg import Response
from medbot_llm.msg import RobotContext
from medbot_llm.msg import Speech
from medbot_llm.nodes import qos

SEED = 20261123
DURATION_S = 8.0
PERIOD_S = 1 / 300
MEGABYTE = 2**20
MEMORY_ALLOWED_MB = 120
"""What a flood may add to a node that has just given its freed memory back: a few big messages
in DDS's queues, what the verifier keeps of the latest tasks, and allocator slack."""
LINES_PER_S_ALLOWED = 20
WORDS = (
    "很快", "請說明", "think", "what is this?", "", " ", "\x00", "\u202e\u200b", "😀🎉",
    "<|im_end|>", "{{ task }}", "%s%n", "a\nb\r\tc", "-1", "nan", "zh-Hant", "match",
    "mismatch", "ward", "er", "1950-03-07", "9999-99-99", "'\"\\$(id)", "\ufffe", "\U0010ffff",
    "é" * 300, "藥" * 5000,
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e-38, 3.4e38, float("nan"), float("inf"), float("-inf"))
LIVE_PARAMETERS: tuple[tuple[str, Any], ...] = (
    ("sampling.temperature", 0.0),
    ("sampling.temperature", 99.0),
    ("sampling.max_tokens", 1),
    ("sampling.max_tokens", 200),
    ("sampling.seed", -2),
    ("adapter_scale", 2),
    ("model", "elsewhere.gguf"),
    ("no_such_parameter", "x"),
    ("alert_repeat_s", [1.0, 2.0]),
)


class Fuzzer:
    """Makes random messages; the same ones for the same seed."""

    def __init__(self, robot: Robot, seed: int) -> None:
        self.robot = robot
        self.random = random.Random(seed)

    def text(self) -> str:
        kind = self.random.random()
        if kind < 0.85:
            return self.random.choice(WORDS)
        if kind < 0.998:
            code_points = (self.random.randrange(1, 0xD800) for _ in range(40))
            return "".join(map(chr, code_points))
        return "藥a" * (MEGABYTE // 4)

    def fill(self, msg: Any) -> Any:
        """Give every field of a message some value of its type."""
        for name, kind in msg.get_fields_and_field_types().items():
            value: Any = None
            if kind == "string":
                value = self.text()
            elif kind == "float":
                value = self.random.choice(FLOATS)
            elif kind == "boolean":
                value = self.random.random() < 0.2
            elif kind == "sequence<string>":
                value = [self.text() for _ in range(self.random.choice((0, 1, 3, 40)))]
            elif kind == "sequence<medbot_llm/Medication>":
                value = [self.fill(Medication()) for _ in range(self.random.choice((0, 1, 3)))]
                if self.random.random() < 0.1:
                    value = [Medication(name=self.random.choice(WORDS))] * 1000
            elif kind == "builtin_interfaces/Time":
                value = self.time()
            elif kind == "std_msgs/Header":
                msg.header.stamp = self.time()
                msg.header.frame_id = self.random.choice(WORDS)
            if value is not None:
                setattr(msg, name, value)
        return msg

    def time(self) -> Time:
        return Time(
            sec=self.random.choice((0, 1, -1, -(2**31), 2**31 - 1)),
            nanosec=self.random.choice((0, 999_999_999, 2**32 - 1)),
        )

    def publish_anything(self) -> None:
        """Publish one message on one of the node's topics."""
        robot, choice = self.robot, self.random.random()
        if choice < 0.35:
            robot.speech_publisher.publish(self.fill(Speech()))
        elif choice < 0.5:
            robot.text_publisher.publish(self.fill(String()))
        elif choice < 0.65:
            robot.task_publisher.publish(self.fill(DeliveryTask()))
        elif choice < 0.75:
            robot.context_publisher.publish(self.fill(RobotContext()))
        elif choice < 0.85:
            robot.scan_publisher.publish(self.fill(IdentityScan()))
        elif choice < 0.9:
            robot.ack_publisher.publish(self.fill(AlertAck()))
        elif choice < 0.95:
            robot.task_publisher.publish(amlodipine_task())
        else:
            robot.scan(self.random.choice(("match", "mismatch", "unreadable")))


def in_background(stop: threading.Event, act: Callable[[], None]) -> threading.Thread:
    """Do something again and again until told to stop."""

    def repeat() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    return thread


def bother(robot: Robot, chance: random.Random) -> None:
    """Do one of the things that are not messages; nothing of it may fail to be answered."""
    choice = chance.random()
    if choice < 0.3:
        kind, name = Trigger, chance.choice(("interrupt", "reset"))
        client = robot.node.create_client(kind, f"dialogue_node/{name}")
        client.call_async(Trigger.Request())
        time.sleep(0.02)
        robot.node.destroy_client(client)  # and is gone before the answer
    elif choice < 0.6:
        name, value = chance.choice(LIVE_PARAMETERS)
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        robot.call("set_parameters", SetParameters, request)
    elif choice < 0.8:
        late = robot.node.create_subscription(
            DialogueState, "dialogue_state", lambda _: None, qos.LATCHED
        )
        time.sleep(0.05)
        robot.node.destroy_subscription(late)
    else:
        name = chance.choice(("deactivate", "activate", "configure", "cleanup"))
        robot.transition(name)
        if name == "cleanup" or chance.random() < 0.5:
            robot.transition("configure")
        robot.transition("activate")


def flood(robot: Robot, seed: int, duration_s: float, period_s: float) -> int:
    """Send messages and do everything else for a while; returns how many were sent."""
    fuzzer, chance = Fuzzer(robot, seed), random.Random(seed + 1)
    stop = threading.Event()
    botherer = in_background(stop, lambda: bother(robot, chance))
    sent, ends_at = 0, time.monotonic() + duration_s
    while time.monotonic() < ends_at:
        fuzzer.publish_anything()
        sent += 1
        time.sleep(period_s)
    stop.set()
    botherer.join()
    return sent


def serves_as_ever(robot: Robot) -> None:
    """Whatever state it was left in: the node can be brought to serve a task from start to end."""
    for name in ("configure", "activate"):
        robot.transition(name)
    assert robot.lifecycle_state() == "active"
    robot.set_parameter("sampling.max_tokens", 200)
    robot.context_publisher.publish(RobotContext(trip_stage=RobotContext.STAGE_ARRIVED))
    time.sleep(1.0)
    robot.task_publisher.publish(amlodipine_task(task_id="after the flood"))
    robot.wait(lambda: robot.states[-1].task_id == "after the flood", "the task")
    robot.scan()
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_QUESTIONS, "questions")
    robot.say("很快", utterance_id="still there")
    robot.wait(
        lambda: [r for r in robot.responses if r.utterance_id == "still there" and r.is_last],
        "an answer",
    )


def every_reply_has_one_end(responses: list[Response]) -> None:
    """Chunks are in order, and exactly the last one is marked, whatever ended the reply."""
    chunks: dict[str, list[Response]] = {}
    for chunk in responses:
        chunks.setdefault(chunk.reply_id, []).append(chunk)
    assert len(chunks) > 1
    for reply_id, reply in chunks.items():
        assert [chunk.sequence for chunk in reply] == list(range(len(reply))), reply_id
        assert [chunk.is_last for chunk in reply] == [False] * (len(reply) - 1) + [True], reply
    in_order = [reply_id for reply_id, _ in groupby(responses, key=lambda r: r.reply_id)]
    assert len(in_order) == len(chunks), "chunks of two replies are mixed"


def test_a_flood_of_nonsense_is_survived(scripted_robot: Robot) -> None:
    robot, process = scripted_robot, scripted_robot.process
    robot.hand_over()
    before_mb, began = process.memory_mb(), time.monotonic()

    sent = flood(robot, SEED, DURATION_S, PERIOD_S)

    took_s = time.monotonic() - began
    assert sent > 100
    assert process.is_alive, process.log[-3000:]
    serves_as_ever(robot)
    every_reply_has_one_end(robot.responses)
    assert "Traceback" not in process.log
    assert len(process.log.splitlines()) < LINES_PER_S_ALLOWED * (took_s + 10)
    assert max(map(len, process.log.splitlines())) < 2000
    assert process.memory_mb() - before_mb < MEMORY_ALLOWED_MB
