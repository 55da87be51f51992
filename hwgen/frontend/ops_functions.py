"""Functions of one quantized number: a table between two quantizations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.context import Node
from hwgen.frontend.values import Mapped, Real, Stream, Term, Value, exact, uniform


def mapped(node: Node, function: Callable[[np.ndarray], np.ndarray]) -> Value:
    """The function of the node's first input, on float64 arrays."""
    value = node.input(0)
    if isinstance(value, Mapped):
        inner = value.function
        return Mapped(value.real, lambda x: function(inner(x)), node.name)
    real = node.real(0)
    if len(real.terms) != 1:
        raise ModelError("reads a sum that is not quantized; quantize its input")
    return Mapped(real, function, node.name)


def combined(node: Node, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Mapped:
    """An operation on the node's two inputs, which are functions of the same codes."""
    parts = [_of_codes(node, k) for k in (0, 1)]
    (stream, first), (other, second) = parts
    if stream.tensor != other.tensor or not np.array_equal(stream.ids, other.ids):
        raise ModelError(
            "combines an activation that is not quantized with another tensor; quantize both inputs"
        )
    codes = Real((Term(stream, exact(1)),))
    return Mapped(codes, lambda x: operation(first(x), second(x)), node.name)


def _of_codes(node: Node, k: int) -> tuple[Stream, Callable[[np.ndarray], np.ndarray]]:
    """Input `k` as a function of its codes, on float64 arrays."""
    value = node.input(k)
    if isinstance(value, Mapped):
        stream, inner = _of_codes(node.having(value.real), 0)
        function = value.function
        return stream, lambda x: function(inner(x))
    real = node.real(k)
    if len(real.terms) != 1:
        raise ModelError("reads a sum that is not quantized; quantize its input")
    (term,) = real.terms
    scale = float(uniform(term.scale, "the scale of its input"))
    offset = float(uniform(real.offset, "the offset of its input"))
    low, high = (
        limit if bound is None else float(uniform(bound, "the limit of its input"))
        for bound, limit in ((real.low, -np.inf), (real.high, np.inf))
    )

    def number(codes: np.ndarray) -> np.ndarray:
        """What DequantizeLinear gives: a float32 number."""
        return np.clip(codes * scale + offset, low, high).astype(np.float32).astype(np.float64)

    return term.stream, number


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def _hard_sigmoid(node: Node) -> Value:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return mapped(node, lambda x: np.clip(alpha * x + beta, 0, 1))


def _leaky_relu(node: Node) -> Value:
    alpha = node.attribute("alpha", 0.01)
    return mapped(node, lambda x: np.where(x < 0, np.float32(alpha) * x, x))


LOWER = {
    "Sigmoid": lambda node: mapped(node, sigmoid),
    "Tanh": lambda node: mapped(node, np.tanh),
    "Abs": lambda node: mapped(node, np.abs),
    "HardSwish": lambda node: mapped(node, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
}
