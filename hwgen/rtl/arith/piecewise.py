"""Products of floats by adding their codes: L-Mul and PAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from hwgen.formats import Float
from hwgen.rtl.arith.unrounded import specials

PAM_MEAN = 1.0552  # mean of the exact products over PAM's


def offset(fmt: Float, multiplier: str) -> int:
    """What is added to the sum of two magnitudes less the bias, in units in the last place."""
    if multiplier.startswith("lmul"):
        return 1 << max(0, fmt.man - (fmt.man if fmt.man <= 3 else 3 if fmt.man == 4 else 4))
    return round((PAM_MEAN - 1) * (1 << fmt.man)) if multiplier == "pam-c" else 0


def piecewise(
    m: Module, fmt: Float, multiplier: str, a: Value, b: Value, saturate: bool = True
) -> Signal:
    """The code of a product by "lmul", "lmul-raw", "pam" or "pam-c". Combinational.

    |r| = |a| + |b| - (bias << man) + `offset`. Guarded, all but lmul-raw: a NaN operand and inf * 0
    give NaN; a zero or subnormal operand, or an exponent field of 0 or less in r, zero; r above the
    largest finite code that code where `saturate`, else infinity or NaN, where there is one; an
    infinite operand infinity. Sources: arXiv 2410.00907 (L-Mul's bit form); Kosson and Jaggi, and
    Mogami (PAM).

    Tested: all pairs of 8-bit formats, wider ones at random and at the edges.
    """
    constant = offset(fmt, multiplier) - (fmt.bias << fmt.man)
    top = fmt.bits - 1
    code = Signal(fmt.bits)
    total = a[:top] + b[:top] + constant
    sign = a[top] ^ b[top]
    if multiplier == "lmul-raw":
        m.d.comb += code.eq(Cat(total[:top], sign))
        return code
    zero = ~a[fmt.man : top].any() | ~b[fmt.man : top].any()
    under = zero | (total < 1 << fmt.man)
    (nan_a, inf_a), (nan_b, inf_b) = specials(fmt, a), specials(fmt, b)
    infinite = inf_a | inf_b
    nan = nan_a | nan_b | (infinite & zero)
    special = fmt.largest_code if saturate or fmt.specials == "none" else fmt.largest_code + 1
    largest = Const(special, fmt.bits)
    number = Mux(total > fmt.largest_code, largest, Cat(total[:top], Const(0, 1)))
    number = Mux(under, 0, number)
    if fmt.infinity is not None:
        number = Mux(infinite, fmt.infinity, number)
    if fmt.specials == "fnuz":
        sign = sign & number[:top].any()
    number = number | Cat(Const(0, top), sign)
    m.d.comb += code.eq(number if fmt.nan is None else Mux(nan, fmt.nan, number))
    return code
