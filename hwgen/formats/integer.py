"""Two's complement and unsigned integers of any width."""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.errors import ConfigError


@dataclass(frozen=True)
class Int:
    """An integer of `bits` bits; prints and parses as `int8`, `uint4`."""

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise ConfigError(f"bits must be at least 1, not {self.bits!r}")

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @property
    def min(self) -> int:
        """The least value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The greatest value."""
        return (1 << (self.bits - self.signed)) - 1


def int_holding(low: int, high: int) -> Int:
    """The narrowest format that holds every integer of [low, high]; unsigned where low >= 0."""
    if low > high:
        raise ValueError(f"low must be at most high, not {low!r} > {high!r}")
    if low >= 0:
        return Int(max(1, high.bit_length()), signed=False)
    return Int(max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0) + 1)
