"""The integers of normalizations and of softmax, from what they are to compute."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.frontend.target import Target
from hwgen.ir.interpolation import interpolation

MOST_ROOT_BITS = 16  # of the root's argument
FACTOR_BITS = 15  # of the largest gamma
WEIGHT_BITS = 16


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

    y is within 1/2 code, and 2**-14 of itself, of what real numbers give.
    """
    count = gamma.size
    unit = float(target.scale)
    # The normalized numbers are d / sqrt(V), of the root mean square sqrt(C) times that.
    factor = (gamma if centered else gamma * math.sqrt(count)) / unit
    most = max(float(np.abs(factor).max()), 2.0**-16)
    digits = max(abs(target.least), abs(target.most)).bit_length()
    root_bits = min(MOST_ROOT_BITS, digits + 4)
    one, out = root_bits - 2, max(8, digits + 3)
    fraction = min(out - 1, max(4, math.ceil(math.log2(most)) + 2))
    # What m drops is half a unit on average.
    root = interpolation(
        lambda m: 2.0**out / np.sqrt((m + 0.5) / 2.0**one), root_bits, 1.0, first=1 << one
    )
    extra = FACTOR_BITS - math.ceil(math.log2(most))
    shift = max(1, fraction + extra)
    squares = count**2 if centered else count
    offset = (beta / unit + target.zero) * 2.0**shift
    return {
        "centered": centered,
        "zero": zero,
        "epsilon": round(squares * Fraction(epsilon) / scale**2),
        "root": root,
        "up": out - fraction,
        "gamma": np.rint(factor * 2.0 ** (shift - fraction)).astype(np.int64),
        "beta": np.rint(offset).astype(np.int64),
        "shift": shift,
        "low": target.least,
        "high": target.most,
    }


def softmax_form(scale: Fraction) -> tuple[dict[str, Any], Fraction]:
    """Fields of a Softmax of codes in units of `scale`, and the unit of y.

    y is within 2**-12 of itself, and 2**-16, of what real numbers give.
    """
    fraction, bits, out, places = 12, 12, 17, WEIGHT_BITS
    step = float(scale) * math.log2(math.e) * 2.0**fraction
    shift = max(1, FACTOR_BITS - math.ceil(math.log2(step)))
    top = 2.0**WEIGHT_BITS - 1
    fields = {
        "multiplier": round(step * 2.0**shift),
        "shift": shift,
        "fraction": fraction,
        "exponential": interpolation(
            lambda x: np.minimum(2.0 ** (WEIGHT_BITS - 1 + x / 2.0**fraction), top), fraction, 0.75
        ),
        "reciprocal": interpolation(lambda x: 2.0**out / (1 + (x + 0.5) / 2.0**bits), bits, 1.0),
        "up": out - places,
        "high": (1 << places) - 1,
    }
    return fields, Fraction(1, 1 << places)
