"""A robot around the real node: the process under test, and a peer that plays every other node."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import TypeVar

import rclpy
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import DescribeParameters
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from medbot_llm.msg import Alert
from medbot_llm.msg import AlertAck
from medbot_llm.msg import Caption
from medbot_llm.msg import DeliveryTask
from medbot_llm.msg import DialogueState
from medbot_llm.msg import IdentityScan
from medbot_llm.msg import Medication
from medbot_llm.msg import Response
from medbot_llm.msg import RobotContext
from medbot_llm.msg import Speaking
from medbot_llm.msg import Speech
from medbot_llm.msg import VoiceActivity
from medbot_llm.nodes import qos

SCRIPT = Path(__file__).with_name("answers.yaml")
"""What the scripted engine says."""
WAIT_S = 60.0
"""How long anything may take on a busy machine with two cores."""
SILENCE_S = 1.0
"""How long nothing must come for it to count as nothing."""

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a robot's topics are: a ROS domain, and a namespace that is surely no one else's."""

    domain_id: int
    namespace: str

    @classmethod
    def of_its_own(cls) -> Place:
        """A place that nothing else on this machine uses. Domains to 100 work everywhere."""
        return cls(random.SystemRandom().randint(1, 100), f"/robot_{uuid.uuid4().hex[:8]}")


TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


def amlodipine_task(**fields: Any) -> DeliveryTask:
    """A delivery of one medicine to a ward bed."""
    values: dict[str, Any] = {
        "task_id": "T-1",
        "scene": "ward",
        "language": "zh-Hant",
        "patient_group": "elderly",
        "patient_id": "P-77",
        "spoken_name": "林女士",
        "birth_date": "1950-03-07",
        "room": "5A-12",
        "bed": "3",
        "medications": [
            Medication(
                name="Norvasc",
                name_zh="脈優錠",
                generic_name="amlodipine",
                strength="5 mg",
                dose="1 tablet",
                route="oral",
                frequency="QD",
                instructions="早餐後服用",
            )
        ],
        "allergies": ["盤尼西林"],
        "conditions": ["高血壓"],
    }
    return DeliveryTask(**(values | fields))


class NodeProcess:
    """A node as its own process, installed as on a robot."""

    def __init__(
        self, place: Place, log: Path, parameters: Mapping[str, Any], name: str = "dialogue_node"
    ) -> None:
        self.name = name
        executable = Path(get_package_prefix("medbot_llm")) / "lib/medbot_llm" / name
        arguments = [str(executable), "--ros-args", "-r", f"__ns:={place.namespace}"]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{name}:={text or chr(39) * 2}"]
        self.log_path = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                arguments,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"ROS_DOMAIN_ID": str(place.domain_id)},
            )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def memory_mb(self, kind: str = "VmRSS") -> float:
        """Its resident memory, MB; `RssAnon` leaves mapped files out."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {kind} in /proc")

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit status."""
        if self.is_alive:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.process.kill()


