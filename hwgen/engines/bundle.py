"""What a simulator needs to know of a design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwgen.emit.names import identifier
from hwgen.formats import Float, Int
from hwgen.ir import Graph

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Port:
    """One AXI4-Stream port; `prefix` is what its signals' names begin with, sizes are per
    sample: in a stream of sequences a row."""

    name: str
    prefix: str
    fmt: Int | Float
    lanes: int
    channels: int
    elements: int
    words: int

    @property
    def lane_bytes(self) -> int:
        """Bytes of a lane in tdata."""
        return -(-self.fmt.bits // 8)

    @property
    def beat_bytes(self) -> int:
        """Bytes of tdata."""
        return self.lane_bytes * self.lanes


@dataclass(frozen=True)
class Bundle:
    """Verilog sources (*.v) and memory files by name, the name of the top, its ports."""

    files: dict[str, str]
    top: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """Codes by output name (samples, elements), and when samples went in and came out.

    `first_in` (samples,) and `last_out` (outputs, samples) are in clock cycles.
    """

    codes: dict[str, np.ndarray]
    first_in: np.ndarray
    last_out: np.ndarray
    cycles: int

    @property
    def interval(self) -> float | int | None:
        """Cycles per sample of the slowest output."""
        intervals = self.intervals
        return None if None in intervals else max(intervals)

    @property
    def intervals(self) -> list[float | int | None]:
        """For each output cycles per sample over the later half of the samples; None for a lone
        one."""
        count = self.last_out.shape[1]
        if count < 2:
            return [None] * len(self.last_out)
        start = count // 2 - 1
        samples = count - 1 - start
        totals = (self.last_out[:, -1] - self.last_out[:, start]).tolist()
        return [t // samples if t % samples == 0 else t / samples for t in totals]

    @property
    def latency(self) -> int:
        """Cycles from the first beat in to the last beat out of the first sample."""
        return int(self.last_out[:, 0].max() - self.first_in[0]) + 1


def bundle_of(graph: Graph, sources: dict[str, str] | None = None) -> Bundle:
    """What simulators need of a graph; `sources` are its Verilog, emitted now unless given."""
    from hwgen.emit.top import top_ports  # a board's host takes ports from here, without Amaranth
    from hwgen.emit.verilog import verilog

    inputs, outputs = (
        tuple(
            Port(
                p.name,
                p.prefix,
                p.tensor.fmt,
                p.tensor.lanes,
                p.tensor.channels,
                p.tensor.elements,
                p.tensor.words,
            )
            for p in side
        )
        for side in top_ports(graph)
    )
    return Bundle(sources or verilog(graph), identifier(graph.name), inputs, outputs)
