"""Sums of two tensors of floats."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring

from hwgen.ir import ADDER_STAGES, FloatAdd, Tensor
from hwgen.rtl.arith.float_add import FloatAdd as Adder
from hwgen.rtl.stream import pipeline, ports, register


class FloatAddUnit(wiring.Component):
    """y = a + b, rounded to the nearest.

    Latency: ADDER_STAGES + 2 cycles. Initiation interval: 1.

    Members: `i0`, `i1`, `o`: words of the same lanes; both inputs are taken together.
    """

    def __init__(self, node: FloatAdd, a: Tensor, b: Tensor, y: Tensor) -> None:
        self._fmt = node.fmt
        super().__init__(ports(a, b, y))

    def elaborate(self, _platform) -> Module:
        """Operands, adder, result."""
        m = Module()
        ce = pipeline(m, ADDER_STAGES + 2, self.o, self.i0, self.i1)
        for lane in range(len(self.o.payload)):
            adder = Adder(self._fmt, self._fmt, self._fmt, stages=ADDER_STAGES)
            m.submodules[f"add{lane}"] = adder
            m.d.comb += [
                adder.i_ce.eq(ce),
                adder.i_a.eq(register(m, ce, self.i0.payload[lane])),
                adder.i_b.eq(register(m, ce, self.i1.payload[lane])),
                self.o.payload[lane].eq(register(m, ce, adder.o)),
            ]
        return m
