"""What an integer form of a requantization must satisfy, level by level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

import numpy as np

from hwgen.ir import Requantize

# With more levels than this only those are kept that can decide.
MANY = 256


@dataclass(frozen=True, eq=False)
class Limits:
    """Per distinct channel (rows), what u must satisfy for each level (columns), for scales made
    non-negative.

    u(at_least) >= level and u(below) < level, where the masks `has_least`, `has_below` say so.
    `whole`: whether every level is there.
    """

    scale: list[Fraction]
    sign: np.ndarray
    back: np.ndarray  # channel -> row
    whole: bool
    levels: np.ndarray  # (rows, levels)
    odd: np.ndarray
    at_least: np.ndarray
    has_least: np.ndarray
    below: np.ndarray
    has_below: np.ndarray

    def pick(self, rows: np.ndarray) -> Limits:
        """Only some rows."""
        names = ("levels", "odd", "at_least", "has_least", "below", "has_below")
        scale = [self.scale[r] for r in rows]
        return replace(self, scale=scale, **{name: getattr(self, name)[rows] for name in names})


def limits(node: Requantize) -> Limits:
    """Thresholds of every distinct channel."""
    columns = (node.scale, node.offset, node.low, node.high, node.x_low, node.x_high)
    channels = list(zip(*(np.ravel(c).tolist() for c in columns), strict=True))
    distinct = {key: k for k, key in enumerate(dict.fromkeys(channels))}
    back = np.array([distinct[key] for key in channels])
    whole = max(high - low for _, _, low, high, _, _ in distinct) <= MANY
    rows, scales, signs = [], [], []
    for scale, offset, low, high, x_low, x_high in distinct:
        sign = -1 if scale < 0 else 1
        if sign < 0:
            x_low, x_high = -x_high, -x_low
        line = Line(Fraction(abs(scale)), Fraction(offset), node.zero_point, node.rounding)
        if whole:
            level = np.arange(low + 1, high + 1)
        else:
            level = _candidates(line, low + 1, high, x_low, x_high)
            level = level[_doubtful(line, level, x_low, x_high)]
        start, excess = _thresholds(line, level)
        if not whole:
            keep = _deciding(start, excess, line.odd(level), x_low, x_high)
            level, start = level[keep], start[keep]
        start = np.clip(start, x_low, x_high + 1).astype(np.int64)
        rows.append((level, start, start <= x_high, np.minimum(start - 1, x_high), start > x_low))
        scales.append(abs(scale))
        signs.append(sign)
    levels, least, has_least, below, has_below = (
        _table(column) for column in zip(*rows, strict=True)
    )
    odd = (levels - node.zero_point) % 2 == 1
    return Limits(
        scales, np.array(signs), back, whole, levels, odd, least, has_least, below, has_below
    )


def _table(rows: tuple[np.ndarray, ...]) -> np.ndarray:
    """Rows of different lengths as one array, filled with zeros."""
    width = max(1, *(len(row) for row in rows))
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])


@dataclass(frozen=True)
class Line:
    """A channel's function before it is clamped: round(x * scale + offset) + zero."""

    scale: Fraction
    offset: Fraction
    zero: int
    rounding: str

    def odd(self, levels: np.ndarray) -> np.ndarray:
        """Which levels are odd before the zero point is added."""
        return (levels - self.zero) % 2 == 1


