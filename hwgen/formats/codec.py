"""Numbers to codes and back: vectorized, on float64 arrays, which hold every number of every
format exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats.block import Block
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import Exponent, Float
from hwgen.formats.integer import Int
from hwgen.formats.names import Format
from hwgen.formats.ternary import Bipolar

EXACT_BITS = 53  # of a float64's magnitude


def _half(up: bool) -> Callable[[np.ndarray], np.ndarray]:
    """To the nearest integer, ties away from zero or towards it."""

    def rounded(values: np.ndarray) -> np.ndarray:
        whole = np.trunc(values)
        rest = np.abs(values - whole)  # exact, where adding a half to the values would not be
        return whole + np.copysign((rest >= 0.5) if up else (rest > 0.5), values)

    return rounded


# Rounding of finite float64 arrays to whole numbers by the name of the mode, those of ROUND.
WHOLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half_even": np.rint,
    "half_up": _half(True),
    "half_down": _half(False),
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda v: np.copysign(np.ceil(np.abs(v)), v),
}


def decode(fmt: Format, codes) -> np.ndarray:
    """The numbers of codes (any shape, integers) as float64; raises `ConfigError` for a code that
    the format does not have."""
    codes = np.asarray(codes)
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt} has two codes per number; use decode_block")
    if codes.dtype.kind not in "iub":
        raise ConfigError(f"codes must be integers, not {codes.dtype}")
    codes = codes.astype(np.int64)
    _check_exact(fmt)
    if codes.size and not fmt.min <= codes.min() <= codes.max() <= fmt.max:
        raise ConfigError(
            f"codes of {fmt} must be {fmt.min} to {fmt.max}, not {codes.min()} to {codes.max()}"
        )
    if isinstance(fmt, Float):
        return _decode_float(fmt, codes)
    if isinstance(fmt, Exponent):
        return np.where(codes == fmt.nan, np.nan, np.ldexp(1.0, codes - fmt.bias))
    if isinstance(fmt, Bipolar):
        return np.where(codes == 0, 1.0, -1.0)
    return np.ldexp(codes.astype(np.float64), -_fraction(fmt))


def encode(
    fmt: Format,
    values,
    rounding: str = "half_even",
    saturate: bool = True,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The codes (int64) of numbers (any shape, float64).

    `rounding`: a key of WHOLE, or "stochastic", which needs `rng`. With one bit of significand a
    tie has no even neighbour and `half_even` takes the larger (IEEE 754-2019, 4.3.1).

    Numbers too large, infinities too, become the largest where `saturate`. Otherwise they become
    infinity, or NaN where there is none, but for finite ones that `rounding` takes towards zero
    (IEEE 754-2019, 7.4). Integers, and floats that have neither, always saturate.

    NaN becomes 0 where the format has none. What e8m0 lacks, 0, infinity and negative numbers,
    becomes its NaN; bipolar's 0 is 1. Raises `ConfigError` for a block or an unknown mode.
    """
    with np.errstate(invalid="ignore"):  # signalling NaNs of narrower floats
        values = np.asarray(values, dtype=np.float64)
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt} has two codes per number; use encode_block")
    if rounding not in WHOLE and rounding != "stochastic":
        raise ConfigError(
            f"rounding must be one of {', '.join(WHOLE)}, stochastic, not {rounding!r}"
        )
    if rounding == "stochastic" and rng is None:
        raise ConfigError("stochastic rounding needs rng, a numpy.random.Generator")
    _check_exact(fmt)
    if isinstance(fmt, Float):
        return _encode_float(fmt, values, rounding, saturate, rng)
    if isinstance(fmt, Exponent):
        return _encode_exponent(fmt, values, rounding, saturate, rng)
    if isinstance(fmt, Bipolar):
        return (values < 0).astype(np.int64)
    with np.errstate(over="ignore"):  # of numbers that saturate
        scaled = np.nan_to_num(np.ldexp(values, _fraction(fmt)), nan=0.0)
    return np.clip(_round(scaled, rounding, rng), fmt.min, fmt.max).astype(np.int64)


def cast(codes, source: Format, target: Format, **options) -> np.ndarray:
    """Codes of one format as codes of another; options as `encode`'s."""
    return encode(target, decode(source, codes), **options)


