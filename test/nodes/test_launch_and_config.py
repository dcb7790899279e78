"""The launch file and the parameter files name only what is there.

`launch` is on no package index, so that the launch file is read here with a stand-in of the few
names that it uses; where the real one is installed, the last test launches the real node.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rclpy
import yaml
from node_test_kit import SCRIPT
from node_test_kit import WAIT_S
from node_test_kit import Place
from node_test_kit import Robot
from rclpy.context import Context

from medbot_llm.domain import Language
from medbot_llm.domain import Scene
from medbot_llm.models.store import ModelStore
from medbot_llm.nodes.parameters import DIALOGUE_PARAMETERS
from medbot_llm.nodes.parameters import DialogueParameters
from medbot_llm.nodes.voice_parameters import LISTENER_PARAMETERS
from medbot_llm.nodes.voice_parameters import SPEAKER_PARAMETERS
from medbot_llm.nodes.voice_parameters import ListenerParameters
from medbot_llm.nodes.voice_parameters import SpeakerParameters

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILE = ROOT / "launch" / "medbot.launch.py"
SPECS_OF_NODE = {
    "dialogue_node": {spec.name: spec for spec in DIALOGUE_PARAMETERS},
    "listener_node": {spec.name: spec for spec in LISTENER_PARAMETERS},
    "speaker_node": {spec.name: spec for spec in SPEAKER_PARAMETERS},
}
TABLES = {
    "dialogue_node": DialogueParameters,
    "listener_node": ListenerParameters,
    "speaker_node": SpeakerParameters,
}
CONFIGS = sorted(path.name for path in (ROOT / "config").glob("*.yaml") if path.stem != "demo")
NODES = tuple(SPECS_OF_NODE)


def key_of(node: str) -> str:
    """What stands over a node's parameters in a file."""
    return f"/**/{node}"


# --- a stand-in for launch and launch_ros --------------------------------------------------------


@dataclass
class FakeArgument:
    name: str
    default_value: Any = None
    description: str = ""
    choices: list[str] | None = None


@dataclass
class FakeValue:
    """As the real one: a value that is no substitution must be of the type already."""

    value: Any
    value_type: type | None = None

    def __post_init__(self) -> None:
        if self.value_type is not None and not isinstance(self.value, self.value_type):
            raise TypeError(f"{self.value!r} is not an instance of {self.value_type}")


@dataclass
class FakeSubstitution:
    """Gives its text: a launch argument's, a package's share folder, or a joined path."""

    text: Callable[[Mapping[str, str]], str]

    def perform(self, context: Mapping[str, str]) -> str:
        return self.text(context)


@dataclass
class FakeNode:
    package: str
    executable: str
    name: str
    namespace: str
    parameters: list[Any]
    ros_arguments: list[str]
    output: str
    sigterm_timeout: str
    additional_env: dict[str, str]


@dataclass
class FakeOpaque:
    function: Callable[[Any], list[FakeNode]]


@dataclass
class FakeDescription:
    entities: list[Any] = field(default_factory=list)


def _joined(parts: list[Any]) -> FakeSubstitution:
    return FakeSubstitution(
        lambda context: str(
            Path(*(p.perform(context) if isinstance(p, FakeSubstitution) else p for p in parts))
        )
    )


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@pytest.fixture
def description(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDescription]:
    """What the real launch file describes, recorded by the stand-in."""
    modules = [
        _module("launch", LaunchContext=dict, LaunchDescription=FakeDescription),
        _module("launch.actions", DeclareLaunchArgument=FakeArgument, OpaqueFunction=FakeOpaque),
        _module(
            "launch.substitutions",
            LaunchConfiguration=lambda name: FakeSubstitution(lambda context: context[name]),
            PathJoinSubstitution=_joined,
        ),
        _module("launch_ros"),
        _module("launch_ros.actions", LifecycleNode=FakeNode),
        _module("launch_ros.parameter_descriptions", ParameterValue=FakeValue),
        _module(
            "launch_ros.substitutions",
            # What CMake installs into the share folder of the package lies in the repository.
            FindPackageShare=lambda package: FakeSubstitution(lambda _: str(ROOT)),
        ),
    ]
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("medbot_launch_file", LAUNCH_FILE)
    assert spec is not None and spec.loader is not None
    launch_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launch_file)
    yield launch_file.generate_launch_description()


