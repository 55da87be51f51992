"""An integer form of an Add that is exact for all pairs of codes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from hwgen.errors import HwgenError
from hwgen.formats import Float, Int
from hwgen.ir import Add, Form

# Pairs of codes beyond which a form is proved by a bound instead of tried on all.
MANY = 1 << 20


def add_form(node: Add, a: Int | Float, b: Int | Float) -> Form:
    """The form with the least shift; of codes with very many pairs, the least shift that needs no
    trial."""
    return _proved(node, a, b) if a.bits + b.bits > MANY.bit_length() else _tried(node, a, b)


def _proved(node: Add, a: Int | Float, b: Int | Float) -> Form:
    """A form whose error is less than half the distance between two sums.

    With scales and half a level as multiples of 1 / unit, the sums are at least 1 / unit apart, so
    from a tie to the next sum. Multipliers rounded to the nearest are wrong by at most 1/2, so u
    by at most e = (|a| + |b|) / 2 + 1/2; an offset greater by e makes that 0 ... 2 * e. Then ties
    leave remainders of at most 2 * e, and all other sums above a tie greater ones.
    """
    scales = [Fraction(s) for s in (*node.scale, node.offset)]
    unit = math.lcm(2, *(s.denominator for s in scales))
    widest = sum(max(-fmt.min, fmt.max) for fmt in (a, b))
    error = widest // 2 + 1
    shift = (unit * (2 * error + 1)).bit_length()
    power = 1 << shift
    total = scales[2] + Fraction(1, 2) + node.zero_point
    return Form(
        multiplier=np.array([round(s * power) for s in scales[:2]], dtype=object),
        offset=np.array(round(total * power) + error, dtype=object),
        shift=shift,
        correction=2 * error + 1,
        flip=bool(node.zero_point % 2),
    )


def _tried(node: Add, a: Int | Float, b: Int | Float) -> Form:
    """A form tried on all pairs of codes."""
    levels, codes = _all_sums(node, a, b)
    order = np.argsort(levels, kind="stable")
    values, starts = np.unique(levels[order], return_index=True)
    level = np.arange(node.low + 1, node.high + 1)
    place = np.searchsorted(values, level)  # the first value >= level
    odd = (level - node.zero_point) % 2 == 1
    for shift in range(48):
        pairs = [
            [int(s * (1 << shift) // 1) + step for step in (0, 1)]
            for s in map(Fraction, node.scale)
        ]
        for m in ((p, q) for p in pairs[0] for q in pairs[1]):
            total = (codes[0] * m[0] + codes[1] * m[1])[order]
            least = np.minimum.accumulate(np.minimum.reduceat(total, starts)[::-1])[::-1]
            most = np.maximum.accumulate(np.maximum.reduceat(total, starts))
            low = np.where(
                place < len(values),
                (level << shift) - least[np.minimum(place, len(values) - 1)],
                -(1 << 61),
            )
            high = np.where(
                place > 0, (level << shift) - 1 - most[np.maximum(place - 1, 0)], 1 << 61
            )
            even_low, even_high = _ends(low, high, ~odd)
            odd_low, odd_high = _ends(low, high, odd)
            correction = max(0, even_low - odd_high)
            first, last = max(even_low, odd_low + correction), min(even_high, odd_high + correction)
            if first <= last and correction < 1 << shift:
                return Form(
                    multiplier=np.array(m),
                    offset=np.array(first if first > -(1 << 60) else min(last, 0)),
                    shift=shift,
                    correction=correction,
                    flip=bool(node.zero_point % 2),
                )
    raise HwgenError(f"{node.name}: no exact integer form with a shift below 48")


def _ends(low: np.ndarray, high: np.ndarray, which: np.ndarray) -> tuple[int, int]:
    far = 1 << 61
    return (
        int(low[which].max(initial=-far)),
        int(high[which].min(initial=far)),
    )


def _all_sums(
    node: Add, a: Int | Float, b: Int | Float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The exact result of every pair of codes, and the codes."""
    ranges = np.arange(a.min, a.max + 1), np.arange(b.min, b.max + 1)
    first, second = (grid.ravel() for grid in np.meshgrid(*ranges, indexing="ij"))
    scales = [Fraction(s) for s in (*node.scale, node.offset)]
    common = int(np.lcm.reduce([np.array(s.denominator, dtype=object) for s in scales]))
    n0, n1, n2 = (int(s * common) for s in scales)
    exact = first.astype(object) * n0 + second.astype(object) * n1 + n2
    doubled = 2 * exact + common
    rounded = doubled // (2 * common)
    tie = doubled % (2 * common) == 0
    rounded = rounded - (tie & (rounded % 2 == 1))
    clamped = np.clip(rounded + node.zero_point, node.low, node.high).astype(np.int64)
    return clamped, (first, second)
