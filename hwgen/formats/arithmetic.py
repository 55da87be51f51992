"""How a layer multiplies and adds: `FORMAT[xWEIGHTFORMAT][:MULTIPLIER][+ACCUMULATOR]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hwgen.errors import ConfigError
from hwgen.formats.block import Block
from hwgen.formats.float import NAMED, Exponent, Float
from hwgen.formats.integer import Int
from hwgen.formats.names import Format, parse
from hwgen.formats.ternary import Bipolar, Ternary

GRAMMAR = "FORMAT[xWEIGHTFORMAT][:MULTIPLIER][+ACCUMULATOR]"
# What products are. Those that are not exact are codes in the format of both operands.
MULTIPLIERS = {
    "exact": "exact",
    "lmul": "L-Mul, a sum of codes; zero, subnormals, overflow and underflow guarded",
    "lmul-raw": "L-Mul, a sum of codes, without guards: for units alone, zeros are wrong",
    "pam": "piecewise affine, a sum of codes",
    "pam-c": "piecewise affine, a sum of codes compensated for its mean error",
}
# Floats an accumulator can be.
SUMS = ("fp32", "bf16", "fp16")
WIDEST = 160  # bits of an exact accumulator


@dataclass(frozen=True)
class Approximate:
    """An accumulator of `bits` significand bits with approximate normalization; prints as
    `an-k-λ[-bits]`.

    Partial sums keep sign, exponent and magnitude; nothing rounds them, alignment truncates. After
    an addition: on a carry shift right by one; else by the top `k` bits no shift; else by the next
    `shift` (λ) bits shift left by k; else by k + λ. Source: arXiv 2408.11997.
    """

    k: int
    shift: int
    bits: int = 16

    def __post_init__(self) -> None:
        if self.k < 1 or self.shift < 1 or not self.k + self.shift < self.bits <= 32:
            raise ConfigError(
                f"an-{self.k}-{self.shift}-{self.bits}: k and λ must be positive and together less "
                "than the bits of a sum, which are at most 32"
            )

    def __str__(self) -> str:
        return f"an-{self.k}-{self.shift}" + ("" if self.bits == 16 else f"-{self.bits}")

    @property
    def result(self) -> Float:
        """The float that holds a normalized sum."""
        return Float(8, self.bits - 1, 127) if self.bits < 24 else NAMED["fp32"]


@dataclass(frozen=True)
class Arithmetic:
    """Formats of activations and weights, a multiplier of MULTIPLIERS, an accumulator.

    The accumulator is "int", "exact" (Kulisch: wide enough to lose nothing), a Float whose every
    sum is rounded, or Approximate. Products of lmul and pam stay in the operands' format.
    """

    # Any: a Format, and str, Float or Approximate; which one goes with which is checked below.
    x: Any
    w: Any
    multiplier: str = "exact"
    accumulator: Any = "exact"

    def __post_init__(self) -> None:
        floats = isinstance(self.x, Float) and isinstance(self.w, Float)
        if self.multiplier not in MULTIPLIERS:
            raise ConfigError(
                f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}"
            )
        if self.multiplier != "exact" and not (floats and self.x == self.w):
            raise ConfigError(f"{self}: {self.multiplier} multiplies floats of one format")
        if isinstance(self.x, Float) != isinstance(self.w, Float) or isinstance(
            self.x, Block
        ) != isinstance(self.w, Block):
            raise ConfigError(
                f"{self}: activations and weights must both be integers, both floats or both blocks"
            )
        if isinstance(self.x, Ternary | Bipolar):
            raise ConfigError(f"{self}: ternary and bipolar are formats of weights")
        if isinstance(self.x, Exponent) or isinstance(self.w, Exponent):
            raise ConfigError(f"{self}: e8m0 is the format of a block's scale")
        whole = not isinstance(self.x, Float | Block)
        if whole != (self.accumulator == "int"):
            use = "int" if whole else "exact, fp32, bf16, fp16 or an-k-λ"
            raise ConfigError(f"{self}: sums of {self.x} must be {use}")
        if isinstance(self.x, Block) and isinstance(self.w, Block) and self.x.size != self.w.size:
            raise ConfigError(
                f"{self}: blocks must have one size, not {self.x.size} and {self.w.size}"
            )
        if isinstance(self.x, Block) and self.accumulator != "exact":
            raise ConfigError(f"{self}: sums of blocks must be exact")
        if self.accumulator == "exact" and not whole and (width := self.exact_bits) > WIDEST:
            raise ConfigError(
                f"{self}: exact sums need {width} bits and more, {WIDEST} are the most; use "
                "another accumulator, for example +fp32"
            )

    @property
    def exact_bits(self) -> int:
        """Bits of a product's exact value, sign included (of blocks: without their scales)."""
        sides = [f.element if isinstance(f, Block) else f for f in (self.x, self.w)]
        if all(isinstance(f, Int) for f in sides):  # -2**(bits - 1), twice
            return sum(f.bits for f in sides)
        bits = [f.span if isinstance(f, Float) else f.bits - 1 for f in sides]
        return sum(bits) + 1 if self.multiplier == "exact" else bits[0] + 1

    def __str__(self) -> str:
        text = str(self.x) if self.w == _weights(self.x) else f"{self.x}x{self.w}"
        if self.multiplier != "exact":
            text += f":{self.multiplier}"
        same = self.accumulator == default_accumulator(self.x)
        return text if same else f"{text}+{self.accumulator}"


