"""Products of floats: exact, and rounded to a float."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from hwgen.formats import Arithmetic, Float
from hwgen.rtl.arith.booth import booth
from hwgen.rtl.arith.coded import coded_product
from hwgen.rtl.arith.shift import leading_zeros, shift_left, shift_right
from hwgen.rtl.arith.unrounded import Unrounded, specials, unpack

TABLE = 6  # bits of two fractions whose product is a table: a LUT per bit


def _formats(arith: Arithmetic) -> tuple[Float, Float]:
    return cast(Float, arith.x), cast(Float, arith.w)


def product_parts(arith: Arithmetic) -> Unrounded:
    """What holds every product of two floats before rounding."""
    x, w = _formats(arith)
    if arith.multiplier != "exact":
        return Unrounded.of(x)
    return Unrounded.holding(
        x.unit + w.unit, x.emax - x.man + w.emax - w.man, x.man + 1 + w.man + 1
    )


def float_product(m: Module, arith: Arithmetic, x: Value, w: Value, dsp: bool = False) -> data.View:
    """The product of two codes, not rounded: exact, or as lmul's or pam's code says. Combinational.

    Significands multiply and exponents add; nothing is normalized. `dsp`: leave significands to the
    synthesizer's multiplier. Tested: all pairs of 8-bit formats.
    """
    fmt, other = _formats(arith)
    if arith.multiplier != "exact":
        return unpack(m, fmt, coded_product(m, arith, x, w))
    a, b = unpack(m, fmt, x), unpack(m, other, w)
    return unrounded_product(m, product_parts(arith), a, b, dsp)


def unrounded_product(
    m: Module, shape: Unrounded, a: data.View, b: data.View, dsp: bool
) -> data.View:
    """The exact product of two numbers taken apart, as `shape`, whose offset is the sum of
    theirs."""
    parts = Signal(shape.layout)
    nan = a.nan | b.nan | (a.inf & ~b.sig.any()) | (b.inf & ~a.sig.any())
    m.d.comb += [
        parts.sig.eq(a.sig * b.sig if dsp else booth(m, a.sig, b.sig)),
        parts.exp.eq(a.exp + b.exp),
        parts.sign.eq(a.sign ^ b.sign),
        parts.nan.eq(nan),
        parts.inf.eq((a.inf | b.inf) & ~nan),
    ]
    return parts


def rounded_product(
    m: Module,
    arith: Arithmetic,
    x: Value,
    w: Value,
    flush: bool = False,
    saturate: bool = True,
    dsp: bool = False,
    cut: Callable[[Value], Value] = lambda value: value,
) -> Signal:
    """The code in arith.x of a product, rounded once, to nearest even. Combinational, but for the
    registers that `cut` puts between product and rounding.

    Products too large become the largest number where `saturate`, else infinity, or NaN where there
    is none; inf * 0 is NaN. `flush`: subnormal operands count as 0, and so does what is below the
    least normal number once rounded as if exponents had no end. lmul and pam round nothing.
    """
    fmt, other = _formats(arith)
    code = Signal(fmt.bits)
    if arith.multiplier != "exact":
        m.d.comb += code.eq(cut(coded_product(m, arith, x, w, saturate)))
        return code
    zero, infinite, nan = (cut(flag) for flag in _classes(fmt, other, x, w, flush))
    sign = cut(x[-1] ^ w[-1])
    magnitude = (_flushed if flush else _gradual)(m, arith, x, w, dsp, cut)
    top = fmt.bits - 1
    over = fmt.largest_code + (not saturate and fmt.specials != "none")
    too_large, largest = magnitude > fmt.largest_code, Const(over, top + 1)
    number = Mux(too_large, largest, magnitude[:top])
    number = Mux(zero | (magnitude < 1 << fmt.man) if flush else zero, 0, number)
    number = Mux(infinite, over if fmt.infinity is None else fmt.infinity, number)
    if fmt.specials == "fnuz":  # 0 has no sign, and what would be -0 is NaN
        sign = sign & number[:top].any() | number[top]
    number = Cat(number[:top], sign)
    m.d.comb += code.eq(number if fmt.nan is None else Mux(nan, fmt.nan, number))
    return code


def _classes(
    first: Float, other: Float, x: Value, w: Value, flush: bool
) -> tuple[Value, Value, Value]:
    """Whether a product is certainly zero, infinite, NaN."""
    zeros, nans, infinities = [], [], []
    for fmt, code in ((first, x), (other, w)):
        nan, infinity = specials(fmt, code)
        zeros.append(~code[fmt.man if flush else 0 : fmt.bits - 1].any())
        nans.append(nan)
        infinities.append(infinity)
    zero, infinite = zeros[0] | zeros[1], infinities[0] | infinities[1]
    return zero, infinite, nans[0] | nans[1] | (zero & infinite)


def _flushed(m: Module, arith: Arithmetic, x: Value, w: Value, dsp: bool, cut) -> Signal:
    """The magnitude's code of a product of normal numbers, rounded, as if exponents had no end."""
    fmt, other = _formats(arith)
    field = cut(x[fmt.man : fmt.bits - 1] + w[other.man : other.bits - 1])
    if fmt.man + other.man <= TABLE:
        fraction = cut(_rounded_table(m, fmt.man, other.man, x, w))
        total = Cat(Const(0, fmt.man), field) + fraction
    else:
        a, b = Cat(x[: fmt.man], Const(1, 1)), Cat(w[: other.man], Const(1, 1))
        product = cut(a * b if dsp else booth(m, a, b))
        high = product[-1]
        kept = Mux(high, product[-1 - fmt.man : -1], product[-2 - fmt.man : -2])
        below = len(product) - 2 - fmt.man  # bits below the kept ones where not `high`
        guard = Mux(high, product[below], product[below - 1])
        sticky = product[: below - 1].any() | (high & product[below - 1])
        total = Cat(kept, field + high) + (guard & (sticky | kept[0]))
    magnitude = Signal(signed(fmt.bits + 2))
    m.d.comb += magnitude.eq(total - (other.bias << fmt.man))
    return magnitude


