"""Elementwise arithmetic: everything affine folds into the next requantization."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import int_holding
from hwgen.frontend.context import Node, Target, numbers
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.values import (
    Codes,
    Constant,
    Numbers,
    Real,
    Scaled,
    Term,
    Value,
    exact,
    shape,
)


def add(node: Node) -> Value:
    """Add of a constant, or of two quantized tensors."""
    return _sum(node, 1)


def subtract(node: Node) -> Value:
    """Sub."""
    return _sum(node, -1)


def _sum(node: Node, sign: int) -> Value:
    minus = exact(sign)
    first, second = node.input(0), node.input(1)
    if isinstance(second, Constant | Scaled):
        return node.real(0).affine(exact(1), fitting(second, node.real(0)) * minus)
    if isinstance(first, Constant | Scaled):
        return node.real(1).affine(minus, fitting(first, node.real(1)))
    a, b = node.real(0), node.real(1).affine(minus, exact(0))
    if shape(a) != shape(b):
        raise ModelError(
            f"adds {list(shape(a))} and {list(shape(b))}; broadcasting tensors is not supported"
        )
    if a.clamped or b.clamped:
        raise ModelError("adds an activation that is not quantized; quantize both inputs")
    terms = list(a.terms)
    for term in b.terms:
        same = [
            k
            for k, t in enumerate(terms)
            if t.stream.tensor == term.stream.tensor and (t.stream.ids == term.stream.ids).all()
        ]
        if same:
            terms[same[0]] = Term(term.stream, terms[same[0]].scale + term.scale)
        else:
            terms.append(term)
    return Real(tuple(terms), a.offset + b.offset, name=node.name)


def multiply(node: Node) -> Value:
    """Mul by a constant."""
    first, second = node.input(0), node.input(1)
    if isinstance(first, Constant | Scaled):
        return node.real(1).affine(fitting(first, node.real(1)), exact(0))
    if isinstance(second, Constant | Scaled):
        return node.real(0).affine(fitting(second, node.real(0)), exact(0))
    raise ModelError("multiplies two tensors; only constants are supported")


def divide(node: Node) -> Value:
    """Div by a constant."""
    if not isinstance(node.input(1), Constant | Scaled):
        raise ModelError("divides by a tensor; only constants are supported")
    divisor = fitting(node.input(1), node.real(0))
    if any(v == 0 for v in np.ravel(divisor)):
        raise ModelError("divides by zero")
    return node.real(0).affine(exact(1) / divisor, exact(0))


def fitting(value: Value | None, other: Real, what: str = "constant") -> Numbers:
    """A constant that does not widen the other operand."""
    array = numbers(value)
    size = shape(other)
    try:
        fits = np.broadcast_shapes(array.shape, size) == size
    except ValueError:
        fits = False
    if not fits:
        raise ModelError(f"the {what} {list(array.shape)} does not fit a tensor {list(size)}")
    return array.reshape(()) if array.size == 1 else array


def relu(node: Node) -> Value:
    """Relu."""
    return node.real(0).clamp(0, None)


def _narrow(node: Node, value: Codes, low, high) -> Codes:
    """Clip of codes, between QuantizeLinear and DequantizeLinear: fewer bits."""
    least = value.fmt.min if low is None else max(int(low), value.fmt.min)
    most = value.fmt.max if high is None else min(int(high), value.fmt.max)
    if least > most:
        raise ModelError(f"clips {value.fmt} to {low} ... {high}, which leaves nothing")
    fmt = int_holding(least, most)
    real = Real((Term(value.stream, exact(1)),))
    return to_codes(node, real, Target(Fraction(1), 0, fmt, least, most))


def clip(node: Node) -> Value:
    """Clip; limits as attributes or inputs."""
    limits = [node.attribute("min"), node.attribute("max")]
    for k in (1, 2):
        if node.input(k) is not None:
            limit = node.constant(k, "limits")
            if limit.size != 1:
                raise ModelError(f"its limit {list(limit.shape)} must be one number")
            limits[k - 1] = limit.reshape(())
    value = node.input(0)
    if isinstance(value, Codes):
        return _narrow(node, value, *limits)
    low, high = (None if v is None or np.isinf(v) else np.float32(v) for v in limits)
    return node.real(0).clamp(low, high)


def negate(node: Node) -> Value:
    """Neg."""
    return node.real(0).affine(exact(-1), exact(0))


def _limit(node: Node, least: bool) -> Value:
    """Max or Min of one tensor and constants."""
    constant = [isinstance(v, Constant | Scaled) for v in node.inputs]
    if constant.count(False) != 1:
        raise ModelError("compares several tensors; one tensor and constants are supported")
    value = real = node.real(constant.index(False))
    for limit in (v for v, known in zip(node.inputs, constant, strict=True) if known):
        bound = fitting(limit, real)
        value = value.clamp(bound, None) if least else value.clamp(None, bound)
    return value


def scaler(node: Node) -> Value:
    """ai.onnx.ml Scaler: (x - offset) * scale."""
    offset, scale = (
        exact(np.float32(node.attribute(k, [d]))) for k, d in (("offset", 0), ("scale", 1))
    )
    x = node.real(0)
    for array in (offset, scale):
        if array.size not in (1, shape(x)[-1]):
            raise ModelError(f"its {array.size} offsets or scales don't fit {list(shape(x))}")
    offset, scale = (a.reshape(()) if a.size == 1 else a for a in (offset, scale))
    return x.affine(scale, -offset * scale)


LOWER = {
    "Neg": negate,
    "Max": lambda node: _limit(node, True),
    "Min": lambda node: _limit(node, False),
    "ai.onnx.ml.Scaler": scaler,
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Relu": relu,
    "Clip": clip,
}
