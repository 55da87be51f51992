"""Sums with approximate normalization."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Float
from hwgen.rtl.arith.shift import leading_zeros, magnitude, normalize, shift_left, shift_right
from hwgen.rtl.arith.stages import Stages
from hwgen.rtl.arith.unrounded import Unrounded

EXP_BITS = 10
BIAS = 256  # what a product's exponent gains: room for shifts to the left, and zero's 0 below all
INFINITE = 960  # the exponent of what was infinity or NaN: above all, with room for carries
CUTS = ("normalize", "add", "align", "compare")


@dataclass(frozen=True)
class PartialSum:
    """Partial sums of `psum`: (-1)**sign * sig * 2**(exp + lsb); sig, of W = psum.bits bits, is not
    normalized, exp is unsigned. Zero is sig == 0 with exp 0: a register's reset is a zero.

    exp neither overflows nor falls below 0 in sums of fewer than 2**62 numbers.
    """

    psum: Approximate
    lsb: int

    @staticmethod
    def of(psum: Approximate, shape: Unrounded) -> PartialSum:
        """Sums of what has the given shape, whose exp is an exponent field or a sum of two."""
        return PartialSum(psum, shape.offset + shape.sig_bits - psum.bits - BIAS)

    @property
    def layout(self) -> data.StructLayout:
        """The members, the significand in the least significant bits."""
        return data.StructLayout({"sig": unsigned(self.psum.bits), "exp": EXP_BITS, "sign": 1})

    def enter(self, m: Module, shape: Unrounded, number: data.View) -> data.View:
        """A number as a partial sum: its most significant bits at those of sig, what has no place
        cut off; infinity as the largest significand and the exponent INFINITE, NaN as that of +.
        Where `shape` is not that of `of`, its exponents must be in reach."""
        state = Signal(self.layout)
        room = self.psum.bits - shape.sig_bits
        sig = Cat(Const(0, room), number.sig) if room >= 0 else number.sig[-room:]
        gain = shape.offset - room - self.lsb
        if gain == BIAS and shape.exp_bits <= EXP_BITS:  # exp < 512: 256 more needs no adder
            low = Cat(number.exp, Const(0, EXP_BITS))
            exp = Cat(low[:8], ~low[8], low[8])
        else:
            exp = (number.exp + Const(gain))[:EXP_BITS]
        infinite = number.nan | number.inf
        some = number.sig.any().replicate(EXP_BITS)
        m.d.comb += [
            state.sig.eq(sig | infinite.replicate(self.psum.bits)),
            state.exp.eq(Mux(infinite, INFINITE, exp & some)),
            state.sign.eq(number.sign & ~number.nan),
        ]
        return state

    def finish(self, m: Module, state: data.View) -> Value:
        """The code of `psum.result`: normalized exactly, without rounding up to 24 bits, of more
        rounded to the nearest even; below the least normal number +-0, beyond the largest infinity;
        zero is +0."""
        fmt: Float = self.psum.result
        zeros, found = leading_zeros(m, state.sig)
        sig = shift_left(m, state.sig, zeros)
        top = self.lsb + self.psum.bits - 1 + fmt.bias
        field = Signal(signed(EXP_BITS + 3))
        m.d.comb += field.eq(state.exp + Const(top) - zeros)
        drop = self.psum.bits - 1 - fmt.man
        code = Cat(sig[drop:-1], field).as_signed()
        if drop:
            up = sig[drop - 1] & (sig[: drop - 1].any() | sig[drop])
            code = code + up
        rounded = Signal(signed(len(field) + fmt.man + 1))
        m.d.comb += rounded.eq(code)
        whole = rounded[fmt.man :].as_signed()
        less = (whole <= 0) | ~found
        over = whole >= (1 << fmt.exp) - 1
        low = Mux(less, 0, Mux(over, fmt.infinity, rounded[: fmt.bits - 1]))
        return Cat(low[: fmt.bits - 1], state.sign & found)


class ApproximateAdd(wiring.Component):
    """o = i_a + i_b, sign and magnitude, truncated and approximately normalized.

    The operand of the lesser exponent (`i_b` of equals) is shifted right, what leaves is cut off.
    Of the sum or difference of the magnitudes, on a carry: shift right by one; else by a 1 in the
    top k bits: no shift; else by a 1 in the next λ: left by k; else left by k + λ. The exponent
    follows; zero has exponent 0 and the sign of the operand of the greater exponent. Source:
    arXiv 2408.11997.

    With `exact` the shift is by the number of leading zeros, what an-k-λ is to be compared with.

    Latency: `stages` cycles of `i_ce`; initiation interval: 1. Parameters: `shape`, of operands and
    result; `stages`, registers behind the steps of CUTS in that order; `exact`; `prefix`: an adder
    for gates rather than for carry chains. Members: `i_ce` (with stages only), `i_a`, `i_b`, `o`:
    partial sums.
    Tested: random and cancelling operands, several k, λ and widths, against the golden.
    """

    def __init__(
        self, shape: PartialSum, stages: int = 0, exact: bool = False, prefix: bool = False
    ) -> None:
        self.shape, self._exact, self._prefix = shape, exact, prefix
        self.latency = self.stages = stages
        layout = shape.layout
        members = {"i_ce": In(1)} if stages else {}
        super().__init__({**members, "i_a": In(layout), "i_b": In(layout), "o": Out(layout)})

    def elaborate(self, _platform) -> Module:
        """The steps: compare exponents, align, add, normalize."""
        m = Module()
        stages = Stages(m, self.i_ce if self.stages else None, self.stages, CUTS)
        big, small, exp, amount, flags = stages("compare", *self._compare(m))
        bits = self.shape.psum.bits
        aligned, _ = shift_right(m, small, amount, bits)
        big, aligned, exp, flags = stages("align", big, aligned, exp, flags)
        total, sign = self._add(m, big, aligned, flags)
        total, exp, sign = stages("add", total, exp, sign)
        sig, exp = (self._count if self._exact else self._choose)(m, total, exp)
        sig, exp, sign = stages("normalize", sig, exp, sign)
        m.d.comb += [self.o.sig.eq(sig), self.o.exp.eq(exp), self.o.sign.eq(sign)]
        return m

    def _compare(self, m: Module) -> tuple:
        """Significands by exponent, the greater exponent, how far the lesser's is shifted."""
        a, b, bits = self.i_a, self.i_b, self.shape.psum.bits
        distance = _signal(m, a.exp - b.exp, "distance")
        swap = distance[-1]
        count = (bits - 1).bit_length()
        # -distance is ~distance + 1, and that one is a shift by wiring.
        size = distance[:-1] ^ swap.replicate(EXP_BITS)
        beyond = size[count:].any()
        big = Mux(swap, b.sig, a.sig)
        small = Mux(swap, a.sig >> 1, b.sig) & ~beyond.replicate(bits)
        sign = Mux(swap, b.sign, a.sign)
        flags = Cat(sign, a.sign ^ b.sign)
        exp = Mux(swap, b.exp, a.exp)
        return (
            _signal(m, big, "big"),
            _signal(m, small, "small"),
            _signal(m, exp, "exp"),
            _signal(m, size[:count], "amount"),
            flags,
        )

    def _add(self, m: Module, big: Value, aligned: Value, flags: Value) -> tuple[Value, Value]:
        """The sum's magnitude, a carry on top, and its sign."""
        bits = self.shape.psum.bits
        sign, sub = flags
        if self._prefix:
            total, negative = magnitude(m, big, aligned, sub)
            return total, sign ^ negative
        other = Cat(aligned, Const(0, 1)) ^ sub.replicate(bits + 1)
        total = _signal(m, (big + other + sub)[: bits + 1], "total")
        negative = sub & total[bits]
        flipped = total ^ negative.replicate(bits + 1)
        return _signal(m, (flipped + negative)[: bits + 1], "magnitude"), sign ^ negative

    def _choose(self, m: Module, total: Value, exp: Value) -> tuple[Value, Value]:
        """One of four shifts."""
        psum = self.shape.psum
        bits, k, both = psum.bits, psum.k, psum.k + psum.shift
        sig = total[:bits]
        carry, near = total[bits], sig[bits - k :].any()
        next_ = sig[bits - both : bits - k].any()
        shifts = ((next_, sig << k, -k), (near, sig, 0), (carry, total >> 1, 1))
        out, step = (sig << both)[:bits], Const(-both, signed(EXP_BITS))
        for condition, value, change in shifts:
            out, step = Mux(condition, value[:bits], out), Mux(condition, change, step)
        return self._zero(m, out, _signal(m, exp + step, "moved"), total.any())

    def _count(self, m: Module, total: Value, exp: Value) -> tuple[Value, Value]:
        """By the number of leading zeros."""
        out, zeros = normalize(m, total)
        return self._zero(m, out[1:], _signal(m, exp + 1 - zeros, "moved"), out[-1])

    def _zero(self, m: Module, sig: Value, exp: Value, some: Value) -> tuple[Value, Value]:
        """Zero has exponent 0."""
        return _signal(m, sig, "sig"), _signal(m, exp[:EXP_BITS] & some.replicate(EXP_BITS), "out")


def _signal(m: Module, value: Value, name: str) -> Signal:
    """A signal of its own, so that an expression used often is written once."""
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal
