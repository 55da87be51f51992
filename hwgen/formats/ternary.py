"""Weights of so few values that a product is a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Ternary:
    """-1, 0 or 1 in two's complement; prints as `ternary`."""

    bits: ClassVar[int] = 2
    signed: ClassVar[bool] = True
    min: ClassVar[int] = -1
    max: ClassVar[int] = 1

    def __str__(self) -> str:
        return "ternary"


@dataclass(frozen=True)
class Bipolar:
    """-1 or 1, as its sign: 1 for -1; prints as `bipolar`."""

    bits: ClassVar[int] = 1
    signed: ClassVar[bool] = False
    min: ClassVar[int] = 0
    max: ClassVar[int] = 1

    def __str__(self) -> str:
        return "bipolar"
