"""Functions of sums, and what the host computes at the end."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import hwgen
from hwgen.errors import ModelError
from hwgen.frontend import load
from tests.frontend.test_dialects import codes, model
from tests.frontend.test_ops import check, conv, ints
from tests.qdq import Builder, oracle
from tests.small import dense

MONOTONE: dict[str, dict] = {
    "Sigmoid": {},
    "Tanh": {},
    "LeakyRelu": {"alpha": 0.13},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Erf": {},
    "Softsign": {},
    "Elu": {"alpha": 0.8},
    "Exp": {},
}
# What a code of the result is worth: 1/130 suits those that stay within 1.
SCALES = {"LeakyRelu": 0.1537, "Elu": 0.1, "Exp": 0.2}
SIZE = (3, 6, 5)


def sums(b: Builder, factors: tuple[float, ...] = (), y: str = "") -> str:
    y = y or conv(b, b.quantize(b.input(1, *SIZE), 0.03, 4), (4, 3, 3, 3), pads=[1] * 4)
    return b.op("Mul", y, b.constant(np.array(factors, "f").reshape(-1, 1, 1))) if factors else y


def kinds(proto) -> list[str]:
    return [type(node).__name__ for node in load(proto).nodes]


@pytest.mark.parametrize("op", MONOTONE)
@pytest.mark.parametrize("factors", [(), (1, -1, 0, 0.3)])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_functions_of_sums(op: str, factors: tuple, dtype) -> None:
    b = Builder()
    y = b.op(op, sums(b, factors), **MONOTONE[op])
    scale = SCALES.get(op, 1 / 130)
    proto = b.model(b.quantize(y, scale, -20 if dtype == np.int8 else 110, dtype))
    check(proto, SIZE)
    assert kinds(proto) == ["Window", "Linear", "MultiThreshold"]


def test_functions_of_functions_of_sums() -> None:
    """A clamp, two functions and a factor; most of the elements, then a layer."""
    b = Builder()
    y = b.op("Clip", sums(b), b.constant(np.float32(-0.5)), b.constant(np.float32(4)))
    y = b.op("Tanh", b.op("Mul", b.op("Sigmoid", y), b.constant(np.float32(1.5))))
    y = b.op("Slice", y, ints(b, 1), ints(b, 6), ints(b, 2))
    y = b.quantize(y, 1 / 130, -20)
    check(b.model(b.quantize(conv(b, y, (2, 4, 2, 2)), 0.05)), SIZE)


@pytest.mark.parametrize("low", [-60.0, 60.0])
def test_a_function_that_only_saturates(low: float) -> None:
    """One code is all it gives."""
    b = Builder()
    y = b.op("Sigmoid", b.op("Add", dense(b), b.constant(np.float32(low))))
    design = hwgen.compile(b.model(b.quantize(y, 1 / 256, -128)))
    got = design.golden(np.zeros((2, 12), np.float32))
    np.testing.assert_array_equal(next(iter(got.values())), 0 if low < 0 else np.float32(255 / 256))


def biased(b: Builder, y: str) -> str:
    return b.op("Add", y, b.constant(b.rng.normal(0, 1, (4, 1, 1)).astype(np.float32)))


@pytest.mark.parametrize(
    "make",
    [
        lambda b, y: b.op("HardSwish", y),
        lambda b, y: b.op("Abs", y),
        lambda b, y: b.op("Mul", y, b.op("Sigmoid", y)),
        lambda b, y: b.op("LeakyRelu", y, alpha=-0.5),
        lambda b, y: b.op("Mul", b.op("Sigmoid", y), b.constant(np.float32(-1))),
        lambda b, y: b.op("Tanh", b.op("Abs", y)),
        lambda b, y: b.op("Mul", biased(b, y), b.op("Sigmoid", y)),
        lambda b, y: b.op("HardSwish", sums(b, (2, -1, 0, 0.3), y)),
        lambda b, y: b.op("HardSwish", biased(b, b.op("Add", y, b.op("Relu", y)))),
        lambda b, y: b.op("Abs", b.op("Transpose", b.op("HardSwish", y), perm=[0, 1, 3, 2])),
        lambda b, y: b.op("Sigmoid", y),  # of more levels than are compared
    ],
)  # fmt: skip
def test_functions_that_fall(make) -> None:
    """The sums get fixed point that holds all they can be: seldom a code is wrong."""
    b = Builder(21)
    fine = make.__code__.co_consts[1:2] == ("Sigmoid",)
    y = make(b, sums(b))
    proto = b.model(b.quantize(y, 1e-3, 0, np.int16) if fine else b.quantize(y, 0.05))
    graph = load(proto)
    assert graph.islands and "MultiThreshold" not in kinds(proto)
    x = np.random.default_rng(1).normal(0, 1, (16, *SIZE)).astype(np.float32)
    got, expected = next(iter(hwgen.compile(proto).golden(x).values())), oracle(proto, x)
    away = np.abs(got.reshape(expected.shape) - expected)
    if fine:  # what the fixed point's error makes of the steepest slope, 1/4
        (island,) = graph.islands.values()
        assert away.max() < island.error / 4 + 2e-3
    else:
        assert away.max() < 0.051 and (away > 0.01).mean() < 0.1


@pytest.mark.parametrize("op", [*MONOTONE, "Abs", "HardSwish"])
@pytest.mark.parametrize("quantized", [False, True])
def test_functions_at_the_output(op: str, quantized: bool) -> None:
    """The host computes them, on sums and on codes."""
    b = Builder()
    y = b.quantize(sums(b), 0.07, 3) if quantized else sums(b)
    proto = b.model(b.op(op, y, **MONOTONE.get(op, {})))
    check(proto, SIZE, decimals=False)
    (port,) = load(proto).outputs
    assert json.loads(json.dumps(port.host))[0][0] == op


def test_chain_on_the_host() -> None:
    b = Builder()
    y = b.op("Softmax", b.op("Tanh", b.op("LeakyRelu", dense(b))), axis=-1)
    check(b.model(y), (12,), decimals=False)


def test_an_output_the_host_has_no_name_for() -> None:
    b = Builder()
    y = b.quantize(sums(b), 0.1)
    with pytest.raises(ModelError, match=r"no name for what Mul_.* gives; quantize it"):
        load(b.model(b.op("Mul", y, b.op("Sigmoid", y))))


def test_quantized_softmax() -> None:
    """QuantizeLinear and DequantizeLinear behind it at the end; codes at the output, too."""
    b = Builder()
    y = b.op("Softmax", b.quantize(dense(b), 0.11), axis=-1)
    check(b.model(b.quantize(y, 1 / 256, -128)), (12,))
    b = Builder()
    y = b.op("Softmax", b.quantize(dense(b), 0.11), axis=-1)
    y = b.op("QuantizeLinear", y, b.constant(np.float32(1 / 255)), b.constant(np.uint8(0)))
    proto = b.model(y, kind=2)
    inputs = np.random.default_rng(1).normal(0, 1, (64, 12)).astype(np.float32)
    got = next(iter(hwgen.compile(proto).golden(inputs).values()))
    assert got.dtype == np.uint8
    assert (got != oracle(proto, inputs)).mean() < 0.01
    assert np.abs(got.astype(int) - oracle(proto, inputs)).max() <= 1


def test_argmax_of_small_numbers() -> None:
    """Of the numbers themselves, not of whole ones."""
    b = Builder()
    y = b.quantize(dense(b), 0.11)
    proto = b.model(b.op("ArgMax", b.op("Mul", y, b.constant(np.float32(1e-3))), axis=1), kind=7)
    inputs = np.random.default_rng(1).normal(0, 1, (64, 12)).astype(np.float32)
    got = next(iter(hwgen.compile(proto).golden(inputs).values()))
    assert (got == oracle(proto, inputs)).mean() > 0.95
    assert len(np.unique(got)) > 2


def qlinear_softmax(**attributes):
    constants = {"s": np.float32(0.05), "z": np.uint8(117), "ys": np.float32(1 / 256)}
    constants["yz"] = np.uint8(0)
    node = helper.make_node(
        "QLinearSoftmax", ["x", *constants], ["y"], domain="com.microsoft", **attributes
    )
    return model([node], constants, ([1, 3, 16], [1, 3, 16]), (2, 2), ["com.microsoft"])


def test_qlinear_softmax() -> None:
    """Its definition exactly; onnxruntime, whose tables are of whole numbers, within one code."""
    proto = qlinear_softmax(axis=-1, opset=13)
    x = codes(32, 3, 16, low=0, high=255).astype(np.uint8)
    got = hwgen.compile(proto).golden(x)["y"]
    powers = np.exp(x.astype(np.float64) * np.float64(np.float32(0.05)))
    exact = powers / powers.sum(axis=-1, keepdims=True) * 256
    assert got.dtype == np.uint8
    assert np.abs(got - np.clip(exact, 0, 255)).max() < 0.5 + 1e-4
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    theirs = np.concatenate([session.run(None, {"x": sample[None]})[0] for sample in x])
    assert np.abs(got.astype(int) - theirs).max() <= 1


def test_qlinear_softmax_refusals() -> None:
    with pytest.raises(ModelError, match=r"several axes \(opset below 13\)"):
        hwgen.compile(qlinear_softmax(axis=1, opset=12))
    with pytest.raises(ModelError, match="axis 5 is outside a tensor of 3"):
        hwgen.compile(qlinear_softmax(axis=5, opset=13))


def test_softmax_inside() -> None:
    """In hardware, within two codes of onnxruntime's."""
    b = Builder()
    y = b.quantize(b.op("Softmax", dense(b)), 0.01)
    proto = b.model(b.quantize(b.op("Gemm", y, b.weights(5, 3)), 0.05))
    x = np.random.default_rng(0).normal(size=(32, 12)).astype(np.float32)
    (got,) = hwgen.compile(proto).golden(x).values()
    assert np.abs(got - oracle(proto, x)).max() <= 0.1001


@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize("kind", ["sums", "codes"])
def test_sums_of_two_parts(op: str, kind: str) -> None:
    """Two parts of one tensor, which is no rotation."""
    b = Builder()
    y = biased(b, sums(b))
    y = b.quantize(y, 0.0713, 3) if kind == "codes" else y
    first = b.op("Split", y, axis=1)
    b.nodes[-1].output.append(second := b.name("part"))
    proto = b.model(b.quantize(b.op(op, first, second), 0.1))
    assert kinds(proto).count("Select") == 2 and "Rotate" not in kinds(proto)
    x = np.random.default_rng(1).normal(0, 1, (16, *SIZE)).astype(np.float32)
    got, expected = next(iter(hwgen.compile(proto).golden(x).values())), oracle(proto, x)
    away = np.abs(got.reshape(expected.shape) - expected)
    assert away.max() < 0.11 and (away > 0.01).mean() < (0.01 if kind == "codes" else 0.1)
