"""What the READMEs tell people to paste works: topics, types, QoS, fields, names."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from node_test_kit import WAIT_S
from node_test_kit import Robot
from rclpy.qos import DurabilityPolicy
from rclpy.qos import ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from std_msgs.msg import String

import medbot_llm.msg
from medbot_llm.apps.cli import COMMANDS
from medbot_llm.domain import CompartmentState
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import TripStage
from medbot_llm.models.store import ModelStore
from medbot_llm.nodes.parameters import DIALOGUE_PARAMETERS
from medbot_llm.nodes.voice_parameters import LISTENER_PARAMETERS
from medbot_llm.nodes.voice_parameters import SPEAKER_PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-TW.md")
DOCUMENTS = (*READMES, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
ENUMERATIONS = {
    "scene": Scene,
    "trip_stage": TripStage,
    "compartment_state": CompartmentState,
    "language": Language,
    "patient_group": PatientGroup,
    "source": ScanSource,
    "result": ScanResult,
    "speaker_role": SpeakerRole,
}
FLAGS_WITH_VALUE = {"--keep-alive", "--qos-reliability", "--qos-durability"}
FLAGS = {"--once"}
NODE = "/dialogue_node"
PARAMETERS = {
    NODE: DIALOGUE_PARAMETERS,
    "/listener_node": LISTENER_PARAMETERS,
    "/speaker_node": SPEAKER_PARAMETERS,
}
OF_VOICE = {
    ("push_to_talk", "std_msgs/msg/Bool"),
    ("played_audio", "medbot_llm/msg/PlayedAudio"),
}
"""Topics that only the nodes of the voice have."""
VOICE_NODES = [
    ROOT / "medbot_llm" / "nodes" / f"{name}_node.py" for name in ("listener", "speaker")
]


@dataclass(frozen=True)
class Publication:
    """One `ros2 topic pub` of a README."""

    topic: str
    type_name: str
    values: Mapping[str, Any]
    flags: Mapping[str, str]


def commands(name: str, start: str) -> list[list[str]]:
    """The words of every command in a document's code blocks that begins so."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]


def publication(words: list[str]) -> Publication:
    flags: dict[str, str] = {}
    positional = []
    rest = iter(words[3:])
    for word in rest:
        if word in FLAGS_WITH_VALUE:
            flags[word] = next(rest)
        elif word.startswith("-"):
            assert word in FLAGS, f"is {word} an option of ros2 topic pub?"
            flags[word] = ""
        else:
            positional.append(word)
    topic, type_name, values = positional
    return Publication(topic, type_name, yaml.safe_load(values), flags)


def publications(name: str) -> list[Publication]:
    return [publication(words) for words in commands(name, "ros2 topic pub")]


def filled(kind: type, values: Mapping[str, Any]) -> Any:
    """The message with these values. Real messages check each field's type themselves."""
    types = kind.get_fields_and_field_types()
    msg = kind()
    for key, value in values.items():
        assert key in types, f"{kind.__name__} has no field {key}"
        if types[key] == "sequence<medbot_llm/Medication>":
            value = [filled(medbot_llm.msg.Medication, entry) for entry in value]
        setattr(msg, key, value)
    return msg


def message(example: Publication) -> Any:
    package, _, name = example.type_name.split("/")
    kind = String if package == "std_msgs" else getattr(medbot_llm.msg, name)
    return filled(kind, example.values)


@pytest.mark.parametrize("name", READMES)
def test_every_example_fills_a_real_message(name: str) -> None:
    examples = publications(name)
    assert {e.topic for e in examples} == {
        "/robot_context",
        "/delivery_task",
        "/identity_scan",
        "/speech",
        "/speech_text",
        "/alert_ack",
    }
    for example in examples:
        message(example)


@pytest.mark.parametrize("name", READMES)
def test_every_example_uses_values_that_the_node_knows(name: str) -> None:
    for example in publications(name):
        for field, kind in ENUMERATIONS.items():
            if field in example.values:
                assert example.values[field] in kind.values(), example


def test_both_readmes_tell_the_same_commands() -> None:
    for start in ("ros2", "make", "medbot", "colcon", "pip", "sudo", "CMAKE_ARGS", "python3"):
        english, chinese = (commands(name, start) for name in READMES)
        assert english == chinese


@pytest.mark.parametrize("name", READMES)
def test_every_example_reaches_the_node(name: str, scripted_robot: Robot) -> None:
    for example in publications(name):
        (subscription,) = endpoints(scripted_robot, example.topic)
        assert subscription.topic_type == example.type_name
        assert reliability(example, subscription)
        if subscription.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            # A publisher that keeps nothing for late joiners is no match for this subscription.
            assert example.flags["--qos-durability"] == "transient_local"
            assert float(example.flags["--keep-alive"]) >= 1


def endpoints(robot: Robot, topic: str) -> list[TopicEndpointInfo]:
    """The node's subscriptions to what a README calls `topic`, in this test's namespace."""
    node = robot.node

    def of_the_node() -> list[TopicEndpointInfo]:
        found = node.get_subscriptions_info_by_topic(node.get_namespace() + topic)
        return [info for info in found if info.node_name == NODE.strip("/")]

    return robot.wait(of_the_node, f"a subscription to {topic}", WAIT_S)