def arguments(description: FakeDescription) -> dict[str, FakeArgument]:
    return {e.name: e for e in description.entities if isinstance(e, FakeArgument)}


def launched(description: FakeDescription, **given: str) -> dict[str, FakeNode]:
    """The nodes that are started with these arguments on the command line."""
    declared = arguments(description)
    assert set(given) <= set(declared)
    context = {
        name: given.get(name, _joined([argument.default_value]).perform(given))
        for name, argument in declared.items()
    }
    # An empty text joined as a path would become "."; launch gives it as it is.
    context |= {n: "" for n, a in declared.items() if a.default_value == "" and n not in given}
    (opaque,) = (e for e in description.entities if isinstance(e, FakeOpaque))
    nodes = opaque.function(context)
    assert all(node.name == node.executable for node in nodes)
    return {node.name: node for node in nodes}


def overrides(node: FakeNode) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, FakeValue) else value
        for name, value in node.parameters[1].items()
    }


# --- the launch file -----------------------------------------------------------------------------


def test_every_argument_has_a_description_and_a_default(description: FakeDescription) -> None:
    declared = arguments(description)
    wanted = {"namespace", "model", "adapter", "scene", "language", "params_file"}
    assert wanted <= set(declared)
    for argument in declared.values():
        assert argument.description.endswith("."), argument.name
        assert argument.default_value is not None, argument.name


def test_the_default_parameter_file_is_there(description: FakeDescription) -> None:
    for node in launched(description).values():
        assert node.parameters[0] == str(ROOT / "config" / "cpu-2core.yaml")


def test_the_executables_are_installed_under_the_names_that_are_launched(
    description: FakeDescription,
) -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    names = re.search(r"set\(executables([^)]*)\)", cmake)
    project = re.search(r"project\((\w+)", cmake)
    assert names is not None and project is not None
    for node in launched(description).values():
        assert node.executable in names[1].split()
        assert node.package == project[1]


def test_without_voice_only_the_dialogue_is_started(description: FakeDescription) -> None:
    assert list(launched(description)) == list(NODES)
    assert list(launched(description, voice="false")) == ["dialogue_node"]


def test_the_launch_and_config_folders_are_installed() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"install\(DIRECTORY launch config\s+DESTINATION \"share/", cmake)


def test_without_arguments_the_file_decides_all_but_the_start(
    description: FakeDescription,
) -> None:
    for node in launched(description).values():
        assert overrides(node) == {"autostart": True}


def test_what_is_given_overrides_the_file(description: FakeDescription) -> None:
    nodes = launched(
        description,
        model="123",
        adapter="ward.gguf",
        scene="er",
        language="en",
        microphone="ReSpeaker",
        loudspeaker="3",
        autostart="false",
        namespace="robot1",
        log_level="debug",
    )
    assert overrides(nodes["dialogue_node"]) == {
        "model": "123",
        "adapter": "ward.gguf",
        "default_scene": "er",
        "default_language": "en",
        "autostart": False,
    }
    assert overrides(nodes["listener_node"]) == {
        "device": "ReSpeaker",
        "language": "en",
        "autostart": False,
    }
    assert overrides(nodes["speaker_node"]) == {
        "device": "3",
        "default_scene": "er",
        "default_language": "en",
        "autostart": False,
    }
    for node in nodes.values():
        assert node.namespace == "robot1"
        assert node.ros_arguments == ["--log-level", "debug"]


def test_every_parameter_that_is_overridden_exists_and_takes_every_choice(
    description: FakeDescription,
) -> None:
    declared = arguments(description)
    given = {"model": "m", "adapter": "a", "scene": "home", "language": "zh-Hans"}
    given |= {"microphone": "1", "loudspeaker": "usb"}
    for name, node in launched(description, **given).items():
        for parameter, value in overrides(node).items():
            assert SPECS_OF_NODE[name][parameter].check(value) == ""
    assert declared["scene"].choices == ["", *Scene.values()]
    assert declared["language"].choices == ["", *Language.values()]


