"""Multiply and add, rounded once."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Float
from hwgen.rtl.arith.booth import booth
from hwgen.rtl.arith.float_add import FloatAdd
from hwgen.rtl.arith.unrounded import Unrounded, fields


def product_shape(x: Float, w: Float, flush: bool = False) -> Unrounded:
    """What holds every product of two floats exactly."""
    a, b = Unrounded.fields_of(x, flush), Unrounded.fields_of(w, flush)
    bits = a.sig_bits + b.sig_bits
    # One subnormal leaves the other's bits; two make a number below the product of least normals.
    dense = bits - 1 if flush else min(a.sig_bits, b.sig_bits)
    floor = None if flush else x.emin + w.emin
    return Unrounded(max(x.exp, w.exp) + 2, bits, a.offset + b.offset, dense, floor)


def product(m: Module, x: Float, w: Float, i_x: Value, i_w: Value, flush: bool) -> data.View:
    """The exact product of two codes as `product_shape`."""
    a, b = fields(m, x, i_x, flush), fields(m, w, i_w, flush)
    nan = a.nan | b.nan | (a.inf & ~b.sig.any()) | (b.inf & ~a.sig.any())
    result = Signal(product_shape(x, w, flush).layout)
    m.d.comb += [
        result.sig.eq(booth(m, a.sig, b.sig)),
        result.exp.eq(a.exp + b.exp),
        result.sign.eq(a.sign ^ b.sign),
        result.nan.eq(nan),
        result.inf.eq((a.inf | b.inf) & ~nan),
    ]
    return result


class Fma(wiring.Component):
    """o = i_a * i_b + i_c, rounded once."""

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
