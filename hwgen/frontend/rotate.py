"""Rotary position embedding: sums of two elements of a row, with factors that differ by place."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.context import Context
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.target import Target
from hwgen.frontend.values import Codes, Real, Stream
from hwgen.ir import Rotate

FACTOR_BITS = 15  # of the largest factor


def rotation(real: Real) -> bool:
    """Whether a value is a sum of two elements of one tensor, each of which comes twice."""
    if len(real.terms) != 2 or len({t.stream.tensor for t in real.terms}) != 1:
        return False
    first, second = (np.sort(t.stream.ids, axis=None) for t in real.terms)
    return np.array_equal(first, second)


def rotated(node: Node, real: Real, target: Target) -> Codes:
    """x * a + x[order] * b in the codes of `target`: a Rotate."""
    context = node.context
    first, second, lead = _streams(context, real, node.name)
    tensor = context.graph.tensors[lead.tensor]
    rows, channels = tensor.rows, tensor.channels
    row, order = np.divmod(second, channels)
    at = np.empty(first.size, dtype=np.int64)
    at[first.ravel()] = order.ravel()
    orders = at.reshape(rows, channels)
    if (row != first // channels).any() or (orders != orders[0]).any():
        raise ModelError("adds two elements of a tensor in no order that rows share; quantize both")
    scales = [np.broadcast_to(t.scale, first.shape) for t in real.terms]
    zero = _zero(real, scales)
    factors = []
    for scale in scales:
        table = np.empty(first.size)
        table[first.ravel()] = [float(v) for v in (scale / target.scale).ravel()]
        factors.append(table.reshape(rows, channels))
    shift = max(1, FACTOR_BITS - int(np.frexp(np.abs(factors).max())[1]))
    a, b = (np.rint(f * 2.0**shift).astype(np.int64) for f in factors)
    low, high = np.array(target.least), np.array(target.most)
    name = context.unique(f"{node.name}.rotate")
    result = context.tensor(f"{lead.tensor}_rotated", tensor.shape, low, high, target.fmt)
    context.place[result] = context.place[lead.tensor]
    context.add(
        Rotate(
            name=name,
            inputs=(lead.tensor,),
            outputs=(result,),
            zero=zero,
            first=a,
            second=b,
            order=orders[0],
            shift=shift,
            low=target.least,
            high=target.most,
        )
    )
    return Codes(Stream(result, lead.ids), target.fmt)


def _streams(context: Context, real: Real, name: str) -> tuple[np.ndarray, np.ndarray, Stream]:
    """The places of both terms' elements in the tensor of the first, and its stream."""
    one, other = (term.stream for term in real.terms)
    if context.place[one.tensor] is None:
        context.settle(one, one.ids, sample_shape(one.ids), name)
    lead = context.whole(one, name)
    moved = dict(zip(one.ids.ravel().tolist(), lead.ids.ravel().tolist(), strict=True))
    try:
        ids = np.array([moved[k] for k in other.ids.ravel().tolist()]).reshape(other.ids.shape)
    except KeyError as error:
        raise ModelError("adds different parts of a tensor; quantize both inputs") from error
    places = (context.positions(Stream(lead.tensor, v)) for v in (lead.ids, ids))
    first, second = places
    return first, second, lead


def _zero(real: Real, scales: list[np.ndarray]) -> int:
    """The zero point that both terms share."""
    total = scales[0] + scales[1]
    offset = np.broadcast_to(real.offset, total.shape)
    pairs = list(zip(offset.ravel(), total.ravel(), strict=True))
    zeros = {Fraction(-o) / Fraction(t) for o, t in pairs if t} or {Fraction(0)}
    zero = next(iter(zeros))
    if real.clamped or zero.denominator != 1 or any(o + zero * t for o, t in pairs):
        raise ModelError("adds two elements of a tensor and a constant; quantize it between")
    return int(zero)
