"""Elementwise arithmetic: everything affine folds into the next requantization."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float, int_holding
from hwgen.frontend.constants import check_elements
from hwgen.frontend.context import numbers, one_term
from hwgen.frontend.node import Node
from hwgen.frontend.ops_functions import combined, mapped
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Constant,
    Mapped,
    Numbers,
    Real,
    Scaled,
    Stream,
    Term,
    Value,
    exact,
    rearrange,
    shape,
    uniform,
)
from hwgen.ir import Multiply

MOST_PRODUCT_BITS = 32


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
        return _affine(node, 0, exact(1), fitting(second, _operand(node, 0)) * minus)
    if isinstance(first, Constant | Scaled):
        return _affine(node, 1, minus, fitting(first, _operand(node, 1)))
    node = _broadcast(node)
    if _unrounded(node):
        return combined(node, np.add if sign > 0 else np.subtract)
    a, b = node.real(0), node.real(1).affine(minus, exact(0))
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
    """Mul by a constant, or of two quantized tensors."""
    first, second = node.input(0), node.input(1)
    if isinstance(first, Constant | Scaled):
        return _affine(node, 1, fitting(first, _operand(node, 1)), exact(0))
    if isinstance(second, Constant | Scaled):
        return _affine(node, 0, fitting(second, _operand(node, 0)), exact(0))
    node = _broadcast(node)
    return combined(node, np.multiply) if _unrounded(node) else _product(node)


def _product(node: Node) -> Real:
    """The product of two quantized tensors: a Multiply."""
    context = node.context
    operands = [one_term(node.real(k)) for k in (0, 1)]
    if any(zero.denominator != 1 for _, _, zero in operands):
        raise ModelError("multiplies a value whose zero is no code; quantize both inputs")
    zeros = int(operands[0][2]), int(operands[1][2])
    tensors, lead = context.aligned([stream for stream, _, _ in operands], node.name)
    for tensor in tensors:
        context.check_rounded(tensor)
        if isinstance(context.graph.tensors[tensor].fmt, Float):
            raise ModelError("multiplies two tensors of floats; quantize both to integers")
    ranges = [
        [limit - zero for limit in context.reach[tensor]]
        for tensor, zero in zip(tensors, zeros, strict=True)
    ]
    ends = [a * b for a in ranges[0] for b in ranges[1]]
    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
    if int_holding(int(low.min()), int(high.max())).bits > MOST_PRODUCT_BITS:
        raise ModelError("multiplies sums that are not quantized; quantize both inputs")
    size = context.graph.tensors[lead.tensor].shape
    result = context.tensor(f"{node.name}_product", size, low, high)
    context.place[result] = context.place[lead.tensor]
    name = context.unique(node.name)
    context.add(Multiply(name=name, inputs=tuple(tensors), outputs=(result,), zeros=zeros))
    return Real((Term(Stream(result, lead.ids), exact(operands[0][1] * operands[1][1])),))


def _broadcast(node: Node) -> Node:
    """The node with both inputs in the shape they have together."""
    values = _operand(node, 0), _operand(node, 1)
    sizes = [shape(value) for value in values]
    try:
        size = np.broadcast_shapes(*sizes)
    except ValueError as error:
        raise ModelError(f"combines {list(sizes[0])} and {list(sizes[1])}") from error
    check_elements(size, "its output")
    return node.having(
        *(
            value if shape(value) == size else rearrange(value, lambda a: np.broadcast_to(a, size))
            for value in values
        )
    )


def _unrounded(node: Node) -> bool:
    """Whether an input is more than codes, a scale and an offset."""
    return any(
        isinstance(value, Mapped) or (isinstance(value, Real) and value.clamped)
        for value in node.inputs
    )


def _affine(node: Node, k: int, scale: Numbers, offset: Numbers) -> Value:
    """Input `k` * scale + offset."""
    value = _operand(node, k)
    if isinstance(value, Mapped):
        factor, term = (float(uniform(v, "its constant")) for v in (scale, offset))
        return mapped(node.having(value), lambda x: x * factor + term, factor >= 0)
    return value.affine(scale, offset)


def _operand(node: Node, k: int) -> Real | Mapped:
    """Input `k`: numbers, or a function of them."""
    value = node.input(k)
    return value if isinstance(value, Mapped) else node.real(k)


def divide(node: Node) -> Value:
    """Div by a constant."""
    if not isinstance(node.input(1), Constant | Scaled):
        raise ModelError("divides by a tensor; only constants are supported")
    divisor = fitting(node.input(1), _operand(node, 0))
    if any(v == 0 for v in np.ravel(divisor)):
        raise ModelError("divides by zero")
    return _affine(node, 0, exact(1) / divisor, exact(0))


def fitting(value: Value | None, other: Value, what: str = "constant") -> Numbers:
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


def batch_normalization(node: Node) -> Value:
    """y = (x - mean) / sqrt(var + epsilon) * gamma + beta, the root in float64."""
    x = node.real(0)
    node.attribute("momentum", 0.9)
    node.attribute("spatial", 1)
    if node.attribute("training_mode", 0):
        raise ModelError("is in training mode; export the model in evaluation mode")
    epsilon = node.attribute("epsilon", 1e-5)
    gamma, beta, mean, variance = (node.constant(k, "statistics") for k in range(1, 5))
    channels = x.ids.shape[1] if x.ids.ndim > 1 else 1
    if any(a.shape != (channels,) for a in (gamma, beta, mean, variance)):
        raise ModelError(f"its statistics don't fit {channels} channels")
    if (variance + epsilon <= 0).any():
        raise ModelError("has a variance that is not positive")
    factor = exact(
        gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + np.float32(epsilon))
    )
    place = (1, channels, *[1] * (x.ids.ndim - 2))
    offset = exact(beta) - exact(mean) * factor
    return x.affine(factor.reshape(place), offset.reshape(place))


LOWER = {
    "BatchNormalization": batch_normalization,
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
