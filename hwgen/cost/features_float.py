"""Parts of multipliers and adders of floats."""

from __future__ import annotations

from typing import Any

from hwgen.cost.parts import Parts, bits_of
from hwgen.formats import Approximate, Arithmetic, Bipolar, Block, Float
from hwgen.ir import Grid

TABLE = 6  # bits of two operands whose product is a table
EXPONENT = 10  # bits of a partial sum's exponent
ADD_STAGES = 4


def decoded(p: Parts, fmt: Any, times: float = 1) -> None:
    """A code of a float taken apart: is it normal, NaN, infinite."""
    if isinstance(fmt, Float):
        p.add("logic", fmt.exp / 2 + (fmt.man / 2 if fmt.specials != "none" else 0), times)


def fixed_product(p: Parts, arith: Arithmetic, grid: Grid | None, times: int) -> None:
    """Products of two codes as integers, in logic."""
    a, b = (f.element if isinstance(f, Block) else f for f in (arith.x, arith.w))
    one = p.apart()
    if grid is not None:
        assert isinstance(a, Float) and isinstance(b, Float)
        _grid(one, arith, grid, a, b)
    elif isinstance(a, Float) and isinstance(b, Float):
        if arith.multiplier != "exact":
            coded(one, a, arith.multiplier)
            width = a.span + 1
            one.add("add", a.man + 2)
            one.shifter(width, (1 << a.exp) - 1)
        elif a.bits + b.bits - 2 <= TABLE:
            width = a.span + b.span + 1
            one.add("rom", width * max(1, 1 << a.bits + b.bits - 2) / one.technology.rom_depth)
            one.add("add", width)
        else:
            one.booth(a.man + 1, b.man + 1)
            width = a.span + b.span + 1
            one.add("add", a.man + b.man + 3 + max(a.exp, b.exp) + 1)
            one.shifter(width, (1 << a.exp) + (1 << b.exp) - 2)
        decoded(one, a)
        decoded(one, b)
    elif isinstance(b, Bipolar):
        one.add("add", a.bits + 1)
    else:
        one.booth(a.bits, b.bits)
    p.merge(one, times)


def _grid(p: Parts, arith: Arithmetic, grid: Grid, a: Float, b: Float) -> None:
    if arith.multiplier == "exact":
        p.booth(a.man + 1, b.man + 1)
        number, field = a.man + b.man + 3, max(a.exp, b.exp) + 1
    else:
        coded(p, a, arith.multiplier)
        number, field = a.man + 2, a.exp
    p.add("add", number + 2 * field + 4)
    p.add("compare", 2 * field + 2 * grid.bits)
    p.add("choose", field + 2 * grid.bits)
    p.shifter(grid.bits + number, grid.bits + number)
    decoded(p, a)
    decoded(p, b)


def coded(p: Parts, fmt: Float, multiplier: str) -> None:
    """A product by adding codes."""
    if multiplier == "lmul-raw":
        p.add("add", 2 * (fmt.bits - 1))
        return
    p.add("add", (0 if 2 * fmt.man <= TABLE else fmt.man + 2) + fmt.exp + 3)
    p.add("rom", (fmt.man + 2) * (2 * fmt.man <= TABLE) * max(1, (1 << 2 * fmt.man) / 16))
    p.add("logic", 2 * (fmt.exp + 3) + fmt.exp + 4)
    p.add("choose", 2 * fmt.bits)
    decoded(p, fmt, 2)


def rounded_operand(p: Parts, arith: Arithmetic) -> tuple[int, int]:
    """A product as an adder that rounds takes it: (its bits, those of a sum)."""
    x, w = arith.x, arith.w
    if arith.multiplier != "exact":
        coded(p, x, arith.multiplier)
        sig, exp = x.man + 1, x.exp + 1
        decoded(p, x)
    else:
        p.booth(x.man + 1, w.man + 1)
        sig, exp = x.man + w.man + 2, max(x.exp, w.exp) + 2
        p.add("add", exp)
        decoded(p, x)
        decoded(p, w)
    if isinstance(arith.accumulator, Approximate):
        bits = arith.accumulator.bits + EXPONENT + 1
        p.add("choose", EXPONENT)
        p.add("logic", sig / 3)
        return bits, bits
    return sig + exp + 3, arith.accumulator.bits


def _window(fmt: Float, arith: Arithmetic | None) -> tuple[int, int, int]:
    """(bits of the window, bits of the second operand's significand and exponent)."""
    p, wa = fmt.man + 1, fmt.man + 1
    if arith is None:
        sig, exp, dense, exact = fmt.man + 1, fmt.exp + 1, fmt.man + 1, True
        unit = fmt.unit
    elif arith.multiplier != "exact":
        x = arith.x
        sig, exp, dense = x.man + 1, x.exp + 1, x.man + 1
        exact, unit = x.emin <= fmt.unit - 2, x.unit
    else:
        x, w = arith.x, arith.w
        sig, exp = x.man + w.man + 2, max(x.exp, w.exp) + 2
        dense = min(x.man, w.man) + 1
        exact, unit = x.emin + w.emin <= fmt.unit - 2, x.unit + w.unit
    high = max(sig + 2 + p - wa, min(sig + 1 + p, sig + 1))
    low = min(0, (dense if exact else 1) - max(p + 2, wa + 1))
    del unit
    return high + wa - low + 1, sig, exp


def float_adder(p: Parts, fmt: Float, arith: Arithmetic | None) -> None:
    """An adder that rounds, of two floats or of one and a product, with four registers."""
    width, sig, exp = _window(fmt, arith)
    field = max(fmt.exp, exp) + 2
    p.add("add", 3 * field)
    p.add("choose", field)
    decoded(p, fmt, 1 if arith else 2)
    p.shifter(width, width - 1)
    p.add("logic", width / 2)
    p.add("add", 2 * width)
    p.add("count", width)
    p.shifter(width, width - 1)
    p.add("add", 2 * field + fmt.bits)
    p.add("compare", field)
    p.add("choose", bits_of(width) + 2 * fmt.bits)
    flags = 6
    p.register((width + sig + field + flags) + (width + field + flags + 1))
    p.register(width + field + flags + 2 + fmt.bits)


def partial_adder(p: Parts, psum: Approximate) -> None:
    """An adder of approximate normalization, with four registers."""
    width = psum.bits
    p.add("add", 2 * EXPONENT + width)
    p.add("compare", EXPONENT)
    p.add("choose", 2 * width + EXPONENT)
    p.shifter(width, width)
    p.add("add", width + EXPONENT)
    p.add("choose", 3 * width)
    p.add("logic", 12)
    p.register(2 * width + 2 * EXPONENT + 3)
    p.register(2 * width + EXPONENT + 2)
    p.register(width + 1 + EXPONENT + 2)
    p.register(width + EXPONENT + 1)
