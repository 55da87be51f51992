"""Functions of codes: one table for whatever the model computes of them, or straight lines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hwgen
from hwgen.errors import ModelError
from hwgen.formats import Int
from hwgen.frontend import load
from hwgen.frontend.normalize_form import curve_form
from hwgen.frontend.target import Target
from hwgen.ir import Curve, Lookup
from hwgen.ir.functions import FUNCTIONS
from tests.frontend.test_ops import check
from tests.frontend.transformers import contrib
from tests.qdq import Builder

SIZE = (3, 6, 5)
# Attributes other than the defaults, by op.
OPS: dict[str, dict] = {
    "ThresholdedRelu": {"alpha": 0.7},
    "Elu": {"alpha": 0.6},
    "Selu": {"alpha": 1.5, "gamma": 1.2},
    "Celu": {"alpha": 2.5},
    "LeakyRelu": {"alpha": 0.2},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.6},
    "Gelu": {"approximate": "tanh"},
    "Swish": {"alpha": 1.5},
}
POSITIVE = {"Log", "Sqrt", "Reciprocal"}


def number(b: Builder, value: float) -> str:
    return b.constant(np.float32(value))


def own(b: Builder, y: str) -> onnx.ModelProto:
    """The model of a Builder, with onnxruntime's own ops, whose shapes inference does not know."""
    values = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)]
    graph = helper.make_graph(b.nodes, "test", b.inputs, values, b.initializers)
    opsets = [helper.make_opsetid("", b.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def model(make: Callable[[Builder, str], str], positive: bool = False) -> onnx.ModelProto:
    """A function between quantizers of 8 bits."""
    b = Builder(20)
    x = b.input(1, *SIZE)
    x = b.quantize(x, 0.03, 0, np.uint8) if positive else b.quantize(x, 0.03, 4)
    return own(b, b.quantize(make(b, x), 0.0237, -20))


def kinds(proto: onnx.ModelProto) -> list[str]:
    return [type(node).__name__ for node in load(proto).nodes]


@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("op", sorted(FUNCTIONS.keys() - {"Swish"}))  # of a later opset
def test_against_onnxruntime(op: str, attributes: bool) -> None:
    given = OPS.get(op, {}) if attributes else {}
    proto = model(lambda b, x: b.op(op, x, **given), op in POSITIVE - {"Reciprocal"})
    check(proto, SIZE) if op != "Sign" else None
    assert kinds(proto) == ["Lookup"]


def test_swish() -> None:
    """Against its definition: onnxruntime has none."""
    b = Builder(24)
    y = b.op("Swish", b.quantize(b.input(1, 255), 0.05), alpha=1.5)
    (node,) = load(b.model(b.quantize(y, 0.1))).nodes
    x = np.arange(-128, 128) * 0.05
    expected = np.clip(np.rint(x / (1 + np.exp(-1.5 * x)) / 0.1), -128, 127)
    assert isinstance(node, Lookup)
    np.testing.assert_array_equal(node.table, expected)


STEPS: dict[str, Callable[[Builder, str], str]] = {
    "gelu": lambda b, x: b.op(
        "Mul",
        b.op("Mul", x, number(b, 0.5)),
        b.op("Add", b.op("Erf", b.op("Div", x, number(b, 2**0.5))), number(b, 1)),
    ),
    "gelu_last": lambda b, x: b.op(
        "Mul",
        b.op("Mul", x, b.op("Add", number(b, 1), b.op("Erf", b.op("Mul", x, number(b, 0.5**0.5))))),
        number(b, 0.5),
    ),
    "gelu_tanh": lambda b, x: b.op(
        "Mul",
        b.op("Mul", number(b, 0.5), x),
        b.op(
            "Add",
            number(b, 1),
            b.op(
                "Tanh",
                b.op(
                    "Mul",
                    number(b, 0.7978845608),
                    b.op("Add", x, b.op("Mul", number(b, 0.044715), b.op("Pow", x, number(b, 3)))),
                ),
            ),
        ),
    ),
    "erf_of_another": lambda b, x: b.op("Mul", x, b.op("Erf", b.op("Mul", x, number(b, 0.3)))),
    "silu": lambda b, x: b.op("Mul", x, b.op("Sigmoid", x)),
    "silu_by_division": lambda b, x: b.op(
        "Div", x, b.op("Add", number(b, 1), b.op("Exp", b.op("Neg", x)))
    ),
    "sigmoid": lambda b, x: b.op(
        "Div", number(b, 1), b.op("Add", b.op("Exp", b.op("Neg", x)), number(b, 1))
    ),
    "mish": lambda b, x: b.op("Mul", x, b.op("Tanh", b.op("Softplus", x))),
    "power": lambda b, x: b.op("Sub", b.op("Pow", x, number(b, 2)), b.op("Pow", x, number(b, 3))),
    "negated": lambda b, x: b.op("Relu", b.op("Neg", b.op("Tanh", x))),
    "clipped": lambda b, x: b.op(
        "Neg", b.op("Clip", b.op("Exp", x), number(b, 0.5), number(b, 2))
    ),
    "own_gelu": lambda b, x: contrib(b, "Gelu", x),
    "fast_gelu": lambda b, x: contrib(b, "FastGelu", x),
    "quick_gelu": lambda b, x: contrib(b, "QuickGelu", x, alpha=1.3),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_one_table(case: str) -> None:
    proto = model(STEPS[case])
    check(proto, SIZE)
    assert kinds(proto) == ["Lookup"]


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_not_a_number(op: str) -> None:
    proto = model(lambda b, x: b.op(op, x))
    with pytest.raises(ModelError, match=rf"{op}_\d+ is not defined for -3.9\d*, which its input"):
        load(proto)


def test_several_powers() -> None:
    powers = np.float32([1, 2, 3, 2, 1])
    with pytest.raises(ModelError, match="one constant exponent"):
        load(model(lambda b, x: b.op("Pow", x, b.constant(powers))))


def test_poles_saturate() -> None:
    (node,) = load(model(lambda b, x: b.op("Reciprocal", x))).nodes
    assert isinstance(node, Lookup)
    assert node.table[4 + 128] == 127


CURVES = ["Gelu", "Sigmoid", "Exp", "Tanh", "Swish", "Sin", "Softplus", "Mish"]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
@pytest.mark.parametrize("op", CURVES)
def test_many_codes(op: str, dtype: type) -> None:
    """Straight lines, within a code of what real numbers give, saturated where they are large."""
    b = Builder(24)
    zero = 0 if dtype == np.int16 else 32768
    x = b.quantize(b.input(1, 1 << 16), 2.0**-12, zero, dtype)
    y = b.quantize(b.op(op, x), 3e-4, zero, dtype)
    (node,) = load(b.model(y)).nodes
    assert isinstance(node, Curve)
    assert node.function.base.size <= 1024
    numbers = (np.arange(1 << 16) - 32768) / 2**12
    got = hwgen.compile(b.model(y)).golden(numbers[None].astype(np.float32))
    defaults = {"approximate": "none", "alpha": 1.0}
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[op](numbers, defaults) / np.float32(3e-4) + zero
    info = np.iinfo(dtype)
    codes = np.rint(next(iter(got.values()))[0] / np.float32(3e-4)) + zero
    away = np.abs(codes - np.clip(exact, info.min, info.max))
    assert away.max() <= 1.01  # the model computes in float32
    assert len(np.unique(codes)) > 1000


@pytest.mark.parametrize(
    ("y", "target"),
    [
        (np.arange(1 << 12) / 9, Target(None, 0, Int(16))),  # few codes
        (np.arange(1 << 16) / 9, Target(None, 0, Int(8))),  # few levels
        (np.arange(1 << 16) / 9, Target(None, 0, Int(16), rounding="floor")),
        (np.where(np.arange(1 << 16) % 5, 3000, 0), Target(None, 0, Int(16))),  # short lines
    ],
)
def test_tables_where_they_are_better(y: np.ndarray, target: Target) -> None:
    assert curve_form(y, target) is None
