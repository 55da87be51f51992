"""QOperator against ONNX's reference evaluator, QONNX against its definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import hwgen
from hwgen.errors import ModelError
from tests.qdq import Builder

RNG = np.random.default_rng(3)
QONNX = "qonnx.custom_op.general"


def model(nodes, constants: dict, shapes: tuple, kinds=(1, 1), domains=()) -> onnx.ModelProto:
    """One input x, one output y."""
    values = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in zip("xy", kinds, shapes, strict=True)
    ]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:], initializers)
    opsets = [helper.make_opsetid("", 19), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def codes(*shape: int, low: int = -128, high: int = 127) -> np.ndarray:
    return RNG.integers(low, high + 1, shape)


ZEROS = [("int8", 0, False), ("int8", -3, False), ("int8", 17, True), ("uint8", 121, True)]


@pytest.mark.parametrize(("kind", "zero", "channels"), ZEROS)
def test_qlinear_conv(kind: str, zero: int, channels: bool) -> None:
    """Equal to the definition but at ties; zero points of weights per tensor and per channel."""
    w = codes(4, 3, 3, 3) + 128 * (kind == "uint8")
    zeros = zero + np.arange(4) * channels
    constants = {
        "xs": np.float32(0.02), "xz": np.uint8(120), "w": w.astype(kind),
        "ws": RNG.uniform(0.01, 0.02, 4).astype(np.float32), "wz": zeros.astype(kind),
        "ys": np.float32(0.15), "yz": np.uint8(99),
        "b": codes(4, low=-4000, high=4000).astype(np.int32),
    }  # fmt: skip
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    node = helper.make_node("QLinearConv", names, ["y"], pads=[1, 1, 1, 1])
    proto = model([node], constants, ([1, 3, 6, 5], [1, 4, 6, 5]), (2, 2))
    x = codes(8, 3, 6, 5, low=0, high=255).astype(np.uint8)
    real = (w - zeros[:, None, None, None]) * constants["ws"].astype(float)[:, None, None, None]
    padded = np.pad(x.astype(float) - 120, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwyx,ocyx->nohw", windows, real)
    sums += (constants["b"] * constants["ws"].astype(float))[:, None, None]
    scaled = sums * float(constants["xs"]) / float(constants["ys"]) + 99
    got = hwgen.compile(proto).golden(x)["y"]
    assert got.dtype == np.uint8
    assert np.abs(got - np.clip(scaled, 0, 255)).max() < 0.5 + 1e-6


@pytest.mark.parametrize(("kind", "zero", "channels"), ZEROS)
def test_qlinear_matmul(kind: str, zero: int, channels: bool) -> None:
    w = codes(12, 7) + 128 * (kind == "uint8")
    zeros = zero + np.arange(7) if channels else np.array(zero)
    scales = RNG.uniform(0.01, 0.02, 7) if channels else 0.013
    constants = {
        "xs": np.float32(0.02), "xz": np.int8(5), "w": w.astype(kind),
        "ws": np.array(scales, np.float32), "wz": zeros.astype(kind),
        "ys": np.float32(0.3), "yz": np.int8(9),
    }  # fmt: skip
    node = helper.make_node("QLinearMatMul", ["x", *constants], ["y"])
    proto = model([node], constants, ([1, 12], [1, 7]), (3, 3))
    x = codes(64, 12).astype(np.int8)
    expected = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    away = np.abs(hwgen.compile(proto).golden(x)["y"].astype(int) - expected)
    assert away.max() <= 1  # at ties, which the reference rounds in float32
    assert (away > 0).mean() < 0.005


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearSigmoid", "QLinearLeakyRelu"])
def test_contributed_ops(op: str) -> None:
    """By their definition: the float op between dequantization and quantization."""
    s, z = np.float32(0.05), np.uint8(117)
    constants = {"s": s, "z": z, "ys": np.float32(0.06 if op != "QLinearSigmoid" else 1 / 256)}
    constants["yz"] = np.uint8(100 if op != "QLinearSigmoid" else 0)
    operands = ["x", "s", "z"] * (2 if op == "QLinearAdd" else 1)
    node = helper.make_node(op, [*operands, "ys", "yz"], ["y"], domain="com.microsoft")
    proto = model([node], constants, ([1, 16], [1, 16]), (2, 2), ["com.microsoft"])
    x = np.arange(256, dtype=np.uint8).reshape(16, 16)
    real = (x.astype(np.float64) - z) * np.float64(s)
    functions: dict[str, Callable] = {
        "QLinearAdd": lambda v: v + v,
        "QLinearSigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "QLinearLeakyRelu": lambda v: np.where(v < 0, np.float32(0.01) * v, v),
    }
    exact = functions[op](real) / np.float64(constants["ys"]) + constants["yz"]
    got = hwgen.compile(proto).golden(x)["y"]
    away = np.abs(got - np.clip(exact, 0, 255))  # at ties the model's float32 decides
    assert away.max() < 0.5 + 1e-4


def quant(x: str, y: str, number: int, **attributes) -> onnx.NodeProto:
    names = [x, f"s{number}", f"z{number}", f"b{number}"]
    return helper.make_node("Quant", names, [y], domain=QONNX, **attributes)


MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda v: np.sign(v) * np.ceil(np.abs(v)),
    "DOWN": np.trunc,
    "HALF_UP": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
    "HALF_DOWN": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("signed", "narrow", "bits"), [(1, 1, 4), (0, 0, 3), (1, 0, 2), (0, 1, 6)])
def test_quant(mode: str, signed: int, narrow: int, bits: int) -> None:
    """Quant of an input, of weights and of a layer's sums, whose ties are many."""
    constants = {"s0": np.float32(0.5), "z0": np.float32(0), "b0": np.float32(5)}
    constants |= {"w": RNG.normal(0, 2, (6, 9)).astype(np.float32)}
    constants |= {"s1": np.float32(0.5), "z1": np.float32(0), "b1": np.float32(4)}
    constants |= {"s2": np.float32(0.5), "z2": np.float32(0), "b2": np.float32(bits)}
    how = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    nodes = [
        quant("x", "q", 0, signed=1, narrow=0, rounding_mode=mode),
        quant("w", "v", 1, signed=1, narrow=1, rounding_mode="ROUND"),
        helper.make_node("MatMul", ["q", "v"], ["a"]),
        quant("a", "y", 2, **how),
    ]
    proto = model(nodes, constants, ([1, 6], [1, 9]), domains=[QONNX])
    x = RNG.normal(0, 3, (64, 6)).astype(np.float32)
    q = np.clip(MODES[mode](x.astype(np.float64) / 0.5), -16, 15) * 0.5
    v = np.clip(np.rint(constants["w"].astype(np.float64) / 0.5), -7, 7) * 0.5
    low = -(1 << (bits - 1)) + narrow if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
    expected = np.clip(MODES[mode](q @ v / 0.5), low, high) * 0.5
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(hwgen.compile(proto).golden(x)["y"], expected)


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
@pytest.mark.parametrize("version", [1, 2])
def test_trunc(version: int, mode: str) -> None:
    """Codes of 8 bits to 4: version 1 keeps the scale, version 2 states another."""
    constants = {"s0": np.float32(0.125), "z0": np.float32(0), "b0": np.float32(8)}
    constants |= {"so": np.float32(0.5), "bo": np.float32(4)}
    extra = ["bo"] if version == 1 else ["so", "bo"]
    nodes = [
        quant("x", "q", 0, signed=1, narrow=0),
        helper.make_node(
            "Trunc", ["q", "s0", "z0", "b0", *extra], ["y"], domain=QONNX, rounding_mode=mode
        ),
    ]
    proto = model(nodes, constants, ([1, 6], [1, 6]), domains=[QONNX])
    x = RNG.normal(0, 4, (64, 6)).astype(np.float32)
    codes = np.clip(np.rint(x / 0.125), -128, 127)
    step, scale = (16, 0.125) if version == 1 else (4, 0.5)
    expected = np.clip(MODES[mode](codes / step), -8, 7) * scale
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(hwgen.compile(proto).golden(x)["y"], expected)


