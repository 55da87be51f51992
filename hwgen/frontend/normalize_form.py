"""The integers of normalizations, of softmax and of curves, from what they are to compute."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float
from hwgen.frontend.target import Target
from hwgen.ir import Interpolation
from hwgen.ir.interpolation import MOST_BITS, interpolation

ROOM = 1 << 62  # what the golden models' 64-bit integers hold
CODE_BITS = 16  # of what is normalized, at most
SCALE_BITS = 17  # of a multiplier
TABLE_BITS = 12  # of codes whose functions are tables
LEVELS = 256  # of results that a table always gives
LEAST_LINE = 16  # codes: with shorter lines a table is as small
WEIGHT_BITS = 16  # of the result of a softmax


def normalize_form(
    centered: bool,
    scale: Fraction,
    zero: int,
    epsilon: float,
    gamma: np.ndarray,
    beta: np.ndarray,
    target: Target,
) -> dict[str, Any]:
    """Fields of a Normalize: codes x in units of `scale` (their `zero` point matters to the root
    mean square alone), gamma and beta (C,) and epsilon real, y in codes of `target`.

    Of at most 16 bits y is within 9/8 of a code of what real numbers give: rounding takes 1/2,
    gamma 1/8, d / sqrt(V) 1/8, the root 3/8.
    Epsilon is rounded to a multiple of scale**2 / C**2 (of the root mean square scale**2 / C):
    that matters to rows of nearly equal elements alone, whose deviation is less than their unit.
    Raises `ModelError` where the sums are too large for the golden model.
    """
    count, unit = gamma.size, float(target.scale)
    squares = count**2 if centered else count
    least = round(squares * Fraction(epsilon) / scale**2)
    if least + (squares << 2 * CODE_BITS) >= ROOM:
        raise ModelError(
            f"normalizes rows of {count} elements with epsilon {epsilon:g}, whose sums are too "
            f"large; use shorter rows or a smaller epsilon"
        )
    # y is d / sqrt(V) times the factor; of the root mean square that is at most 1, not sqrt(C).
    factor = (gamma if centered else gamma * math.sqrt(count)) / unit
    most = max(float(np.abs(factor).max()), 2.0**-16)
    fraction = max(1, math.ceil(math.log2(most)) + 2)
    digits = 2 + (math.ceil(math.log2(count) / 2) if centered else 0)
    shift = fraction + digits
    root_bits = min(MOST_BITS, max(8, (target.most - target.least).bit_length() + 2))
    one, out = root_bits - 2, max(root_bits + 2, fraction + 1)
    # What m drops is half a unit on average.
    root = interpolation(
        lambda m: 2.0**out / np.sqrt((m + 0.5) / 2.0**one),
        root_bits,
        2.0 ** (out - root_bits - 2),
        first=1 << one,
    )
    return {
        "centered": centered,
        "zero": zero,
        "epsilon": least,
        "root": root,
        "up": out - fraction,
        "gamma": np.rint(factor * 2.0**digits).astype(np.int64),
        "beta": np.rint((beta / unit + target.zero) * 2.0**shift).astype(np.int64),
        "shift": shift,
        "low": target.least,
        "high": target.most,
    }


def softmax_form(scale: Fraction, count: int) -> tuple[dict[str, Any], Fraction]:
    """Fields of a Softmax of rows of `count` codes in units of `scale`, and the unit of y.

    y is within 2**-12 of itself, and 2**-16, of what real numbers give: scores are rounded to
    2**-14 of a factor of 2, exponential and reciprocal within 2**-15 of themselves, and what a row
    loses where weights are rounded down is less than 2**-17 of their sum.
    """
    fraction, bits = 14, 14
    weight_bits = WEIGHT_BITS + 2 + (count - 1).bit_length()
    step = float(scale) * math.log2(math.e) * 2.0**fraction
    shift = min(max(1, SCALE_BITS - math.ceil(math.log2(step))), 45)
    first, top = 2.0 ** (weight_bits - 1), 2.0**weight_bits - 1
    fields = {
        "multiplier": round(step * 2.0**shift),
        "shift": shift,
        "fraction": fraction,
        "exponential": interpolation(
            lambda x: np.minimum(first * 2.0 ** (x / 2.0**fraction), top), fraction, first / 2**15
        ),
        "reciprocal": interpolation(
            lambda x: 2.0 ** (WEIGHT_BITS + 1) / (1 + (x + 0.5) / 2.0**bits), bits, 1.0
        ),
        "up": 1,
        "high": (1 << WEIGHT_BITS) - 1,
    }
    return fields, Fraction(1, 1 << WEIGHT_BITS)


def curve_form(y: np.ndarray, target: Target) -> Interpolation | None:
    """The function of a Curve: of codes from the least on, whose results are y (float64, infinite
    where they saturate) in units of the target's scale.

    Within a code of y, or of the limits that y goes beyond. None where a table is better: of few
    codes or levels, of roundings other than to the nearest, where lines would be short.
    """
    bits = (len(y) - 1).bit_length()
    span = target.most - target.least
    rounds = target.rounding == "half_even" and not isinstance(target.fmt, Float)
    if bits <= TABLE_BITS or span < LEVELS or not rounds:
        return None
    # Behind the limits nothing matters but that lines leave them.
    wide = np.clip(y + target.zero, target.least - span, target.most + span)
    limits = float(target.least), float(target.most)
    found = interpolation(lambda x: wide[x.astype(np.int64)], bits, 1.0, limits=limits)
    return found if 1 << found.rest_bits >= LEAST_LINE else None
