"""Products of two tensors."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hwgen.ir import Multiply, Tensor
from hwgen.rtl.stream import pipeline, ports, register, shape_of


class MultiplyUnit(wiring.Component):
    """y = (a - zeros[0]) * (b - zeros[1]), a multiplier per lane.

    Latency: 2 cycles. Initiation interval: 1.

    Members: `i0`, `i1`, `o`: words of the same lanes; both inputs are taken together.
    """

    def __init__(self, node: Multiply, a: Tensor, b: Tensor, y: Tensor) -> None:
        self._zeros, self._y = node.zeros, y
        super().__init__(ports(a, b, y))

    def elaborate(self, _platform) -> Module:
        """Operands, products."""
        m = Module()
        ce = pipeline(m, 2, self.o, self.i0, self.i1)
        for lane in range(self._y.lanes):
            a, b = (
                register(m, ce, i.payload[lane] - zero)
                for i, zero in zip((self.i0, self.i1), self._zeros, strict=True)
            )
            product = Signal(shape_of(self._y.fmt), name=f"product{lane}")
            m.d.comb += product.eq(a * b)
            m.d.comb += self.o.payload[lane].eq(register(m, ce, product))
        return m
