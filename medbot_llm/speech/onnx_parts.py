"""Take the part out of an ONNX file that leads from some of its values to others.

A model that is one graph computes all or nothing. Two parts of it can be run apart, with a look
at what is between them; a part may also get operations that the file has not. No package for
that is needed on the robot: the file is a protocol buffer, of which only the outline is read
here (field numbers from `onnx.proto`, ONNX 1.0 and later), and all else is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Bytes: TypeAlias = "bytes | memoryview"

FLOAT = 1
INT64 = 7
"""Types of elements, from `TensorProto.DataType`."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 2, 5, 11, 12
_GRAPH_SPARSE = 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP = 1, 2, 3, 4
_TENSOR_NAME = 8


@dataclass
class Node:
    """One operation. What is not named here (attributes) stays in `rest`."""

    inputs: list[str]
    outputs: list[str]
    name: str
    op: str
    rest: bytes = b""

    def encoded(self) -> bytes:
        """As a NodeProto."""
        parts = [_field(_NODE_INPUT, name.encode()) for name in self.inputs]
        parts += [_field(_NODE_OUTPUT, name.encode()) for name in self.outputs]
        parts += [_field(_NODE_NAME, self.name.encode()), _field(_NODE_OP, self.op.encode())]
        return b"".join([*parts, self.rest])


@dataclass(frozen=True)
class Value:
    """An input or output of a part.

    Attributes:
        element: FLOAT or INT64.
        shape: A number for a fixed size, a name for an open one.
    """

    name: str
    element: int
    shape: tuple[int | str, ...]

    def encoded(self) -> bytes:
        """As a ValueInfoProto."""
        sizes = b"".join(
            _field(1, _number(1, size) if isinstance(size, int) else _field(2, size.encode()))
            for size in self.shape
        )
        tensor = _number(1, self.element) + _field(2, sizes)
        return _field(1, self.name.encode()) + _field(2, _field(1, tensor))


class OnnxFile:
    """An ONNX file's outline.

    Args:
        data: The file.

    Raises:
        ValueError: It is none, or has what is not understood here.
    """

    def __init__(self, data: Bytes) -> None:
        self._head: list[Bytes] = []
        self.nodes: list[Node] = []
        """In an order in which each comes after those it needs; may be changed."""
        self._initializers: dict[str, Bytes] = {}
        graph: Bytes | None = None
        for number, kind, whole, content in _fields(memoryview(data)):
            if number == _MODEL_GRAPH and kind == _BYTES:
                graph = content
            else:
                self._head.append(whole)
        if graph is None:
            raise ValueError("is no ONNX model: it has no graph")
        for number, _, _, content in _fields(graph):
            if number == _GRAPH_NODE:
                self.nodes.append(_node(content))
            elif number == _GRAPH_INITIALIZER:
                name = _text(content, _TENSOR_NAME)
                self._initializers[name] = content
            elif number == _GRAPH_SPARSE:
                raise ValueError("has sparse tensors")

    def part(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> bytes:
        """The model that computes `outputs` from `inputs`, values anywhere in this one.

        Raises:
            ValueError: They do not suffice.
        """
        given = {value.name for value in inputs}
        made = {name: node for node in self.nodes for name in node.outputs if name}
        needed: set[int] = set()
        constants: set[str] = set()
        wanted = [value.name for value in outputs]
        seen: set[str] = set()
        while wanted:
            name = wanted.pop()
            if not name or name in seen or name in given:
                continue
            seen.add(name)
            if name in self._initializers:
                constants.add(name)
            elif name in made:
                needed.add(id(made[name]))
                wanted.extend(made[name].inputs)
            else:
                raise ValueError(f"{name!r} comes from outside of the part")
        parts = [_field(_GRAPH_NODE, node.encoded()) for node in self.nodes if id(node) in needed]
        parts.append(_field(_GRAPH_NAME, b"part"))
        parts += [
            _field(_GRAPH_INITIALIZER, tensor)
            for name, tensor in self._initializers.items()
            if name in constants
        ]
        parts += [_field(_GRAPH_INPUT, value.encoded()) for value in inputs]
        parts += [_field(_GRAPH_OUTPUT, value.encoded()) for value in outputs]
        return b"".join([*map(bytes, self._head), _field(_MODEL_GRAPH, b"".join(parts))])


def _fields(data: Bytes) -> Iterator[tuple[int, int, Bytes, Bytes]]:
    """Each field's number, kind, itself with its tag, and its content."""
    place, end = 0, len(data)
    while place < end:
        start = place
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, place = _varint(data, place)
        elif kind == _VARINT:
            _, after = _varint(data, place)
            size = after - place
        elif not size:
            raise ValueError("is no ONNX model, or a damaged one")
        if place + size > end:
            raise ValueError("is no ONNX model, or a part of it is missing")
        yield number, kind, data[start : place + size], data[place : place + size]
        place += size


def _varint(data: Bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("is no ONNX model, or a damaged one")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _node(data: Bytes) -> Node:
    node = Node([], [], "", "")
    rest: list[Bytes] = []
    for number, _, whole, content in _fields(data):
        if number == _NODE_INPUT:
            node.inputs.append(str(content, "utf-8"))
        elif number == _NODE_OUTPUT:
            node.outputs.append(str(content, "utf-8"))
        elif number == _NODE_NAME:
            node.name = str(content, "utf-8")
        elif number == _NODE_OP:
            node.op = str(content, "utf-8")
        else:
            rest.append(whole)
    node.rest = b"".join(map(bytes, rest))
    return node


def _text(data: Bytes, wanted: int) -> str:
    for number, _, _, content in _fields(data):
        if number == wanted:
            return str(content, "utf-8")
    return ""


def _encoded_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, content: Bytes) -> bytes:
    tag = _encoded_varint(number << 3 | _BYTES)
    return b"".join([tag, _encoded_varint(len(content)), content])


def _number(number: int, value: int) -> bytes:
    return _encoded_varint(number << 3 | _VARINT) + _encoded_varint(value)
