"""What multipliers compute, on codes, from their definitions.

Sources: IEEE 754-2019 and OCP OFP8 (rounded products); Luo and Sun, "Addition is All You Need for
Energy-efficient Language Models", arXiv 2410.00907 (L-Mul, in the bit form); Kosson and Jaggi,
"Multiplication-Free Transformer Training via Piecewise Affine Operations", and Mogami, 2020 (PAM).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats import Arithmetic, Bipolar, Block, Float, Format, Int, decode, encode

PAM_MEAN = 1.0552  # by what the compensated form is larger than the plain one


def product(arith: Arithmetic, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The numbers (float64) of products of codes `x` and `w`, which broadcast; not rounded.

    Exact for the multiplier "exact" up to 53 bits of significand, which holds those of two fp32;
    for the others the number of the product's code. Elements of blocks are without their scales.
    """
    if arith.multiplier == "exact":
        with np.errstate(invalid="ignore"):  # inf * 0
            return _value(arith.x, x) * _value(arith.w, w)
    return decode(arith.x, product_code(arith, x, w))


def product_code(arith: Arithmetic, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The codes of products of a multiplier of CODED, in the operands' format."""
    return CODED[arith.multiplier](cast(Float, arith.x), x, w)


def multiply(
    fmt: Float,
    a: np.ndarray,
    b: np.ndarray,
    flush: bool = False,
    saturate: bool = True,
    other: Float | None = None,
) -> np.ndarray:
    """Codes in `fmt` of a * b, rounded once, to nearest even; b is a code of `other`, if given.

    Products too large become the largest number where `saturate` (else infinity, or NaN where there
    is none); an infinite operand's product is infinite, and inf * 0 is NaN. `flush`: subnormal
    operands count as 0, and so does what is below the least normal number once it is rounded as if
    exponents had no end.
    """
    least, formats = 2.0**fmt.emin, (fmt, other or fmt)
    x, y = (_value(f, codes) for f, codes in zip(formats, (a, b), strict=True))
    if flush:
        x, y = (
            np.where(np.abs(v) < 2.0**f.emin, np.copysign(0.0, v), v)
            for f, v in zip(formats, (x, y), strict=True)
        )
    with np.errstate(invalid="ignore"):
        exact = x * y
    if flush:
        fraction, exponent = np.frexp(exact)
        rounded = np.ldexp(np.rint(np.ldexp(fraction, fmt.man + 1)), exponent - fmt.man - 1)
        exact = np.where(np.abs(rounded) < least, np.copysign(0.0, exact), exact)
    code = encode(fmt, exact, saturate=saturate)
    if fmt.infinity is not None and saturate:  # what is infinite already is not too large
        code = np.where(np.isinf(exact), encode(fmt, exact, saturate=False), code)
    return code


def lmul(
    fmt: Float, a: np.ndarray, b: np.ndarray, raw: bool = False, saturate: bool = True
) -> np.ndarray:
    """Codes of L-Mul: magnitudes add as integers, |r| = |a| + |b| - (bias << M) + ((1 << M) >> l).

    M: mantissa bits; l = M up to 3, 3 for 4, else 4. `raw`: modulo the code's width, without a
    guard; else guarded as `pam` is.
    """
    offset = (1 << fmt.man) >> (fmt.man if fmt.man <= 3 else 3 if fmt.man == 4 else 4)
    if not raw:
        return _guarded(fmt, a, b, offset, saturate)
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    return ((_sum(fmt, a, b, offset)) & (fmt.sign - 1)) | ((a ^ b) & fmt.sign)


def pam(
    fmt: Float, a: np.ndarray, b: np.ndarray, compensated: bool = False, saturate: bool = True
) -> np.ndarray:
    """Codes of PAM: |r| = |a| + |b| - (bias << M); compensated: + the bits of 1.0552 less those of
    1.

    A NaN operand gives NaN, and so does inf * 0; inf times another number is inf. A zero or
    subnormal operand gives zero, and so does an exponent field of 0 or less in the sum. What is
    above the largest finite code becomes that code where `saturate`, else infinity or NaN, where
    the format has one.
    """
    offset = round((PAM_MEAN - 1) * (1 << fmt.man)) if compensated else 0
    return _guarded(fmt, a, b, offset, saturate)


# Multipliers whose products are codes: a function of the format and two arrays of codes.
CODED: dict[str, Callable[[Float, np.ndarray, np.ndarray], np.ndarray]] = {
    "lmul": lmul,
    "lmul-raw": partial(lmul, raw=True),
    "pam": pam,
    "pam-c": partial(pam, compensated=True),
}


def _sum(fmt: Float, a: np.ndarray, b: np.ndarray, offset: int) -> np.ndarray:
    magnitude = fmt.sign - 1
    return (a & magnitude) + (b & magnitude) - ((fmt.bias << fmt.man) - offset)


def _guarded(fmt: Float, a, b, offset: int, saturate: bool) -> np.ndarray:
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    x, y = decode(fmt, a), decode(fmt, b)
    least = 2.0**fmt.emin
    zero = (np.abs(x) < least) | (np.abs(y) < least)
    infinite = np.isinf(x) | np.isinf(y)
    nan = np.isnan(x) | np.isnan(y) | (zero & infinite)
    code = _sum(fmt, a, b, offset)
    over = fmt.largest_code if saturate else encode(fmt, np.inf, saturate=False)
    code = np.where(code > fmt.largest_code, over, code)
    code = np.where(zero | (code < 1 << fmt.man), 0, code)
    if fmt.infinity is not None:
        code = np.where(infinite, fmt.infinity, code)
    sign = (a ^ b) & fmt.sign
    if fmt.specials == "fnuz":  # its 0 has no sign, and neither has its NaN
        sign = np.where((code == 0) | (code == fmt.nan), 0, sign)
    code = code | sign
    return code if fmt.nan is None else np.where(nan, fmt.nan, code)


def _value(fmt: Format, codes) -> np.ndarray:
    if isinstance(fmt, Block):
        values = decode(fmt.element, codes)
        return np.ldexp(values, fmt.unit) if isinstance(fmt.element, Int) else values
    if isinstance(fmt, Float) and not (2 * fmt.emax < 1023 and 2 * fmt.unit >= -1074):
        raise ConfigError(f"{fmt}: products are beyond what a float64 holds")
    return decode(fmt, codes)


def multiplied(
    arith: Arithmetic, x: np.ndarray, w: np.ndarray, flush: bool = False, saturate: bool = True
) -> np.ndarray:
    """What a multiplier gives: of floats codes in arith.x (`flush`, `saturate`: as `multiply`'s),
    of others the exact products of codes, integers of any size."""
    if isinstance(arith.x, Float):
        if arith.multiplier == "exact":
            return multiply(arith.x, x, w, flush, saturate, cast(Float, arith.w))
        return product_code(arith, x, w)
    numbers = decode(arith.w, w).astype(np.int64) if isinstance(arith.w, Bipolar) else w
    return np.asarray(x, dtype=object) * np.asarray(numbers, dtype=object)
