"""Tensors, ports and the graph."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hwgen.errors import HwgenError

if TYPE_CHECKING:
    import numpy as np

    from hwgen.formats import Fixed, Float, Int
    from hwgen.ir.nodes import Node


@dataclass(frozen=True)
class Tensor:
    """A stream of integers, or of floats' or blocks' codes, for one sample: `shape` in stream order
    (row-major, channel last).

    A word holds `lanes` elements. Up to C lanes, each row of C elements starts a new word and its
    last word is padded with zeros; more lanes are a multiple of C and pack whole rows, and only
    the last word is padded.
    """

    shape: tuple[int, ...]
    fmt: Int | Float
    lanes: int = 1

    def __post_init__(self) -> None:
        if self.lanes > self.channels and self.lanes % self.channels:
            raise HwgenError(
                f"lanes must be at most {self.channels} or a multiple of it, not {self.lanes}"
            )

    @property
    def channels(self) -> int:
        """Length C of a row."""
        return self.shape[-1]

    @property
    def elements(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Rows of C elements in one sample."""
        return self.elements // self.channels

    @property
    def words_per_row(self) -> int:
        """Words of one row (1 where a word holds more than a row)."""
        return -(-self.channels // self.lanes)

    @property
    def words(self) -> int:
        """Words of one sample."""
        if self.lanes > self.channels:
            return -(-self.elements // self.lanes)
        return self.rows * self.words_per_row


@dataclass(frozen=True, eq=False)
class InputPort:
    """An ONNX graph input: how the host turns an array into the codes of a stream.

    code = clamp(round(x / scale) + zero_point, low, high) in float32 as QuantizeLinear does, by
    the `rounding` of a Requantize; of a float format encode(x / scale). `low`, `high` None: the
    format's own. `scale` None: the input holds codes already; with `rows` indices of a table of so
    many rows, of which negative ones count from its end. `index` has the ONNX shape of one
    sample (batch axis 1) and gives each element's place in the stream; `scale` and `zero_point`
    have shape () or that of `index`.

    In a stream of sequences a sample is one row, and `ends` is the tensor that says of every row
    whether it is the last of its sequence (1, from tlast) or not (0).
    """

    name: str
    tensor: str
    index: np.ndarray
    dtype: np.dtype
    scale: np.ndarray | None = None
    zero_point: int | np.ndarray = 0
    rounding: str = "half_even"
    low: int | None = None
    high: int | None = None
    rows: int | None = None
    ends: str | None = None


@dataclass(frozen=True, eq=False)
class OutputPort:
    """An ONNX graph output: value = clip((code - zero_point) * scale + offset, *clip), then `host`
    operations; for a float format with the code's number.

    `scale` (float32) and `offset` (float64, zero where the model ends in DequantizeLinear) have
    shape () or that of `index`; `scale` None: the output is the codes. `host` are (name,
    attributes) pairs: softmax, argmax. `ends`: the copy of the input's `ends` that makes tlast.
    """

    name: str
    tensor: str
    index: np.ndarray
    dtype: np.dtype
    scale: np.ndarray | None = None
    zero_point: int = 0
    offset: np.ndarray | None = None
    clip: tuple[float, float] = (-math.inf, math.inf)
    host: tuple[tuple[str, dict], ...] = ()
    ends: str | None = None


@dataclass(frozen=True)
class Island:
    """A tensor that the model leaves in float, in fixed point: read by `node`, its numbers within
    [low, high]."""

    tensor: str  # of ONNX
    node: str
    fmt: Fixed
    low: float
    high: float

    @property
    def headroom(self) -> float:
        """Bits by which the format's range exceeds the numbers'; less than 0 where it saturates."""
        most = (1 << self.fmt.bits - self.fmt.signed) * 2.0**-self.fmt.frac
        size = max(abs(self.low), abs(self.high))
        return math.log2(most / size) if size else math.inf

    @property
    def error(self) -> float:
        """The largest rounding error of numbers in its range."""
        return 2.0 ** (-self.fmt.frac - 1)


@dataclass
class Graph:
    """Nodes in topological order over named tensors.

    `longest`: for the nodes that bound it, the rows of the longest sequence of a stream.
    """

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[InputPort] = field(default_factory=list)
    outputs: list[OutputPort] = field(default_factory=list)
    islands: dict[str, Island] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # node -> what was recognized, and why
    longest: dict[str, int] = field(default_factory=dict)

    @property
    def ends(self) -> str | None:
        """The tensor of the ends of sequences; None where a sample is a whole input."""
        return next((port.ends for port in self.inputs), None)

    def producer(self) -> dict[str, Node]:
        """The node that writes each tensor; graph inputs have none."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor."""
        found: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.inputs:
                found[tensor].append(node)
        return found

    def port_tensors(self) -> list[str]:
        """The tensors of all inputs and outputs."""
        return [p.tensor for p in self.inputs] + [p.tensor for p in self.outputs]

    def copy(self) -> Graph:
        """The same nodes and tensors in a graph of its own."""
        own = {name: value.copy() for name, value in vars(self).items() if name != "name"}
        return replace(self, **own)

    def relane(self, tensor: str, lanes: int) -> None:
        """Change the lanes of a tensor."""
        self.tensors[tensor] = replace(self.tensors[tensor], lanes=lanes)

    def fresh(self, stem: str) -> str:
        """A tensor name not yet taken."""
        name, number = stem, 1
        while name in self.tensors:
            number += 1
            name = f"{stem}_{number}"
        return name

    def verify(self) -> None:
        """Raise `HwgenError` unless every tensor is written once, before it is read."""
        written = {port.tensor for port in self.inputs} | ({self.ends} - {None})
        for node in self.nodes:
            for tensor in node.inputs:
                if tensor not in written:
                    raise HwgenError(f"{node.name}: reads {tensor!r} before it is written")
            for tensor in node.outputs:
                if tensor in written:
                    raise HwgenError(f"{node.name}: writes {tensor!r} a second time")
                written.add(tensor)
        if missing := [port.name for port in self.outputs if port.tensor not in written]:
            raise HwgenError(f"nothing writes the outputs {missing}")
