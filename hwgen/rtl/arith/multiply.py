"""Multipliers of every arithmetic."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.errors import ConfigError
from hwgen.formats import (
    Arithmetic,
    Bipolar,
    Block,
    Exponent,
    Fixed,
    Float,
    Format,
    Int,
    Ternary,
    default_accumulator,
)
from hwgen.ir import Grid
from hwgen.rtl.arith.booth import booth
from hwgen.rtl.arith.coded import coded_product
from hwgen.rtl.arith.float_multiply import rounded_product
from hwgen.rtl.arith.stages import Stages

TABLE = 6  # bits of two magnitudes whose product is a table: a LUT per bit


def unit_of(fmt: Format) -> int:
    """Exponent of the unit in which numbers of a format are integers."""
    if isinstance(fmt, Fixed):
        return -fmt.frac
    return fmt.unit if isinstance(fmt, Float | Block) else 0


def fixed_unit(arith: Arithmetic) -> int:
    """`fixed_product` is in units of 2**this."""
    if arith.multiplier != "exact":
        return unit_of(arith.x)
    return unit_of(arith.x) + unit_of(arith.w)


def fixed_product(m: Module, arith: Arithmetic, x: Value, w: Value, dsp: bool = False) -> Value:
    """The product of two codes as an integer in units of 2**`fixed_unit`, exact. Combinational.

    `x`, `w`: codes, floats' unsigned; elements of blocks are without their scales. Means nothing
    where an operand is NaN or infinite. `dsp`: leave multiplications to the synthesizer, which may
    take a DSP block.

    Minifloats of few bits are a table of magnitudes; other floats multiply significands, whose
    signed product a shifter moves by the sum of the exponents. Tested: all pairs of 8-bit formats.
    """
    a, b = element(arith.x), element(arith.w)
    x, w = (code.as_signed() if f.signed else code.as_unsigned() for f, code in ((a, x), (b, w)))
    if isinstance(a, Float) and isinstance(b, Float):
        if arith.multiplier != "exact":
            return _fixed(m, a, coded_product(m, arith, x, w))
        return _floats(m, a, b, x, w, dsp)
    if isinstance(b, Bipolar):
        return _negated(m, x, w[0])
    return x * w if dsp else booth(m, x, w)


def grid_product(m: Module, arith: Arithmetic, grid: Grid, x: Value, w: Value) -> Signal:
    """The product of two codes of floats, rounded down to a multiple of 2**grid.exponent and
    saturated to grid.bits bits. Combinational.

    The signed significand is shifted up by all bits, and down by what its exponent lacks of that.
    Means nothing where an operand is NaN or infinite. Tested: attention in bf16.
    """
    a, b = element(arith.x), element(arith.w)
    assert isinstance(a, Float) and isinstance(b, Float)
    if arith.multiplier == "exact":
        (sig_x, field_x), (sig_w, field_w) = _parts(a, x), _parts(b, w)
        number = _negated(m, booth(m, sig_x, sig_w), x[-1] ^ w[-1])
        field, unit = field_x + field_w, a.unit + b.unit - 2
    else:
        code = coded_product(m, arith, x, w)
        sig, field = _parts(a, code)
        number, unit = _negated(m, sig, code[-1]), a.unit - 1
    most = grid.bits + len(number)  # what is shifted further is but its sign
    down = Signal(Shape(max(len(field), abs(unit - grid.exponent).bit_length()) + 3, signed=True))
    amount = Signal(range(most + 1))
    wide = Signal(Shape(most, signed=True))
    high = (1 << grid.bits - 1) - 1
    product = Signal(Shape(grid.bits, signed=True))
    m.d.comb += [
        down.eq(grid.bits - (unit - grid.exponent) - field),
        amount.eq(Mux(down < 0, 0, Mux(down > most, most, down))),
        wide.eq((number << grid.bits) >> amount),
        product.eq(Mux(wide > high, high, Mux(wide < ~high, ~high, wide))),
    ]
    return product


def element(fmt: Format) -> Int | Ternary | Bipolar | Fixed | Float | Exponent:
    """The format of what is multiplied: a block's elements."""
    return fmt.element if isinstance(fmt, Block) else fmt


def _floats(m: Module, a: Float, b: Float, x: Value, w: Value, dsp: bool) -> Signal:
    if a.bits + b.bits - 2 <= TABLE:
        return _table(m, a, b, x, w)
    (sig_x, field_x), (sig_w, field_w) = _parts(a, x), _parts(b, w)
    magnitude = sig_x * sig_w if dsp else booth(m, sig_x, sig_w)
    product = Signal(Shape(a.span + b.span + 1, signed=True))
    # Both fields are at least 1: the last two bits of what is shifted are 0.
    shifted = _negated(m, magnitude, x[-1] ^ w[-1]) << (field_x + field_w)
    m.d.comb += product.eq(shifted >> 2)
    return product


