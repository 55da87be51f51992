"""Conversion to other arithmetics: golden model against ONNX's reference evaluator, accuracy, and
what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hwgen
from hwgen import Design
from hwgen.errors import ConfigError, InputError, ModelError
from hwgen.formats import parse_arithmetic
from hwgen.frontend import read
from hwgen.frontend.convert import Options, convert
from hwgen.frontend.convert.editor import Editor
from hwgen.frontend.convert.prepare import prepare
from hwgen.frontend.convert.reference import evaluator
from hwgen.frontend.convert.strip import strip
from tests import blocks
from tests.conftest import SHIPPED
from tests.qdq import Builder, oracle

SHIPPED_NAMES = ("digits_mlp", "digits_cnn", "digits_resnet")
INTEGERS = ("int8", "int4", "uint8xint4", "int6xuint8", "fixed<8,4>", "ternary", "int8xbipolar")
FLOATS = ("e4m3fn", "e2m1", "bf16")
SIZE = (3, 8, 8)


def evaluated(proto: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session, name = evaluator(proto), proto.graph.input[0].name
    return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in inputs])


def samples(count: int = 12, size: tuple[int, ...] = SIZE, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, *size)).astype(np.float32)


def converted(proto, arith: str, inputs: np.ndarray | None = None, **options) -> onnx.ModelProto:
    return read(convert(read(proto), Options(parse_arithmetic(arith), **options), inputs))


def check(proto: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """The golden model gives what the reference evaluator does, but at ties."""
    got = next(iter(hwgen.compile(proto).golden(inputs).values()))
    expected = evaluated(proto, inputs)
    away = np.abs(got.reshape(expected.shape) - expected)
    assert (away > 1e-3 * np.abs(expected).max()).mean() < 0.02
    return got.reshape(expected.shape)


# --- float models --------------------------------------------------------------------------------


def weights(b: Builder, *size: int) -> str:
    fan = np.prod(size[1:]) if len(size) == 4 else size[0]
    return b.constant((b.rng.normal(0, 1, size) / np.sqrt(fan)).astype(np.float32), "w")


def conv(b: Builder, x: str, *size: int, **attributes) -> str:
    return b.op("Conv", x, weights(b, *size), b.bias(size[0]), **attributes)


def scalar(b: Builder, value: float) -> str:
    return b.constant(np.float32(value))


def channels(b: Builder, count: int) -> str:
    return b.constant(b.rng.uniform(0.5, 2, (count, 1, 1)).astype(np.float32))


def normalized(b: Builder, x: str, count: int) -> str:
    numbers = [b.constant(b.rng.uniform(0.5, 2, count).astype(np.float32)) for _ in range(4)]
    return b.op("BatchNormalization", x, *numbers)


def residual(b: Builder, x: str) -> str:
    y = b.op("Relu", conv(b, x, 4, 3, 3, 3, pads=[1] * 4))
    z = b.op("Add", conv(b, y, 4, 2, 3, 3, pads=[1] * 4, group=2), y)
    return conv(b, b.op("Relu", z), 2, 4, 1, 1, strides=[2, 2])


def pooled(b: Builder, x: str) -> str:
    y = b.op("MaxPool", conv(b, x, 4, 3, 3, 3), kernel_shape=[2, 2], strides=[2, 2])
    y = b.op("AveragePool", b.op("Relu", y), kernel_shape=[2, 2])
    y = b.op("Flatten", b.op("MaxPool", y, kernel_shape=[2, 1]))
    return b.op("Gemm", y, weights(b, 8, 5), b.bias(5))


def prepared_input(b: Builder, x: str) -> str:
    y = b.op("Div", b.op("Sub", x, channels(b, 3)), channels(b, 3))
    return conv(b, y, 4, 3, 3, 3)


def sums_at_the_end(b: Builder, x: str) -> str:
    return b.op("Relu", b.op("Add", conv(b, x, 4, 3, 1, 1), conv(b, x, 4, 3, 1, 1)))


def sums_then_normalized(b: Builder, x: str) -> str:
    y = b.op("Sub", conv(b, x, 4, 3, 1, 1), conv(b, x, 4, 3, 1, 1))
    return conv(b, b.op("Relu", normalized(b, y, 4)), 2, 4, 1, 1)


def gated(b: Builder, x: str) -> str:
    y = conv(b, x, 4, 3, 1, 1)
    gate = b.op("Sigmoid", conv(b, b.op("GlobalAveragePool", y), 4, 4, 1, 1))
    return conv(b, b.op("Mul", y, gate), 2, 4, 1, 1)


def swish(b: Builder, x: str) -> str:
    y = conv(b, x, 4, 3, 1, 1)
    y = b.op("Mul", y, b.op("Sigmoid", y))
    z = b.op("Clip", b.op("Add", y, scalar(b, 3)), scalar(b, 0), scalar(b, 6))
    return conv(b, b.op("Mul", y, b.op("Div", z, scalar(b, 6))), 2, 4, 1, 1)


def joined(b: Builder, x: str) -> str:
    y = b.op("Relu", conv(b, x, 4, 3, 1, 1))
    y = b.op("Relu", normalized(b, b.op("Concat", x, y, axis=1), 7))
    return conv(b, b.op("Concat", y, y, axis=1), 2, 14, 1, 1)


def moved(b: Builder, x: str) -> str:
    y = b.op("Relu", normalized(b, conv(b, x, 4, 3, 1, 1), 4))
    ints = [b.constant(np.array(v, dtype=np.int64)) for v in ([0, 0, 1, 1, 0, 0, 1, 1], [1, 2, -1])]
    y = b.op("Reshape", b.op("Pad", y, ints[0]), ints[1])
    y = b.op("MatMul", b.op("Transpose", y, perm=[0, 2, 1]), weights(b, 2, 5))
    y = b.op("Transpose", y, perm=[0, 2, 1])
    return b.op("Softmax", y, axis=1)


def transposed(b: Builder, x: str) -> str:
    y = b.op("ConvTranspose", x, weights(b, 3, 2, 3, 3), b.bias(2), strides=[2, 2])
    return b.op("Tanh", b.op("HardSwish", normalized(b, y, 2)))


MODELS = {
    f.__name__: f
    for f in (
        residual, pooled, prepared_input, sums_at_the_end, sums_then_normalized, gated, joined,
        moved, transposed, swish,
    )
}  # fmt: skip


def model(make, *size, opset: int = 17) -> onnx.ModelProto:
    b = Builder(opset=opset)
    return b.model(make(b, b.input(1, *(size or SIZE))))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("arith", ["int8", "int4", "fixed<8,4>", "ternary"])
def test_integers_equal_the_reference(name: str, arith: str) -> None:
    proto, x = model(MODELS[name]), samples()
    got = check(converted(proto, arith, x), x)
    if arith == "int8":
        before = evaluated(proto, x)
        assert np.abs(got - before).max() < 0.08 * np.abs(before).max()


@pytest.mark.parametrize("arith", [*INTEGERS[2:4], "int6xbipolar", "int16"])
@pytest.mark.parametrize("mode", ["max", "mse"])
@pytest.mark.parametrize("opset", [12, 17])
def test_other_integers(arith: str, mode: str, opset: int) -> None:
    for per_channel in (False, True):
        x = samples()
        options = {"scale": mode, "per_channel": per_channel}
        check(converted(model(residual, opset=opset), arith, x, **options), x)


@pytest.mark.parametrize("arith", FLOATS)
@pytest.mark.parametrize("make", [residual, pooled])
def test_floats_equal_the_reference(arith: str, make) -> None:
    x = samples()
    check(converted(model(make), arith, None if arith == "bf16" else x), x)


@pytest.mark.parametrize("arith", ["mxfp8", "mxfp6", "mxint8", "block<int6,5>"])
@pytest.mark.parametrize("make", [residual, pooled, moved])
def test_blocks_stay_near_the_float_model(arith: str, make) -> None:
    """By their definition, with the reduction along kernel rows, columns and channels."""
    proto, x = model(make), samples(4)
    got, before = blocks.outputs(converted(proto, arith, x), x), evaluated(proto, x)
    assert 0 < np.abs(got - before).max() < 0.12 * np.abs(before).max()


def test_nodes_of_blocks() -> None:
    """A carrier of 16 bits with a scale of a power of two, then blocks in front of the layer."""
    proto = converted(model(residual), "mxfp4", samples())
    makers = {n.output[0]: n for n in proto.graph.node}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    layers = [n for n in proto.graph.node if n.op_type == "Conv"]
    assert len(layers) == 3
    for layer in layers:
        assert [(e.key, e.value) for e in layer.metadata_props] == [("hwgen.arith", "mxfp4")]
        x, w = (makers[name] for name in layer.input[:2])
        assert [n.domain for n in (x, w)] == ["hwgen"] * 2
        carrier = makers[x.input[0]]
        scale, zero, bits = (constants[name] for name in carrier.input[1:])
        assert (carrier.op_type, zero, bits) == ("Quant", 0, 16)
        assert np.frexp(scale)[0] == 0.5


# --- shipped models ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_accuracy_of_shipped_models(name: str) -> None:
    with np.load(SHIPPED / f"{name}.npz") as file:
        x, labels, before = file["inputs"], file["labels"], file["outputs"]

    def accuracy(arith: str) -> float:
        design = hwgen.compile(SHIPPED / f"{name}.onnx", arith=arith, calibrate=x[::4])
        y = next(iter(design.golden(x).values())).reshape(len(x), -1)
        return (y.argmax(1) == labels).mean()

    first = (before.reshape(len(x), -1).argmax(1) == labels).mean()
    assert accuracy("int8") >= first - 0.01
    assert accuracy("e4m3fn") >= first - 0.02
    assert accuracy("int8xint4") >= first - 0.06


def test_int8_equals_onnxruntime() -> None:
    """8 bits are written as QuantizeLinear and DequantizeLinear."""
    with np.load(SHIPPED / "digits_mlp.npz") as file:
        x = file["inputs"]
    proto = converted(SHIPPED / "digits_mlp.onnx", "int8", x)
    got = next(iter(hwgen.compile(proto).golden(x).values()))
    assert (np.abs(got - oracle(proto, x)) > 1e-3).mean() < 0.01


@pytest.mark.parametrize("name", ["d01", "d02", "d03", "d05", "d06"])
def test_accuracy_of_float_models(name: str) -> None:
    folder = Path(os.environ.get("HWGEN_MODELS", "/nowhere"))
    if not folder.is_dir():
        pytest.skip("HWGEN_MODELS is not set")
    (path,), (data,) = folder.glob(f"{name}_*float.onnx"), folder.glob(f"{name}_*.npz")
    with np.load(data) as file:
        x, labels = file["inputs"], file["labels"]
    before = evaluated(read(path), x[:64].reshape(64, *x.shape[1:]))
    y = next(iter(hwgen.compile(path, arith="int8", calibrate=x).golden(x).values()))
    decisions = y.reshape(len(x), -1).argmax(1)
    same = decisions[:64] == before.reshape(64, -1).argmax(1)
    assert same.mean() > 0.95
    assert (decisions == labels).mean() > {"d05": 0.6}.get(name, 0.94)


# --- what quantized models stand for -------------------------------------------------------------


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


# --- single nodes --------------------------------------------------------------------------------


def test_several_arithmetics() -> None:
    """One tensor quantized for each of its readers; the model's input once for all."""
    b = Builder()
    x = b.input(1, *SIZE)
    y = b.op("Relu", conv(b, x, 4, 3, 1, 1))
    ends = [conv(b, y, 4, 4, 1, 1), conv(b, y, 4, 4, 1, 1), conv(b, x, 4, 3, 1, 1)]
    proto = b.model(b.op("Concat", *ends, axis=1))
    names = [n.name for n in proto.graph.node if n.op_type == "Conv"]
    spec = {names[1]: "int4", names[2]: "int8", names[3]: "int3xternary"}
    nodes = {name: parse_arithmetic(text) for name, text in spec.items()}
    data = samples()
    made = converted(proto, "int6", data, nodes=nodes)
    result = check(made, data)
    assert result.shape == (len(data), 12, 8, 8)
    widths = sorted(
        int(onnx.numpy_helper.to_array(t))
        for t in made.graph.initializer
        if t.name.endswith("bits")
    )
    assert widths == [3, 4, 6, 16, 16]  # those of 16: the input, and joined tensors


