"""Functions of one number by the name of the ONNX op."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray, dict], np.ndarray]


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, "d")(x)


def _gelu(x: np.ndarray, attributes: dict) -> np.ndarray:
    """x * P(X <= x) of a normal X, or its approximation by tanh."""
    if attributes["approximate"] == "tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _elu(x: np.ndarray, alpha: float, rate: float = 1.0) -> np.ndarray:
    """x above 0, below alpha * (exp(x / rate) - 1)."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / rate), x)


def _leaky_relu(x: np.ndarray, attributes: dict) -> np.ndarray:
    return np.where(x < 0, np.float32(attributes["alpha"]) * x, x)


FUNCTIONS: dict[str, Function] = {
    "Sigmoid": lambda x, _: _sigmoid(x),
    "Tanh": lambda x, _: np.tanh(x),
    "Abs": lambda x, _: np.abs(x),
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "HardSigmoid": lambda x, a: np.clip(a["alpha"] * x + a["beta"], 0, 1),
    "LeakyRelu": _leaky_relu,
    "ThresholdedRelu": lambda x, a: np.where(x > np.float32(a["alpha"]), x, 0),
    "Erf": lambda x, _: _erf(x),
    "Gelu": _gelu,
    "Swish": lambda x, a: x * _sigmoid(a["alpha"] * x),
    "Mish": lambda x, _: x * np.tanh(_softplus(x)),
    "Softplus": lambda x, _: _softplus(x),
    "Softsign": lambda x, _: x / (1 + np.abs(x)),
    "Elu": lambda x, a: _elu(x, a["alpha"]),
    "Selu": lambda x, a: a["gamma"] * _elu(x, a["alpha"]),
    "Celu": lambda x, a: _elu(x, a["alpha"], a["alpha"]),
    "Exp": lambda x, _: np.exp(x),
    "Log": lambda x, _: np.log(x),
    "Sqrt": lambda x, _: np.sqrt(x),
    "Reciprocal": lambda x, _: 1 / x,
    "Sin": lambda x, _: np.sin(x),
    "Cos": lambda x, _: np.cos(x),
    "Tan": lambda x, _: np.tan(x),
    "Atan": lambda x, _: np.arctan(x),
    "Sinh": lambda x, _: np.sinh(x),
    "Cosh": lambda x, _: np.cosh(x),
    "Asinh": lambda x, _: np.arcsinh(x),
    "Floor": lambda x, _: np.floor(x),
    "Ceil": lambda x, _: np.ceil(x),
    "Round": lambda x, _: np.rint(x),
    "Sign": lambda x, _: np.sign(x),
}


def apply(op: str, x: np.ndarray, attributes: dict) -> np.ndarray:
    """The function of float64 numbers, in float64: infinite where it has a pole or overflows, NaN
    where it is not defined."""
    with np.errstate(all="ignore"):
        return FUNCTIONS[op](x, attributes)
