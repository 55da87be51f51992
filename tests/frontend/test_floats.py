"""Files that state floats: QDQ of float8 and float4, FloatQuant, our own Quantize."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import hwgen
from hwgen.errors import HwgenError, ModelError
from hwgen.formats import decode, encode, parse
from hwgen.ir import Convert, Linear
from tests.floats import FloatBuilder

KINDS = {
    "e4m3fn": TensorProto.FLOAT8E4M3FN,
    "e5m2": TensorProto.FLOAT8E5M2,
    "e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ,
    "e2m1": TensorProto.FLOAT4E2M1,
}


def qdq(name: str, scale: float = 0.037, **attributes) -> onnx.ModelProto:
    """Two dense layers whose activations and weights are floats of an ONNX type."""
    rng, fmt, kind = np.random.default_rng(3), parse(name), KINDS[name]
    made = []

    def weights(name: str, *shape: int) -> None:
        codes = encode(fmt, rng.normal(0, 0.6, shape) / 0.05)
        numbers = decode(fmt, codes).ravel().tolist()
        made.append(helper.make_tensor(name, kind, shape, numbers))

    weights("w0", 7, 12)
    weights("w1", 4, 7)
    made.append(helper.make_tensor("z", kind, (), [0.0]))
    made += [
        helper.make_tensor(n, TensorProto.FLOAT, (), [v])
        for n, v in (("s", scale), ("sw", 0.05), ("sh", 0.11))
    ]
    made.append(helper.make_tensor("b", TensorProto.FLOAT, (7,), rng.normal(0, 1, 7).tolist()))
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "input", **attributes),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w0", "sw"], ["v0"]),
        node("Gemm", ["d", "v0", "b"], ["g"], "first", transB=1),
        node("Relu", ["g"], ["r"]),
        node("QuantizeLinear", ["r", "sh", "z"], ["qh"]),
        node("DequantizeLinear", ["qh", "sh", "z"], ["h"]),
        node("DequantizeLinear", ["w1", "sw"], ["v1"]),
        node("Gemm", ["h", "v1"], ["y"], "second", transB=1),
    ]
    ports = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s)]
        for n, s in (("x", (1, 12)), ("y", (1, 4)))
    ]
    opset = helper.make_opsetid("", 23 if name == "e2m1" else 19)
    graph = helper.make_graph(nodes, "floats", *ports, made)
    return helper.make_model(graph, opset_imports=[opset], ir_version=11)


@pytest.mark.parametrize("name", KINDS)
def test_qdq(name: str) -> None:
    """Equal to ONNX's reference evaluator but where its float32 sums round another way."""
    model = qdq(name)
    x = np.random.default_rng(0).normal(0, 1, (64, 12)).astype(np.float32)
    design = hwgen.compile(model)
    layers = [n for n in design.graph.nodes if isinstance(n, Linear)]
    assert [str(n.arithmetic) for n in layers] == [name, name]
    reference = ReferenceEvaluator(model)
    expected = np.concatenate([reference.run(None, {"x": row[None]})[0] for row in x])
    got = design.golden(x)["y"].reshape(expected.shape)
    assert np.abs(got).max() > 0.5
    assert (np.abs(got - expected).max(axis=1) > 1e-4).mean() < 0.04


def test_scales_that_are_no_powers_of_two() -> None:
    """Exact rationals, whatever the multiplier costs."""
    design = hwgen.compile(qdq("e4m3fn"))
    (convert,) = [n for n in design.graph.nodes if isinstance(n, Convert)]
    assert convert.form.multiplier.ravel()[0].bit_length() > 8
    x = np.random.default_rng(1).normal(0, 1, (4, 12)).astype(np.float32)
    assert design.simulate(x).mismatch is None


def test_overflow_to_nan_is_reported() -> None:
    with pytest.raises(ModelError, match=r"input \(QuantizeLinear\): saturate=0 turns"):
        hwgen.compile(qdq("e4m3fn", saturate=0))


def float_quant(exp: int, man: int, bias: int, most: float, **attributes) -> onnx.ModelProto:
    b = FloatBuilder("e4m3fn")
    numbers = [b.constant(np.float32(v)) for v in (0.01, exp, man, bias, most)]
    flags = {"has_inf": 0, "has_nan": 1, "has_subnormal": 1, "saturation": 1} | attributes
    x = b.op("FloatQuant", b.input(1, 6), *numbers, **flags)
    b.nodes[-1].domain = "qonnx.custom_op.general"
    model = b.model(b.layer("Gemm", x, b.matrix(6, 3)))
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 2))
    return model


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((4, 3, 7, 448), "e4m3fn"), ((4, 3, 7, 240), "e4m3"), ((3, 2, 3, 28), "e3m2")],
)
def test_float_quant(arguments: tuple, name: str) -> None:
    """The largest value decides which codes are no numbers."""
    graph = hwgen.compile(float_quant(*arguments)).graph
    assert str(graph.tensors[graph.inputs[0].tensor].fmt) == name


@pytest.mark.parametrize(
    ("arguments", "attributes", "message"),
    [
        ((4, 3, 7, 400), {}, "its largest value is 400; floats of 4 exponent .* 480, 448, 240"),
        ((4, 3, 7, 448), {"has_subnormal": 0}, "has_subnormal=1"),
        ((4, 3, 7, 448), {"rounding_mode": "FLOOR"}, "rounds floats not to the nearest"),
        ((4.5, 3, 7, 448), {}, "must be whole numbers"),
    ],
)
def test_float_quants_refused(arguments: tuple, attributes: dict, message: str) -> None:
    with pytest.raises(HwgenError, match=message):
        hwgen.compile(float_quant(*arguments, **attributes))


def test_refusals() -> None:
    b = FloatBuilder("e4m3fn")
    x = b.rounded(b.input(1, 6), 0.1)
    with pytest.raises(HwgenError, match="multiplies two tensors of floats"):
        hwgen.compile(b.model(b.op("Mul", x, b.rounded(b.op("Relu", x), 0.1))))
    b = FloatBuilder("e4m3fn")
    y = b.op("MatMul", b.rounded(b.input(1, 6), 0.1), b.weights(6, 3))
    with pytest.raises(HwgenError, match="multiplies e4m3fn by integers; quantize"):
        hwgen.compile(b.model(y))
    b = FloatBuilder("bf16")
    x = b.rounded(b.input(1, 6), 1)
    y = b.op("Quantize", x, b.constant(np.float32(1)), format="e9m9")
    b.nodes[-1].domain = "hwgen"
    with pytest.raises(HwgenError, match="'e9m9' is not a number format"):
        hwgen.compile(b.model(y))