def _check_exact(fmt: Format) -> None:
    if isinstance(fmt, Int) and fmt.bits - fmt.signed > EXACT_BITS:
        raise ConfigError(f"{fmt} is wider than the {EXACT_BITS} bits that float64 holds exactly")


def _fraction(fmt: Format) -> int:
    return fmt.frac if isinstance(fmt, Fixed) else 0


def _round(values: np.ndarray, rounding: str, rng: np.random.Generator | None) -> np.ndarray:
    if rng is None or rounding != "stochastic":
        return WHOLE[rounding](values)
    whole = np.floor(values)
    return whole + (rng.random(values.shape) < values - whole)


def _decode_float(fmt: Float, codes: np.ndarray) -> np.ndarray:
    field = (codes >> fmt.man) & ((1 << fmt.exp) - 1)
    mantissa = (codes & ((1 << fmt.man) - 1)) + (np.minimum(field, 1) << fmt.man)
    beyond = codes & (fmt.sign - 1)
    # Codes beyond the largest number, replaced below, may not fit into float64.
    field = np.where(beyond > fmt.largest_code, 0, field)
    magnitude = np.ldexp(mantissa.astype(np.float64), np.maximum(field, 1) + fmt.unit - 1)
    values = np.where(codes & fmt.sign, -magnitude, magnitude)
    if fmt.specials == "fnuz":
        return np.where(codes == fmt.nan, np.nan, values)
    values = np.where(beyond > fmt.largest_code, np.nan, values)
    if fmt.infinity is None:
        return values
    return np.where(beyond == fmt.infinity, np.where(codes & fmt.sign, -np.inf, np.inf), values)


def _encode_float(
    fmt: Float,
    values: np.ndarray,
    rounding: str,
    saturate: bool,
    rng: np.random.Generator | None,
) -> np.ndarray:
    finite = np.isfinite(values)
    numbers = np.where(finite, values, 0.0)
    # Of the number's binade; frexp gives zero the exponent of 0.5.
    exponent = np.where(numbers == 0, fmt.emin, np.maximum(np.frexp(numbers)[1] - 1, fmt.emin))
    whole = np.abs(_round(np.ldexp(numbers, fmt.man - exponent), rounding, rng)).astype(np.int64)
    # A mantissa that rounds up to the next power of two carries into the exponent by itself.
    code = whole + ((exponent.astype(np.int64) - fmt.emin) << fmt.man)
    negative = np.signbit(values)
    over: np.ndarray | int = fmt.largest_code
    if not saturate:
        inward = {"down": np.True_, "floor": ~negative, "ceil": negative}.get(rounding, np.False_)
        special = fmt.infinity or fmt.nan or fmt.largest_code
        over = np.where(inward & finite, fmt.largest_code, special)
    code = np.where((code > fmt.largest_code) | np.isinf(values), over, code)
    if fmt.specials == "fnuz":
        negative = negative & (code != 0)
    code = np.where(negative, code | fmt.sign, code)
    return np.where(np.isnan(values), fmt.nan or 0, code).astype(np.int64)


def _encode_exponent(
    fmt: Exponent,
    values: np.ndarray,
    rounding: str,
    saturate: bool,
    rng: np.random.Generator | None,
) -> np.ndarray:
    """To a power of two; numbers below the least become the least."""
    positive = np.isfinite(values) & (values > 0)
    fraction, exponent = np.frexp(np.where(positive, values, 1.0))
    step = _round(2 * fraction, rounding, rng).astype(np.int64) - 1
    code = np.maximum(exponent - 1 + step + fmt.bias, fmt.min)
    code = np.minimum(code, fmt.nan - 1 if saturate else fmt.nan)
    return np.where(positive, code, fmt.nan).astype(np.int64)


def random_codes(fmt: Int | Float, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Codes of finite numbers, all as likely (of fnuz formats without negative ones)."""
    if not isinstance(fmt, Float):
        return rng.integers(fmt.min, fmt.max, size, endpoint=True)
    signs = 1 if fmt.specials == "fnuz" else 2
    return rng.integers(0, fmt.largest_code, size, endpoint=True) + fmt.sign * rng.integers(
        0, signs, size
    )
