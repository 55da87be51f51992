"""Ops on two quantized tensors: products, broadcasts, functions of one tensor taken together."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import helper

import hwgen
from hwgen.errors import ModelError
from hwgen.formats import ROUND
from hwgen.frontend import load
from tests.frontend.test_dialects import model
from tests.frontend.test_ops import check, conv, image, ints
from tests.qdq import Builder
from tests.small import raw


def kinds(proto) -> list[str]:
    return [type(node).__name__ for node in load(proto).nodes]


def test_product_of_two_layers() -> None:
    b = Builder()
    x = image(b)
    y = b.quantize(conv(b, x, (4, 4, 1, 1)), 0.2, 3)
    proto = b.model(b.quantize(b.op("Mul", x, y), 0.15, -7))
    check(proto, (3, 6, 4))
    assert kinds(proto)[-2:] == ["Multiply", "Requantize"]


def test_product_with_itself_and_constants() -> None:
    b = Builder()
    x = image(b)
    y = b.op("Mul", b.op("Mul", x, x), b.constant(np.array([[[0.5]], [[1]], [[-1]], [[2]]], "f")))
    check(b.model(b.quantize(b.op("Add", y, b.constant(np.float32(1))), 0.37, -8)), (3, 6, 4))


def test_product_at_the_output() -> None:
    b = Builder()
    x = image(b)
    y = b.quantize(conv(b, x, (4, 4, 1, 1)), 0.2, 3)
    check(b.model(b.op("Mul", x, y)), (3, 6, 4), decimals=False)


def test_squeeze_and_excitation() -> None:
    b = Builder()
    x = image(b)
    y = b.quantize(b.op("GlobalAveragePool", x), 0.02, 3)
    y = b.quantize(b.op("Relu", conv(b, y, (2, 4, 1, 1))), 0.03)
    y = b.quantize(b.op("Sigmoid", b.quantize(conv(b, y, (4, 2, 1, 1)), 0.05)), 1 / 256, -128)
    y = b.quantize(b.op("Mul", y, x), 0.0537, -7)
    check(b.model(b.quantize(conv(b, y, (3, 4, 3, 3)), 0.11)), (3, 6, 4))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(1, 4, 1, 1), (1, 1, 6, 4), (1, 1, 1, 4), (4,), (6, 1)])
def test_broadcasts(op: str, flip: bool, size: tuple[int, ...]) -> None:
    b = Builder()
    x = z = image(b)
    for axis, length in enumerate(((1,) * 4 + size)[-3:], 1):
        if length == 1:
            z = b.op("Slice", z, ints(b, 0), ints(b, 1), ints(b, axis))
    z = b.quantize(b.op("Reshape", z, ints(b, *size)), 0.1137, 5)
    check(b.model(b.quantize(b.op(op, *((z, x) if flip else (x, z))), 0.2931, 1)), (3, 6, 4))


def test_both_broadcast() -> None:
    b = Builder()
    x = image(b)
    rows = b.op("Slice", x, ints(b, 0), ints(b, 1), ints(b, 2))
    columns = b.op("Slice", x, ints(b, 0), ints(b, 1), ints(b, 3))
    check(b.model(b.quantize(b.op("Mul", rows, columns), 0.2931, 1)), (3, 6, 4))


def test_sum_of_rows_of_other_lengths() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 6, 5), 0.03)
    y = b.op("Reshape", b.quantize(b.op("MatMul", x, b.weights(5, 4)), 0.2), ints(b, 1, 24))
    z = b.quantize(b.op("Gemm", y, b.weights(24, 24)), 0.3)
    check(b.model(b.quantize(b.op("Add", y, z), 0.4137)), (6, 5))


def scalar(b: Builder, value: float) -> str:
    return b.constant(np.float32(value))


TOGETHER = {
    "silu": lambda b, x: b.op("Mul", x, b.op("Sigmoid", x)),
    "hard_swish": lambda b, x: b.op(
        "Div",
        b.op(
            "Mul", x, b.op("Clip", b.op("Add", x, scalar(b, 3)), scalar(b, 0), scalar(b, 6))
        ),
        scalar(b, 6),
    ),
    "shrink": lambda b, x: b.op("Sub", x, b.op("Clip", x, scalar(b, -1), scalar(b, 1))),
    "tanh_and_more": lambda b, x: b.op(
        "Add", b.op("Mul", b.op("Tanh", x), scalar(b, 2)), b.op("Relu", x)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_functions_of_one_tensor(case: str) -> None:
    """One table for what the model computes of one code."""
    b = Builder()
    proto = b.model(b.quantize(TOGETHER[case](b, image(b)), 0.0537, -90))
    check(proto, (3, 6, 4))
    assert kinds(proto)[-1] == "Lookup"


def test_qlinear_mul() -> None:
    """Exactly its definition in rationals."""
    a, y = (np.float32(0.05), np.uint8(117)), (np.float32(0.06), np.uint8(100))
    constants = {"s": a[0], "z": a[1], "ys": y[0], "yz": y[1]}
    node = helper.make_node(
        "QLinearMul", ["x", "s", "z", "x", "s", "z", "ys", "yz"], ["y"], domain="com.microsoft"
    )
    proto = model([node], constants, ([1, 16], [1, 16]), (2, 2), ["com.microsoft"])
    x = np.arange(256, dtype=np.uint8).reshape(16, 16)
    factor = Fraction(float(a[0])) ** 2 / Fraction(float(y[0]))
    rounded = [ROUND["half_even"]((int(v) - 117) ** 2 * factor) + 100 for v in x.ravel()]
    expected = np.clip(rounded, 0, 255).reshape(x.shape)
    np.testing.assert_array_equal(hwgen.compile(proto).golden(x)["y"], expected)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda b, x, y: b.op("Div", x, y), "divides by a tensor"),
        (lambda b, x, _: b.op("Mul", x, b.op("Flatten", x)), "combines .* and "),
        (
            lambda b, x, _: b.op("Mul", b.op("Tanh", x), b.bias(4)),
            "its constant differs from element to element",
        ),
    ],
)  # fmt: skip
def test_refusals(make, says: str) -> None:
    b = Builder()
    x = image(b)
    y = b.quantize(conv(b, x, (4, 4, 1, 1)), 0.2, 3)
    with pytest.raises(ModelError, match=says):
        load(raw(b, b.quantize(make(b, x, y), 0.1)))