def _weights(x: Format) -> Format:
    """The weights' format where none is named: signed."""
    return Int(x.bits) if isinstance(x, Int) else x


def default_accumulator(x: Format) -> str | Float:
    """int for integers, exact for floats of 8 bits or fewer and for blocks, fp32 for others."""
    if isinstance(x, Block):
        return "exact"
    if isinstance(x, Float):
        return "exact" if x.bits <= 8 else NAMED["fp32"]
    return "int"


def parse_arithmetic(text: str) -> Arithmetic:
    """The arithmetic of a text such as `e4m3fn:lmul+an-1-2`; raises `ConfigError` that names what
    does not parse.

    `ternary` and `bipolar` alone mean int8 activations with such weights.
    """
    rest, plus, accumulator = text.partition("+")
    formats, colon, multiplier = rest.partition(":")
    x, w = _formats(text, formats)
    if colon and multiplier not in MULTIPLIERS:
        raise _refused(text, f"{multiplier!r} is not a multiplier: {', '.join(MULTIPLIERS)}")
    sums = _accumulator(text, accumulator) if plus else default_accumulator(x)
    return Arithmetic(x, w, multiplier or "exact", sums)


def _refused(text: str, reason: object) -> ConfigError:
    where = "" if repr(text) in str(reason) else f"{text!r}: "
    return ConfigError(
        f"{where}{reason}; an arithmetic is written {GRAMMAR}, for example e4m3fn:lmul+an-1-2"
    )


def _formats(text: str, formats: str) -> tuple[Format, Format]:
    """The formats of activations and weights; names may hold an x themselves."""
    reason = None
    for place in [len(formats), *(k for k, c in enumerate(formats) if c == "x")]:
        try:
            x = parse(formats[:place])
        except ConfigError as error:
            reason = reason or error
            continue
        if place == len(formats):
            weights_only = isinstance(x, Ternary | Bipolar)
            return (Int(8), x) if weights_only else (x, _weights(x))
        try:
            return x, parse(formats[place + 1 :])
        except ConfigError as error:
            reason = error  # of the part that does not parse
    raise _refused(text, reason)


def _accumulator(text: str, name: str) -> str | Float | Approximate:
    if name in ("int", "exact"):
        return name
    if name in SUMS:
        return NAMED[name]
    match = re.fullmatch(r"an-([0-9]{1,3})-([0-9]{1,3})(?:-([0-9]{1,3}))?", name)
    if match is None:
        known = f"int, exact, {', '.join(SUMS)} or an-k-λ[-bits]"
        raise _refused(text, f"{name!r} is not an accumulator: {known}")
    return Approximate(*(int(v) for v in match.groups() if v is not None))
