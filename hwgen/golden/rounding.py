"""Rounding of exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

# float64 products of integers below 2**52 with a few roundings are nearer than this to the exact
# value.
DOUBT = 1e-6


def affine_half_even(terms: list[tuple[np.ndarray, np.ndarray]], offset: np.ndarray) -> np.ndarray:
    """round_half_even(sum of x * scale over `terms` + offset), exactly.

    x: int64 (N, ...); scale and offset: object arrays of Fraction that broadcast against x.
    Computed in float64 where its error can't matter, and in rationals within `DOUBT` of a tie.
    Returns int64.
    """
    value = np.asarray(offset, dtype=np.float64) + sum(
        x * np.asarray(scale, dtype=np.float64) for x, scale in terms
    )
    rounded = np.rint(value)
    near = np.abs(np.abs(value - np.floor(value)) - 0.5) < DOUBT * np.maximum(
        1, np.abs(value) * 1e-6
    )
    result = rounded.astype(np.int64)
    places = np.argwhere(near)
    if len(places):
        where = tuple(places.T)
        exact = np.broadcast_to(offset, value.shape)[where] + sum(
            x[where].astype(object) * np.broadcast_to(scale, value.shape)[where]
            for x, scale in terms
        )
        result[where] = [round(Fraction(v)) for v in exact]
    return result
