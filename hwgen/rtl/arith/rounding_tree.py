"""Dot products of one word whose sums are rounded."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Arithmetic
from hwgen.rtl.arith.sums import sums_of
from hwgen.rtl.stream import shape_of


class RoundingTree(wiring.Component):
    """o = the sum of the products i_x[k] * i_w[k] of a word, each rounded, then added in a tree of
    neighbours: the code of an arithmetic whose accumulator rounds.

    Latency: `latency` cycles of `i_ce`: `stages` for every adder on the way, and one for the code
    of a sum that is normalized approximately. Initiation interval: 1. Members: `i_ce` (where there
    is a latency); `i_x`, `i_w`: arrays of `lanes` codes; `o`. Tested: sums of bf16, e4m3fn and
    an-1-2 against the golden model.
    """

    def __init__(self, arithmetic: Arithmetic, lanes: int, stages: int = 0) -> None:
        self._stages, self._lanes, self._sums = stages, lanes, sums_of(arithmetic)
        finishing = isinstance(arithmetic.accumulator, Approximate)
        self.latency = stages * ((lanes - 1).bit_length() + 1) + finishing
        super().__init__(
            {
                **({"i_ce": In(1)} if self.latency else {}),
                "i_x": In(data.ArrayLayout(shape_of(arithmetic.x), lanes)),
                "i_w": In(data.ArrayLayout(shape_of(arithmetic.w), lanes)),
                "o": Out(self._sums.result.bits),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Products, their tree, the code."""
        m = Module()
        products = [self._sums.product(m, self.i_x[k], self.i_w[k]) for k in range(self._lanes)]
        terms = [self._add(m, True, self._sums.nothing, product) for product in products]
        while len(terms) > 1:
            terms += [self._sums.nothing] * (len(terms) % 2)
            pairs = zip(terms[::2], terms[1::2], strict=True)
            terms = [self._add(m, False, a, b) for a, b in pairs]
        ce = self.i_ce if self.latency else None
        m.d.comb += self.o.eq(self._sums.finish(m, ce, terms[0]))
        return m

    def _add(self, m: Module, fused: bool, a, b) -> Signal:
        m.submodules += (adder := self._sums.adder(fused, self._stages)[1]())
        total = Signal(self._sums.bits)
        if self._stages:
            m.d.comb += adder.i_ce.eq(self.i_ce)
        m.d.comb += [
            Value.cast(adder.i_a).eq(a),
            Value.cast(adder.i_b).eq(b),
            total.eq(adder.o),
        ]
        return total
