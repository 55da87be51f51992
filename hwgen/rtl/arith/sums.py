"""Partial sums that round: how products enter, how they are added, and what becomes of the last."""

from __future__ import annotations

import re
from collections.abc import Callable

from amaranth.hdl import Const, Module, Value
from amaranth.lib import data

from hwgen.formats import Approximate, Arithmetic, Float
from hwgen.ir import ADDER_STAGES
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.coded import coded_product
from hwgen.rtl.arith.float_add import FloatAdd
from hwgen.rtl.arith.fma import product, product_shape
from hwgen.rtl.arith.unrounded import Unrounded, fields
from hwgen.rtl.stream import register


class FloatSums:
    """Codes of a float, correctly rounded."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self.result: Float = arithmetic.accumulator
        self.bits = self.result.bits
        self.nothing = Const(self.result.sign, self.bits)

    def product(self, m: Module, x, w) -> Value:
        """What the product of two codes enters an adder as, not rounded."""
        return _product(m, self._arithmetic, x, w).as_value()

    def adder(self, fused: bool, stages: int = ADDER_STAGES) -> tuple[str, Callable[[], FloatAdd]]:
        """The name of a module that adds two sums, or a sum and a product; and what makes it."""
        if not fused:
            return float_adder(self.result, stages)
        name, shape = module_name("fma", str(self._arithmetic)), _shape(self._arithmetic)
        return name, lambda: FloatAdd(self.result, self.result, shape, stages)

    def begin(self, _m: Module, code) -> Value:
        """A code of the result as a sum."""
        return code

    def finish(self, _m: Module, _ce, value) -> Value:
        """The code of a sum."""
        return value


class ApproximateSums:
    """Partial sums of approximate normalization."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        psum: Approximate = arithmetic.accumulator
        self.result = psum.result
        self._sums = PartialSum.of(psum, _shape(arithmetic))
        self.bits = self._sums.layout.size
        self.nothing = Const(0, self.bits)

    def product(self, m: Module, x, w) -> Value:
        """The product of two codes as a partial sum."""
        shape = _shape(self._arithmetic)
        return self._sums.enter(m, shape, _product(m, self._arithmetic, x, w)).as_value()

    def adder(
        self, _fused: bool, stages: int = ADDER_STAGES
    ) -> tuple[str, Callable[[], ApproximateAdd]]:
        """The name of a module that adds partial sums, which products are too; and what makes
        it."""
        sums = self._sums
        name = module_name("add", f"{sums.psum}_{sums.psum.bits}")
        return name, lambda: ApproximateAdd(sums, stages)

    def begin(self, m: Module, code) -> Value:
        """A code of the result as a partial sum."""
        shape = Unrounded.fields_of(self.result)
        return self._sums.enter(m, shape, fields(m, self.result, code)).as_value()

    def finish(self, m: Module, ce, value) -> Value:
        """The code of a sum, a cycle later."""
        state = data.View(self._sums.layout, value)
        return register(m, ce, self._sums.finish(m, state))


def adders(arithmetic: Arithmetic) -> dict[str, Callable]:
    """What makes the adders of rounded sums, by the names of their modules."""
    sums = sums_of(arithmetic)
    return dict(sums.adder(fused) for fused in (True, False))


def float_adder(fmt: Float, stages: int = ADDER_STAGES) -> tuple[str, Callable[[], FloatAdd]]:
    """The name of a module that adds two floats, and what makes it."""
    return module_name("add", str(fmt)), lambda: FloatAdd(fmt, fmt, fmt, stages)


def module_name(kind: str, what: str) -> str:
    """The name of a module that several units share."""
    return f"hwgen_{kind}_" + re.sub(r"\W", "_", what)


def _shape(arithmetic: Arithmetic) -> Unrounded:
    """What holds every product."""
    if arithmetic.multiplier != "exact":
        return Unrounded.fields_of(arithmetic.x)
    return product_shape(arithmetic.x, arithmetic.w)


def _product(m: Module, arithmetic: Arithmetic, x, w) -> data.View:
    """The product of two codes, not rounded: exact, or what lmul or pam make of them."""
    if arithmetic.multiplier != "exact":
        return fields(m, arithmetic.x, coded_product(m, arithmetic, x, w))
    return product(m, arithmetic.x, arithmetic.w, x, w, False)


def sums_of(arithmetic: Arithmetic) -> FloatSums | ApproximateSums:
    """The partial sums of an arithmetic whose accumulator rounds."""
    approximate = isinstance(arithmetic.accumulator, Approximate)
    return (ApproximateSums if approximate else FloatSums)(arithmetic)
