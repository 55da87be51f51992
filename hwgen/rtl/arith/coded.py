"""Products that are codes in the format of both operands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from amaranth.hdl import Module, Signal, Value

from hwgen.formats import Arithmetic
from hwgen.rtl.arith.piecewise import piecewise

# By multiplier: a function of the module, the format, two codes, and whether products that are too
# large become the largest number. Combinational.
CODED: dict[str, Callable[..., Signal]] = {
    name: partial(piecewise, name) for name in ("lmul", "lmul-raw", "pam", "pam-c")
}


def coded_product(
    m: Module, arith: Arithmetic, x: Value, w: Value, saturate: bool = True
) -> Signal:
    """The code of a product by a multiplier of CODED."""
    return CODED[arith.multiplier](m, arith.x, x, w, saturate)
