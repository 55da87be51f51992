"""Conversions between integers and floats, rounded once."""

from __future__ import annotations

from typing import cast

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hwgen.formats import Float, Int
from hwgen.ir import Convert, ConvertForm, Tensor
from hwgen.rtl.arith.shift import normalize
from hwgen.rtl.arith.unrounded import specials
from hwgen.rtl.counter import counter
from hwgen.rtl.requantize import column, elements
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import pipeline, ports, register, shape_of

INFINITE = 1 << 10  # in the exponent: beyond the limits whatever the scale


class ConvertUnit(wiring.Component):
    """y = encode(clamp(x * scale + offset, low, high)): x * m + b, cut to the bits that decide,
    normalized, rounded to the nearest with ties to even.

    Latency: 5 cycles: operands, product, sum, normalized magnitude, result. Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes. `files`: its memory files.
    """

    def __init__(self, node: Convert, x: Tensor, y: Tensor) -> None:
        self._node, self._x = node, x
        form = cast(ConvertForm, node.form)
        self._columns = [column(v, x) for v in (form.multiplier, form.offset)]
        self._roms = [
            Rom(words, fmt.bits, name)
            for (words, fmt), name in zip(self._columns, ("multiplier", "offset"), strict=True)
        ]
        self.files: dict[str, str] = {}
        for rom in self._roms:
            self.files |= rom.files
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """A pipeline of lanes."""
        m = Module()
        ce = pipeline(m, 5, self.o, self.i)
        period = max(len(words) for words, _ in self._columns)
        address, _ = counter(m, period, self.i.valid & ce, "parameter_word")
        x = Signal(self.i.payload.shape())
        with m.If(ce & self.i.valid):  # nothing behind toggles with sums that are not done
            m.d.sync += x.eq(self.i.payload)
        multipliers, offsets = (
            elements(rom.read(m, address, ce), fmt, self._x.lanes)
            for rom, (_, fmt) in zip(self._roms, self._columns, strict=True)
        )
        for lane in range(self._x.lanes):
            value = self._scaled(m, ce, x[lane], multipliers[lane], offsets[lane])
            m.d.comb += self.o.payload[lane].eq(self._rounded(m, ce, *value))
        return m

    def _scaled(self, m: Module, ce, x, multiplier, offset) -> tuple:
        """(w, its exponent, whether x is NaN): registered sum of the product and the offset."""
        source, form = self._node.source, cast(ConvertForm, self._node.form)
        significand, exponent, nan = x, Const(form.exponent), Const(0, 1)
        if isinstance(source, Float):
            significand, exponent, nan = _parts(source, x)
            exponent = exponent + form.exponent
        product = register(m, ce, significand * multiplier)
        offset, exponent, nan = (_later(m, ce, v) for v in (offset, exponent, nan))
        total = register(m, ce, (product + offset) >> form.drop)
        return total, _later(m, ce, exponent), _later(m, ce, nan)

    def _rounded(self, m: Module, ce, total, exponent, nan) -> Signal:
        """The code: normalized, a cycle later rounded and clamped, registered."""
        target = self._node.target
        negative, magnitude = total[-1], Signal(len(total), name="magnitude")
        if not total.shape().signed:
            negative = Const(0, 1)
        m.d.comb += magnitude.eq(Mux(negative, -total, total))
        shifted, zeros = normalize(m, magnitude)
        top = exponent + len(magnitude) - 1 - zeros
        negative, shifted, top, nan = (
            register(m, ce, v) for v in (Value.cast(negative), shifted, top, Value.cast(nan))
        )
        if isinstance(target, Float):
            return register(m, ce, self._float(m, negative, shifted, top, nan))
        return register(m, ce, self._integer(m, negative, shifted, top, nan))

    def _float(self, m: Module, negative, shifted, top, nan) -> Signal:
        """The code of +-shifted, whose highest bit counts 2**top."""
        target = cast(Float, self._node.target)
        kept = target.man + 2  # with the bit behind the last
        head, rest = _split(shifted, kept)
        below = Signal(range(kept + 1), name="below")  # places under the least normal number
        m.d.comb += below.eq(Mux(top < target.emin, _least(target.emin - top, kept), 0))
        rounded = _nearest(m, head, rest, below, kept)
        field = Signal(signed(len(top) + 2), name="field")
        m.d.comb += field.eq(Mux(top < target.emin, 0, top - target.emin))
        magnitude = Signal(len(field) + target.man + 1, name="code")
        # The hidden bit of a normal number counts as one of the exponent field.
        m.d.comb += magnitude.eq((field << target.man) + rounded)
        size = Signal(target.bits - 1, name="size")
        over = magnitude > target.largest_code
        m.d.comb += size.eq(Mux(over, target.largest_code, Mux(shifted[-1], magnitude, 0)))
        sign = negative & (size != 0) if target.specials == "fnuz" else negative
        code = _clamped(target, Cat(size, sign), self._node.low, self._node.high)
        result = Signal(target.bits, name="result")
        m.d.comb += result.eq(Mux(nan, target.nan or 0, code))
        return result

    def _integer(self, m: Module, negative, shifted, top, nan) -> Signal:
        """The same rounded to a whole number, with the zero point, clamped."""
        node, target = self._node, cast(Int, self._node.target)
        kept = target.bits + 2  # a whole number that large is beyond the limits anyway
        head, rest = _split(shifted, kept)
        last = kept - 2  # head's bit behind the last counts 1/2 where top is this
        below = Signal(range(kept + 1), name="below")
        m.d.comb += below.eq(Mux(top < last, _least(last - top, kept), 0))
        rounded = _nearest(m, head, rest, below, kept)
        size = Mux(shifted[-1] & (top > last), Const((1 << kept) - 1), rounded)
        value = Signal(signed(kept + 3), name="value")
        m.d.comb += value.eq(Mux(nan, 0, Mux(negative, -size, size)) + node.zero_point)
        result = Signal(shape_of(target), name="result")
        m.d.comb += result.eq(
            Mux(value < node.low, node.low, Mux(value > node.high, node.high, value))
        )
        return result


