"""From attention of numbers to the integers of an `Attention` node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Arithmetic, Float, Int
from hwgen.ir import Grid, Interpolation, Mask
from hwgen.ir.interpolation import interpolation

HIDDEN = 5e3  # what lies so far below a row's best is no bias but a mask: often -1e4 stands for it
FEW_KEYS = 32  # for which 8 bits of a weight are enough
MOST_WEIGHT_BITS = 16
EXACT_BITS = 48  # of a product that is summed as it is
GRID_BITS = 32  # of a product that is not
# Errors of exponential and reciprocal, in units of their last place, up to so many bits of weights.
ERRORS = ((12, 1.0), (MOST_WEIGHT_BITS, 4.0))
LOG2E = Fraction(math.log2(math.e))


@dataclass(frozen=True, eq=False, kw_only=True)
class Operand:
    """Queries, keys or values: numbers (code - zero) * scale, of floats number(code) * scale.

    `least` and `most` are those of the codes, of floats those of number(code).
    """

    fmt: Int | Float
    scale: Fraction
    zero: int = 0
    least: float
    most: float

    @property
    def reach(self) -> float:
        """The largest magnitude of what is multiplied."""
        return max(abs(self.least - self.zero), abs(self.most - self.zero))


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionForm:
    """`fields` of the node; its outputs stand for numbers y * scale + offset."""

    fields: dict[str, Any]
    scale: Fraction
    offset: Fraction


def weight_bits(bits: int, keys: int) -> int:
    """Bits of softmax weights for operands of so many bits, where a row attends to at most so many
    keys: 8, for more than 8 bits 16.

    A weight below 2**-weight_bits of the largest is lost; so many keys may lose together no more
    than 32 keys in 8 bits.
    """
    if bits > 8:
        return MOST_WEIGHT_BITS
    more = (max(1, math.ceil(keys / FEW_KEYS)) - 1).bit_length()
    return min(8 + more, MOST_WEIGHT_BITS)


def attention_form(
    name: str,
    q: Operand,
    k: Operand,
    v: Operand,
    *,
    factor: Fraction,
    depth: int,
    keys: int,
    bias: np.ndarray | None = None,
    arithmetic: Arithmetic | None = None,
    bits: int | None = None,
) -> AttentionForm:
    """Integers for softmax(factor * q * k' + bias) * v with heads of `depth` elements, each row of
    which attends to at most `keys` keys; `bits`: of a weight, if not as `weight_bits` says.

    `fields` has multiplier, shift, fraction, exponential, weight_bits, reciprocal, up, low, high,
    and, where they are not the default, zero, arithmetic, both grids, and `bias` in units of the
    scores, which belongs to the node's `Mask`.

    Errors, with W = weight_bits, F = fraction (8 or 12), e = 2 for W up to 12, else 4: scores, of
    those that differ by less than W + 1 in log2, by 2**-F * 5/4 against each other (a bias 1/2
    more, a grid 1/2 more); a weight by 2**(e - W) of itself, of floats by a unit in their last
    place, and then by 2**(1 - W) of the largest weight; the quotient by 2**(e - W) of itself, and
    by a half of its unit. That unit is 1/16 of v's (of floats: 2**-(W + 6) of the power of two of
    the reach of v).
    """
    widest = max(x.fmt.bits for x in (q, k, v))
    w = bits or weight_bits(widest, keys)
    fraction = 8 if widest <= 8 else 12
    per_step = factor * q.scale * k.scale * LOG2E * (1 << fraction)
    fields: dict[str, Any] = {"fraction": fraction, "weight_bits": w}
    unit = 0
    if arithmetic is None:
        if q.zero:
            fields["zero"] = q.zero
    else:
        fields["arithmetic"] = arithmetic
        unit = _score_unit(arithmetic, fields, q.reach * k.reach, depth, per_step)
    per_step *= Fraction(2) ** unit
    reach = q.reach * k.reach * depth * 2.0**-unit
    fields["multiplier"], fields["shift"] = _multiplier(name, per_step, reach, (w + 1) << fraction)
    if bias is not None:
        found = np.where(np.isfinite(bias), bias, 0) * float(LOG2E * (1 << fraction))
        fields["bias"] = np.rint(found).astype(np.int64)
    fields["exponential"] = _exponential(w, fraction, arithmetic)
    rest = min(w + 2, MOST_WEIGHT_BITS)
    top = w + 2
    fields["reciprocal"] = interpolation(lambda x: 2.0**top / (1 + x / 2.0**rest), rest, _error(w))
    step = _quotient(arithmetic, fields, v, w, top, keys)
    scale = Fraction(2) ** step * v.scale
    return AttentionForm(fields=fields, scale=scale, offset=-v.scale * v.zero)


def _quotient(
    arithmetic: Arithmetic | None, fields: dict[str, Any], v: Operand, w: int, top: int, keys: int
) -> int:
    """Adds up, low, high and the grid of values; returns log2 of y's unit in units of v's
    numbers."""
    if arithmetic is None:
        step, fields["up"] = -4, top - 4
    else:
        power = math.frexp(max(abs(v.least), abs(v.most)) or 1.0)[1]
        unit = _value_unit(arithmetic, fields, power, w, keys)
        step = max(power - w - 6, unit)
        fields["up"] = top - unit - w + step
    ends = min(0, v.least), max(0, v.most)
    fields["low"] = math.floor(math.ldexp(ends[0], -step))
    fields["high"] = math.ceil(math.ldexp(ends[1], -step))
    return step


def _multiplier(name: str, per_step: Fraction, reach: float, matter: int) -> tuple[int, int]:
    """Multiplier and shift of scores: differences that matter are wrong by 1/4 at most."""
    if not per_step:
        return 0, 1
    size = abs(per_step)
    differ = min(2 * reach * float(size), matter)
    bits = max(1, math.ceil(math.log2(4 * differ))) if differ > 0.25 else 1
    if size >= 1 << 32:
        raise ModelError(
            f"{name}: a step of its scores is {float(size):.3g} units of the softmax; check the "
            "scales of queries and keys, and the factor of their products"
        )
    shift = max(1, bits - math.floor(math.log2(size)) - 1)
    multiplier = round(per_step * (1 << shift))
    while shift > 1 and multiplier % 2 == 0:
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift


def _error(w: int) -> float:
    return next(error for most, error in ERRORS if w <= most)


def _exponential(w: int, fraction: int, arithmetic: Arithmetic | None) -> Interpolation:
    """2**(f / 2**fraction) as a weight or as a mantissa, never beyond either."""
    error = _error(w)
    low, high, size, first = 1 << w - 1, (1 << w) - 1, 1 << w - 1, 0
    if arithmetic is not None:
        size = 1 << arithmetic.x.man
        error, low, high, first = 0.75, 0, size, size
    give = error - 0.5  # what is so far within the ends stays there

    def function(f: np.ndarray) -> np.ndarray:
        exact = size * 2.0 ** (f / (1 << fraction)) - first
        return np.clip(exact, low + give, high - give)

    return interpolation(function, fraction, error)


def _wide(arithmetic: Arithmetic) -> bool:
    """Whether products are rounded to a grid."""
    return arithmetic.exact_bits > EXACT_BITS


def _product_unit(arithmetic: Arithmetic) -> int:
    """log2 of the least product."""
    return arithmetic.x.unit + (arithmetic.w.unit if arithmetic.multiplier == "exact" else 0)


def _score_unit(
    arithmetic: Arithmetic, fields: dict[str, Any], reach: float, depth: int, per_step: Fraction
) -> int:
    """log2 of the scores' unit; adds their grid, if products need one: all those of a score are
    wrong by half a step of the softmax together."""
    if not _wide(arithmetic):
        return _product_unit(arithmetic)
    size = float(abs(per_step)) * depth * 2 or 1.0
    exponent = math.floor(-math.log2(size))
    fields["score_grid"] = _grid(exponent, reach)
    return exponent


def _value_unit(
    arithmetic: Arithmetic, fields: dict[str, Any], power: int, w: int, keys: int
) -> int:
    """log2 of the unit of sums of values; adds their grid, if products need one: so many keys are
    wrong by 2**(1 - w) of the reach of v together."""
    if not _wide(arithmetic):
        return _product_unit(arithmetic)
    exponent = power - w - (keys - 1).bit_length()
    fields["value_grid"] = _grid(exponent, 2.0**power)
    return exponent


def _grid(exponent: int, reach: float) -> Grid:
    """With bits for a product of this size; where it has more than GRID_BITS of them it
    saturates."""
    bits = math.frexp(reach)[1] - exponent + 1
    return Grid(exponent=exponent, bits=max(2, min(bits, GRID_BITS)))


def mask_of(
    name: str, bias: np.ndarray, spread: float, weight_bits: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """What an additive mask (heads or none, queries, keys) allows, and the bias that is left.

    Each row's maximum becomes 0. A key is not attended to where its bias is -inf, or so far below
    (5,000 stands for -inf) that its weight never reaches 2**-weight_bits of the largest, for scores
    that differ by at most `spread`. Both results are (heads or 1, queries, keys), the bias None
    where nothing is left of it. Raises `ModelError` for rows without a key.
    """
    bias = np.asarray(bias, dtype=np.float64)
    bias = bias[None] if bias.ndim == 2 else bias
    most = bias.max(axis=2, keepdims=True)
    if not (np.isfinite(most).all() and not np.isnan(bias).any()):
        head, row, _ = np.argwhere(~np.isfinite(most) | np.isnan(bias).any(axis=2, keepdims=True))[
            0
        ]
        raise ModelError(
            f"{name}: row {row} of its mask (head {head}) leaves no key, or is not a number; every "
            "query must attend to a key, make the mask allow one"
        )
    bias = bias - most
    allowed = bias > -min(HIDDEN, spread + weight_bits * math.log(2))
    bias = np.where(allowed, bias, 0)
    if len(bias) > 1 and (bias == bias[0]).all() and (allowed == allowed[0]).all():
        bias, allowed = bias[:1], allowed[:1]
    return allowed, bias if bias.any() else None


def band(allowed: np.ndarray) -> tuple[int, int, int] | None:
    """left, right and leading of the `Attention` that attends to what is allowed (queries, keys),
    None where there is none."""
    queries, keys = allowed.shape
    ahead = np.arange(keys) - np.arange(queries)[:, None]
    right = max(0, int(ahead[allowed].max(initial=0)))
    gaps = np.flatnonzero(~allowed[-1])
    for leading in (0, int(gaps[0]) if len(gaps) else keys):
        leads = np.arange(keys) < leading
        left = max(0, int(-ahead[allowed & ~leads].min(initial=0)))
        if np.array_equal(allowed, (leads | (ahead >= -left)) & (ahead <= right)):
            return left, right, leading
    return None


def sight(allowed: np.ndarray, bias: np.ndarray | None) -> dict[str, Any]:
    """left, right, leading, slots and mask of the node that attends to what is allowed, (heads or
    1, queries, keys), with a bias in units of the scores."""
    _, queries, keys = allowed.shape
    if bias is None and len(allowed) == 1 and (found := band(allowed[0])) is not None:
        left, right, leading = found
        slots = keys if left >= queries - 1 else leading + left + 1 + right
        return {"left": left, "right": right, "leading": leading, "slots": slots}
    _, row, key = np.nonzero(allowed)
    right = max(0, int((key - row).max()))
    mask = Mask(allowed=allowed, bias=bias)
    return {"left": keys, "right": right, "slots": keys, "mask": mask}


def masked_form(
    name: str,
    q: Operand,
    k: Operand,
    v: Operand,
    *,
    factor: Fraction,
    depth: int,
    bias: np.ndarray,
    arithmetic: Arithmetic | None = None,
) -> AttentionForm:
    """`attention_form` for an additive mask, with the fields that say what is attended to."""
    widest = max(x.fmt.bits for x in (q, k, v))
    spread = 2 * float(abs(factor) * q.scale * k.scale) * q.reach * k.reach * depth
    allowed, rest = mask_of(name, bias, spread, weight_bits(widest, bias.shape[-1]))
    most = int(allowed.sum(axis=2).max())
    form = attention_form(
        name, q, k, v, factor=factor, depth=depth, keys=most, bias=rest, arithmetic=arithmetic
    )
    form.fields.update(sight(allowed, form.fields.pop("bias", None)))
    return form


def note(fields: dict[str, Any], keys: int) -> str:
    """What was recognized, in words."""
    if fields.get("mask") is not None:
        biased = " and a bias" if fields["mask"].bias is not None else ""
        return f"attention to what a mask of its own says{biased}"
    if fields["slots"] == keys and fields["right"] == keys - 1:
        return f"attention to all {keys} keys"
    leading = f" and the first {fields['leading']}" if fields["leading"] else ""
    if fields["slots"] == keys:
        causal = "" if fields["right"] else " (causal)"
        return f"attention to all keys up to {fields['right']} ahead{leading}{causal}"
    return f"attention to {fields['left']} keys before and {fields['right']} after{leading}"
