"""Fixed point for numbers that a model leaves in float between its quantized layers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float
from hwgen.frontend.context import CARRIER, Context
from hwgen.frontend.functions import few
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.values import Mapped, Real, Value

MOST_BITS = CARRIER.bits  # of what units of transformers read


def plain(context: Context, real: Real, floats: bool = False) -> bool:
    """Whether a value is (codes - zero point) * scale of few-bit integers, or of `floats`."""
    if len(real.terms) != 1 or real.clamped:
        return False
    (term,) = real.terms
    fmt = context.graph.tensors[term.stream.tensor].fmt
    numbers = (term.scale, real.offset)
    same = all(np.size(v) == 1 or len(set(np.ravel(v).tolist())) == 1 for v in numbers)
    if not same or term.stream.tensor in context.unit:
        return False
    if isinstance(fmt, Float):
        return floats and not any(np.ravel(real.offset))
    scale, offset = (Fraction(np.ravel(v)[0]) for v in numbers)
    return fmt.bits <= MOST_BITS and scale > 0 and (offset / scale).denominator == 1


def settled(node: Node, k: int, floats: bool = False) -> Real:
    """Input `k` as (codes - zero point) * scale: as it is where it is that already, else rounded
    to the format of its tensor in the configuration, or to one that holds all its numbers."""
    given, context = node.input(k), node.context
    value: Real | Mapped
    if isinstance(given, Mapped):
        if given.narrow is not None and not few(context, given.real):
            given = replace(given, real=given.narrow(), narrow=None)
        value, reach = given, _mapped_reach(context, given)
    else:
        value = node.real(k)
        if plain(context, value, floats):
            return value
        reach = _reach(context, value)
    name = node.names[k]
    for seen, real in context.settled.get(name, []):
        if same(seen, value):
            return real
    target = context.carrier(name, node.name, *reach)
    real = to_codes(node, value, target).real(target.scale)
    context.settled.setdefault(name, []).append((value, real))
    return real


def same(a: Value, b: Value) -> bool:
    """Whether two values are the same object, or the same numbers of the same tensors."""
    if a is b:
        return True
    if not (isinstance(a, Real) and isinstance(b, Real)) or len(a.terms) != len(b.terms):
        return False
    parts = [
        (v.offset, v.low, v.high, *(p for t in v.terms for p in (t.scale, t.stream.ids)))
        for v in (a, b)
    ]
    tensors = [[t.stream.tensor for t in v.terms] for v in (a, b)]
    return tensors[0] == tensors[1] and all(map(np.array_equal, *parts))


def _reach(context: Context, real: Real) -> tuple[float, float]:
    """The least and the greatest number, of all codes that may come."""
    least = most = np.asarray(real.offset).astype(np.float64)
    for term in real.terms:
        tensor = term.stream.tensor
        if isinstance(context.graph.tensors[tensor].fmt, Float):
            raise ModelError(
                "reads floats whose range is not known; convert the model with calibration inputs: "
                "--arith SPEC --calibrate X.npz"
            )
        if context.place[tensor] is None:
            context.settle(term.stream, term.stream.ids, sample_shape(term.stream.ids), tensor)
        ends = context.reached(tensor, context.positions(term.stream))
        scale = np.asarray(term.scale).astype(np.float64)
        products = [end * scale * float(context.unit.get(tensor, 1)) for end in ends]
        least, most = least + np.minimum(*products), most + np.maximum(*products)
    low, high = (None if v is None else np.asarray(v, np.float64) for v in (real.low, real.high))
    least, most = np.clip(least, low, high), np.clip(most, low, high)
    return float(np.min(least)), float(np.max(most))


def _mapped_reach(context: Context, value: Mapped) -> tuple[float, float]:
    """The same of a function of few-bit codes."""
    low, high = _reach(context, value.real)
    fmt = context.graph.tensors[value.real.terms[0].stream.tensor].fmt
    with np.errstate(all="ignore"):
        results = value.function(np.linspace(low, high, (1 << fmt.bits) + 1))
    if not np.isfinite(results).all():
        raise ModelError(f"reads {value.name}, which is not finite everywhere; quantize its input")
    return float(results.min()), float(results.max())
