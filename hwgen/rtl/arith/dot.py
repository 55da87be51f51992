"""Integer dot products."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Int
from hwgen.rtl.stream import shape_of


class Dot(wiring.Component):
    """o = sum over k of i_x[k] * i_w[k], exact.

    Registers before and behind every product and behind every level of the adder tree: products
    map to DSP blocks, and neither a memory nor an adder shares a cycle with a multiplier. Latency:
    `latency` cycles of `i_ce`. Initiation interval: 1.

    Members: `i_ce`: clock enable; `i_x`, `i_w`: arrays of `lanes`; `o`: the sum.
    """

    def __init__(self, x: Int, w: Int, lanes: int) -> None:
        self._lanes = lanes
        super().__init__(
            {
                "i_ce": In(1),
                "i_x": In(data.ArrayLayout(shape_of(x), lanes)),
                "i_w": In(data.ArrayLayout(shape_of(w), lanes)),
                "o": Out(self.sum_shape(x, w, lanes)),
            }
        )

    @staticmethod
    def sum_shape(x: Int, w: Int, lanes: int) -> Shape:
        """Shape of the sum."""
        return Shape(x.bits + w.bits + (lanes - 1).bit_length(), x.signed or w.signed)

    @staticmethod
    def latency(lanes: int) -> int:
        """Cycles from operands to sum."""
        return 2 + (lanes - 1).bit_length()

    def elaborate(self, _platform) -> Module:
        """Products, then pairwise sums."""
        m = Module()
        level = []
        for k in range(self._lanes):
            x = self._register(m, self.i_x[k], f"x{k}")
            w = self._register(m, self.i_w[k], f"w{k}")
            level.append(self._register(m, x * w, f"product{k}"))
        depth = 0
        while len(level) > 1:
            depth += 1
            pairs = [level[k : k + 2] for k in range(0, len(level), 2)]
            level = [
                self._register(
                    m, pair[0] + pair[1] if len(pair) == 2 else pair[0], f"sum{depth}_{k}"
                )
                for k, pair in enumerate(pairs)
            ]
        m.d.comb += self.o.eq(level[0])
        return m

    def _register(self, m: Module, value, name: str) -> Signal:
        register = Signal(value.shape(), name=name)
        with m.If(self.i_ce):
            m.d.sync += register.eq(value)
        return register
