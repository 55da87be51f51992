"""Fixed point: integers with a scale of a power of two."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwgen.errors import ConfigError


@dataclass(frozen=True)
class Fixed:
    """code * 2**-frac, an integer code of `bits` bits; prints as `fixed<8,4>`, `ufixed<8,4>`."""

    bits: int
    frac: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise ConfigError(f"bits must be 1 to 32, not {self.bits!r}")
        if not -64 <= self.frac <= 64:
            raise ConfigError(f"frac must be within -64 ... 64, not {self.frac!r}")

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}fixed<{self.bits},{self.frac}>"

    @classmethod
    def holding(cls, size: float, bits: int) -> Fixed:
        """The finest of so many bits whose numbers reach `size`."""
        return cls(bits, bits - 1 - math.frexp(size)[1])

    @property
    def min(self) -> int:
        """The least code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The greatest code."""
        return (1 << (self.bits - self.signed)) - 1
