"""Sums of floating-point numbers, each rounded once."""

from __future__ import annotations

import numpy as np

from hwgen.formats import Float

MAN = 52  # mantissa bits of float64
CHUNK = 1 << 15  # numbers at once: their copies stay in the cache
CASTS = {Float(8, 23, 127): np.float32, Float(5, 10, 15): np.float16}  # NumPy rounds these itself


def add(fmt: Float, a, b, flush: bool = False) -> np.ndarray:
    """a + b rounded once to the nearest number of `fmt`, ties to even (IEEE 754-2019); float64.

    a, b: float64 of any shape, their exponents within -900 ... 900. x + -x is +0. Beyond the
    largest number: infinity, where there is none NaN, where there is neither the largest number.
    `flush`: a result that is, rounded to the precision of `fmt`, less than the least normal number
    is a zero of its sign; subnormal operands are the caller's to flush (`flushed`).
    """
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    result = np.empty(a.shape)
    flat_a, flat_b, flat = a.reshape(-1), b.reshape(-1), result.reshape(-1)
    for k in range(0, flat.size, CHUNK):
        part = slice(k, k + CHUNK)
        flat[part] = round_to(fmt, _odd_sum(flat_a[part], flat_b[part]), flush)
    return result


def multiply_add(fmt: Float, x: Float, w: Float, a, b, c, flush: bool = False) -> np.ndarray:
    """a * b + c rounded once, as `add`; a of `x`, b of `w`, c of `fmt`, whose subnormals count as
    zeros of their sign if `flush`. A product of two floats of `Float` is exact in float64."""
    if flush:
        a, b, c = flushed(x, a), flushed(w, b), flushed(fmt, c)
    with np.errstate(invalid="ignore"):
        return add(fmt, np.multiply(a, b), c, flush)


def flushed(fmt: Float, values) -> np.ndarray:
    """Numbers with the subnormals of `fmt` as zeros of their sign."""
    values = np.asarray(values, np.float64)
    return np.where(np.abs(values) < 2.0**fmt.emin, np.copysign(0.0, values), values)


def round_to(fmt: Float, values: np.ndarray, flush: bool = False) -> np.ndarray:
    """Numbers rounded to the nearest of `fmt` as `add` has it."""
    if fmt in CASTS and not flush:
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(CASTS[fmt]).astype(np.float64)
    small = np.abs(values) < 2.0**fmt.emin
    with np.errstate(invalid="ignore"):
        rounded = _to_bits(values, fmt.man)
        if flush:
            rounded = np.where(np.abs(rounded) < 2.0**fmt.emin, np.copysign(0.0, values), rounded)
        elif small.any():
            # float64's own rounding, where its ulp is that of the subnormals.
            magic = 1.5 * 2.0 ** (MAN + fmt.unit)
            rounded = np.where(small, np.copysign((values + magic) - magic, values), rounded)
        largest = float(np.ldexp((2 << fmt.man) - 1 - _unused(fmt), fmt.emax - fmt.man))
        over = np.abs(rounded) > largest
    if over.any():
        beyond = {"ieee": np.inf, "none": largest}.get(fmt.specials, np.nan)
        rounded = np.where(over, np.copysign(beyond, rounded), rounded)
    if fmt.specials == "fnuz":
        rounded = rounded + 0.0  # there is no -0
    return rounded


def _unused(fmt: Float) -> int:
    """Mantissas of the largest exponent that are not numbers."""
    return int(fmt.specials == "fn")


def _odd_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, where float64 cannot hold it the neighbour towards zero with its last bit set.

    No later rounding to 51 bits or fewer then takes an inexact sum for a tie or for a number of
    the narrower format: rounding twice is the same as once (Boldo and Melquiond 2008). To the
    nearest, 1 + 2**-8 + 2**-60 would become 1 + 2**-8, a tie of bf16.
    """
    with np.errstate(invalid="ignore"):
        total = a + b
        part = total - a
        error = (a - (total - part)) + (b - part)  # exact: Knuth's TwoSum
    inexact = (error < 0) | (error > 0)
    if not inexact.any():
        return total
    bits = total.view(np.int64) - (inexact & ((error < 0) != (total < 0)))
    return (bits | inexact).view(np.float64)


def _to_bits(values: np.ndarray, man: int) -> np.ndarray:
    """Numbers to the nearest with `man` mantissa bits and any exponent, ties to even."""
    drop = MAN - man
    bits = values.view(np.int64)
    rounded = (bits + ((1 << (drop - 1)) - 1) + ((bits >> drop) & 1)) & -(1 << drop)
    return np.where(np.isfinite(values), rounded.view(np.float64), values)
