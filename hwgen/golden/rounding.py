"""Rounding of exact rationals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from hwgen.formats import ROUND

# What holds away from the places where the result changes.
FAR: dict[str, Callable] = {
    "half_even": np.rint,
    "half_up": np.rint,
    "half_down": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda v: np.copysign(np.ceil(np.abs(v)), v),
}
# float64 products of integers below 2**52 with a few roundings are nearer than this to the exact
# value.
DOUBT = 1e-6


def affine_round(
    terms: list[tuple[np.ndarray, np.ndarray]], offset: np.ndarray, mode: str = "half_even"
) -> np.ndarray:
    """round(sum of x * scale over `terms` + offset) in a rounding mode of `ROUND`, exactly.

    x: int64 (N, ...); scale and offset: object arrays of Fraction that broadcast against x.
    Computed in float64 where its error can't matter, and in rationals within `DOUBT` of a place
    where the result changes. Returns int64.
    """
    value = np.asarray(offset, dtype=np.float64) + sum(
        x * np.asarray(scale, dtype=np.float64) for x, scale in terms
    )
    # The result changes at halves, or at integers.
    halves = mode.startswith("half")
    away = np.abs(value - np.rint(value))
    away = 0.5 - away if halves else away
    near = away < DOUBT * np.maximum(1, np.abs(value) * 1e-6)
    result = FAR[mode](value).astype(np.int64)
    places = np.argwhere(near)
    if len(places):
        where = tuple(places.T)
        exact = np.broadcast_to(offset, value.shape)[where] + sum(
            x[where].astype(object) * np.broadcast_to(scale, value.shape)[where]
            for x, scale in terms
        )
        result[where] = [ROUND[mode](Fraction(v)) for v in exact]
    return result
