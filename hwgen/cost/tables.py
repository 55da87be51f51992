"""Lookup tables of a cell library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Table:
    """Values (slews, loads) over the slew of an input in ns and the load of an output in pF."""

    slews: np.ndarray
    loads: np.ndarray
    values: np.ndarray

    @classmethod
    def constant(cls, value: float) -> Table:
        """The same everywhere."""
        return cls(np.zeros(1), np.zeros(1), np.full((1, 1), value))

    @classmethod
    def zero(cls) -> Table:
        """Zero everywhere."""
        return cls.constant(0.0)

    def at(self, slew, load) -> np.ndarray:
        """Values at slews and loads (broadcast): linear in both between points and beyond them."""
        slew, load = np.broadcast_arrays(np.asarray(slew, float), np.asarray(load, float))
        low, high, part = _between(self.slews, slew)
        left, right, share = _between(self.loads, load)
        v = self.values
        first = v[low, left] * (1 - part) + v[high, left] * part
        second = v[low, right] * (1 - part) + v[high, right] * part
        return first * (1 - share) + second * share


def _between(axis: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the points around x, and how far x is from the first to the second."""
    if len(axis) == 1:
        zero = np.zeros(x.shape, dtype=int)
        return zero, zero, np.zeros(x.shape)
    low = np.clip(np.searchsorted(axis, x) - 1, 0, len(axis) - 2)
    return low, low + 1, (x - axis[low]) / (axis[low + 1] - axis[low])
