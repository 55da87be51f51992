"""Multiply and add, rounded once."""

from __future__ import annotations

from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Float
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.float_add import FloatAdd
from hwgen.rtl.arith.float_multiply import unrounded_product
from hwgen.rtl.arith.unrounded import Unrounded, fields


def product_shape(x: Float, w: Float, flush: bool = False) -> Unrounded:
    """What holds every product of two floats exactly."""
    a, b = Unrounded.fields_of(x, flush), Unrounded.fields_of(w, flush)
    bits = a.sig_bits + b.sig_bits
    # One subnormal leaves the other's bits; two make a number below the product of least normals.
    dense = bits - 1 if flush else min(a.sig_bits, b.sig_bits)
    floor = None if flush else x.emin + w.emin
    return Unrounded(max(x.exp, w.exp) + 2, bits, a.offset + b.offset, dense, floor)


def product(
    m: Module, x: Float, w: Float, i_x: Value, i_w: Value, flush: bool, plain: bool = False
) -> data.View:
    """The exact product of two codes as `product_shape`; `plain`: by the synthesizer's own
    multiplier, which in gates is faster than Booth's rows."""
    a, b = fields(m, x, i_x, flush), fields(m, w, i_w, flush)
    return unrounded_product(m, product_shape(x, w, flush), a, b, plain)


class Fma(wiring.Component):
    """o = i_a * i_b + i_c, rounded once (IEEE 754-2019); see `FloatAdd`.

    Latency: `stages` cycles of `i_ce`; initiation interval: 1. The product shares a cycle with the
    first of the adder's steps. Parameters: `fmt`, of `i_c` and `o`; `x`, `w`, those of the factors;
    `stages`, those of the adder; `flush`: subnormals count as zeros. Members: `i_ce` (with stages
    only), `i_a`, `i_b`, `i_c`, `o`: codes.
    Tested: all pairs of 8-bit formats with random addends; bf16, fp16, fp32 and bf16 * bf16 + fp32
    with corners, ties and cancellation, against the golden and exact rationals.
    """

    def __init__(
        self, fmt: Float, x: Float, w: Float, stages: int = 0, flush: bool = False
    ) -> None:
        self.fmt, self.x, self.w, self.flush = fmt, x, w, flush
        self.latency = self.stages = stages
        members = {"i_ce": In(1)} if stages else {}
        members |= {"i_a": In(x.bits), "i_b": In(w.bits), "i_c": In(fmt.bits), "o": Out(fmt.bits)}
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """The product, then the sum."""
        m = Module()
        exact = product(m, self.x, self.w, self.i_a, self.i_b, self.flush)
        shape = product_shape(self.x, self.w, self.flush)
        m.submodules.add = add = FloatAdd(self.fmt, self.fmt, shape, self.stages, self.flush)
        if self.stages:
            m.d.comb += add.i_ce.eq(self.i_ce)
        m.d.comb += [add.i_a.eq(self.i_c), add.i_b.eq(exact), self.o.eq(add.o)]
        return m


class ApproximateFma(wiring.Component):
    """o = i_a * i_b + i_c, i_c and o partial sums of an-k-λ; see `ApproximateAdd`.

    Latency: `stages` cycles of `i_ce`; initiation interval: 1. Parameters: `psum`; `x`, `w`,
    formats of the factors; `stages`, those of the adder; `flush`: subnormal factors count as zeros;
    `exact`, `anticipate`: see the adder; `gates`: adder and multiplier for gates, not for LUTs.
    Members: `i_ce` (with stages only), `i_a`, `i_b`: codes, `i_c`, `o`.
    Tested: all pairs of e4m3fn, corners of bf16, against the golden.
    """

    def __init__(
        self,
        psum: Approximate,
        x: Float,
        w: Float,
        stages: int = 0,
        flush: bool = False,
        exact: bool = False,
        gates: bool = False,
        anticipate: bool = False,
    ) -> None:
        self.x, self.w, self.flush, self._gates = x, w, flush, gates
        self.latency = self.stages = stages
        self._adder = exact, gates, anticipate
        self._product = product_shape(x, w, flush)
        self.shape = PartialSum.of(psum, self._product)
        members = {"i_ce": In(1)} if stages else {}
        layout = self.shape.layout
        members |= {"i_a": In(x.bits), "i_b": In(w.bits), "i_c": In(layout), "o": Out(layout)}
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """The product, then the sum."""
        m = Module()
        exact = product(m, self.x, self.w, self.i_a, self.i_b, self.flush, self._gates)
        m.submodules.add = add = ApproximateAdd(self.shape, self.stages, *self._adder)
        if self.stages:
            m.d.comb += add.i_ce.eq(self.i_ce)
        entered = self.shape.enter(m, self._product, exact)
        m.d.comb += [add.i_a.eq(self.i_c), add.i_b.eq(entered), self.o.eq(add.o)]
        return m
