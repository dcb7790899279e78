"""Start the robot's dialogue and its voice: `ros2 launch medbot_llm medbot.launch.py`.

`--show-args` lists the arguments. Parameters come from a file, one for each kind of machine (see
config/). An argument that is left empty leaves the file's value alone, so that one parameter can
be changed on the command line without a copy of the file.
"""

import os
from pathlib import Path

from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = "medbot_llm"
DEFAULT_PARAMS_FILE = "cpu-2core.yaml"

PARAMETERS_OF_ARGUMENTS = {
    "dialogue_node": {
        "model": "model",
        "adapter": "adapter",
        "scene": "default_scene",
        "language": "default_language",
    },
    "listener_node": {"microphone": "device", "language": "language"},
    "speaker_node": {
        "loudspeaker": "device",
        "scene": "default_scene",
        "language": "default_language",
    },
}
"""Node -> argument -> the parameter that it overrides where it is not empty."""
VOICE_NODES = ("listener_node", "speaker_node")

SIGTERM_TIMEOUT_S = "20"
"""Ctrl-C lets the node publish the end of the running reply and free the model; launch's own 5 s
are short for a large model on a busy machine."""

SPIN_COUNT = "300"
"""How long OpenMP's threads spin between two steps, GOMP_SPINCOUNT. GNU's default makes a model
2 % faster that has the cores to itself, and less than half as fast where another program wants
them too, as on a robot (docs/performance.md)."""
SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

ARGUMENTS = (
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace, e.g. one for each robot of a fleet."
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution(
            [FindPackageShare(PACKAGE), "config", DEFAULT_PARAMS_FILE]
        ),
        description="Parameter file: one of this package's config folder, or a copy of it.",
    ),
    DeclareLaunchArgument(
        "model",
        default_value="",
        description="Id of `medbot models list`, or a GGUF file. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "adapter",
        default_value="",
        description="LoRA adapter, a GGUF file. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "scene",
        default_value="",
        choices=["", "ward", "pharmacy", "er", "home"],
        description="Scene while no task names one. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "language",
        default_value="",
        choices=["", "zh-Hant", "zh-Hans", "en"],
        description="Language until a task or a speaker brings another. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "voice",
        default_value="true",
        choices=["true", "false"],
        description="Listen and speak; false: text only, over the topics.",
    ),
    DeclareLaunchArgument(
        "microphone",
        default_value="",
        description="Microphone: index, name, or part of a name. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "loudspeaker",
        default_value="",
        description="Loudspeaker: index, name, or part of a name. Empty: as the file says.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="Configure and activate at once; false: a lifecycle manager does it.",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Least severity that is logged.",
    ),
)


def make_nodes(context: LaunchContext) -> list[LifecycleNode]:
    """Make the nodes, now that the arguments have their values.

    Raises:
        RuntimeError: there is no parameter file of that name. Launch by itself would only warn,
            and the node would run with the values of another machine.
    """
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in ARGUMENTS
    }
    params_file = Path(given["params_file"]).expanduser()
    if not params_file.is_file():
        raise RuntimeError(f"params_file: there is no file {params_file}")
    names = [name for name in PARAMETERS_OF_ARGUMENTS if name not in VOICE_NODES]
    if given["voice"] == "true":
        names += VOICE_NODES
    return [_node(name, given, params_file) for name in names]


def _node(name: str, given: dict[str, str], params_file: Path) -> LifecycleNode:
    overrides = {
        # Typed, or launch would read a model's name by the rules of YAML.
        parameter: ParameterValue(given[argument], value_type=str)
        for argument, parameter in PARAMETERS_OF_ARGUMENTS[name].items()
        if given[argument]
    }
    overrides["autostart"] = given["autostart"] == "true"
    return LifecycleNode(
        package=PACKAGE,
        executable=name,
        name=name,
        namespace=given["namespace"],
        parameters=[str(params_file), overrides],
        ros_arguments=["--log-level", given["log_level"]],
        output="screen",
        sigterm_timeout=SIGTERM_TIMEOUT_S,
        additional_env=spin_environment(),
    )


def spin_environment() -> dict[str, str]:
    """Variables for a machine whose cores are shared, unless the user has set any of them."""
    is_set = any(name in os.environ for name in SPIN_VARIABLES)
    return {} if is_set else {"GOMP_SPINCOUNT": SPIN_COUNT}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch, as `ros2 launch` asks for it."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=make_nodes)])
