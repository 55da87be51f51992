"""Quantized functions: a table of few-bit codes, straight lines of many codes, or thresholds of
wider sums.

All are defined by what the model computes in float32, the function itself in float64: tables and
thresholds to the bit, lines within a code.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import ROUND, Float, Int, decode, encode
from hwgen.frontend.context import Context
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.normalize_form import curve_form
from hwgen.frontend.target import Target
from hwgen.frontend.values import Codes, Mapped, Real, Stream, uniform
from hwgen.ir import Curve, Lookup, MultiThreshold, Thresholds

MOST_LOOKUP_BITS = 16
MOST_LEVELS = 256  # found by comparison
LARGEST = 0x7F7FFFFF  # the bits of the largest float32 number


def quantized(node: Node, value: Mapped, target: Target) -> Codes:
    """The codes of a function: a Lookup, a Curve, or a MultiThreshold."""
    context = node.context
    (term,) = value.real.terms
    if context.place[term.stream.tensor] is None:
        context.settle(term.stream, term.stream.ids, sample_shape(term.stream.ids), node.name)
    context.check_rounded(term.stream.tensor)
    fmt = context.graph.tensors[term.stream.tensor].fmt
    if few(context, value.real):
        return _lookup(node, value, target)
    floats = isinstance(target.fmt, Float) or isinstance(fmt, Float)
    if not floats and value.rising and target.most - target.least <= MOST_LEVELS:
        return _compared(node, value, target)
    if value.narrow is None or isinstance(fmt, Float):
        raise ModelError(
            f"{value.name} is a function of a value that is not quantized; quantize its input"
        )
    return _lookup(node, replace(value, real=value.narrow()), target)


def few(context: Context, real: Real) -> bool:
    """Whether a value is codes of few bits, times one scale, with one offset."""
    if len(real.terms) != 1:
        return False
    (term,) = real.terms
    bits = context.graph.tensors[term.stream.tensor].fmt.bits
    return bits <= MOST_LOOKUP_BITS and np.size(term.scale) == np.size(real.offset) == 1


def _codes(value: Mapped, target: Target, x: np.ndarray) -> np.ndarray:
    """The codes of the function of float32 numbers."""
    return _rounded(target, _scaled(value, target, x))


def _scaled(value: Mapped, target: Target, x: np.ndarray) -> np.ndarray:
    """The function of float32 numbers in units of the target's scale, as float64."""
    with np.errstate(all="ignore"):  # what is too large for float32 is clamped too
        y = value.function(x.astype(np.float64)).astype(np.float32)
        return (y / np.float32(float(target.scale))).astype(np.float64)


def _rounded(target: Target, y: np.ndarray) -> np.ndarray:
    """The codes of numbers in units of the target's scale."""
    if isinstance(target.fmt, Float):
        return encode(target.fmt, y)
    finite = np.clip(y, -(2.0**40), 2.0**40)
    codes = [ROUND[target.rounding](Fraction(v)) + target.zero for v in finite.tolist()]
    return np.clip(np.array(codes, dtype=np.int64), target.least, target.most)


def _lookup(node: Node, value: Mapped, target: Target) -> Codes:
    """A table with an entry for each code; straight lines where there are many codes."""
    context = node.context
    (term,) = value.real.terms
    source = term.stream.tensor
    fmt = context.graph.tensors[source].fmt
    scale, offset = (Fraction(np.ravel(v)[0]) for v in (term.scale, value.real.offset))
    codes = np.arange(fmt.max + 1) if isinstance(fmt, Float) else np.arange(fmt.min, fmt.max + 1)
    numbers = codes
    if isinstance(fmt, Float):  # codes of infinity and NaN don't occur
        numbers = np.nan_to_num(decode(fmt, codes), posinf=0, neginf=0)
    reals = [Fraction(number) * scale + offset for number in numbers.tolist()]
    for limit, cut in ((value.real.low, max), (value.real.high, min)):
        if limit is not None:
            bound = uniform(limit, "the limit of its input")
            reals = [cut(v, bound) for v in reals]
    x = np.array([float(v) for v in reals]).astype(np.float32)
    y = _scaled(value, target, x)
    low, high = (end.min() if k == 0 else end.max() for k, end in enumerate(context.reach[source]))
    come = (codes >= low) & (codes <= high) | isinstance(fmt, Float)
    if np.isnan(y[come]).any():
        raise ModelError(
            f"{value.name} is not defined for {x[come & np.isnan(y)][0]:g}, which its input may "
            "be; quantize its input to numbers for which it is, or clip it"
        )
    y = np.nan_to_num(y, nan=0, posinf=np.inf, neginf=-np.inf)
    curve = curve_form(y, target) if isinstance(fmt, Int) else None
    results = _rounded(target, y) if curve is None else curve(codes - fmt.min)
    results = np.clip(results, target.least, target.most)
    ends = np.array(results.min()), np.array(results.max())
    size = context.graph.tensors[source].shape
    result = context.tensor(f"{source}_mapped", size, *ends, target.fmt)
    context.place[result] = context.place[source]
    names: dict[str, Any] = {
        "name": context.unique(value.name),
        "inputs": (source,),
        "outputs": (result,),
        "first": fmt.min,
    }
    if curve is None:
        context.add(Lookup(table=results, **names))
    else:
        context.add(Curve(function=curve, low=target.least, high=target.most, **names))
    return Codes(Stream(result, term.stream.ids), target.fmt)


