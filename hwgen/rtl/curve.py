"""Functions of one element by straight lines."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.ir import Curve, Tensor
from hwgen.rtl.arith.interpolate import Interpolate, interpolate, interpolator
from hwgen.rtl.stream import pipeline, ports, register, shape_of


class CurveUnit(wiring.Component):
    """y = clamp(function(x - first), low, high), an interpolator per lane.

    Latency: 2 cycles and those of the function. Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes. `parts`: the function.
    """

    def __init__(self, node: Curve, x: Tensor, y: Tensor) -> None:
        self._node, self._y = node, y
        self.parts = interpolator(node.function)
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Argument, function, clamped."""
        m = Module()
        node = self._node
        ce = pipeline(m, 2 + Interpolate.latency(node.function), self.o, self.i)
        for lane in range(self._y.lanes):
            argument = (self.i.payload[lane] - node.first)[: node.function.bits]
            y = interpolate(m, node.function, ce, register(m, ce, argument))
            out = Signal(shape_of(self._y.fmt))
            m.d.comb += out.eq(Mux(y < node.low, node.low, Mux(y > node.high, node.high, y)))
            m.d.comb += self.o.payload[lane].eq(register(m, ce, out))
        return m
