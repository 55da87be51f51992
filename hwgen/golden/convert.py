"""Conversions between formats, rounded once, and sums of two floats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.formats import Float, Int, decode, encode
from hwgen.golden.add import add
from hwgen.ir import Convert, FloatAdd

# Each of the few operations in float64 errs by less than this share of what goes into it.
DOUBT = 2.0**-49


def convert(node: Convert, x: np.ndarray) -> np.ndarray:
    """Elementwise on (N, ..., C) codes: int64, or Python integers where a sum is wider.

    In float64 where its error can't matter; in rationals where the code would change within it.
    """
    source, target = node.source, node.target
    numbers = decode(source, x) if isinstance(source, Float) else x.astype(np.float64)
    scale, offset = (np.asarray(v, dtype=np.float64) for v in (node.scale, node.offset))
    value = numbers * scale + offset
    error = np.where(np.isfinite(value), np.abs(numbers * scale) + np.abs(offset), 0) * DOUBT
    limits = decode(target, [node.low, node.high])
    if isinstance(target, Int):
        limits = limits - node.zero_point
    least, most = (_codes(node, np.clip(v, *limits)) for v in (value - error, value + error))
    result = np.where(np.isnan(value), _codes(node, value), least)
    places = np.nonzero((least != most) & np.isfinite(value))
    if places[0].size:
        exact = [np.broadcast_to(v, value.shape)[places] for v in (node.scale, node.offset)]
        operands = (numbers if isinstance(source, Float) else x)[places].tolist()
        result[places] = [
            _between(node, Fraction(operand) * a + b, low, high)
            for operand, a, b, low, high in zip(
                operands, *exact, least[places].tolist(), most[places].tolist(), strict=True
            )
        ]
    # Clamping from below does away with negative numbers that round to -0.
    return np.where((value < 0) & (limits[0] == 0), node.low, result)


def _codes(node: Convert, values: np.ndarray) -> np.ndarray:
    """The nearest codes of numbers within the limits."""
    target = node.target
    whole = np.where(np.isnan(values), 0, values) if isinstance(target, Int) else values
    return encode(target, whole + node.zero_point if isinstance(target, Int) else whole)


def _between(node: Convert, value: Fraction, low: int, high: int) -> int:
    """The code of a number that is nearest one of two neighbouring codes."""
    numbers = [Fraction(float(v)) for v in decode(node.target, [low, high])]
    value += node.zero_point
    if value == 0:
        return 0  # not -0
    middle = sum(numbers) / 2
    if value == middle:
        return low if low % 2 == 0 else high
    return low if value < middle else high


def float_add(node: FloatAdd, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise on codes."""
    return encode(node.fmt, add(node.fmt, decode(node.fmt, a), decode(node.fmt, b)), saturate=False)
