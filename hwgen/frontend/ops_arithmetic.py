"""Elementwise arithmetic: everything affine folds into the next requantization."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import int_holding
from hwgen.frontend.constants import check_elements
from hwgen.frontend.context import Context
from hwgen.frontend.floats import floating
from hwgen.frontend.functions import few
from hwgen.frontend.islands import MOST_BITS, same, settled
from hwgen.frontend.node import Node
from hwgen.frontend.operands import numbers, one_term
from hwgen.frontend.ops_functions import combined, mapped
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.rotate import rotation
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Constant,
    Input,
    Mapped,
    Numbers,
    Real,
    Scaled,
    Scores,
    Stream,
    Term,
    Value,
    exact,
    picked,
    rearrange,
    shape,
    uniform,
)
from hwgen.ir import Multiply


def add(node: Node) -> Value:
    """Add of a constant, or of two quantized tensors."""
    return _sum(node, 1)


def subtract(node: Node) -> Value:
    """Sub."""
    return _sum(node, -1)


def _sum(node: Node, sign: int) -> Value:
    minus = exact(sign)
    first, second = node.input(0), node.input(1)
    if isinstance(first, Scores) and isinstance(second, Constant):
        return _biased(first, sign * second.array)
    if isinstance(second, Scores) and isinstance(first, Constant) and sign > 0:
        return _biased(second, first.array)
    for value, other in ((first, second), (second, first)):
        if isinstance(value, Scores) and isinstance(other, Input):
            raise ModelError(
                f"adds input {other.name!r} to scores; make the mask a constant of the model, or "
                "quantize the input: then attention is built from its parts"
            )
        if isinstance(value, Scores) and isinstance(other, Real | Codes):
            _parts(node, value, "adds what depends on the inputs; a mask must be a constant")
    for value in (first, second):
        if isinstance(value, Constant) and (np.asarray(value.array) == -np.inf).any():
            raise ModelError(
                "adds -inf, as masks do, to what is no product of two quantized activations; "
                "quantize queries and keys, or let hwgen do it: --arith int8"
            )
    if isinstance(second, Constant | Scaled):
        return _affine(node, 0, exact(1), fitting(second, _operand(node, 0)) * minus)
    if isinstance(first, Constant | Scaled):
        return _affine(node, 1, minus, fitting(first, _operand(node, 1)))
    node = _broadcast(node)
    if _unrounded(node) and same_codes(node):
        return combined(node, np.add if sign > 0 else np.subtract)
    total = _added(node, lambda k: _unclamped(node, k), minus)
    if not (rotation(total) or _addable(node.context, total)):
        total = _added(node, lambda k: settled(node, k), minus)
    return total


def _parts(node: Node, value: Scores, what: str) -> None:
    """Note why a product of two activations does not become attention."""
    node.context.graph.notes[value.name] = f"built from its parts: {node.name} {what}"


def _biased(value: Scores, bias: np.ndarray) -> Scores:
    """Scores and a mask, or another constant."""
    if np.broadcast_shapes(bias.shape, value.ids.shape) != value.ids.shape:
        raise ModelError(f"the mask {list(bias.shape)} does not fit {list(value.ids.shape)}")
    if np.isnan(bias).any() or (bias == np.inf).any():
        raise ModelError("adds NaN or infinity to scores; mend the mask")
    return value.plus(bias)


def _unclamped(node: Node, k: int) -> Real:
    """Input `k` as numbers that can be added."""
    value = node.input(k)
    return settled(node, k) if _rounds(value) else node.real(k)


def _addable(context: Context, real: Real) -> bool:
    """Whether one node quantizes a sum: at most two tensors, few-bit codes of one scale each."""
    if len(real.terms) > 2 or (len(real.terms) > 1 and np.size(real.offset) > 1):
        return False
    return len(real.terms) == 1 or all(
        np.size(t.scale) == 1
        and (floating(context, t.stream.tensor) or _bits(context, t) <= MOST_BITS)
        for t in real.terms
    )


def _bits(context: Context, term: Term) -> int:
    return context.graph.tensors[term.stream.tensor].fmt.bits


def _added(node: Node, operand: Callable[[int], Real], minus: Numbers) -> Real:
    """The sum, with `minus` times the second operand, its terms of the same codes as one."""
    a, b = operand(0), operand(1).affine(minus, exact(0))
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
    if _unrounded(node) and same_codes(node):
        return combined(node, np.multiply)
    return _product(node)


def _product(node: Node) -> Real:
    """The product of two quantized tensors: a Multiply."""
    context = node.context
    terms = [term for value in node.inputs if isinstance(value, Real) for term in value.terms]
    if any(floating(context, term.stream.tensor) for term in terms):
        raise ModelError("multiplies two tensors of floats; quantize both to integers")
    operands = [one_term(settled(node, k)) for k in (0, 1)]
    zeros = int(operands[0][2]), int(operands[1][2])
    tensors, lead = context.aligned([stream for stream, _, _ in operands], node.name)
    ranges = [
        [limit - zero for limit in context.reach[tensor]]
        for tensor, zero in zip(tensors, zeros, strict=True)
    ]
    ends = [a * b for a in ranges[0] for b in ranges[1]]
    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
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


def same_codes(node: Node) -> bool:
    """Whether both inputs are functions of the same codes, or of the same numbers where those need
    fixed point."""
    reals: list[Real] = []
    for value in node.inputs:
        real = value.real if isinstance(value, Mapped) else value
        if not isinstance(real, Real) or len(real.terms) != 1:
            return False
        reals.append(real)
    first, second = (real.terms[0].stream for real in reals)
    if first.tensor != second.tensor or not np.array_equal(first.ids, second.ids):
        return False
    return same(*reals) or all(few(node.context, real) for real in reals)


def _unrounded(node: Node) -> bool:
    """Whether an input is more than codes, a scale and an offset."""
    return any(map(_rounds, node.inputs))


def _rounds(value: Value | None) -> bool:
    return isinstance(value, Mapped) or (isinstance(value, Real) and value.clamped)


def _affine(node: Node, k: int, scale: Numbers, offset: Numbers) -> Value:
    """Input `k` * scale + offset."""
    value = _operand(node, k)
    if isinstance(value, Scores):
        factor = Fraction(np.ravel(scale)[0]) if np.size(scale) == 1 else Fraction(0)
        if factor > 0 and not np.any(offset):
            return value.scaled(factor)
        _parts(node, value, "scales or shifts scores otherwise than by one positive factor")
        value = picked(value.product(), value.ids)
    if isinstance(value, Mapped):
        slope, term = (float(uniform(v, "its constant")) for v in (scale, offset))
        return mapped(node.having(value), lambda x: x * slope + term, slope >= 0)
    total = value.affine(scale, offset)
    whole = not any(floating(node.context, term.stream.tensor) for term in total.terms)
    if whole and not (rotation(total) or _addable(node.context, total)):
        return settled(node, k).affine(scale, offset)
    return total


def _operand(node: Node, k: int) -> Real | Mapped | Scores:
    """Input `k`: numbers, or a function of them."""
    value = node.input(k)
    return value if isinstance(value, Mapped | Scores) else node.real(k)


def divide(node: Node) -> Value:
    """Div by a constant, of a constant, or of two functions of the same codes."""
    first, second = node.input(0), node.input(1)
    if isinstance(first, Constant | Scaled) and not isinstance(second, Constant | Scaled):
        dividend = float(uniform(fitting(first, _operand(node, 1)), "its dividend"))
        return mapped(node.having(second), lambda x: dividend / x)
    if not isinstance(second, Constant | Scaled):
        node = _broadcast(node)
        if same_codes(node):
            return combined(node, np.divide)
        raise ModelError(
            "divides by a tensor; only constants are supported, and functions of the same codes"
        )
    divisor = fitting(second, _operand(node, 0))
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
    return _clamped(node, 0, None)


def _clamped(node: Node, low, high) -> Value:
    """The first input within limits; None for no limit."""
    if isinstance(node.input(0), Mapped):
        return mapped(node, lambda x: np.clip(x, low, high), True)
    return node.real(0).clamp(low, high)


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
    return _clamped(node, low, high)


def negate(node: Node) -> Value:
    """Neg."""
    return _affine(node, 0, exact(-1), exact(0))


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
