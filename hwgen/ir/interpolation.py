"""Functions of one integer by straight lines between points of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwgen.errors import ConfigError

MOST_BITS = 18  # of an argument: every one is tried
SLOPE_BITS = 3  # more of a slope than the length of its line asks for


@dataclass(frozen=True, eq=False, kw_only=True)
class Interpolation:
    """y = (base[s] + slope[s] * rest) >> drop, of an unsigned x of `bits` bits.

    s = x >> rest_bits says which line, rest = x mod 2**rest_bits where on it. `base` and `slope`
    (int64) have 2**(bits - rest_bits) entries; with `rest_bits` 0 it is a table. `error`: the
    largest |y - f(x)| of all x for which it was made, in units of y.
    """

    base: np.ndarray
    slope: np.ndarray
    bits: int
    rest_bits: int
    drop: int
    error: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """y of integers x."""
        line, rest = x >> self.rest_bits, x & ((1 << self.rest_bits) - 1)
        return (self.base[line] + self.slope[line] * rest) >> self.drop


def interpolation(
    function: Callable[[np.ndarray], np.ndarray],
    bits: int,
    error: float,
    first: int = 0,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> Interpolation:
    """The fewest lines whose y is within `error` of function(x), float64, for every x from `first`
    to 2**bits - 1, where both are clamped to `limits`; a table where no lines are (1/2 is what a
    table reaches).

    Raises `ConfigError` where `bits` are too many to try.
    """
    if not 1 <= bits <= MOST_BITS:
        raise ConfigError(f"a function's argument must have 1 to {MOST_BITS} bits, not {bits}")
    x = np.arange(1 << bits)
    exact = np.asarray(function(np.maximum(x, first).astype(np.float64)), dtype=np.float64)
    for rest_bits in range(bits - 1, -1, -1):
        found = _lines(exact, bits, rest_bits)
        away = np.clip(found(x), *limits) - np.clip(exact, *limits)
        worst = float(np.abs(away)[first:].max())
        if worst <= error or rest_bits == 0:
            break
    return Interpolation(**{**vars(found), "error": worst})


def _lines(exact: np.ndarray, bits: int, rest_bits: int) -> Interpolation:
    """Lines along the chords, moved to the middle of what deviates from them."""
    rows = exact.reshape(-1, 1 << rest_bits)
    steps = np.arange(rows.shape[1])
    chord = (rows[:, -1] - rows[:, 0]) / max(1, steps[-1])
    drop = rest_bits + SLOPE_BITS if rest_bits else 0
    slope = np.rint(chord * 2.0**drop)
    away = rows - (slope * 0.5**drop)[:, None] * steps
    middle = (away.max(axis=1) + away.min(axis=1)) / 2
    # What is half a unit more and rounded down is rounded to the nearest.
    base = np.rint((middle + 0.5) * 2.0**drop) if drop else np.rint(middle)
    return Interpolation(
        base=base.astype(np.int64),
        slope=slope.astype(np.int64),
        bits=bits,
        rest_bits=rest_bits,
        drop=drop,
        error=0.0,
    )
