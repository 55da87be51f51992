"""Some channels of every row."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring

from hwgen.errors import HwgenError
from hwgen.ir import Select, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports


class SelectUnit(wiring.Component):
    """y[..., c] = x[..., low + c] for c = 0 ... high - low - 1: words of others are dropped.

    Latency: 0. Initiation interval: 1 per input word.

    Members: `i`: words of lanes that divide `low`, or of whole rows; `o`: words of as many lanes,
    at most high - low for each row.
    """

    def __init__(self, node: Select, x: Tensor, y: Tensor) -> None:
        if node.low % x.lanes and x.lanes % x.channels:
            raise HwgenError(
                f"{node.name}: lanes of its input must divide {node.low} or hold whole rows of "
                f"{x.channels}, not be {x.lanes}"
            )
        self._node, self._x = node, x
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """A counter of a row's words says which pass."""
        m = Module()
        node, x = self._node, self._x
        take = self.i.valid & self.i.ready
        word, _ = counter(m, x.words_per_row, take, "word")
        if x.lanes % x.channels:
            inside = (word >= node.low // x.lanes) & (word <= (node.high - 1) // x.lanes)
            chosen = list(range(len(self.o.payload)))
        else:
            inside = 1
            rows = range(0, x.lanes, x.channels)
            chosen = [r + c for r in rows for c in range(node.low, node.high)]
        m.d.comb += [
            self.o.payload.as_value().eq(Cat(self.i.payload[k] for k in chosen)),
            self.o.valid.eq(self.i.valid & inside),
            self.i.ready.eq(self.o.ready | ~inside),
        ]
        return m
