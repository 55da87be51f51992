"""Sums of two tensors of different scales."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring

from hwgen.formats import int_holding
from hwgen.ir import Add, Tensor
from hwgen.rtl.requantize import finish
from hwgen.rtl.stream import pipeline, ports, register, shape_of


class AddUnit(wiring.Component):
    """y = clamp((a * m0 + b * m1 + k) >> s, low, high) with the form's tie correction.

    Latency: `form.latency` cycles. Initiation interval: 1.

    Members: `i0`, `i1`, `o`: words of the same lanes; both inputs are taken together.
    """

    def __init__(self, node: Add, a: Tensor, b: Tensor, y: Tensor) -> None:
        self._node, self._fmts, self._y = node, (a.fmt, b.fmt), y
        super().__init__(ports(a, b, y))

    def elaborate(self, _platform) -> Module:
        """Operands, products, sum, result."""
        m = Module()
        form = self._node.form
        ce = pipeline(m, form.latency, self.o, self.i0, self.i1)
        multipliers = [int(v) for v in form.multiplier]
        ends = [
            [code * factor for code in (fmt.min, fmt.max)]
            for fmt, factor in zip(self._fmts, multipliers, strict=True)
        ]
        offset = int(form.offset)
        fmt = int_holding(sum(map(min, ends)) + offset, sum(map(max, ends)) + offset)
        low, high = (Const(v, shape_of(self._y.fmt)) for v in (self._node.low, self._node.high))
        for lane in range(self._y.lanes):
            products = [
                register(m, ce, register(m, ce, i.payload[lane]) * factor)
                for i, factor in zip((self.i0, self.i1), multipliers, strict=True)
            ]
            total = Signal(shape_of(fmt), name=f"sum{lane}")
            m.d.comb += total.eq(products[0] + products[1] + offset)
            total = register(m, ce, total)
            result = finish(m, ce, form, total, fmt, self._y.fmt, low, high)
            m.d.comb += self.o.payload[lane].eq(result)
        return m