def test_bipolar_network() -> None:
    constants = {"s0": np.float32(0.25), "w": RNG.normal(0, 1, (6, 5)).astype(np.float32)}
    constants |= {
        "s1": np.float32(0.5),
        "s2": np.float32(1),
        "z": np.float32(0),
        "b": np.float32(8),
    }
    nodes = [
        helper.make_node("Quant", ["x", "s2", "z", "b"], ["p"], domain=QONNX),
        helper.make_node("BipolarQuant", ["p", "s0"], ["q"], domain=QONNX),
        helper.make_node("BipolarQuant", ["w", "s1"], ["v"], domain=QONNX),
        helper.make_node("MatMul", ["q", "v"], ["y"]),
    ]
    proto = model(nodes, constants, ([1, 6], [1, 5]), domains=[QONNX])
    x = RNG.normal(0, 4, (32, 6)).astype(np.float32)
    signs = np.where(np.rint(x) >= 0, 0.25, -0.25) @ np.where(constants["w"] >= 0, 0.5, -0.5)
    np.testing.assert_array_equal(hwgen.compile(proto).golden(x)["y"], signs)


@pytest.mark.parametrize(
    ("attributes", "bits", "message"),
    [
        ({"rounding_mode": "SOMEHOW"}, 4, "rounding_mode='SOMEHOW' is not known"),
        ({}, 17, "quantizes activations to 17 bits; 1 to 16 are supported"),
        ({}, 2.5, "its bit width must be one whole number"),
        ({"narrow": 1, "signed": 1}, 1, "use more bits"),
    ],
)
def test_refusals(attributes: dict, bits: float, message: str) -> None:
    constants = {"s0": np.float32(0.5), "z0": np.float32(0), "b0": np.float32(bits)}
    proto = model([quant("x", "y", 0, **attributes)], constants, ([1, 4], [1, 4]), domains=[QONNX])
    with pytest.raises(ModelError, match=message):
        hwgen.compile(proto)


def test_dynamic_quantization_is_refused_with_advice() -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    with pytest.raises(ModelError, match="DynamicQuantizeLinear is not supported; quantize stat"):
        hwgen.compile(model([node], {}, ([1, 4], [1, 4]), (1, 2)))


def test_what_old_exporters_write() -> None:
    """Initializers listed as inputs, opsets that nothing uses, nodes without names, one weight of
    two layers, several outputs, one without a shape."""
    b = Builder(seed=4)
    x = b.quantize(b.input(1, 6), 0.05)
    w = b.weights(6, 6, channel=1)
    y = b.quantize(b.op("Relu", b.op("MatMul", x, w)), 0.1)
    z = b.quantize(b.op("MatMul", y, w), 0.2)
    proto = b.model(y, z)
    plain = hwgen.compile(proto)
    for node in proto.graph.node:
        node.name = ""
    for tensor in proto.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(value)
    proto.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("own", 1)])
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inputs = RNG.normal(0, 1, (8, 6)).astype(np.float32)
    expected, got = plain.golden(inputs), hwgen.compile(proto).golden(inputs)
    assert set(got) == {y, z}
    for name in (y, z):
        np.testing.assert_array_equal(got[name], expected[name])
        assert len(np.unique(got[name])) > 5