def test_a_parameter_file_that_is_not_there_is_an_error(description: FakeDescription) -> None:
    with pytest.raises(RuntimeError, match="there is no file"):
        launched(description, params_file="/no/such/file.yaml")


# --- the parameter files -------------------------------------------------------------------------


def parameters_of(name: str, node: str = "dialogue_node") -> dict[str, Any]:
    """The values of a parameter file for one node, by their full names."""
    content = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    assert list(content) == [key_of(node) for node in NODES]
    assert list(content[key_of(node)]) == ["ros__parameters"]
    return dict(_flat(content[key_of(node)]["ros__parameters"], ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_there_is_a_file_for_each_kind_of_machine() -> None:
    assert {"cpu-2core", "desktop-gpu", "fleet-server", "jetson-orin"} <= {
        Path(name).stem for name in CONFIGS
    }


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_value_is_one_that_the_node_takes(name: str, node: str) -> None:
    specs = SPECS_OF_NODE[node]
    for parameter, value in parameters_of(name, node).items():
        assert parameter in specs, f"{name}: there is no parameter {parameter}"
        assert specs[parameter].check(value) == ""


@pytest.mark.parametrize(
    ("node", "role"),
    [
        ("dialogue_node", "chat"),
        ("listener_node", "speech_recognition"),
        ("speaker_node", "voice"),
    ],
)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_is_in_the_catalog(name: str, node: str, role: str, tmp_path: Path) -> None:
    catalog = ModelStore(root=tmp_path).catalog
    assert catalog[parameters_of(name, node)["model"]].role == role


@pytest.mark.parametrize("namespace", ["/", "/robot1", "/hospital/robot1"])
@pytest.mark.parametrize("name", CONFIGS)
def test_rclpy_reads_every_file_in_whatever_namespace(
    name: str, namespace: str, place: Place
) -> None:
    context = Context()
    arguments = ["--ros-args", "--params-file", str(ROOT / "config" / name)]
    rclpy.init(args=arguments, context=context, domain_id=place.domain_id)
    try:
        for node_name, table in TABLES.items():
            node = rclpy.create_node(node_name, namespace=namespace, context=context)
            settings = table(node)
            written = parameters_of(name, node_name)
            read = {parameter: settings[parameter] for parameter in written}
            node.destroy_node()
            assert read == written
    finally:
        rclpy.shutdown(context=context)


def test_the_models_threads_leave_the_cores_to_the_robot(
    description: FakeDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for node in launched(description).values():
        assert node.additional_env == {"GOMP_SPINCOUNT": "300"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert launched(description)["dialogue_node"].additional_env == {}


# --- the real launch -----------------------------------------------------------------------------

RUN_LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(file),
    launch_arguments=[tuple(argument.split(":=", 1)) for argument in arguments],
)]))
sys.exit(service.run())
"""


def test_ros2_launch_starts_a_node_that_serves_and_ends_on_ctrl_c(
    robot: Robot, place: Place, tmp_path: Path
) -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed: it comes with an installation of ROS 2 only")
    params_file = tmp_path / "params.yaml"
    values = {"engine": "scripted", "scripted": {"file": str(SCRIPT)}, "default_scene": "home"}
    params_file.write_text(yaml.safe_dump({key_of("dialogue_node"): {"ros__parameters": values}}))
    log = tmp_path / "launch.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", RUN_LAUNCH, str(LAUNCH_FILE)),
                *(
                    f"params_file:={params_file}",
                    "language:=en",
                    "voice:=false",
                    f"namespace:={place.namespace}",
                ),
                f"namespace:={place.namespace}",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"ROS_DOMAIN_ID": str(place.domain_id)},
        )
    try:
        robot.wait_active()
        assert robot.states[-1].scene == "home"
        assert robot.states[-1].language == "en"
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert "process has finished cleanly" in log.read_text()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(WAIT_S)
        print(log.read_text())
