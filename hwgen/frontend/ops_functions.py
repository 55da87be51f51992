"""Functions of one number, in front of a quantization."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.context import Context
from hwgen.frontend.functions import few
from hwgen.frontend.islands import settled
from hwgen.frontend.node import Node
from hwgen.frontend.values import Mapped, Real, Stream, Term, Value, exact, uniform
from hwgen.ir.functions import apply

Function = Callable[[np.ndarray], np.ndarray]


def mapped(
    node: Node,
    function: Function,
    rising: bool = False,
    operation: tuple[str, dict] | None = None,
) -> Value:
    """The function of the node's first input, on float64 arrays; `rising` if it never falls, and
    `operation` the host's name for it."""
    value = node.input(0)
    before: tuple | None = ()
    if isinstance(value, Mapped):
        inner, before = value.function, value.operations
        real, rising, narrow = value.real, value.rising and rising, value.narrow
        composed: Function = lambda x: function(inner(x))  # noqa: E731
    else:
        real, composed = node.real(0), function
        if len(real.terms) != 1:
            real = settled(node, 0)
        narrow = _narrowed(node, 0, real)
    operations = None if operation is None or before is None else (*before, operation)
    return Mapped(real, composed, node.name, rising, operations, narrow)


def _narrowed(node: Node, k: int, real: Real) -> Callable[[], Real]:
    """What gives input `k` in few bits of one scale."""
    others = [*node.inputs]
    others[k] = real
    return lambda: settled(node.having(*others), k)


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


def _of_codes(node: Node, k: int) -> tuple[Stream, Function]:
    """Input `k` as a function of its codes, on float64 arrays."""
    value = node.input(k)
    if isinstance(value, Mapped):
        stream, inner = _codes_of(node.context, value.real, value.narrow)
        function = value.function
        return stream, lambda x: function(inner(x))
    real = node.real(k)
    return _codes_of(node.context, real, _narrowed(node, k, real))


def _codes_of(
    context: Context, real: Real, narrow: Callable[[], Real] | None
) -> tuple[Stream, Function]:
    """Numbers as a function of their codes."""
    if narrow is not None and not few(context, real):
        real = narrow()
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


def named(
    op: str, rising: bool | Callable[[dict], bool] = False, **defaults: float | str
) -> Callable[[Node], Value]:
    """The lowering function of an op in `FUNCTIONS`, by its attributes' defaults."""

    def lower(node: Node) -> Value:
        attributes = {k: node.attribute(k, v) for k, v in defaults.items()}
        rises = rising if isinstance(rising, bool) else rising(attributes)
        return mapped(node, lambda x: apply(op, x, attributes), rises, (op, attributes))

    return lower


def power(node: Node) -> Value:
    """Pow by a constant."""
    exponent = node.constant(1, "exponent")
    if exponent.size != 1:
        raise ModelError("raises to several powers; one constant exponent is supported")
    number = float(exponent.ravel()[0])
    return mapped(node, lambda x: np.power(x, number), number > 0 and number % 2 == 1)


def _positive(attributes: dict) -> bool:
    """Whether a function of such attributes rises."""
    return all(value >= 0 for value in attributes.values())


LOWER = {
    "Sigmoid": named("Sigmoid", True),
    "Tanh": named("Tanh", True),
    "Abs": named("Abs"),
    "HardSwish": named("HardSwish"),
    "HardSigmoid": named("HardSigmoid", lambda a: a["alpha"] >= 0, alpha=0.2, beta=0.5),
    "LeakyRelu": named("LeakyRelu", _positive, alpha=0.01),
    "ThresholdedRelu": named("ThresholdedRelu", _positive, alpha=1.0),
    "Erf": named("Erf", True),
    "Gelu": named("Gelu", approximate="none"),
    "com.microsoft.Gelu": named("Gelu", approximate="none"),
    "com.microsoft.FastGelu": named("Gelu", approximate="tanh"),
    "com.microsoft.QuickGelu": named("Swish", alpha=1.702),
    "Swish": named("Swish", alpha=1.0),
    "Mish": named("Mish"),
    "Softplus": named("Softplus", True),
    "Softsign": named("Softsign", True),
    "Elu": named("Elu", _positive, alpha=1.0),
    "Selu": named("Selu", _positive, alpha=1.6732631921768188, gamma=1.0507010221481323),
    "Celu": named("Celu", _positive, alpha=1.0),
    "Exp": named("Exp", True),
    "Log": named("Log"),
    "Sqrt": named("Sqrt"),
    "Reciprocal": named("Reciprocal"),
    **{op: named(op) for op in ("Sin", "Cos", "Tan", "Cosh")},
    **{op: named(op, True) for op in ("Atan", "Sinh", "Asinh", "Floor", "Ceil", "Round", "Sign")},
    "Pow": power,
}
