"""Attention on its own, of random shapes, windows, masks, formats and folds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from hwgen.formats import Float, Int, int_holding, parse_arithmetic
from hwgen.frontend.attention_form import Operand, attention_form, sight
from hwgen.ir import Attention, Graph, Grid, Mask, Tensor
from hwgen.ir.interpolation import interpolation
from tests.rtl.transformer_graphs import alone, having

# rows, keys, heads, groups, elements of a head of q and of v, left, right, leading, lanes, simd
BANDS = [
    (6, 6, 1, 1, 4, 4, 2, 0, 0, 3, 1),  # a window at once: a row takes as long as a head has words
    (6, 6, 2, 1, 4, 2, 2, 1, 0, 2, 2),  # a group of two heads; windows in two visits
    (7, 7, 2, 2, 2, 4, 1, 1, 2, 2, 2),  # leading keys that stay
    (5, 5, 1, 1, 4, 4, 9, 4, 0, 2, 4),  # all keys; visits of one cycle
    (6, 6, 1, 1, 2, 2, 9, 0, 0, 4, 1),  # causal
    (9, 9, 1, 1, 3, 3, 1, 3, 0, 5, 1),  # more keys ahead than behind
]
MASKS = [  # rows, keys, heads, groups, elements, lanes, simd, masks, whether there is a bias
    (6, 8, 2, 1, 4, 3, 2, 1, False),
    (6, 6, 2, 2, 4, 4, 1, 2, True),
    (4, 3, 1, 1, 2, 3, 2, 1, True),
]
FLOATS = ["e4m3fn", "e4m3fn:lmul", "e3m2:pam", "bf16", "bf16:lmul"]
WEIGHT_BITS = 16  # in which the weights of wide floats are summed
PLACES, UP = 8, 12  # bits of the reciprocal's argument and result


def _fields(weight_bits: int, fraction: int, up: int, low: int, high: int) -> dict:
    top = 2.0**weight_bits - 1

    def power(x: np.ndarray) -> np.ndarray:
        return np.minimum(2.0 ** (weight_bits - 1 + x / 2.0**fraction), top)

    def reciprocal(x: np.ndarray) -> np.ndarray:
        return 2.0**UP / (1 + (x + 0.5) / 2.0**PLACES)

    return {
        "fraction": fraction,
        "exponential": interpolation(power, fraction, 0.75),
        "weight_bits": weight_bits,
        "reciprocal": interpolation(reciprocal, PLACES, 1.0),
        "up": up,
        "low": low,
        "high": high,
    }


def _integers(
    bits: int,
    *inputs: Tensor,
    lanes: int,
    simd: int,
    parts: int = 1,
    cycles: int | None = None,
    **fields,
) -> Graph:
    """Attention of integers, whose scores spread over some powers of two."""
    q, _, v, *_ = inputs
    less = 4
    ends = (-(1 << bits - 1)) << less, ((1 << bits - 1) - 1) << less
    y = Tensor((q.rows, v.channels * fields["heads"] // fields["groups"]), Int(bits + less))
    spread = Fraction(37, 1 << 2 * bits - 7)
    node = having(
        Attention,
        **_fields(bits, bits - 2, UP - less, *ends),
        **fields,
        multiplier=spread.numerator,
        shift=spread.denominator.bit_length() - 1,
    )
    settings = {"lanes": lanes, "simd": simd, "heads": parts}
    return alone(node, *inputs, y, nodes={"node": settings}, cycles=cycles)


def band(seed: int) -> Graph:
    """Windows."""
    rows, keys, heads, groups, depth, width, left, right, leading, lanes, simd = BANDS[seed]
    bits = [8, 8, 6, 8, 12, 5][seed]
    values = Int(bits - 1, signed=False) if seed == 4 else Int(bits)
    fmts = Int(bits), Int(bits, signed=seed == 1), values
    sizes = (rows, heads * depth), (keys, groups * depth), (keys, groups * width)
    q, k, v = (Tensor(size, fmt) for size, fmt in zip(sizes, fmts, strict=True))
    slots = keys if left >= rows - 1 else leading + left + right + 1
    fields = {"heads": heads, "groups": groups, "left": left, "right": right}
    more = {"leading": leading, "slots": slots, "zero": seed % 3}
    return _integers(bits, q, k, v, lanes=lanes, simd=simd, **fields, **more)


def masked(seed: int) -> Graph:
    """Random masks, with a bias or without; one row attends to nothing."""
    rows, keys, heads, groups, depth, lanes, simd, masks, biased = MASKS[seed]
    r = np.random.default_rng(seed)
    allowed = r.random((masks, rows, keys)) < 0.4
    allowed[:, 1] = False
    bias = r.integers(-40, 41, allowed.shape) if biased else None
    sizes = (rows, heads * depth), (keys, groups * depth), (keys, groups * depth)
    q, k, v = (Tensor(size, Int(8)) for size in sizes)
    fields = {"heads": heads, "groups": groups, "left": keys, "right": keys - 1, "slots": keys}
    mask = Mask(allowed=allowed, bias=bias)
    return _integers(8, q, k, v, lanes=lanes, simd=simd, **fields, mask=mask)


def dealt(seed: int) -> Graph:
    """Heads that work at once, joined in words of several elements; each has its own mask."""
    rows, elements = 6, 4
    q, k, v = (
        Tensor((rows, heads * elements), Int(8)) for heads in (4, 4 - 2 * seed, 4 - 2 * seed)
    )
    fields = {"heads": 4, "groups": 4 - 2 * seed, "left": 2, "right": 1, "slots": 4}
    if seed == 0:
        allowed = np.random.default_rng(5).random((4, rows, rows)) < 0.5
        mask = Mask(allowed=allowed)
        fields |= {"left": rows, "right": rows - 1, "slots": rows, "mask": mask}
    return _integers(8, q, k, v, lanes=4, simd=4, parts=2, cycles=[48, 26][seed], **fields)


def sequences(seed: int) -> Graph:
    """A row a sample: the first keys of a sequence stay, others expire, none outlives it."""
    leading, left, lanes = [(0, 2, 3), (2, 1, 4), (1, 0, 2)][seed]
    q, k, v = (Tensor((1, width), Int(8)) for width in (8, 4, 4))
    end = Tensor((1, 1), Int(1, signed=False))
    fields = {"heads": 2, "groups": 1, "left": left, "right": 0, "leading": leading}
    fields |= {"slots": leading + left + 1, "stateful": True, "zero": 200}
    return _integers(8, q, k, v, end, lanes=lanes, simd=1 + seed // 2, **fields)


def floats(seed: int) -> Graph:
    """Any arithmetic with exact sums."""
    arithmetic = parse_arithmetic(FLOATS[seed])
    x = arithmetic.x
    assert isinstance(x, Float)
    exact = arithmetic.multiplier == "exact"
    unit = x.unit + (arithmetic.w.unit if exact else 0)
    q, k, v = (Tensor((5, width), x) for width in (8, 4, 4))
    least, less, more = -x.unit, 2, {}
    if x.bits > 8:  # of random codes about one in ten gives products within both grids
        unit, least = -20, WEIGHT_BITS
        more = {
            "score_grid": Grid(exponent=-20, bits=31),
            "value_grid": Grid(exponent=-20, bits=28),
        }
        less = 20 - WEIGHT_BITS
    fields = _fields(least, 6, UP - unit - least - less, -(1 << 15), 1 << 15)

    def mantissa(f: np.ndarray) -> np.ndarray:
        return (2.0 ** (f / 64) - 1) * 2.0**x.man

    fields["exponential"] = interpolation(mantissa, 6, 0.75)
    node = having(
        Attention,
        **fields,
        heads=2,
        groups=1,
        multiplier=23,
        shift=max(1, -unit - 2),
        left=1,
        right=1,
        slots=3,
        arithmetic=arithmetic,
        **more,
    )
    y = Tensor((5, 8), Int(17))
    return alone(node, q, k, v, y, nodes={"node": {"lanes": 2, "simd": 2}})


def sliding(
    rows: int,
    window: int,
    depth: int,
    lanes: int,
    arithmetic: str = "int8",
    leading: int = 0,
    allowed: np.ndarray | None = None,
) -> Graph:
    """One head as a model gives it, of numbers from -4 to 4: of each row the `window` keys around
    it and the first `leading`, or what is `allowed` (rows, rows)."""
    arith = parse_arithmetic(arithmetic)
    fmt, floats = arith.x, isinstance(arith.x, Float)
    scale = Fraction(1) if floats else Fraction(4, 1 << fmt.bits - 1)
    ends = (-4, 4) if floats else (fmt.min, fmt.max)
    operand = Operand(fmt=fmt, scale=scale, least=ends[0], most=ends[1])
    right = (window - 1) // 2
    left, slots = window - 1 - right, leading + window
    seen = {"left": left, "right": right, "leading": leading, "slots": slots}
    keys = slots
    if allowed is not None:
        seen, keys = sight(allowed[None], None), int(allowed.sum(axis=1).max())
    form = attention_form(
        "sliding",
        operand,
        operand,
        operand,
        factor=Fraction(1 / math.sqrt(depth)),
        depth=depth,
        keys=keys,
        arithmetic=arith if floats else None,
    )
    x = Tensor((rows, depth), fmt)
    y = Tensor((rows, depth), int_holding(form.fields["low"], form.fields["high"]))
    node = having(Attention, **form.fields, **seen, heads=1, groups=1)
    return alone(node, x, x, x, y, nodes={"node": {"lanes": lanes, "simd": 1}})


CASES = {
    "attention": [(band, k) for k in range(len(BANDS))],
    "masks": [*((masked, k) for k in range(len(MASKS))), *((dealt, k) for k in range(2))],
    "sequences": [(sequences, k) for k in range(3)],
    "attention_floats": [(floats, k) for k in range(len(FLOATS))],
}
