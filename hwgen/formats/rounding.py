"""Rounding of exact numbers to integers."""

from __future__ import annotations

import math
from collections.abc import Callable


def _half(value, up: bool) -> int:
    """To the nearest integer, ties away from zero or towards it."""
    twice = 2 * abs(value)
    size = math.floor((twice + 1) / 2) if up else math.ceil((twice - 1) / 2)
    return -size if value < 0 else size


# A function of one number by the name of the rounding mode.
ROUND: dict[str, Callable] = {
    "half_even": round,
    "half_up": lambda v: _half(v, True),
    "half_down": lambda v: _half(v, False),
    "floor": math.floor,
    "ceil": math.ceil,
    "down": math.trunc,
    "up": lambda v: math.ceil(v) if v > 0 else math.floor(v),
}