class Robot:
    """Every other node of the robot: publishes what they would, and records what comes back."""

    def __init__(self, place: Place) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=place.domain_id)
        self.node = rclpy.create_node("robot", namespace=place.namespace, context=self.context)
        self.responses: list[Response] = []
        self.texts: list[str] = []
        self.alerts: list[Alert] = []
        self.speech: list[Speech] = []
        self.speaking: list[Speaking] = []
        self.activity: list[VoiceActivity] = []
        self.captions: list[Caption] = []
        self.states: list[DialogueState] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self._changed = threading.Condition()
        self._read = 0
        node = self.node
        self.task_publisher = node.create_publisher(DeliveryTask, "delivery_task", qos.LATCHED)
        self.context_publisher = node.create_publisher(RobotContext, "robot_context", qos.LATCHED)
        self.scan_publisher = node.create_publisher(IdentityScan, "identity_scan", qos.EVENTS)
        self.speech_publisher = node.create_publisher(Speech, "speech", qos.EVENTS)
        self.text_publisher = node.create_publisher(String, "speech_text", qos.EVENTS)
        self.ack_publisher = node.create_publisher(AlertAck, "alert_ack", qos.EVENTS)
        node.create_subscription(Response, "response", self._record(self.responses), qos.RESPONSES)
        node.create_subscription(Alert, "alert", self._record(self.alerts), qos.ALERTS)
        node.create_subscription(
            DialogueState, "dialogue_state", self._record(self.states), qos.LATCHED
        )
        node.create_subscription(Speech, "speech", self._record(self.speech), qos.EVENTS)
        node.create_subscription(Speaking, "speaking", self._record(self.speaking), qos.SPEAKING)
        node.create_subscription(
            VoiceActivity, "voice_activity", self._record(self.activity), qos.EVENTS
        )
        node.create_subscription(Caption, "caption", self._record(self.captions), qos.RESPONSES)
        node.create_subscription(String, "response_text", self._on_text, qos.RESPONSES)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while self.context.ok():
                # rclpy's spin() ends by what another thread destroys in the wrong moment (its wait
                # for events of a subscription); a test that destroys things goes on listening.
                with contextlib.suppress(InvalidHandle):
                    self._executor.spin()
                    return

    def _record(self, target: list[Any]) -> Callable[[Any], None]:
        def on_message(msg: Any) -> None:
            with self._changed:
                target.append(msg)
                self._changed.notify_all()

        return on_message

    def _on_text(self, msg: String) -> None:
        with self._changed:
            self.texts.append(msg.data)
            self._changed.notify_all()

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        with self._changed:
            for status in msg.status:
                if status.hardware_id.startswith(f"{self.node.get_namespace()}/"):
                    self.diagnostics[status.name.split(": ")[1]] = status
            self._changed.notify_all()

    def close(self) -> None:
        """Leave ROS."""
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    # --- waiting ---------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
        """Wait until condition gives something true; returns it."""
        with self._changed:
            deadline = time.monotonic() + timeout_s
            while not (value := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"waited {timeout_s:g} s for {what}"
                self._changed.wait(min(left, 0.2))
            return value

    def wait_active(self) -> None:
        """Wait until the node serves."""
        self.wait(lambda: self.states, "the node to be active")
        for publisher in (
            self.context_publisher,
            self.task_publisher,
            self.scan_publisher,
            self.speech_publisher,
            self.text_publisher,
            self.ack_publisher,
        ):
            self.wait(publisher.get_subscription_count, f"a subscription to {publisher.topic}")

    def next_reply(self, timeout_s: float = WAIT_S) -> list[Response]:
        """The chunks of the next reply that was not read yet, once it has ended."""

        def ended() -> list[Response]:
            unread = self.responses[self._read :]
            ends = [i for i, chunk in enumerate(unread) if chunk.is_last]
            return unread[: ends[0] + 1] if ends else []

        reply = self.wait(ended, "a reply to end", timeout_s)
        self._read += len(reply)
        assert len({chunk.reply_id for chunk in reply}) == 1, "chunks of two replies are mixed"
        assert [chunk.sequence for chunk in reply] == list(range(len(reply))), "out of order"
        return reply

    def next_reply_of(self, utterance_id: str) -> list[Response]:
        """The next reply that answers a certain utterance; others before it are passed over."""
        while (reply := self.next_reply())[0].utterance_id != utterance_id:
            pass
        return reply

    def no_reply(self) -> None:
        """Check that nothing is said for a while."""
        time.sleep(SILENCE_S)
        assert self.responses[self._read :] == []

    # --- what the robot's other nodes do ---------------------------------------------------------

    def say(self, text: str, **fields: Any) -> None:
        """Publish speech."""
        self.speech_publisher.publish(Speech(text=text, **fields))

    def scan(self, result: str = "match", **fields: Any) -> None:
        """Publish a scan."""
        values = {
            "source": "wristband",
            "result": result,
            "matched_identifiers": ["patient_id", "name"] if result == "match" else [],
        } | fields
        self.scan_publisher.publish(IdentityScan(**values))

    def hand_over(self, task: DeliveryTask | None = None) -> None:
        """Bring the robot to where questions are answered."""
        self.task_publisher.publish(task or amlodipine_task())
        assert self.next_reply()[0].kind == Response.KIND_GREETING
        self.scan()
        assert self.next_reply()[0].kind == Response.KIND_HANDOVER
        self.wait(lambda: self.states[-1].stage == DialogueState.STAGE_QUESTIONS, "questions")

    def call(self, service: str, kind: type, request: Any) -> Any:
        """Call a service of the node."""
        client = self.node.create_client(kind, f"dialogue_node/{service}")
        assert client.wait_for_service(WAIT_S), f"no service {service}"
        time.sleep(0.2)  # The node must have found this client too, or its answer is lost.
        future = client.call_async(request)
        result = self.wait(lambda: future.done() and future.result(), f"{service} to answer")
        self.node.destroy_client(client)
        return result

    def trigger(self, service: str) -> Trigger.Response:
        """Call ~/interrupt or ~/reset."""
        return self.call(service, Trigger, Trigger.Request())

    def transition(self, name: str) -> bool:
        """Take a lifecycle transition; returns whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return bool(self.call("change_state", ChangeState, request).success)

    def lifecycle_state(self) -> str:
        """The label of the node's state."""
        return str(self.call("get_state", GetState, GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> str:
        """Set a parameter; returns the reason of a refusal, "" where it was taken."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self.call("set_parameters", SetParameters, request).results[0]
        return "" if result.successful else result.reason

    def describe_parameters(self, names: list[str]) -> list[Any]:
        """The descriptors of parameters."""
        request = DescribeParameters.Request(names=names)
        return list(self.call("describe_parameters", DescribeParameters, request).descriptors)


def spoken(reply: list[Response]) -> str:
    """The words of a reply."""
    return "".join(chunk.text for chunk in reply)
