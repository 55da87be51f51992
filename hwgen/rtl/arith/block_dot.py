"""Dot products of blocks that share exponents."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Arithmetic, Lane
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.stream import register, shape_of


class BlockDot(wiring.Component):
    """o = (sum over k of element(i_x[k]) * element(i_w[k])) << (exponent of i_x + that of i_w).

    All lanes of an operand are of one block: lane 0 says its exponent. The sum of the products of
    elements is a Dot's, so one shifter does for all lanes. `bits` of the result are kept. Latency:
    `latency` cycles of `i_ce`. Initiation interval: 1.

    Members: `i_ce`: clock enable; `i_x`, `i_w`: arrays of `lanes` codes of a Lane; `o`: the sum in
    units of the least product. Tested: in layers, against the golden model.
    """

    def __init__(self, x: Lane, w: Lane, lanes: int, arithmetic: Arithmetic, bits: int) -> None:
        self._formats, self._lanes, self._arithmetic = (x, w), lanes, arithmetic
        super().__init__(
            {
                "i_ce": In(1),
                "i_x": In(data.ArrayLayout(shape_of(x), lanes)),
                "i_w": In(data.ArrayLayout(shape_of(w), lanes)),
                "o": Out(signed(bits)),
            }
        )

    @staticmethod
    def latency(lanes: int) -> int:
        """Cycles from operands to sum."""
        return Dot.latency(lanes) + 1

    def elaborate(self, _platform) -> Module:
        """The elements' products and sum, beside them the exponents; then the shifter."""
        m = Module()
        a, b = (lane.block.element for lane in self._formats)
        m.submodules.dot = dot = Dot(a, b, self._lanes, self._arithmetic)
        m.d.comb += dot.i_ce.eq(self.i_ce)
        for k in range(self._lanes):
            m.d.comb += [dot.i_x[k].eq(self.i_x[k][: a.bits]), dot.i_w[k].eq(self.i_w[k][: b.bits])]
        x, w = self.i_x[0][a.bits :], self.i_w[0][b.bits :]
        exponent = register(m, self.i_ce, x + w, "exponent")
        for _ in range(Dot.latency(self._lanes) - 1):
            exponent = register(m, self.i_ce, exponent, "exponent")
        shifted = Signal(self.o.shape())
        m.d.comb += shifted.eq(dot.o << exponent)
        m.d.comb += self.o.eq(register(m, self.i_ce, shifted, "shifted"))
        return m