def _boundaries(line: Line, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(b, inclusive): the level is reached where 2 * (x * scale + offset) > b, and where it is b if
    inclusive."""
    values = levels - line.zero
    positive, twice = values > 0, 2 * values
    everywhere = np.ones(values.shape, dtype=bool)
    return {
        "half_even": (twice - 1, values % 2 == 0),
        "half_up": (twice - 1, positive),
        "half_down": (twice - 1, ~positive),
        "floor": (twice, everywhere),
        "ceil": (twice - 2, ~everywhere),
        "down": (np.where(positive, twice, twice - 2), positive),
        "up": (np.where(positive, twice - 2, twice), ~positive),
    }[line.rounding]


def _thresholds(line: Line, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least x that reaches each level, and how far it is from the boundary, as a multiple of
    the same unit for all levels. Object arrays of ints."""
    scale, offset = line.scale, line.offset
    bounds, inclusive = _boundaries(line, levels)
    if scale == 0:  # reached by every x, or by none
        reached = (bounds < 2 * offset) | (inclusive & (bounds == 2 * offset))
        far = 1 << 62
        return np.where(reached, -far, far).astype(object), np.zeros(len(levels), dtype=object)
    # x * scale + offset = bound / 2 at x = top / bottom.
    top = bounds.astype(object) * (offset.denominator * scale.denominator)
    top = top - 2 * offset.numerator * scale.denominator
    bottom = 2 * offset.denominator * scale.numerator
    start = np.where(inclusive, -(-top // bottom), top // bottom + 1)
    return start, start * bottom - top


def _candidates(line: Line, low: int, high: int, x_low: int, x_high: int) -> np.ndarray:
    """A superset of `_deciding` of the levels low ... high, found without looking at each.

    Only those between what x_low and x_high give can decide, and next to each x what it gives. How
    far x is from a boundary repeats with the scale's numerator, so the last period towards each
    end, and on both sides of zero, has all there is.
    """
    if line.scale == 0:
        return np.arange(low, high + 1)
    first, last = (floor(x * line.scale + line.offset) + line.zero for x in (x_low, x_high))
    low, high = max(low, min(first - 1, high)), min(high, max(last + 2, low))
    if x_high - x_low < (high - low) // 8:
        near = np.arange(x_low, x_high + 1) * float(line.scale) + float(line.offset + line.zero)
        levels = np.unique(np.floor(near).astype(np.int64)[:, None] + np.arange(-1, 4))
        return levels[(levels >= low) & (levels <= high)]
    edge = 2 * line.scale.numerator + 4
    if 4 * edge >= high - low:
        return np.arange(low, high + 1)
    span = np.arange(edge)
    parts = (low + span, line.zero - edge + span, line.zero + span, high - span)
    levels = np.unique(np.concatenate(parts))
    return levels[(levels >= low) & (levels <= high)]


def _doubtful(line: Line, levels: np.ndarray, x_low: int, x_high: int) -> np.ndarray:
    """A superset of `_deciding`, found in float64."""
    if line.scale == 0:
        return np.ones(len(levels), dtype=bool)
    bounds, _ = _boundaries(line, levels)
    place = (bounds / 2 - float(line.offset)) / float(line.scale)
    doubt = 2.0**-48 * (np.abs(place).max() + abs(float(line.offset / line.scale)))
    near = np.abs(place - np.rint(place)) <= doubt
    start = np.floor(place) + 1
    odd = line.odd(levels)
    return near | _deciding(start, start - place, odd, x_low, x_high, 2 * doubt)


def _deciding(
    start: np.ndarray, excess: np.ndarray, odd: np.ndarray, x_low: int, x_high: int, slack=0
) -> np.ndarray:
    """The levels that can decide whether a form is exact, of each parity, if `excess` is known to
    within half of `slack`.

    A form with multiplier m and shift s, d = m - scale * 2**s, needs an offset of at least
    -(excess * scale * 2**s + start * d) and at most nearly that, up to the same constant for all
    levels. The greatest and the least of a linear function of (start, excess) lie where no other
    level has both a smaller start and a smaller excess, and so for the other signs of both.
    """
    keep = np.zeros(len(start), dtype=bool)
    for parity in (False, True):
        which = np.flatnonzero(odd == parity)
        first = start[which]
        keep[which[first <= x_low][-1:]] = True
        keep[which[first > x_high][:1]] = True
        inside = which[(first > x_low) & (first <= x_high)]
        for order in (1, -1):
            for sign in (1, -1):
                places = inside[::order]
                value = sign * excess[places]
                least = np.minimum.accumulate(value)
                keep[places[:1]] = True
                keep[places[1:][value[1:] < least[:-1] + slack]] = True
    return keep
