"""A terminal that plays the robot's other nodes: it gives the task, scans, speaks, and shows every
topic.

For developers without a robot, for `make demo`, and to try a robot's dialogue by hand:

    ros2 run medbot_llm console                     chat with a running dialogue_node
    ros2 run medbot_llm console --script demo.yaml  play a delivery; on a terminal, go on as a chat

Both need a dialogue_node that is active, with the same ROS_DOMAIN_ID and in the same namespace:

    ros2 run medbot_llm console --ros-args -r __ns:=/robot1

The file config/demo.yaml of this package shows what a script looks like. In the chat, a line that
begins with / is a command; /help lists them, among them /task, /scan and /interrupt.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger

from medbot_llm.domain import MedbotError
from medbot_llm.domain import ScanResult
from medbot_llm.msg import Alert
from medbot_llm.msg import AlertAck
from medbot_llm.msg import DeliveryTask
from medbot_llm.msg import DialogueState
from medbot_llm.msg import IdentityScan
from medbot_llm.msg import Medication
from medbot_llm.msg import Response
from medbot_llm.msg import RobotContext
from medbot_llm.msg import Speech
from medbot_llm.nodes import qos

READY_TIMEOUT_S = 120.0
"""Longest wait for dialogue_node to be active: a large model takes a minute to load."""
REPLY_TIMEOUT_S = 90.0
SERVICE_TIMEOUT_S = 3.0
PROMPT = "you> "
HELP = """type what you would say, or:
  /task       publish the delivery task again      /scan       scan the right wristband
  /mismatch   scan someone else's wristband        /interrupt  stop the running reply
  /reset      begin again                          /ack        acknowledge all alerts
  /state      show where the conversation stands   /quit       leave (also Ctrl-C, Ctrl-D)"""


class ScriptError(MedbotError):
    """A script that cannot be played."""


class Console(Node):
    """Publishes what the robot's other nodes would, and shows what comes back."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        super().__init__("console")
        self._script = script
        self._ends: queue.Queue[Response] = queue.Queue()
        self._active = threading.Event()
        self._state = DialogueState()
        self._is_prompting = False
        self._screen = threading.Lock()
        self._context_publisher = self.create_publisher(RobotContext, "robot_context", qos.LATCHED)
        self._task_publisher = self.create_publisher(DeliveryTask, "delivery_task", qos.LATCHED)
        self._scan_publisher = self.create_publisher(IdentityScan, "identity_scan", qos.EVENTS)
        self._speech_publisher = self.create_publisher(Speech, "speech", qos.EVENTS)
        self._ack_publisher = self.create_publisher(AlertAck, "alert_ack", qos.EVENTS)
        self.create_subscription(Response, "response", self._on_response, qos.RESPONSES)
        self.create_subscription(Alert, "alert", self._on_alert, qos.ALERTS)
        self.create_subscription(DialogueState, "dialogue_state", self._on_state, qos.LATCHED)
        self._control_clients = {
            name: self.create_client(Trigger, f"dialogue_node/{name}")
            for name in ("interrupt", "reset")
        }

    # --- what comes back -------------------------------------------------------------------------

    def _on_response(self, msg: Response) -> None:
        if msg.text:
            self.show("<", "response", f"{msg.kind} {msg.sequence}", msg.text)
        if msg.is_last:
            notes = ["interrupted"] if msg.was_interrupted else []
            if msg.time_to_first_token == msg.time_to_first_token:  # not NaN
                notes.append(f"first token {msg.time_to_first_token:.2f} s")
            if msg.time_to_first_sentence == msg.time_to_first_sentence:
                notes.append(f"first sentence {msg.time_to_first_sentence:.2f} s")
            self.show("<", "response", "end", ", ".join(notes))
            self._ends.put(msg)

    def _on_alert(self, msg: Alert) -> None:
        state = "acknowledged" if msg.acknowledged else f"repetition {msg.repetition}"
        self.show("<", "alert", msg.severity, f"{msg.category}: {msg.reason} ({state})")

    def _on_state(self, msg: DialogueState) -> None:
        before, self._state = self._state, msg
        self._active.set()
        if (before.stage, before.identity) != (msg.stage, msg.identity):
            self.show("<", "dialogue_state", msg.stage, f"identity {msg.identity}")

    # --- what the robot's other nodes do ---------------------------------------------------------

    def publish_context(self) -> None:
        """Say where the robot is."""
        msg = fill(RobotContext(), self._part("context"))
        self._context_publisher.publish(msg)
        self.show(">", "robot_context", msg.trip_stage, msg.place)

    def publish_task(self) -> None:
        """Give the robot its task."""
        msg = fill(DeliveryTask(), self._part("task"))
        msg.header.stamp = self.get_clock().now().to_msg()
        self._task_publisher.publish(msg)
        names = ", ".join(medication.name for medication in msg.medications)
        self.show(">", "delivery_task", msg.task_id, f"{msg.scene} {msg.room} {msg.bed}: {names}")

    def scan(self, result: ScanResult) -> None:
        """Scan a wristband."""
        msg = IdentityScan(source=IdentityScan.SOURCE_WRISTBAND, result=str(result))
        identifiers = [IdentityScan.IDENTIFIER_PATIENT_ID, IdentityScan.IDENTIFIER_NAME]
        if result is ScanResult.MATCH:
            msg.matched_identifiers = identifiers
        elif result is ScanResult.MISMATCH:
            msg.mismatched_identifiers = identifiers
        msg.header.stamp = self.get_clock().now().to_msg()
        self._scan_publisher.publish(msg)
        self.show(">", "identity_scan", msg.source, msg.result)

    def say(self, text: str) -> None:
        """Say something, as the recogniser would report it."""
        msg = Speech(text=text, speaker_role=Speech.ROLE_PATIENT)
        msg.header.stamp = self.get_clock().now().to_msg()
        self._speech_publisher.publish(msg)
        self.show(">", "speech", "", text)

    def acknowledge_alerts(self) -> None:
        """Take notice of every open alert."""
        self._ack_publisher.publish(AlertAck(acknowledged_by="console"))
        self.show(">", "alert_ack", "", "all")

    def call(self, name: str) -> None:
        """Call ~/interrupt or ~/reset."""
        client = self._control_clients[name]
        if not client.wait_for_service(SERVICE_TIMEOUT_S):
            self.show("!", f"dialogue_node/{name}", "", "the service is not there")
            return
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if done.wait(SERVICE_TIMEOUT_S):
            self.show("<", f"dialogue_node/{name}", "", future.result().message)

    # --- the conversation ------------------------------------------------------------------------

    def wait_until_active(self) -> None:
        """Wait for dialogue_node to serve.

        Raises:
            ScriptError: it did not within READY_TIMEOUT_S.
        """
        self.show("!", "", "", "waiting for dialogue_node to be active")
        if not self._active.wait(READY_TIMEOUT_S):
            raise ScriptError(
                f"dialogue_node is not active after {READY_TIMEOUT_S:g} s; "
                "start it, or look at its log and /diagnostics"
            )

    def play(self, *, stop_after_scan: bool) -> None:
        """Play the script's steps, each to the end of the reply it brings.

        Args:
            stop_after_scan: Leave out what comes after the scan that matches; a person goes on
                from there.

        Raises:
            ScriptError: a step is not known, or brought no reply.
        """
        for step in self._script.get("steps", []):
            if step == {"publish": "context"}:
                self.publish_context()
                continue
            if step == {"publish": "task"}:
                self.publish_task()
            elif set(step) == {"scan"} and step["scan"] in ScanResult.values():
                self.scan(ScanResult(step["scan"]))
            elif step == {"acknowledge": "alerts"}:
                self.acknowledge_alerts()
                continue
            elif set(step) == {"say"}:
                self.say(str(step["say"]))
            else:
                raise ScriptError(f"the script has a step that is not known: {step}")
            self._wait_for_reply()
            if stop_after_scan and step == {"scan": "match"}:
                return

    def chat(self) -> None:
        """Read lines until the end of input."""
        self._print(HELP)
        commands = {
            "/task": self.publish_task,
            "/scan": lambda: self.scan(ScanResult.MATCH),
            "/mismatch": lambda: self.scan(ScanResult.MISMATCH),
            "/interrupt": lambda: self.call("interrupt"),
            "/reset": lambda: self.call("reset"),
            "/ack": self.acknowledge_alerts,
            "/state": lambda: self._print(str(self._state)),
            "/help": lambda: self._print(HELP),
        }
        while True:
            self._is_prompting = True
            try:
                line = input(PROMPT).strip()
            except EOFError:
                print(flush=True)
                return
            finally:
                self._is_prompting = False
            if line == "/quit":
                return
            if line.startswith("/"):
                try:
                    commands.get(line, commands["/help"])()
                except ScriptError as error:
                    self.show("!", "", "", str(error))
            elif line:
                self.say(line)

    def show(self, direction: str, topic: str, label: str, text: str) -> None:
        """Print one line, without tearing apart the line that is being typed."""
        sign = {"<": "◀", ">": "▶", "!": "·"}[direction]
        line = f"{sign} {topic:<16} {label:<16} {text}".rstrip()
        if self._is_prompting and sys.stdout.isatty():
            self._print(f"\r\x1b[K{line}\n{PROMPT}{_typed_so_far()}", end="")
        else:
            self._print(line)

    def _print(self, text: str, end: str = "\n") -> None:
        # Two threads show lines, and print() writes the end of a line by itself.
        with self._screen:
            print(text, end=end, flush=True)

    def _wait_for_reply(self) -> None:
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        try:
            self._ends.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise ScriptError(f"no reply ended within {REPLY_TIMEOUT_S:g} s") from None

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self._script.get(name)
        if not isinstance(part, Mapping):
            raise ScriptError(f"the script has no {name}; give one with --script")
        return part


