"""Sums of two tensors of floats."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hwgen.ir import ADDER_STAGES, FloatAdd, Tensor
from hwgen.rtl.arith.sums import float_adder
from hwgen.rtl.stream import instance, pipeline, ports, register


class FloatAddUnit(wiring.Component):
    """y = a + b, rounded to the nearest.

    Latency: ADDER_STAGES + 2 cycles. Initiation interval: 1.

    Members: `i0`, `i1`, `o`: words of the same lanes; both inputs are taken together. `parts`: what
    makes the module it instantiates, by name.
    """

    def __init__(self, node: FloatAdd, a: Tensor, b: Tensor, y: Tensor) -> None:
        self._name, make = float_adder(node.fmt)
        self.parts = {self._name: make}
        super().__init__(ports(a, b, y))

    def elaborate(self, _platform) -> Module:
        """Operands, adder, result."""
        m = Module()
        ce = pipeline(m, ADDER_STAGES + 2, self.o, self.i0, self.i1)
        for lane in range(len(self.o.payload)):
            a, b = (register(m, ce, i.payload[lane]) for i in (self.i0, self.i1))
            total = Signal(len(self.o.payload[lane]), name=f"total{lane}")
            m.submodules[f"add{lane}"] = instance(self._name, ce, a, b, total)
            m.d.comb += self.o.payload[lane].eq(register(m, ce, total))
        return m
