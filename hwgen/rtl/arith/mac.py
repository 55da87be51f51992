"""Multiply and accumulate."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Arithmetic, Float
from hwgen.rtl.arith.multiply import fixed_product
from hwgen.rtl.arith.sums import sums_of
from hwgen.rtl.stream import shape_of


class Mac(wiring.Component):
    """o = the sum of i_a * i_b since `i_clear`, in any arithmetic.

    Sums of integers, and exact ones of floats, are two's complement of `bits` bits, in units of the
    least product. Sums of an accumulator that rounds are rounded one after another, the first
    product alone too; of approximate normalization `o` is the code of the partial sum.

    Latency: `latency` cycles of `i_ce`, one for the product where `registered`, one for the sum,
    and one for the code of a partial sum; initiation interval: 1. Members: `i_ce`; `i_clear`: this
    product begins a sum; `i_a`, `i_b`: codes; `o`.
    Tested: int8, exact e4m3fn, fp32 sums of bf16, an-1-2, against the golden, with random clears.
    """

    def __init__(self, arithmetic: Arithmetic, bits: int = 32, registered: bool = True) -> None:
        self._arithmetic, self._registered = arithmetic, registered
        self.rounds = isinstance(arithmetic.accumulator, Float | Approximate)
        self._sums = sums_of(arithmetic) if self.rounds else None
        finishing = isinstance(arithmetic.accumulator, Approximate)
        self.latency = self.stages = 1 + registered + finishing
        result = Shape(self._sums.result.bits) if self.rounds else Shape(bits, signed=True)
        operands = {"i_a": In(shape_of(arithmetic.x)), "i_b": In(shape_of(arithmetic.w))}
        super().__init__({"i_ce": In(1), "i_clear": In(1), **operands, "o": Out(result)})

    def elaborate(self, _platform) -> Module:
        """The product, a register, the sum."""
        m = Module()
        if self.rounds:
            product: Value = self._sums.product(m, self.i_a, self.i_b)
        else:
            product = fixed_product(m, self._arithmetic, self.i_a, self.i_b)
        clear: Value = self.i_clear
        if self._registered:
            held = Signal.like(product), Signal()
            with m.If(self.i_ce):
                m.d.sync += [held[0].eq(product), held[1].eq(clear)]
            product, clear = held
        (self._rounding if self.rounds else self._exact)(m, product, clear)
        return m

    def _exact(self, m: Module, product: Value, clear: Value) -> None:
        # A product of its own signal: Yosys would fuse it with the sum into one larger `$macc`.
        term = Signal(product.shape(), attrs={"keep": 1})
        m.d.comb += term.eq(product)
        with m.If(self.i_ce):
            m.d.sync += self.o.eq(Mux(clear, 0, self.o) + term)

    def _rounding(self, m: Module, product: Value, clear: Value) -> None:
        sums = self._sums
        m.submodules.add = add = sums.adder(True, 0)[1]()
        total = Signal(sums.bits)
        with m.If(self.i_ce):
            m.d.sync += total.eq(add.o)
        m.d.comb += [
            Value.cast(add.i_a).eq(Mux(clear, sums.nothing, total)),
            Value.cast(add.i_b).eq(product),
            self.o.eq(sums.finish(m, self.i_ce, total)),
        ]