def fill(msg: Any, values: Mapping[str, Any]) -> Any:
    """Set a message's fields from plain data.

    Raises:
        ScriptError: a field is not known or not of the right type.
    """
    for name, value in values.items():
        if name == "medications":
            value = [fill(Medication(), entry) for entry in value]
        try:
            setattr(msg, name, value)
        except (AttributeError, AssertionError) as error:
            raise ScriptError(f"{type(msg).__name__}.{name}: {error}") from error
        if name not in msg.get_fields_and_field_types():
            raise ScriptError(f"{type(msg).__name__} has no field {name}")
    return msg


def read_script(path: Path) -> Mapping[str, Any]:
    """Read a script.

    Raises:
        ScriptError: it cannot be read.
    """
    try:
        script = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScriptError(f"the script {path} cannot be read: {error}") from error
    if not isinstance(script, Mapping):
        raise ScriptError(f"the script {path} is not a mapping with task, context and steps")
    return script


def _typed_so_far() -> str:
    try:
        import readline
    except ImportError:  # Python built without it: what is typed stays where it was
        return ""
    return readline.get_line_buffer()


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


def main(args: list[str] | None = None) -> int:
    """Play and chat; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--script", type=Path, help="YAML with task, context and steps to play")
    parser.add_argument(
        "--no-chat", action="store_true", help="end after the script, even on a terminal"
    )
    argv = sys.argv if args is None else ["console", *args]
    try:
        options = parser.parse_args(remove_ros_args(argv)[1:])
        rclpy.init(args=argv)
    except RuntimeError as error:  # ROS arguments that are wrong
        print(f"console: {error}", file=sys.stderr)
        return 2
    is_chat = sys.stdin.isatty() and not options.no_chat
    # Whoever reads no more (`| head`) ends this quietly, as it ends other commands.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Bytes that are no text must not end the chat: a message takes only what UTF-8 can say.
        sys.stdin.reconfigure(errors="replace")
    executor = SingleThreadedExecutor()
    spinner = threading.Thread(target=_spin, args=(executor,), name="ros")
    try:
        node = Console(read_script(options.script) if options.script else {})
        executor.add_node(node)
        spinner.start()
        node.wait_until_active()
        node.play(stop_after_scan=is_chat)
        if is_chat:
            node.chat()
    except (KeyboardInterrupt, ExternalShutdownException):
        print()
    except MedbotError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    finally:
        # The thread must be out of C++ before the interpreter ends.
        executor.shutdown()
        if spinner.is_alive():
            spinner.join()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