def _parts(fmt: Float, code) -> tuple:
    """(signed significand, exponent of its last bit, whether it is NaN)."""
    mantissa, field, sign = code[: fmt.man], code[fmt.man : -1], code[-1]
    significand = Cat(mantissa, field != 0)
    exponent = Mux(field == 0, 1, field).as_unsigned() + fmt.unit - 1
    nan, infinite = specials(fmt, code)
    exponent = exponent + Mux(infinite, INFINITE, 0)
    return Mux(sign, -significand, significand), exponent, nan


def _later(m: Module, ce, value):
    """A cycle later; a constant stays one."""
    return value if isinstance(value, Const) else register(m, ce, value)


def _split(value: Value, kept: int) -> tuple[Value, Value]:
    """The highest `kept` bits of a value, and whether any below is 1."""
    width = len(value)
    if width <= kept:
        return Cat(Const(0, kept - width), value), Const(0, 1)
    return value[width - kept :], value[: width - kept].any()


def _least(places, most: int):
    """A number of places, `most` where it is larger."""
    return Mux(places > most, most, places)


def _nearest(m: Module, head, rest, below, kept: int) -> Value:
    """(head >> below + 1) rounded by the bits that go: to the nearest, ties to even."""
    wide = Signal(2 * kept, name="wide")
    m.d.comb += wide.eq(Cat(Const(0, kept), head) >> below)
    whole, half = wide[kept + 1 :], wide[kept]
    return whole + (half & (rest | wide[:kept].any() | whole[0]))


def _ordered(fmt: Float, code: int) -> int:
    """A code as an integer in the order of the numbers; -0 is 0."""
    return -(code - fmt.sign) if code & fmt.sign else code


def _clamped(fmt: Float, code, low: int, high: int) -> Value:
    """The code of a finite number within two others; without comparisons that are always true."""
    size, negative = code[:-1], code[-1]
    least, most = _ordered(fmt, low), _ordered(fmt, high)
    if -least < fmt.largest_code:
        below = (negative & (size > -least)) if least < 0 else negative
        code = Mux(below | (size < least) if least > 0 else below, low, code)
    if most < fmt.largest_code:
        above = (~negative & (size > most)) if most >= 0 else ~negative
        code = Mux(above | (size < -most) if most < 0 else above, high, code)
    return code