def test_one_node_of_a_quantized_model() -> None:
    """All others stay as the file says."""
    path = SHIPPED / "digits_mlp.onnx"
    with np.load(path.with_suffix(".npz")) as file:
        x = file["inputs"]
    plain = hwgen.compile(path)
    design = hwgen.compile(path, overrides={"/2/Gemm": {"arith": "int3", "pe": 2}}, calibrate=x)
    linear = {n.name: n for n in design.graph.nodes if hasattr(n, "weight")}
    before = {n.name: n for n in plain.graph.nodes if hasattr(n, "weight")}
    assert np.array_equal(linear["/0/Gemm"].weight, before["/0/Gemm"].weight)
    assert np.abs(linear["/2/Gemm"].weight).max() == 3
    assert linear["/2/Gemm"].pe == 2
    check(design.model, x[:16])


def test_a_quantized_file_stays_what_it_is() -> None:
    path = SHIPPED / "digits_cnn.onnx"
    assert hwgen.compile(path).model == onnx.load(path)
    assert hwgen.compile(path, calibrate=samples(2, (1, 8, 8))).model == onnx.load(path)


@pytest.mark.parametrize("arith", ["int4", "fixed<8,4>", "e4m3fn:lmul"])
def test_folders_need_no_calibration(arith: str, tmp_path: Path) -> None:
    """The converted model is the folder's, and rebuilds it."""
    path = SHIPPED / "digits_mlp.onnx"
    with np.load(path.with_suffix(".npz")) as file:
        x = file["inputs"][:32]
    settings = {"scale": "mse", "per_channel": False, "nodes": {"/0/Gemm": {"arith": "int8xint4"}}}
    settings = settings if arith == "int4" else {}
    design = hwgen.compile(path, {**settings, "cycles": 2048}, arith=arith, calibrate=x)
    design.save(tmp_path / "made")
    assert (tmp_path / "made" / "config.toml").read_text() == design.config.dump()
    assert design.config.arith is None
    loaded = Design.load(tmp_path / "made")
    assert loaded.model == design.model
    assert loaded.graph.tensors == design.graph.tensors
    for key, value in design.golden(x).items():
        np.testing.assert_array_equal(loaded.golden(x)[key], value)


