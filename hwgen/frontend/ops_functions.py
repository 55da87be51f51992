"""Functions of one quantized number: a table between two quantizations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.context import Node
from hwgen.frontend.values import Mapped, Value


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
