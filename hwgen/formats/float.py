"""Binary floating-point formats of any size: fp32 down to three bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from hwgen.errors import ConfigError

# What the largest exponent and the code of -0 mean.
SPECIALS = {
    "ieee": "largest exponent: infinity, NaN",
    "fn": "largest exponent and mantissa: NaN; no infinity",
    "fnuz": "-0: NaN; no infinity, no -0",
    "none": "every code is a finite number",
}
MOST_BITS = 32


@dataclass(frozen=True)
class Float:
    """Sign, `exp` exponent bits with `bias`, `man` mantissa bits; subnormals; `specials`: a key of
    SPECIALS.

    Streams hold codes: the bits as an unsigned integer. Prints as a known name (`bf16`, `e4m3fn`)
    or as `float<exp,man,bias,specials>`. Sources: IEEE 754-2019 (ieee), OCP OFP8 and MX v1.0 (fn,
    none), Graphcore and AMD's 8-bit formats (fnuz).
    """

    exp: int
    man: int
    bias: int
    specials: str = "ieee"

    signed: ClassVar[bool] = False  # of the code
    min: ClassVar[int] = 0  # the least code

    def __post_init__(self) -> None:
        if self.specials not in SPECIALS:
            kinds = ", ".join(SPECIALS)
            raise ConfigError(f"specials must be one of {kinds}, not {self.specials!r}")
        if self.exp < 1 or self.man < 0 or not 3 <= self.bits <= MOST_BITS:
            raise ConfigError(
                f"a float must have 3 to {MOST_BITS} bits, at least one of them an exponent's, not "
                f"{self.exp} exponent and {self.man} mantissa bits"
            )
        if self.specials == "ieee" and (self.man < 1 or self.exp < 2):
            raise ConfigError(
                "a float with infinity and NaN must have 2 exponent bits and 1 mantissa bit at "
                f"least, not {self.exp} and {self.man}"
            )
        # Every number must be one of float64, in which golden models compute.
        if self.unit < -1074 or self.emax > 1023:
            raise ConfigError(
                f"a float's numbers must lie within 2**-1074 and 2**1024; with {self.exp} exponent "
                f"bits and bias {self.bias} they are 2**{self.unit} to 2**{self.emax + 1}"
            )

    def __str__(self) -> str:
        return NAME_OF.get(self, f"float<{self.exp},{self.man},{self.bias},{self.specials}>")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return 1 + self.exp + self.man

    @property
    def max(self) -> int:
        """The greatest code."""
        return (1 << self.bits) - 1

    @property
    def sign(self) -> int:
        """The code's sign bit."""
        return 1 << (self.exp + self.man)

    @property
    def emin(self) -> int:
        """Exponent of the least normal number."""
        return 1 - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest finite number."""
        return (self.largest_code >> self.man) - self.bias

    @property
    def unit(self) -> int:
        """Exponent of the least subnormal: every finite number is a multiple of 2**unit."""
        return self.emin - self.man

    @cached_property
    def largest_code(self) -> int:
        """Code of the largest finite number."""
        top = self.sign - 1
        if self.specials == "ieee":
            return top - (1 << self.man)
        return top - (self.specials == "fn")

    @property
    def span(self) -> int:
        """Bits of the largest finite number's magnitude in units of 2**unit."""
        return self.emax - self.emin + 1 + self.man

    @property
    def infinity(self) -> int | None:
        """Code of +infinity."""
        return self.largest_code + 1 if self.specials == "ieee" else None

    @property
    def nan(self) -> int | None:
        """Code of NaN (quiet, positive where there are several)."""
        if self.specials == "ieee":
            return self.largest_code + 1 + (1 << (self.man - 1))
        return {"fn": self.sign - 1, "fnuz": self.sign, "none": None}[self.specials]


NAMED = {
    "fp32": Float(8, 23, 127),
    "fp16": Float(5, 10, 15),
    "bf16": Float(8, 7, 127),
    "e5m2": Float(5, 2, 15),
    "e4m3": Float(4, 3, 7),
    "e4m3fn": Float(4, 3, 7, "fn"),
    "e4m3fnuz": Float(4, 3, 8, "fnuz"),
    "e5m2fnuz": Float(5, 2, 16, "fnuz"),
    "e3m2": Float(3, 2, 3, "none"),
    "e2m3": Float(2, 3, 1, "none"),
    "e2m1": Float(2, 1, 1, "none"),
}
NAME_OF = {fmt: name for name, fmt in NAMED.items()}


@dataclass(frozen=True)
class Exponent:
    """`e8m0`, OCP MX v1.0's scale: 2**(code - 127), 255 is NaN; no sign, no zero."""

    bits: ClassVar[int] = 8
    bias: ClassVar[int] = 127
    signed: ClassVar[bool] = False
    min: ClassVar[int] = 0
    max: ClassVar[int] = 255
    nan: ClassVar[int] = 255

    def __str__(self) -> str:
        return "e8m0"
