"""The integers of attention, from what it is to compute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.ir import Mask
from hwgen.ir.interpolation import interpolation


@dataclass
class Form:
    """Fields of an Attention; the unit of its output, in that of values; what was recognized."""

    fields: dict[str, Any]
    scale: Fraction
    note: str


def band(allowed: np.ndarray) -> tuple[int, int, int] | None:
    """(left, right, leading) of a mask that is a band."""
    n, m = allowed.shape
    i, j = np.arange(n)[:, None], np.arange(m)
    left = int((i - j)[allowed].max(initial=0))
    right = int((j - i)[allowed].max(initial=0))
    ok = (allowed == ((j >= i - left) & (j <= i + right))).all()
    return (left, right, 0) if ok else None


def attention_form(arith, fmts, reaches, zero, scale, bias, size) -> Form:
    """Fields of an Attention of q, k and v in formats `fmts` that reach `reaches`."""
    rows, keys, _ = size
    bits = 8 if max(f.bits for f in fmts) <= 8 else 16
    fraction = 8 if bits == 8 else 12
    step = float(scale) * math.log2(math.e) * 2.0**fraction
    shift = max(1, 15 - math.ceil(math.log2(step)))
    out, places = 17, 12
    less = 8 if bits == 8 else 0
    allowed = np.ones((1, rows, keys), bool)
    resid = None
    if bias is not None:
        b = bias - bias.max(axis=-1, keepdims=True)
        allowed = b > -1000
        if (np.where(allowed, b, 0) != 0).any():
            resid = np.rint(np.where(allowed, b, 0) * math.log2(math.e) * 2.0**fraction).astype(
                np.int64
            )
    window = band(allowed[0]) if len(allowed) == 1 and resid is None else None
    mask = None
    if window:
        left, right, leading = window
        slots = leading + (keys if left >= rows - 1 else min(left + right + 1, 10**9))
    else:
        mask = Mask(allowed=allowed, bias=resid)
        left, right, leading, slots = (
            keys,
            max(0, int((np.arange(keys) - np.arange(rows)[:, None])[allowed.any(axis=0)].max())),
            0,
            keys,
        )
    low, high = int(reaches[2][0].min()) << less, int(reaches[2][1].max()) << less
    top = 2.0**bits - 1
    fields = {
        "zero": zero,
        "multiplier": round(step * 2.0**shift),
        "shift": shift,
        "fraction": fraction,
        "exponential": interpolation(
            lambda x: np.minimum(2.0 ** (bits - 1 + x / 2.0**fraction), top), fraction, 0.75
        ),
        "weight_bits": bits,
        "reciprocal": interpolation(
            lambda x: 2.0**out / (1 + (x + 0.5) / 2.0**places), places, 1.0
        ),
        "up": out - less,
        "low": low,
        "high": high,
        "left": left,
        "right": right,
        "leading": leading,
        "slots": slots,
        "mask": mask,
    }
    return Form(fields, Fraction(1, 1 << less), f"window {window}")
