"""Scales and zero points: by the largest magnitude, or by search for the least square error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats import Bipolar, Fixed, Float, Int, Ternary, decode, encode
from hwgen.formats.names import Format

Mode = Literal["max", "mse"]
SHARES = np.linspace(1, 0.2, 33)  # of the largest magnitude, tried by the search
STEPS = range(-4, 2)  # powers of two beside that of "max", tried for floats
TERNARY_THRESHOLD = 0.7  # of the mean magnitude: Li et al., Ternary Weight Networks, section 2.2
EXPONENTS = -126, 127  # of a normal float32 number


@dataclass(frozen=True, eq=False)
class Seen:
    """What calibration saw of a tensor: some of its `values` (float64), and limits of all."""

    values: np.ndarray
    low: float
    high: float

    @property
    def most(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


def scaled(fmt: Format) -> bool:
    """Whether numbers need a scale that depends on them: integers and floats of 8 bits or fewer."""
    return isinstance(fmt, Int | Ternary | Bipolar) or (isinstance(fmt, Float) and fmt.bits <= 8)


def power_of_two(most: float, largest: float) -> np.float32:
    """The least power of two times `largest` that is `most` or more; 1 for `most` 0."""
    if not most > 0:
        return np.float32(1)
    fraction, exponent = math.frexp(most / largest)
    exponent -= fraction == 0.5
    return np.float32(2.0 ** min(max(exponent, EXPONENTS[0]), EXPONENTS[1]))


def activation(
    fmt: Int | Fixed | Float, seen: Seen | None, mode: Mode, products: bool = False
) -> tuple[np.float32, int]:
    """(scale, zero point) of a tensor; `seen` may be None where `scaled` is false. `products`: of
    floats whose products have their format.

    An integer's zero is a code, so that ranges on one side of zero use all codes.
    """
    if isinstance(fmt, Fixed):
        return np.float32(2.0**-fmt.frac), 0
    if isinstance(fmt, Float):
        if not scaled(fmt):
            return np.float32(1), 0
        return _float_scale(fmt, seen.values, seen.most, mode, products), 0
    shares = SHARES if mode == "mse" else SHARES[:1]
    choices = [_affine(fmt, seen.low * share, seen.high * share) for share in shares]

    def error(choice: tuple[np.float32, int]) -> float:
        scale, zero = choice
        codes = np.clip(np.rint(seen.values / scale) + zero, fmt.min, fmt.max)
        return float(np.square((codes - zero) * scale - seen.values).sum())

    return min(choices, key=error) if len(choices) > 1 else choices[0]


def carrier(fmt: Int, seen: Seen) -> tuple[np.float32, int]:
    """A power of two and zero point 0: fixed point that holds all numbers seen."""
    return power_of_two(seen.most, fmt.max), 0


def _affine(fmt: Int, low: float, high: float) -> tuple[np.float32, int]:
    """The grid from `low` to `high`, with zero on it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / (fmt.max - fmt.min))
    if not scale > 2.0 ** EXPONENTS[0]:
        return np.float32(1), min(max(0, fmt.min), fmt.max)
    zero = round(fmt.min - low / float(scale))
    return scale, min(max(zero, fmt.min), fmt.max)


def _float_scale(
    fmt: Float, values: np.ndarray, most: float, mode: Mode, products: bool
) -> np.float32:
    """A power of two: the largest magnitude near the format's (for `products`, near the root of
    it), or the least square error."""
    largest = float(decode(fmt, fmt.largest_code))
    first = power_of_two(most, math.sqrt(largest) if products else largest)
    if mode == "max" or products:
        return first

    def error(scale: np.float32) -> float:
        rounded = decode(fmt, encode(fmt, values / scale)) * scale
        return float(np.square(rounded - values).sum())

    return min((np.float32(first * 2.0**k) for k in STEPS), key=error)


@dataclass(frozen=True, eq=False)
class Weights:
    """Quantized weights: (codes - zero) * scale; `scale` and `zero` have one number, or one per
    output."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def rows_of(array: np.ndarray, axis: int | None) -> np.ndarray:
    """Weights as rows that have a scale each: along an axis, or (axis None) one row."""
    return (
        array.reshape(1, -1)
        if axis is None
        else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    )


def weight_scales(
    fmt: Float, array: np.ndarray, axis: int | None, mode: Mode, products: bool = False
) -> np.ndarray:
    """Scales of floats, (outputs,) or (1,), float32; `products` as for `activation`."""
    rows = rows_of(array.astype(np.float64), axis)
    if not scaled(fmt):
        return np.ones(1, np.float32)
    scales = [
        _float_scale(fmt, row, float(np.abs(row).max(initial=0)), mode, products) for row in rows
    ]
    return np.array(scales, dtype=np.float32)


def integer_weights(
    fmt: Int | Fixed | Ternary | Bipolar, array: np.ndarray, axis: int | None, mode: Mode
) -> Weights:
    """Weights as integers; signed ones have no zero points and no code below -max."""
    array = array.astype(np.float64)
    axis = None if isinstance(fmt, Fixed) else axis
    parts = [_row(fmt, row, mode) for row in rows_of(array, axis)]
    scale = np.array([scale for _, scale, _ in parts], dtype=np.float32)
    zero = np.array([zero for _, _, zero in parts], dtype=np.int64)
    codes = np.stack([codes for codes, _, _ in parts]).astype(np.int64)
    if axis is None:
        return Weights(codes.reshape(array.shape), scale, zero)
    moved = np.moveaxis(array, axis, 0).shape
    return Weights(np.moveaxis(codes.reshape(moved), 0, axis), scale, zero)


def _row(fmt, row: np.ndarray, mode: Mode) -> tuple[np.ndarray, np.float32, int]:
    """(codes, scale, zero point) of weights that share a scale."""
    size = np.abs(row)
    if isinstance(fmt, Fixed):
        return encode(fmt, row), np.float32(2.0**-fmt.frac), 0
    if isinstance(fmt, Bipolar):
        return np.where(row >= 0, 1, -1), np.float32(size.mean() or 1), 0
    if isinstance(fmt, Ternary):
        kept = size > TERNARY_THRESHOLD * size.mean()
        scale = size[kept].mean() if kept.any() else 1.0
        return np.sign(row) * kept, np.float32(scale), 0
    if not fmt.signed:
        seen = Seen(row, float(row.min()), float(row.max()))
        scale, zero = activation(fmt, seen, mode)
        return np.clip(np.rint(row / scale) + zero, fmt.min, fmt.max), scale, zero
    if fmt.max < 1:
        raise ConfigError(f"{fmt} weights are -1 or 0; use bipolar or ternary")
    most = float(size.max(initial=0))
    best = None
    for share in SHARES if mode == "mse" else SHARES[:1]:
        scale = np.float32(most * share / fmt.max)
        scale = scale if scale > 2.0 ** EXPONENTS[0] else np.float32(1)
        codes = np.clip(np.rint(row / scale), -fmt.max, fmt.max)
        error = float(np.square(codes * scale - row).sum())
        if best is None or error < best[0]:
            best = error, codes, scale
    return best[1], best[2], 0
