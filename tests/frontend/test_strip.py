"""What quantized models stand for: the float models that conversion starts from."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hwgen
from hwgen.frontend import read
from hwgen.frontend.convert.prepare import prepare
from hwgen.frontend.convert.strip import strip
from hwgen.frontend.editor import Editor
from tests.conftest import SHIPPED
from tests.frontend.converting import (
    SIZE,
    check,
    converted,
    evaluated,
    model,
    moved,
    residual,
    samples,
    scalar,
    sums_then_normalized,
    transposed,
)
from tests.qdq import Builder
from tests.small import raw

SHIPPED_NAMES = ("digits_mlp", "digits_cnn", "digits_resnet")


def stripped(proto: onnx.ModelProto) -> onnx.ModelProto:
    editor = Editor(read(proto))
    strip(editor)
    return editor.finish()


def ops(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(
    ("scale", "zero", "dtype", "expected"),
    [
        (0.1, 0, np.uint8, ["Conv", "Clip", "Conv"]),
        (0.1, -128, np.int8, ["Conv", "Clip", "Conv"]),
        (0.1, 3, np.int8, ["Conv", "Conv"]),
    ],
)
def test_ranges_that_stand_for_a_relu(scale, zero, dtype, expected) -> None:
    """They stay, others go; behind a Relu nothing is needed."""

    def made(relu: bool) -> onnx.ModelProto:
        b = Builder()
        x = b.quantize(b.input(1, *SIZE), 0.03, 0, np.uint8)
        y = b.op("Conv", x, b.weights(4, 3, 1, 1, channel=0), b.bias(4))
        y = b.quantize(b.op("Relu", y) if relu else y, scale, zero, dtype)
        return b.model(b.quantize(b.op("Conv", y, b.weights(2, 4, 1, 1)), 0.2))

    assert ops(stripped(made(False))) == expected
    assert ops(stripped(made(True))) == ["Conv", "Relu", "Conv"]
    limits = [onnx.numpy_helper.to_array(t) for t in stripped(made(False)).graph.initializer]
    if "Clip" in expected:
        assert [v for v in limits if not v.ndim] == [0, np.float32(np.float32(scale) * 255.0)]


def test_stripped_models_compute_the_same() -> None:
    """As well as 8 bits allow."""
    for name in SHIPPED_NAMES:
        with np.load(SHIPPED / f"{name}.npz") as file:
            x, expected = file["inputs"][:8], file["outputs"][:8]
        got = evaluated(stripped(SHIPPED / f"{name}.onnx"), x)
        away = np.abs(got.reshape(8, -1) - expected.reshape(8, -1)).max()
        assert away < 0.1 * np.abs(expected).max()


def codes_model() -> onnx.ModelProto:
    """QOperator: a convolution, a pool of its codes, a sum, a matrix product of real outputs."""
    rng = np.random.default_rng(3)
    constants = {
        "xs": np.float32(0.02), "xz": np.uint8(128), "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8), "w": rng.integers(-90, 90, (4, 3, 1, 1)).astype(np.int8),
        "b": rng.integers(-900, 900, 4).astype(np.int32), "ys": np.float32(0.05),
        "yz": np.uint8(7), "zs": np.float32(0.09), "zz": np.uint8(0),
        "gw": rng.integers(-90, 90, (64, 5)).astype(np.int8), "gs": np.float32(0.01),
        "gz": np.int8(0), "gb": rng.integers(-900, 900, 5).astype(np.int32),
    }  # fmt: skip

    def ms(op, inputs, output, **attributes):
        return helper.make_node(op, inputs, [output], domain="com.microsoft", **attributes)

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(
            "QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["c"], name="first"
        ),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        ms("QLinearAdd", ["p", "ys", "yz", "p", "ys", "yz", "zs", "zz"], "a", name="sum"),
        helper.make_node("Flatten", ["a"], ["f"]),
        ms("QGemm", ["f", "zs", "zz", "gw", "gs", "gz", "gb"], "y", name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets)
    proto.ir_version = 10
    return proto


def test_qoperator_models() -> None:
    proto, x = codes_model(), samples()
    before = next(iter(hwgen.compile(proto).golden(x).values()))
    for arith in ("int8", "int16"):
        made = converted(proto, arith, x)
        assert ops(made).count("Clip") == 1  # the sum's range begins at zero
        got = check(made, x)
        assert np.abs(got - before).max() < 0.1 * np.abs(before).max()
    one = hwgen.compile(proto, overrides={"first": {"arith": "int4"}}, calibrate=x)
    assert {"first", "last"} <= {node.name for node in one.graph.nodes}


def test_qonnx_models_and_converted_ones() -> None:
    """Quant and our own Quantize are removed; a converted model converts again."""
    x = samples()
    proto = model(residual)
    for first in ("int5", "e5m2", "ternary", "int8xbipolar", "mxfp8"):
        once = converted(proto, first, x)
        twice = converted(once, "int12", x)
        own = [n for n in twice.graph.node if n.op_type == "Quantize"]
        assert not own
        layers = [n for n in twice.graph.node if n.op_type == "Conv"]
        assert all([e.value for e in n.metadata_props] == ["int12"] for n in layers)
        if first == "int5":
            kept, again = evaluated(once, x), check(twice, x)
            assert np.abs(kept - again).max() < 0.3 * np.abs(kept).max()


def test_normalizations_fold_into_layers() -> None:
    for make, left in ((moved, 0), (transposed, 0), (sums_then_normalized, 1)):
        proto, x = read(model(make)), samples(3)
        editor = Editor(proto)
        strip(editor)
        prepare(editor, lambda _: True)
        result = editor.finish()
        assert ops(result).count("BatchNormalization") == left
        np.testing.assert_allclose(evaluated(result, x), evaluated(proto, x), rtol=1e-3, atol=1e-4)


def test_floats_of_a_file() -> None:
    """QONNX's FloatQuant, and QuantizeLinear to 8-bit floats: their weights are numbers of the
    format, their activations are free."""
    b = Builder(opset=19)
    x = b.input(1, 12)
    numbers = [b.constant(np.float32(v)) for v in (4, 3, 7, 448)]
    rng = np.random.default_rng(2)
    w = b.constant(rng.normal(0, 1, (12, 5)).astype(np.float32))

    def quantized(name: str) -> str:
        return b.op("FloatQuant", name, scalar(b, 0.5), *numbers, domain="qonnx.custom_op.general")

    y = b.op("Gemm", quantized(x), quantized(w), b.bias(5))
    e5m2 = b.constant(np.zeros((), dtype=ml_dtypes.float8_e5m2))
    codes = b.op("QuantizeLinear", y, scalar(b, 2), e5m2)
    y = b.op("DequantizeLinear", codes, scalar(b, 2), e5m2)
    proto = raw(b, b.op("Gemm", y, b.weights(5, 5)), domain="qonnx.custom_op.general")
    plain = stripped(proto)
    assert ops(plain) == ["Gemm", "Gemm"]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in plain.graph.initializer}
    values = weights[plain.graph.node[0].input[1]] / 0.5
    np.testing.assert_array_equal(values, values.astype(ml_dtypes.float8_e4m3fn).astype("f"))
    data = samples(8, (12,))
    check(converted(proto, "int8", data), data)
    name = proto.graph.node[-1].name
    design = hwgen.compile(proto, overrides={name: {"arith": "e4m3fn"}}, calibrate=data)
    check(design.model, data)
