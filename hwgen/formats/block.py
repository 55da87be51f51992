"""Blocks of elements that share a scale: OCP MX and block floating point."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwgen.errors import ConfigError
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import NAMED as FLOATS
from hwgen.formats.float import Exponent, Float
from hwgen.formats.integer import Int


@dataclass(frozen=True)
class Block:
    """`size` elements and their `scale`: element k is decode(code k) * 2**(scale - 127).

    The scale's exponent is floor(log2 of the largest magnitude) - emax of the element (OCP MX v1.0,
    section 6.3). An Int element is a fixed-point number with all bits but two behind the point, as
    MXINT8's: emax is 0.
    """

    element: Float | Int
    size: int = 32
    scale: Exponent = field(default_factory=Exponent)

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1 << 16:
            raise ConfigError(f"size of a block must be 1 to 65536, not {self.size!r}")
        if isinstance(self.element, Float) and self.element.bits > 8:
            raise ConfigError(f"a block's elements must have at most 8 bits, not {self.element}")
        if isinstance(self.element, Int) and not (self.element.signed and self.element.bits <= 16):
            raise ConfigError(f"a block's elements must be int2 to int16, not {self.element}")

    def __str__(self) -> str:
        return BLOCK_NAME_OF.get(self, f"block<{self.element},{self.size}>")

    @property
    def number(self) -> Float | Fixed:
        """What an element's code means."""
        element = self.element
        return element if isinstance(element, Float) else Fixed(element.bits, element.bits - 2)

    @property
    def emax(self) -> int:
        """Exponent of the element's largest number."""
        return self.element.emax if isinstance(self.element, Float) else 0

    @property
    def unit(self) -> int:
        """Every element is a multiple of 2**unit."""
        return self.element.unit if isinstance(self.element, Float) else 2 - self.element.bits


@dataclass(frozen=True)
class Lane(Int):
    """A block's element as streams hold it: `exponent << element.bits | the element's code`.

    The exponent is the block's, counted from one that all blocks of the stream share.
    """

    signed: bool = False
    block: Block = field(kw_only=True)

    def __str__(self) -> str:
        return f"{self.block}/{self.exponent_bits}"

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponent."""
        return self.bits - self.block.element.bits


BLOCKS = {
    "mxfp8": Block(FLOATS["e4m3fn"]),
    "mxfp8-e5m2": Block(FLOATS["e5m2"]),
    "mxfp6": Block(FLOATS["e2m3"]),
    "mxfp6-e3m2": Block(FLOATS["e3m2"]),
    "mxfp4": Block(FLOATS["e2m1"]),
    "mxint8": Block(Int(8)),
}
BLOCK_ALIASES = {"mxfp8-e4m3": BLOCKS["mxfp8"], "mxfp6-e2m3": BLOCKS["mxfp6"]}
BLOCK_NAME_OF = {fmt: name for name, fmt in BLOCKS.items()}
