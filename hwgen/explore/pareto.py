"""Which points no other point beats, and which of them to look at first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def front(values: Sequence[Sequence[float]]) -> list[int]:
    """The points (rows, all columns to be minimized) that no other is at least as good as
    everywhere and better somewhere; of equal points the first."""
    if not len(values):
        return []
    table = np.asarray(values, dtype=np.float64)
    kept: list[int] = []
    for k in np.lexsort(table.T[::-1]):  # what beats a point comes before it
        if not any((table[j] <= table[k]).all() for j in kept):
            kept.append(int(k))
    return sorted(kept)


def ranked(values: Sequence[Sequence[float]], count: int) -> list[int]:
    """The front: `count` of its points to look at first, by `spread`, then the others; both in the
    order of the columns."""
    best = sorted(front(values), key=lambda k: tuple(values[k]))
    first = spread([values[k] for k in best], min(count, len(best)))
    return [best[k] for k in (*first, *(j for j in range(len(best)) if j not in set(first)))]


def spread(values: Sequence[Sequence[float]], count: int) -> list[int]:
    """The points (rows) of a front, those first that win an objective, then the most isolated: by
    the crowding distance of NSGA-II (Deb et al., 2002), a point taken out at a time."""
    table = np.asarray(values, dtype=np.float64)
    kept = list(range(len(table)))
    while len(kept) > max(count, 0):
        distance = _crowding(table[kept])
        kept.pop(int(np.argmin(distance)))
    return kept


def _crowding(table: np.ndarray) -> np.ndarray:
    """Sum over objectives of the gap between a point's neighbours, by the objective's range; the
    winner of an objective is the further from the others the more objectives it wins."""
    distance = np.zeros(len(table))
    for column in table.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        if not math.isfinite(span) or span == 0:
            continue
        gaps = np.empty(len(order))
        gaps[1:-1] = (column[order[2:]] - column[order[:-2]]) / span
        gaps[0], gaps[-1] = 1e6, 1.0  # the best, and the worst
        distance[order] += gaps
    return distance