def _negated(m: Module, value: Value, negative: Value) -> Signal:
    """-value where `negative`, else value."""
    wide = Value.cast(value) if value.shape().signed else Cat(value, Const(0, 1)).as_signed()
    flipped = wide ^ negative.replicate(len(wide)).as_signed()
    result = Signal(Shape(len(wide) + value.shape().signed, signed=True))
    # The bit below the operands makes the carry, without another adder.
    total = Cat(negative, flipped).as_signed() + negative
    m.d.comb += result.eq(total[1:].as_signed())
    return result


def _fixed(m: Module, fmt: Float, code: Value) -> Signal:
    """The number of a code in units of 2**fmt.unit."""
    sig, field = _parts(fmt, code)
    number = Signal(Shape(fmt.span + 1, signed=True))
    m.d.comb += number.eq((_negated(m, sig, code[-1]) << field) >> 1)
    return number


def _parts(fmt: Float, code: Value) -> tuple[Value, Value]:
    """The significand of a code, and its exponent field, at least 1."""
    field = code[fmt.man : fmt.bits - 1]
    return Cat(code[: fmt.man], field.any()), field | ~field.any()


def _table(m: Module, a: Float, b: Float, x: Value, w: Value) -> Signal:
    """The product as a table of both magnitudes, and its sign."""
    values = [[int(_magnitude(f, k)) for k in range(f.sign)] for f in (a, b)]
    products = [p * q for q in values[1] for p in values[0]]
    magnitude = Signal(range(max(products) + 1))
    index = Cat(x[: a.bits - 1], w[: b.bits - 1])
    with m.Switch(index):
        for k, value in enumerate(products):
            with m.Case(k):
                m.d.comb += magnitude.eq(value)
    return _negated(m, magnitude, x[-1] ^ w[-1])


def _magnitude(fmt: Float, code: int) -> int:
    field, man = code >> fmt.man, code & ((1 << fmt.man) - 1)
    return man if not field else (man | 1 << fmt.man) << (field - 1)


class Multiplier(wiring.Component):
    """o = i_x * i_w: of integers and fixed-point numbers exact; of floats a code in the first's
    format, rounded to nearest even, or what lmul or pam make of it.

    `stages` registers, moved by `i_ce` (there where `stages` > 0): the first at `o`, the second at
    the operands, the third between product and rounding (of floats), others at `o`, for a
    synthesizer to move. Latency: `stages` cycles of `i_ce`; 0 is combinational. Initiation
    interval: 1. `flush`, `saturate`: as `rounded_product`. `dsp`: leave multiplications to the
    synthesizer, which may take DSP blocks.

    Members: `i_x`, `i_w`: codes; `o`: the product; `i_ce`. Tested: all pairs of 8-bit formats, of
    wider ones at random and at the edges, against the golden model; e4m3 and int8 proved.
    """

    def __init__(
        self,
        arith: Arithmetic | Format,
        stages: int = 0,
        flush: bool = False,
        saturate: bool = True,
        dsp: bool = False,
    ) -> None:
        if not isinstance(arith, Arithmetic):
            arith = Arithmetic(arith, arith, accumulator=default_accumulator(arith))
        if isinstance(arith.x, Block):
            raise ConfigError(f"{arith}: name the format of a block's elements")
        if stages < 0:
            raise ConfigError(f"stages must be at least 0, not {stages!r}")
        self.arith, self.stages = arith, stages
        self._flush, self._saturate, self._dsp = flush, saturate, dsp
        x, w = (Shape(f.bits, f.signed) for f in (element(arith.x), element(arith.w)))
        ports = {"i_x": In(x), "i_w": In(w), "o": Out(self.shape(arith))}
        super().__init__({"i_ce": In(1), **ports} if stages else ports)

    @staticmethod
    def shape(arith: Arithmetic) -> Shape:
        """The shape of a product."""
        x, w = element(arith.x), element(arith.w)
        if isinstance(x, Float):
            return Shape(x.bits)
        if isinstance(w, Bipolar):
            return Shape(x.bits + 1, signed=True)
        return Shape(x.bits + w.bits, x.signed or w.signed)

    def elaborate(self, _platform) -> Module:
        """Registers, product, registers."""
        m, floats = Module(), isinstance(self.arith.x, Float)
        cuts = ("round", "operands", "product") if floats else ("round", "operands")
        stages = Stages(m, self.i_ce if self.stages else None, self.stages, cuts)
        x, w = stages("operands", self.i_x, self.i_w)
        if floats:
            options = (self._flush, self._saturate, self._dsp)
            product = rounded_product(m, self.arith, x, w, *options, partial(_cut, stages))
        else:
            product = fixed_product(m, self.arith, x, w, self._dsp)
        m.d.comb += self.o.eq(*stages("round", product))
        return m


def _cut(stages: Stages, value: Value) -> Value:
    return stages("product", value)[0]
