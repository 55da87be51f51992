"""Partial sums that round: how products enter, how they are added, and what becomes of the last."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Value

from hwgen.formats import Arithmetic, Float
from hwgen.ir import ADDER_STAGES
from hwgen.rtl.arith.float_add import FloatAdd
from hwgen.rtl.arith.fma import product, product_shape


class FloatSums:
    """Codes of a float, correctly rounded."""

    latency = 0  # cycles of `finish`

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self.result: Float = arithmetic.accumulator  # type: ignore[assignment]
        self.bits = self.result.bits
        self.nothing = Const(self.result.sign, self.bits)

    def product(self, m: Module, x, w) -> Value:
        """What the product of two codes enters an adder as, not rounded."""
        return product(m, self._arithmetic.x, self._arithmetic.w, x, w, False).as_value()

    def adder(self, fused: bool) -> FloatAdd:
        """An adder of two sums, or of a sum and a product."""
        second = product_shape(self._arithmetic.x, self._arithmetic.w) if fused else self.result
        return FloatAdd(self.result, self.result, second, stages=ADDER_STAGES)

    def enter(self, _m: Module, code) -> Value:
        """A code of the result as a sum."""
        return code

    def finish(self, _m: Module, _ce, value) -> Value:
        """The code of a sum."""
        return value


def sums_of(arithmetic: Arithmetic) -> FloatSums:
    """The partial sums of an arithmetic whose accumulator rounds."""
    return FloatSums(arithmetic)