# --- refusals ------------------------------------------------------------------------------------


def test_refusals() -> None:
    path, x = SHIPPED / "digits_mlp.onnx", samples(4, (64,))
    refused = [
        (
            ConfigError,
            "arith: 'e4m3f' is not a number format.*an arithmetic is written",
            {"arith": "e4m3f"},
        ),
        (ConfigError, r"scales of int8 .* --calibrate X.npz, or calibrate=", {"arith": "int8"}),
        (ConfigError, "e8m0", {"arith": "e8m0", "calibrate": x}),
        (
            InputError,
            r"shape \(samples, 64\), not \(4, 8\)",
            {"arith": "int8", "calibrate": x[:, :8]},
        ),
        (InputError, "has no array for input x", {"arith": "int8", "calibrate": {"z": x}}),
        (InputError, r"shape \(samples, 64\)", {"arith": "int8", "calibrate": x[:0]}),
        (
            ModelError,
            "input 'x' gives NaN or infinity on the calibration inputs",
            {"arith": "int8", "calibrate": x * np.float32(np.nan)},
        ),
        (
            ConfigError,
            "node '/1/Relu' computes in no arithmetic; these do: /0/Gemm, /2/Gemm, /4/Gemm",
            {"overrides": {"/1/Relu": {"arith": "int8"}}, "calibrate": x},
        ),
        (ConfigError, "int1 weights are", {"arith": "int8xint1", "calibrate": x}),
    ]
    for kind, message, options in refused:
        with pytest.raises(kind, match=message):
            hwgen.compile(path, **options)