def _rounded_table(m: Module, man: int, other: int, x: Value, w: Value) -> Signal:
    """What a product of significands adds to a code, rounded to `man` bits: a table."""
    fraction = Signal(man + 2)
    with m.Switch(Cat(x[:man], w[:other])):
        for k in range(1 << man + other):
            a, b = (k & ((1 << man) - 1)) + (1 << man), (k >> man) + (1 << other)
            with m.Case(k):
                m.d.comb += fraction.eq(_code_of(a * b, man + other, man))
    return fraction


def _code_of(number: int, point: int, man: int) -> int:
    """number / 2**point, in 1 .. 4, rounded to a float of `man` bits, as a code with bias 0."""
    power = number.bit_length() - 1 - point
    drop = point + power - man
    whole, rest = number >> drop, number & ((1 << drop) - 1)
    half = 1 << drop >> 1
    whole += rest > half or (rest == half and whole & 1 and drop > 0)
    return whole - (1 << man) + (power << man)


def _gradual(m: Module, arith: Arithmetic, x: Value, w: Value, dsp: bool, cut) -> Signal:
    """The magnitude's code of a product, rounded, subnormal where that is small.

    A normalized significand, with a bit that rounds and a sticky one below, shifts right where its
    exponent field is less than 1. Significands of few bits are normalized before a table multiplies
    them, others behind the multiplication.
    """
    fmt, other = _formats(arith)
    few = fmt.man + other.man <= TABLE
    sig, field = (_by_table if few else _by_product)(m, arith, x, w, dsp, cut)
    normal = field > 0
    places = len(sig)
    amount = Signal(range(places + 1))
    m.d.comb += amount.eq(Mux(normal, 0, Mux(field < 1 - places, places, 1 - field)))
    kept, lost = shift_right(m, sig, amount, places)
    up = kept[1] & (kept[2] | kept[0] | lost)
    magnitude = Signal(fmt.man + len(field))
    number = Cat(kept[2 : 2 + fmt.man], Mux(normal, field.as_unsigned(), 0))
    # The bit below the operands, the same in both, carries what it is.
    m.d.comb += magnitude.eq((Cat(up, number) + up)[1:])
    return magnitude


def _by_product(m: Module, arith: Arithmetic, x: Value, w: Value, dsp: bool, cut):
    """Normalized significand (two bits more than the format's, the last one sticky) and exponent
    field, signed, of the exact product."""
    fmt, other = _formats(arith)
    parts = float_product(m, arith, x, w, dsp)
    sig, exp = cut(parts.sig), cut(parts.exp)
    zeros, _ = leading_zeros(m, sig)
    wide = Cat(Const(0, 1), shift_left(m, sig, zeros))  # there may be one bit too few
    below = len(wide) - fmt.man - 2
    field = Signal(signed(len(exp) + 2))
    bias = fmt.man + other.man + 1 + fmt.bias
    m.d.comb += field.eq(exp + bias - zeros)
    return Cat(wide[:below].any(), wide[below:]), field


def _by_table(m: Module, arith: Arithmetic, x: Value, w: Value, _dsp: bool, cut):
    """As `_by_product`."""
    fmt, other = _formats(arith)
    (man_x, field_x), (man_w, field_w) = _normalized(m, fmt, x), _normalized(m, other, w)
    table = Signal(fmt.man + 4)
    with m.Switch(Cat(man_x, man_w)):
        for k in range(1 << fmt.man + other.man):
            a, b = (k & ((1 << fmt.man) - 1)) + (1 << fmt.man), (k >> fmt.man) + (1 << other.man)
            carry = a * b >> fmt.man + other.man + 1
            digits = (a * b << 2) >> carry + other.man
            lost = a * b << 2 != digits << carry + other.man
            with m.Case(k):
                m.d.comb += table.eq(digits | lost | carry << fmt.man + 3)
    carry = table[-1]
    field = Signal(signed(max(len(field_x), len(field_w)) + 3))
    m.d.comb += field.eq(cut(field_x + field_w + carry) - other.bias)
    return cut(table[:-1]), field


def _normalized(m: Module, fmt: Float, code: Value) -> tuple[Value, Value]:
    """Mantissa and exponent field, signed, of a number as if exponents had no end."""
    man, field = code[: fmt.man], code[fmt.man : fmt.bits - 1]
    mantissa, exponent = Signal(fmt.man), Signal(signed(max(fmt.exp, fmt.man.bit_length()) + 1))
    m.d.comb += [mantissa.eq(man), exponent.eq(field)]
    with m.If(~field.any()):
        for k in range(fmt.man):  # the last set bit wins
            with m.If(man[k]):
                m.d.comb += [mantissa.eq(man << (fmt.man - k)), exponent.eq(k - fmt.man + 1)]
    return mantissa, exponent
