"""Products of floats by adding their codes: L-Mul and PAM."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwgen.formats import Float
from hwgen.rtl.arith.unrounded import specials

TABLE = 6  # bits of two mantissas whose sum is a table: a LUT per bit
PAM_MEAN = 1.0552  # mean of the exact products over PAM's


def offset(fmt: Float, multiplier: str) -> int:
    """What is added to the sum of two magnitudes less the bias, in units in the last place."""
    if multiplier.startswith("lmul"):
        return 1 << max(0, fmt.man - (fmt.man if fmt.man <= 3 else 3 if fmt.man == 4 else 4))
    return round((PAM_MEAN - 1) * (1 << fmt.man)) if multiplier == "pam-c" else 0


def piecewise(
    multiplier: str, m: Module, fmt: Float, a: Value, b: Value, saturate: bool = True
) -> Signal:
    """The code of a product by "lmul", "lmul-raw", "pam" or "pam-c". Combinational.

    |r| = |a| + |b| - (bias << man) + `offset`. Guarded, all but lmul-raw: a NaN operand and inf * 0
    give NaN; a zero or subnormal operand, or an exponent field of 0 or less in r, zero; r above the
    largest finite code that code where `saturate`, else infinity or NaN, where there is one; an
    infinite operand infinity. Sources: arXiv 2410.00907 (L-Mul's bit form); Kosson and Jaggi, and
    Mogami (PAM).

    Tested: all pairs of 8-bit formats, wider ones at random and at the edges.
    """
    top, sign = fmt.bits - 1, a[-1] ^ b[-1]
    code = Signal(fmt.bits)
    if multiplier == "lmul-raw":
        total = a[:top] + b[:top] + (offset(fmt, multiplier) - (fmt.bias << fmt.man))
        m.d.comb += code.eq(Cat(total[:top], sign))
        return code
    mantissa, field = _sum(m, fmt, offset(fmt, multiplier), a, b)
    zero = ~a[fmt.man : top].any() | ~b[fmt.man : top].any()
    (nan_a, inf_a), (nan_b, inf_b) = specials(fmt, a), specials(fmt, b)
    infinite = inf_a | inf_b
    nan = nan_a | nan_b | (infinite & zero)
    most, rest = divmod(fmt.largest_code, 1 << fmt.man)
    over = field[: fmt.exp].all()
    if most == (1 << fmt.exp) - 1:  # the largest exponent field is a number's
        over = over & mantissa.all() if rest < (1 << fmt.man) - 1 else Const(0, 1)
    over = (over | field[fmt.exp : -1].any()) & ~field[-1]
    largest = fmt.largest_code + (not saturate and fmt.specials != "none")
    number = Mux(over, Const(largest, fmt.bits), Cat(mantissa, field[: fmt.exp]))
    number = Mux(zero | (field < 1), 0, number)
    if fmt.infinity is not None:
        number = Mux(infinite, fmt.infinity, number)
    if fmt.specials == "fnuz":  # 0 has no sign
        sign = sign & number[:top].any()
    number = number | Cat(Const(0, top), sign)
    m.d.comb += code.eq(number if fmt.nan is None else Mux(nan, fmt.nan, number))
    return code


def _sum(m: Module, fmt: Float, constant: int, a: Value, b: Value) -> tuple[Signal, Signal]:
    """Mantissa and exponent field, signed, of |a| + |b| - (bias << man) + constant.

    Carry chains add the operands alone; constants are so few bits that LUTs add them, which the
    selection behind takes in.
    """
    field_a, field_b = a[fmt.man : fmt.bits - 1], b[fmt.man : fmt.bits - 1]
    mantissas = Signal(fmt.man + 2)
    if 2 * fmt.man <= TABLE:
        with m.Switch(Cat(a[: fmt.man], b[: fmt.man])):
            for k in range(1 << 2 * fmt.man):
                with m.Case(k):
                    value = (k & ((1 << fmt.man) - 1)) + (k >> fmt.man) + constant
                    m.d.comb += mantissas.eq(value)
    else:
        plain = Signal(fmt.man + 2)
        m.d.comb += plain.eq(a[: fmt.man] + b[: fmt.man])
        m.d.comb += mantissas.eq(_plus(plain, constant, Const(0, 1)))
    carry, second = mantissas[fmt.man :].any(), mantissas[fmt.man + 1]
    fields = Signal(fmt.exp + 3)
    # The bit below the operands, the same in both, carries what it is.
    m.d.comb += fields.eq((Cat(carry, field_a) + Cat(carry, field_b))[1:])
    field = Signal(signed(fmt.exp + 3))
    m.d.comb += field.eq(_plus(fields, -fmt.bias, second))
    return mantissas[: fmt.man], field


def _plus(value: Value, constant: int, carry: Value) -> Value:
    """value + constant + carry, as wide as value, bit by bit: no carry chain."""
    bits = []
    for k in range(len(value)):
        one = constant >> k & 1
        bits.append(value[k] ^ carry ^ one)
        carry = (value[k] | carry) if one else (value[k] & carry)
    return Cat(*bits)