def test_float_layers_need_an_arithmetic() -> None:
    proto = model(residual)
    names = [n.name for n in proto.graph.node if n.op_type == "Conv"]
    with pytest.raises(ConfigError, match=f"node '{names[1]}' is not quantized .* --arith SPEC"):
        hwgen.compile(proto, overrides={names[0]: {"arith": "int8"}}, calibrate=samples())


def test_a_node_that_gives_infinity() -> None:
    b = Builder()
    y = b.op("Mul", conv(b, b.input(1, *SIZE), 4, 3, 1, 1), scalar(b, 3e38))
    proto = b.model(conv(b, b.op("Mul", y, scalar(b, 3e38)), 2, 4, 1, 1))
    with pytest.raises(ModelError, match=r"node 'Mul_.*' gives NaN or infinity"):
        converted(proto, "int8", samples())


def test_models_that_compute_with_codes() -> None:
    b = Builder()
    x = b.op("QuantizeLinear", b.input(1, 5), scalar(b, 0.1), b.constant(np.int8(0)))
    x = b.op("Abs", x)
    y = b.op("DequantizeLinear", x, scalar(b, 0.1), b.constant(np.int8(0)))
    proto = b.model(b.op("Gemm", y, b.weights(5, 3)))
    with pytest.raises(ModelError, match=r"node 'Abs_.*': Abs computes with codes"):
        converted(proto, "int8", samples(2, (5,)))
