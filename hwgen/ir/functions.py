"""Functions of one number by the name of the ONNX op."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _leaky_relu(x: np.ndarray, attributes: dict) -> np.ndarray:
    return np.where(x < 0, np.float32(attributes["alpha"]) * x, x)


FUNCTIONS: dict[str, Callable[[np.ndarray, dict], np.ndarray]] = {
    "Sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, _: np.tanh(x),
    "Abs": lambda x, _: np.abs(x),
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "HardSigmoid": lambda x, a: np.clip(a["alpha"] * x + a["beta"], 0, 1),
    "LeakyRelu": _leaky_relu,
}


def apply(op: str, x: np.ndarray, attributes: dict) -> np.ndarray:
    """The function of float64 numbers, in float64."""
    with np.errstate(over="ignore"):  # exp of what is far below zero
        return FUNCTIONS[op](x, attributes)
