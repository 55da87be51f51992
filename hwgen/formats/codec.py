"""Numbers to codes and back: vectorized, on float64 arrays, which hold every number of every
format exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast as typed

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats.block import Block
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import Exponent, Float
from hwgen.formats.integer import Int
from hwgen.formats.names import Format
from hwgen.formats.ternary import Bipolar, Ternary

# Rounding of float64 arrays to whole numbers by the name of the mode.
WHOLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half_even": np.rint,
    "half_up": lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v),
    "half_down": lambda v: np.copysign(np.ceil(np.abs(v) - 0.5), v),
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda v: np.copysign(np.ceil(np.abs(v)), v),
}


def decode(fmt: Format, codes) -> np.ndarray:
    """The numbers of codes (any shape, integers) as float64."""
    codes = np.asarray(codes, dtype=np.int64)
    if isinstance(fmt, Float):
        return _decode_float(fmt, codes)
    if isinstance(fmt, Exponent):
        return np.where(codes == fmt.nan, np.nan, np.ldexp(1.0, codes - fmt.bias))
    if isinstance(fmt, Bipolar):
        return np.where(codes == 0, 1.0, -1.0)
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt} has two codes per number; use decode_block")
    return np.ldexp(codes.astype(np.float64), -(fmt.frac if isinstance(fmt, Fixed) else 0))


def encode(
    fmt: Format,
    values,
    rounding: str = "half_even",
    saturate: bool = True,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The codes (int64) of numbers (any shape, float64).

    `rounding`: a key of WHOLE, or "stochastic", which needs `rng`. Numbers too large become the
    largest where `saturate`, infinities too; otherwise infinity, or NaN where there is none (an
    integer always saturates, and so does a float that has neither). NaN becomes 0 where the format
    has none.
    """
    values = np.asarray(values, dtype=np.float64)
    if isinstance(fmt, Float):
        return _encode_float(fmt, values, rounding, saturate, rng)
    if isinstance(fmt, Bipolar):
        return (values < 0).astype(np.int64)
    if isinstance(fmt, Exponent):
        return _encode_exponent(fmt, values, rounding, rng)
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt} has two codes per number; use encode_block")
    low, high = (-1, 1) if isinstance(fmt, Ternary) else (typed(Int, fmt).min, typed(Int, fmt).max)
    scaled = np.ldexp(values, fmt.frac) if isinstance(fmt, Fixed) else values
    whole = _round(np.nan_to_num(scaled, nan=0.0), rounding, rng)
    return np.clip(whole, low, high).astype(np.int64)


def cast(codes, source: Format, target: Format, **options) -> np.ndarray:
    """Codes of one format as codes of another; options as `encode`'s."""
    return encode(target, decode(source, codes), **options)


def _round(values: np.ndarray, rounding: str, rng: np.random.Generator | None) -> np.ndarray:
    if rounding == "stochastic":
        if rng is None:
            raise ConfigError("stochastic rounding needs rng, a numpy.random.Generator")
        return np.floor(values + rng.random(values.shape))
    if rounding not in WHOLE:
        raise ConfigError(
            f"rounding must be one of {', '.join(WHOLE)}, stochastic, not {rounding!r}"
        )
    return WHOLE[rounding](values)


def _decode_float(fmt: Float, codes: np.ndarray) -> np.ndarray:
    field = (codes >> fmt.man) & ((1 << fmt.exp) - 1)
    mantissa = (codes & ((1 << fmt.man) - 1)) + (np.minimum(field, 1) << fmt.man)
    magnitude = np.ldexp(mantissa.astype(np.float64), np.maximum(field, 1) + fmt.unit - 1)
    values = np.where(codes & fmt.sign, -magnitude, magnitude)
    beyond = codes & (fmt.sign - 1)
    if fmt.specials == "ieee":
        values = np.where(beyond == fmt.infinity, np.copysign(np.inf, values), values)
        return np.where(beyond > fmt.infinity, np.nan, values)
    if fmt.specials == "fn":
        return np.where(beyond == fmt.nan, np.nan, values)
    return np.where(codes == fmt.nan, np.nan, values) if fmt.specials == "fnuz" else values


def _encode_float(fmt, values, rounding, saturate, rng) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, 0.0)
    _, exponent = np.frexp(finite)
    exponent = np.maximum(exponent - 1, fmt.emin)  # of the ulp's binade
    whole = np.abs(_round(np.ldexp(finite, fmt.man - exponent), rounding, rng)).astype(np.int64)
    # A mantissa that rounds up to the next power of two carries into the exponent by itself.
    code = whole + ((exponent - fmt.emin) << fmt.man)
    code = np.where(np.isinf(values), fmt.largest_code + 1, code)
    over = {"ieee": fmt.infinity, "fn": fmt.nan}.get(fmt.specials, fmt.largest_code)
    over = fmt.largest_code if saturate else over
    if fmt.specials == "fnuz" and not saturate:
        over = fmt.nan
    code = np.where(code > fmt.largest_code, over, code)
    negative = np.signbit(values)
    if fmt.specials == "fnuz":
        negative = negative & (code != 0) & (code != fmt.nan)
    code = np.where(negative, code | fmt.sign, code)
    return np.where(np.isnan(values), 0 if fmt.nan is None else fmt.nan, code).astype(np.int64)


def _encode_exponent(fmt: Exponent, values, rounding, rng) -> np.ndarray:
    """To the nearest power of two (a tie, 1.5 times one, goes up where `half_even` has it so)."""
    positive = np.isfinite(values) & (values > 0)
    fraction, exponent = np.frexp(np.where(positive, values, 1.0))
    step = _round(2 * fraction - 1, rounding, rng).astype(np.int64)
    code = np.clip(exponent - 1 + step + fmt.bias, fmt.min, fmt.nan - 1)
    return np.where(positive, code, fmt.nan).astype(np.int64)
