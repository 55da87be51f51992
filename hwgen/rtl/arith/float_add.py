"""Addition of floating-point numbers, rounded once."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Float
from hwgen.rtl.arith.shift import leading_zeros, shift_left, shift_right
from hwgen.rtl.arith.stages import Stages
from hwgen.rtl.arith.unrounded import Unrounded, fields

# Where registers go, in this order; the names are those of the steps before them.
CUTS = ("round", "add", "align", "normalize", "compare", "count")


class FloatAdd(wiring.Component):
    """o = i_a + i_b, rounded once to the nearest number of `fmt`, ties to even (IEEE 754-2019).

    x + -x is +0 and -0 + -0 is -0. Beyond the largest number: infinity, where there is none NaN,
    where there is neither the largest number. NaN, and infinity - infinity, give `fmt.nan`. With
    `flush` a subnormal `i_a` counts as a zero of its sign, and so does a result that is, rounded,
    less than the least normal number.

    `i_b` stays where it is in a window of bits and `i_a`, shifted, is added to or subtracted from
    it; what of `i_a` lies below the window is one sticky bit, and where `i_a` lies far above,
    `i_b` stands just below it, as it is then less than half an ulp. With an exact product as `i_b`
    this is a fused multiply-add.

    Latency: `stages` cycles of `i_ce`; initiation interval: 1. Registers come behind the steps of
    CUTS in that order; four stages are align, add, normalize, round.

    Parameters: `fmt`, of the result; `a`, a float without finer or wider exponents than `fmt`;
    `b`, a float or Unrounded; `stages`; `flush`. Members: `i_ce` (with stages only), `i_a`, `i_b`,
    `o`: bits.
    Tested: all pairs of operands of 8-bit formats; fp32 against NumPy, bf16 and fp16 against
    ml_dtypes and the golden, as sums and as multiply-adds.
    """

    def __init__(
        self,
        fmt: Float,
        a: Float,
        b: Float | Unrounded,
        stages: int = 0,
        flush: bool = False,
    ) -> None:
        self.validate(fmt, a, stages)
        self.fmt, self.a, self.b, self.flush = fmt, a, b, flush
        self.latency = self.stages = stages
        self._shape = Unrounded.fields_of(b, flush) if isinstance(b, Float) else b
        members = {"i_ce": In(1)} if stages else {}
        width = b.bits if isinstance(b, Float) else b.layout.size
        super().__init__({**members, "i_a": In(a.bits), "i_b": In(width), "o": Out(fmt.bits)})
        self._window()

    @staticmethod
    def validate(fmt: Float, a: Float, stages: int) -> None:
        """Raise `ValueError` for parameters that no adder can have."""
        if stages < 0:
            raise ValueError(f"stages must be 0 or more, not {stages!r}")
        if not isinstance(a, Float) or a.unit < fmt.unit or a.emax > fmt.emax + 1:
            raise ValueError(f"a must be a float whose exponents {fmt} has, not {a}")

    def _window(self) -> None:
        """The window's bits: `low` is the place of its least significant bit before the sticky one,
        `high` that of the highest `i_a`'s, counted from the least significant bit of `i_b`."""
        p, wa, wb = self.fmt.man + 1, self.a.man + 1, self._shape.sig_bits
        # Above: one bit may cancel, and the bit that rounds must be above i_b's.
        self._high = wb + 2 + p - wa
        if not self.flush:  # a subnormal, whose ulp is not finer than the result's
            fine = wb + 1 + self.a.unit - self.fmt.unit
            self._high = max(self._high, min(wb + 1 + p, fine))
        # Below: i_b has `dense` bits, one may cancel, then the bit that rounds.
        dense = self._shape.dense
        exact = self._shape.floor is None or self._shape.floor <= self.fmt.unit - 2
        if isinstance(self.b, Float):
            exact |= self.a.unit >= self.b.unit  # no bit of i_a lies below a subnormal's
        self._low = min(0, (dense if exact else 1) - max(p + 2, wa + 1))
        self._width = self._high + wa - self._low + 1

    def elaborate(self, _platform) -> Module:
        """The steps: compare exponents, align, add, count zeros, normalize, round."""
        m = Module()
        stages = Stages(m, self.i_ce if self.stages else None, self.stages, CUTS)
        a = fields(m, self.a, self.i_a, self.flush)
        if isinstance(self.b, Float):
            b = fields(m, self.b, self.i_b, self.flush)
        else:
            b = data.View(self._shape.layout, self.i_b)
        sub = a.sign ^ b.sign
        nan = a.nan | b.nan | (a.inf & b.inf & sub)
        flags = Cat(sub, a.sign, b.sign, nan, a.inf, b.inf)
        amount, field = self._compare(m, a, b)
        sig_a, sig_b, amount, field, flags = stages("compare", a.sig, b.sig, amount, field, flags)
        shifted = Cat(*reversed(shift_right(m, sig_a, amount, self._width - 1)))
        shifted, sig_b, field, flags = stages("align", shifted, sig_b, field, flags)
        total, negative = self._add(m, shifted, sig_b, flags[0])
        total, negative, field, flags = stages("add", total, negative, field, flags)
        zeros, found = leading_zeros(m, total)
        total, zeros, found, negative, field, flags = stages(
            "count", total, zeros, found, negative, field, flags
        )
        rounded, shift = self._exponent(m, field, zeros, found)
        total = shift_left(m, total, shift)
        total, field, found, negative, flags = stages(
            "normalize", total, rounded, found, negative, flags
        )
        (code,) = stages("round", self._round(m, total, field, found, negative, flags))
        m.d.comb += self.o.eq(code)
        return m

    def _compare(self, m: Module, a: data.View, b: data.View) -> tuple[Value, Value]:
        """How far `i_a` is shifted right from the window's top, and the exponent of the window's
        top bit as a field of the result."""
        top = self._high + self.a.man + self._shape.offset + self.fmt.bias  # where i_b stands
        same = self.a.man + self.a.unit - 1 + self.fmt.bias  # where i_a stands at the top
        near = _signal(m, b.exp + Const(top - same), "near")
        distance = _signal(m, near - a.exp, "distance")
        far = _signal(m, (distance < 0) | ~b.sig.any(), "far")
        bits = (self._width - 1).bit_length()
        beyond = distance[bits:-1].any()
        amount = (distance[:bits] | beyond.replicate(bits)) & ~far.replicate(bits)
        field = Mux(far, a.exp, near)
        return _signal(m, amount, "amount"), _signal(m, field + same if same else field, "field")

    def _add(self, m: Module, shifted: Value, sig_b: Value, sub: Value) -> tuple[Value, Value]:
        """The magnitude of the sum, and whether `i_a` was subtracted and the larger."""
        base = Cat(Const(0, 1 - self._low), sig_b)
        other = Cat(shifted, Const(0, 1)) ^ sub.replicate(self._width + 1)
        total = _signal(m, base + other + sub, "total")
        negative = total[self._width]
        flipped = total[: self._width] ^ negative.replicate(self._width)
        return _signal(m, flipped + negative, "magnitude")[: self._width], negative

    def _exponent(self, m: Module, field: Value, zeros: Value, found: Value) -> tuple[Value, Value]:
        """The field of the sum before rounding, and how far it is shifted left."""
        # zeros is the operand whose bits go straight into the carry chain.
        inverted = (~zeros).as_unsigned() | Const(-1 << len(zeros), len(field) + 1)
        exact = _signal(m, (inverted + field + 1)[: len(field) + 1].as_signed(), "exact")
        if self.flush:
            return exact, zeros
        normal = _signal(m, (exact > 0) & found, "normal")
        least = (field - 1)[: len(zeros)]  # a subnormal's
        shift = _signal(m, Mux(normal, zeros, least), "shift")
        return exact[: len(exact) - 1] & normal.replicate(len(exact) - 1), shift

    def _round(self, m: Module, total, field, found, negative, flags) -> Value:
        """The code of a normalized sum."""
        fmt, man = self.fmt, self.fmt.man
        sub, sign_a, sign_b, nan, inf_a, inf_b = flags
        total = Cat(Const(0, max(0, man + 2 - len(total))), total)
        kept, guard, rest = total[-man - 1 :], total[-man - 2], total[: -man - 2]
        up = guard & (rest.any() | kept[0])
        code = Cat(kept[:-1], field)
        code = code.as_signed() if self.flush else code
        code = _signal(m, code + Cat(up, Const(0, 1)).as_signed(), "code")
        whole = code[man:]
        low, high = code[: fmt.bits - 1], code[fmt.bits - 1 :].any()
        over = high | {"ieee": low[man:].all(), "fn": low.all()}.get(fmt.specials, Const(0, 1))
        if self.flush:
            less = _signal(m, (whole.as_signed() <= 0) | ~found, "less")
            over &= ~less
            low = low & ~less.replicate(len(low))
        sign = Mux(negative, sign_a, sign_b) & (found | ~sub)
        inf = inf_a | inf_b
        sign = Mux(inf, Mux(inf_a, sign_a, sign_b), sign)
        return self._encode(m, low, sign, nan, inf | over)

    def _encode(self, m: Module, low: Value, sign: Value, nan: Value, over: Value) -> Value:
        """The code of a magnitude below the sign bit with its sign, or of what is beyond."""
        fmt = self.fmt
        if fmt.specials == "ieee":
            return Mux(nan, fmt.nan, Cat(Mux(over, fmt.infinity, low), sign))
        if fmt.specials == "none":
            return Mux(nan, 0, Cat(Mux(over, fmt.largest_code, low), sign))
        sign = sign & low.any() if fmt.specials == "fnuz" else sign
        return Mux(nan | over, fmt.nan, Cat(low, sign))


def _signal(m: Module, value: Value, name: str) -> Signal:
    """A signal of its own, so that an expression used often is written once."""
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal
