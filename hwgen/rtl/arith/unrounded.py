"""Floating-point numbers taken apart, before anything rounds them."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data

from hwgen.formats import Float


@dataclass(frozen=True)
class Unrounded:
    """(-1)**sign * sig * 2**(exp + offset), or NaN, or infinity.

    `sig` is a magnitude of `sig_bits` bits that need not be normalized; `exp`, of `exp_bits` bits
    and signed, is the exponent of its least significant bit. Zero is a `sig` of 0 with any `exp`.
    `sig` and `exp` mean nothing where `nan` or `inf` is set, `sign` nothing where `nan` is; both
    are never set together. `dense` is a promise that saves an adder bits: a `sig` that is not 0
    has at least so many significant bits, except in numbers less than 2**`floor` (None: without
    exception).
    """

    exp_bits: int
    sig_bits: int
    offset: int = 0
    dense: int = 1
    floor: int | None = None

    @property
    def layout(self) -> data.StructLayout:
        """Members `sig`, `exp`, `sign`, `nan`, `inf`, the first in the least significant bits."""
        return data.StructLayout(
            {
                "sig": unsigned(self.sig_bits),
                "exp": signed(self.exp_bits),
                "sign": 1,
                "nan": 1,
                "inf": 1,
            }
        )

    @staticmethod
    def holding(low: int, high: int, sig_bits: int) -> Unrounded:
        """The one whose `exp` reaches from `low` to `high`."""
        return Unrounded(
            1 + max(v.bit_length() if v >= 0 else (~v).bit_length() for v in (low, high)), sig_bits
        )

    @staticmethod
    def of(fmt: Float) -> Unrounded:
        """The one that holds every number of `fmt`."""
        return Unrounded.holding(fmt.unit, fmt.emax - fmt.man, fmt.man + 1)

    @staticmethod
    def fields_of(fmt: Float, flush: bool = False) -> Unrounded:
        """The one that holds every number of `fmt` with its exponent field as `exp`; `flush`: no
        subnormals."""
        floor = None if flush else fmt.emin
        return Unrounded(fmt.exp + 1, fmt.man + 1, fmt.unit - 1, fmt.man + 1, floor)


def unpack(m: Module, fmt: Float, code) -> data.View:
    """A code of `fmt`: subnormals are not normalized, exp = max(field, 1) - bias - man."""
    man, exp, sign = code[: fmt.man], code[fmt.man : fmt.bits - 1], code[fmt.bits - 1]
    parts = Signal(Unrounded.of(fmt).layout)
    normal = exp.any()
    nan, inf = specials(fmt, code)
    m.d.comb += [
        parts.sig.eq(Cat(man, normal)),
        # An exponent field of 0 counts as 1: its lowest bit is set where no bit is.
        parts.exp.eq((exp | ~normal) + Const(fmt.unit - 1)),
        parts.sign.eq(sign),
        parts.nan.eq(nan),
        parts.inf.eq(inf),
    ]
    return parts


def fields(m: Module, fmt: Float, code, flush: bool = False) -> data.View:
    """A code of `fmt` as `Unrounded.fields_of(fmt, flush)`, which needs no adder; `flush`:
    subnormals count as zeros of their sign."""
    man, exp, sign = code[: fmt.man], code[fmt.man : fmt.bits - 1], code[fmt.bits - 1]
    parts = Signal(Unrounded.fields_of(fmt, flush).layout)
    normal = exp.any()
    nan, inf = specials(fmt, code)
    m.d.comb += [
        parts.sig.eq(Mux(normal, Cat(man, 1), 0) if flush else Cat(man, normal)),
        parts.exp.eq(exp if flush else Cat(exp[0] | ~normal, exp[1:])),
        parts.sign.eq(sign),
        parts.nan.eq(nan),
        parts.inf.eq(inf),
    ]
    return parts


def specials(fmt: Float, code) -> tuple:
    """Whether a code is NaN and whether it is an infinity."""
    man, exp = code[: fmt.man], code[fmt.man : fmt.bits - 1]
    if fmt.specials == "ieee":
        return exp.all() & man.any(), exp.all() & ~man.any()
    if fmt.specials == "fn":
        return code[: fmt.bits - 1].all(), Const(0, 1)
    if fmt.specials == "fnuz":
        return code[fmt.bits - 1] & ~code[: fmt.bits - 1].any(), Const(0, 1)
    return Const(0, 1), Const(0, 1)