def _compared(node: Node, value: Mapped, target: Target) -> Codes:
    """The thresholds of every channel: the least sum that is at or above a step of the function."""
    context = node.context
    (term,) = value.real.terms
    stream = context.partly(term.stream, node.name)
    source = stream.tensor
    tensor = context.graph.tensors[source]
    scale, offset = context.by_channel([term.scale, value.real.offset], stream)
    ends = [np.broadcast_to(v, scale.shape) for v in context.reach[source]]
    steps = _steps(value, target)
    known: dict[tuple, list[int]] = {}
    rows = []
    for key in zip(scale.ravel(), offset.ravel(), *(v.ravel().tolist() for v in ends), strict=True):
        if key not in known:
            known[key] = [_reached(step, *key) for step in steps]
        rows.append(known[key])
    falls = np.array([v < 0 for v in scale.ravel()])
    start = np.where(falls, ~ends[1].ravel(), ends[0].ravel())
    values = np.array(rows, dtype=np.int64).reshape(len(rows), -1) - falls[:, None]
    always = min(int((values <= start[:, None]).sum(axis=1).min()), len(steps) - 1)
    least = target.least + always
    low = np.full(scale.shape, least)
    last = np.where(falls, ~ends[0].ravel(), ends[1].ravel())
    ever = max(always + 1, int((values <= last[:, None]).sum(axis=1).max()))
    result = context.tensor(
        f"{source}_mapped", tensor.shape, np.array(least), np.array(target.least + ever), target.fmt
    )
    context.place[result] = context.place[source]
    form = Thresholds(
        values=values[:, always:ever].T.reshape(-1, *scale.shape),
        falls=falls.reshape(scale.shape).astype(np.int64),
    )
    context.add(
        MultiThreshold(
            name=context.unique(value.name),
            inputs=(source,),
            outputs=(result,),
            low=low,
            form=form,
        )
    )
    return Codes(Stream(result, stream.ids), target.fmt)


def _reached(step: Fraction | None, scale, offset, low: int, high: int) -> int:
    """The least x of [low, high] (of [-high, -low], for -x, where the scale is negative) with
    x * scale + offset >= step, or one above all."""
    low, high = (-high, -low) if scale < 0 else (low, high)
    if step is None:
        return high + 1
    if scale == 0:
        return low if offset >= step else high + 1
    return min(max(math.ceil((step - offset) / abs(scale)), low), high + 1)


def _steps(value: Mapped, target: Target) -> list[Fraction | None]:
    """For each code above the least, the least float32 number whose code is that or above; None if
    there is none. By bisection, for the function rises."""
    real = value.real
    low, high = (
        limit if bound is None else float(uniform(bound, "the limit of its input"))
        for bound, limit in ((real.low, -np.inf), (real.high, np.inf))
    )
    levels = np.arange(target.least + 1, target.most + 1)

    def reach(keys: np.ndarray) -> np.ndarray:
        numbers = np.clip(_floats(keys), low, high).astype(np.float32)
        return _codes(value, target, numbers) >= levels

    # below: keys of numbers that don't reach their level; above: of those that do.
    below, above = np.full(levels.shape, -LARGEST - 1), np.full(levels.shape, LARGEST + 1)
    for _ in range(32):
        middle = (below + above) // 2
        inside = (middle > below) & (middle < above)
        reached = reach(np.clip(middle, -LARGEST, LARGEST))
        above = np.where(inside & reached, middle, above)
        below = np.where(inside & ~reached, middle, below)
    return [
        None if key > LARGEST else Fraction(float(number))
        for key, number in zip(above, _floats(np.minimum(above, LARGEST)), strict=True)
    ]


def _floats(keys: np.ndarray) -> np.ndarray:
    """The float32 numbers in order: key 0 is 0, key k the kth above it, or below."""
    return np.copysign(np.abs(keys).astype(np.uint32).view(np.float32), keys)