def reliability(example: Publication, subscription: TopicEndpointInfo) -> bool:
    """Whether the example publishes reliably, as `ros2 topic pub` does unless told otherwise."""
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    return example.flags.get("--qos-reliability", "reliable") == "reliable"


def test_the_examples_in_their_order_are_a_conversation(scripted_robot: Robot) -> None:
    robot = scripted_robot
    publishers = {
        "/robot_context": robot.context_publisher,
        "/delivery_task": robot.task_publisher,
        "/identity_scan": robot.scan_publisher,
        "/speech": robot.speech_publisher,
        "/speech_text": robot.text_publisher,
        "/alert_ack": robot.ack_publisher,
    }
    for topic, publisher in publishers.items():
        robot.wait(publisher.get_subscription_count, f"a subscription to {topic}")
    kinds = []
    for example in publications("README.md"):
        publishers[example.topic].publish(message(example))
        if example.topic == "/alert_ack":
            robot.wait(
                lambda: any(alert.acknowledged for alert in robot.alerts),
                "the alert to be acknowledged",
            )
        elif example.topic != "/robot_context":
            kinds.append(robot.next_reply()[0].kind)
    assert kinds == [
        "greeting",
        "handover",
        "answer",
        "answer",
        "clarification",  # someone else's wristband
        "emergency",
        "clarification",  # the allergy is said back
        "handover",  # to the nurse whose badge was scanned
        "farewell",
    ]


@pytest.mark.parametrize("name", READMES)
def test_every_topic_and_service_of_the_node_is_in_the_table(
    name: str, scripted_robot: Robot
) -> None:
    node = scripted_robot.node
    text = (ROOT / name).read_text(encoding="utf-8")
    rows = {
        (row[1], row[2]): row[3]
        for row in re.finditer(r"^\| `(\S+)` \| `(\S+)` \| (\S+)", text, re.MULTILINE)
    }
    namespace = node.get_namespace()
    arguments = (NODE.strip("/"), namespace)
    subscribed = node.get_subscriber_names_and_types_by_node(*arguments)
    published = node.get_publisher_names_and_types_by_node(*arguments)
    served = node.get_service_names_and_types_by_node(*arguments)
    ours = [
        (full.removeprefix(f"{namespace}/").replace(NODE.strip("/"), "~"), kinds)
        for full, kinds in [*subscribed, *published, *served]
    ]
    wanted = {
        (topic, kinds[0])
        for topic, kinds in ours
        if re.match(r"(medbot_llm|std_msgs|std_srvs|diagnostic_msgs)/", kinds[0])
    }
    assert set(rows) - OF_VOICE == wanted
    for topic, kind in OF_VOICE:
        sources = [path.read_text(encoding="utf-8") for path in VOICE_NODES]
        assert (topic, kind) in rows and any(f'"{topic}"' in source for source in sources)


@pytest.mark.parametrize("name", READMES)
def test_every_parameter_service_and_model_that_is_named_exists(name: str, tmp_path: Path) -> None:
    for words in commands(name, "ros2 param set"):
        assert words[4] in {spec.name for spec in PARAMETERS[words[3]]}
    assert commands(name, "ros2 param set")
    for words in commands(name, "ros2 service call"):
        assert words[3:] in (
            [f"{NODE}/interrupt", "std_srvs/srv/Trigger"],
            [f"{NODE}/reset", "std_srvs/srv/Trigger"],
        )
    text = (ROOT / name).read_text(encoding="utf-8")
    catalog = ModelStore(root=tmp_path).catalog
    named = re.findall(r"(?:pull|path|remove|model:=|MODEL=)[ ]?([a-z0-9.]+-[a-z0-9._-]+)", text)
    assert named
    for model in named:
        assert model in catalog


@pytest.mark.parametrize("name", READMES)
def test_every_launch_argument_is_declared_and_every_file_is_there(name: str) -> None:
    source = (ROOT / "launch" / "medbot.launch.py").read_text(encoding="utf-8")
    declared = set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', source))
    for words in commands(name, "ros2 launch"):
        assert words[2:4] == ["medbot_llm", "medbot.launch.py"]
        for word in words[4:]:
            argument, _, _ = word.partition(":=")
            assert argument in declared or not word.count(":="), word
    for file in re.findall(r"`?config/?`?/?([\w-]+\.yaml)", (ROOT / name).read_text()):
        assert (ROOT / "config" / file).is_file()


@pytest.mark.parametrize("name", READMES)
def test_every_medbot_command_parses(name: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    subparsers = parser.add_subparsers()
    for command in COMMANDS.values():
        importlib.import_module(command.module).add_parser(subparsers)
    examples = commands(name, "medbot ")
    assert len(examples) >= 4
    for words in examples:
        assert parser.parse_args(words[1:]).run


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


def test_every_proof_in_the_feature_table_is_there() -> None:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| [A-DR]\d+ \|", line)]
    assert len({row[1] for row in rows}) == len(rows)
    for row in rows:
        proofs = re.findall(r"`((?:training/)?test/[^`]+)`", "|".join(row))
        assert all((ROOT / proof).is_file() for proof in proofs), row
        if any(cell.strip().startswith("done") for cell in row):
            assert proofs, f"{row[1]} is called done and nothing proves it"
