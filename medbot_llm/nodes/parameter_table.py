"""Parameters of a node in one table: names, defaults, ranges and meaning.

The table declares them with descriptors and checks each change before it is taken. Those marked
`live` may change at any time; the others only while the node is unconfigured, because they shape
what configuring builds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from medbot_llm.domain import MedbotError

Value = bool | int | float | str


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: Its ROS name.
        default: Its default, which also sets its type.
        description: What it does, with its unit.
        low: Smallest value; None no bound.
        high: Largest value; None no bound.
        choices: The values there are; () any.
        live: It may change while the node is configured.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    def check(self, value: Any) -> str:
        """Tell in one line what is wrong with a value; "" if nothing is."""
        wanted = type(self.default)
        # YAML writes 1 where 1.0 is meant.
        is_right = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not is_right or (isinstance(value, bool) and wanted is not bool):
            return f"{self.name} takes a {wanted.__name__}, not {value!r}"
        if self.choices and value not in self.choices:
            choices = ", ".join(choice or "''" for choice in self.choices)
            return f"{self.name} is one of {choices}, not {value!r}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{self.name} takes a finite number, not {value}"
        below = self.low is not None and value < self.low
        above = self.high is not None and value > self.high
        if below or above:
            return f"{self.name} is from {self.low:g} to {self.high:g}, not {value!r}"
        return ""

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        text = self.description
        if self.choices:
            text += f" One of: {', '.join(repr(choice) for choice in self.choices)}."
        if not self.live:
            text += " Changes only while the node is unconfigured."
        descriptor = ParameterDescriptor(name=self.name, description=text)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
                ]
                descriptor.dynamic_typing = True  # lets an integer pass, see check()
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)
                ]
        return descriptor


AUTOSTART = ParameterSpec(
    "autostart", False, "Configure and activate by itself, without a lifecycle manager."
)


class ParameterTable:
    """The declared parameters of one node, checked at start and on each change."""

    def __init__(self, node: Node, specs: Sequence[ParameterSpec]) -> None:
        """Declare every parameter.

        Raises:
            MedbotError: a value given at start is of the wrong type or out of range.
        """
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self.is_configured = False
        """Whether only live parameters may change. Set by the node."""
        overrides: Mapping[str, Parameter] = getattr(node, "_parameter_overrides", {})
        for spec in specs:
            if spec.name in overrides:
                problem = spec.check(overrides[spec.name].value)
                if problem:
                    raise MedbotError(f"parameter {problem}")
            node.declare_parameter(spec.name, spec.default, spec.descriptor())

    def check(self, changes: Sequence[Parameter]) -> SetParametersResult:
        """Refuse a change with its reason; for `add_on_set_parameters_callback`."""
        for change in changes:
            spec = self._specs.get(change.name)
            if spec is None:
                continue
            problem = spec.check(change.value)
            if not problem and self.is_configured and not spec.live:
                problem = (
                    f"{change.name} changes only while the node is unconfigured; clean it up first"
                )
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter, of the type of its default."""
        value = self._node.get_parameter(name).value
        return float(value) if isinstance(self._specs[name].default, float) else value
