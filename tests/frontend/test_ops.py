"""Golden model of every op and attribute against onnxruntime, and refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from hwgen import golden
from hwgen.errors import ModelError
from hwgen.frontend import load, survey
from hwgen.golden.host import decode, encode
from tests.qdq import Builder, oracle

SAMPLES = 12


def check(model, shape, decimals: bool = True, most: float = 0.005) -> None:
    """Outputs equal onnxruntime's but for rounding at ties: off by one step, in `most` of all."""
    inputs = np.random.default_rng(1).normal(0, 1.2, (SAMPLES, *shape)).astype(np.float32)
    graph = load(model)
    got = next(iter(decode(graph, golden.run(graph, encode(graph, inputs))).values()))
    expected = oracle(model, inputs)
    assert got.shape == expected.shape
    assert len(np.unique(expected)) > 5, "the case decides nothing"
    step = min(np.diff(np.unique(expected)))
    if decimals and step > 1e-4:
        wrong = np.abs(got - expected) > step * 1e-2
        assert np.abs(got - expected).max() < 1.5 * step
        assert wrong.mean() <= most, f"{wrong.sum()} of {wrong.size} differ"
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def conv(b: Builder, x: str, weights: tuple, bias: bool = True, channel=0, **attributes) -> str:
    w = b.weights(*weights, channel=channel, zero=attributes.pop("zero", False))
    extra = [b.bias(weights[0])] if bias else []
    return b.op("Conv", x, w, *extra, **attributes)


@pytest.mark.parametrize(("dtype", "zero"), [(np.int16, 0), (np.int16, 77), (np.uint16, 31000)])
@pytest.mark.parametrize("op", ["Conv", "Add", "AveragePool", "Tanh", "MaxPool"])
def test_16_bits(op: str, dtype, zero: int) -> None:
    b = Builder(21)
    x = b.quantize(b.input(1, 3, 6, 5), 1e-4, zero, dtype)
    y = b.op("Conv", x, b.weights(3, 3, 1, 1, channel=0), b.bias(3))
    y = b.quantize(y, 2e-4, zero, dtype)
    if op == "Conv":
        y = b.op("Conv", y, b.weights(4, 3, 3, 3, channel=0, dtype=np.int16), b.bias(4))
    elif op == "Add":
        y = b.op("Add", y, x)
    elif op == "Tanh":
        y = b.op("Tanh", y)
    else:
        y = b.op(op, y, kernel_shape=[2, 2], strides=[2, 2])
    y = b.quantize(y, 0.07 if op == "Conv" else 3.1e-4, zero, dtype)
    # float32, with 24 bits, decides more ties of 16-bit codes by its own rounding; straight lines
    # are within a code.
    check(b.model(y), (3, 6, 5), most=0.1 if op == "Tanh" else 0.02)


CONVS = {
    "plain": ((1, 3, 7, 6), (4, 3, 3, 3), {}),
    "pads": ((1, 2, 6, 7), (5, 2, 3, 3), {"pads": [1, 2, 0, 1]}),
    "stride": ((1, 2, 9, 8), (3, 2, 3, 2), {"strides": [2, 3], "pads": [1, 0, 1, 1]}),
    "dilation": ((1, 2, 9, 9), (3, 2, 3, 3), {"dilations": [2, 3], "pads": [2, 2, 2, 2]}),
    "groups": ((1, 6, 5, 5), (8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 5, 6, 6), (5, 1, 3, 3), {"group": 5, "pads": [1, 1, 1, 1]}),
    "depthwise2": (
        (1, 3, 6, 6),
        (6, 1, 3, 3),
        {"group": 3, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "same_upper": ((1, 2, 7, 6), (3, 2, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same_lower": ((1, 2, 7, 6), (3, 2, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "valid": ((1, 2, 7, 6), (3, 2, 4, 3), {"auto_pad": "VALID"}),
    "pointwise": ((1, 6, 4, 5), (7, 6, 1, 1), {"strides": [2, 1]}),
    "line": ((1, 3, 15), (4, 3, 5), {"strides": [2], "pads": [2, 1], "dilations": [2]}),
    "zero_points": ((1, 3, 6, 6), (4, 3, 3, 3), {"zero": True, "pads": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("case", CONVS)
@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 0), (np.int8, -13), (np.uint8, 120)])
def test_conv(case: str, dtype, zero: int) -> None:
    shape, weights, attributes = CONVS[case]
    b = Builder(seed=len(case))
    x = b.quantize(b.input(*shape), 0.03, zero, dtype)
    y = b.quantize(conv(b, x, weights, **dict(attributes)), 0.15, zero, dtype)
    check(b.model(y), shape[1:])


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 20, 21])
@pytest.mark.parametrize(("trans", "channel"), [(0, None), (1, None), (0, 1), (1, 0)])
def test_gemm(opset: int, trans: int, channel) -> None:
    b = Builder(opset)
    x = b.quantize(b.input("batch", 20), 0.03, 5, np.int8)
    w = b.weights(*((9, 20) if trans else (20, 9)), channel=channel, zero=True)
    y = b.op("Gemm", x, w, b.bias(9), transB=trans, alpha=0.5, beta=2.0)
    check(b.model(b.quantize(y, 0.2, 3)), (20,))


def test_gemm_without_bias_and_output_in_float() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 12), 0.03)
    check(b.model(b.op("Gemm", x, b.weights(12, 5))), (12,), decimals=False)


@pytest.mark.parametrize("order", [0, 1])
def test_matmul_add(order: int) -> None:
    b = Builder()
    x = b.quantize(b.input(1, 12), 0.03, 100, np.uint8)
    pair = [b.op("MatMul", x, b.weights(12, 6, channel=1)), b.bias(6)]
    y = b.op("Add", *(pair if order else pair[::-1]))
    check(b.model(b.quantize(b.op("Relu", y), 0.05, 0, np.uint8)), (12,))


def test_matmul_of_rows() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 4, 12), 0.03)
    check(b.model(b.quantize(b.op("MatMul", x, b.weights(12, 6)), 0.3)), (4, 12))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [2, 3]}),
        ("AveragePool", {"kernel_shape": [6, 6]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
@pytest.mark.parametrize("zero", [0, 7])
def test_pool(kind: str, attributes: dict, zero: int) -> None:
    b = Builder()
    x = b.quantize(b.input(1, 3, 7, 6), 0.03, zero)
    y = b.op(kind, x, **attributes)
    if kind == "GlobalMaxPool":
        with pytest.raises(ModelError, match="GlobalMaxPool is not supported"):
            load(b.model(b.quantize(y, 0.03, zero)))
        return
    check(b.model(b.quantize(y, 0.03 if kind == "MaxPool" else 0.01037, zero)), (3, 7, 6))


def test_max_pool_of_codes_and_line() -> None:
    b = Builder()
    s, z = b.constant(np.float32(0.02)), b.constant(np.int8(3))
    codes = b.op("QuantizeLinear", b.input(1, 3, 11), s, z)
    pooled = b.op("MaxPool", codes, kernel_shape=[3], strides=[2], pads=[1, 1])
    check(b.model(b.op("DequantizeLinear", pooled, s, z)), (3, 11))


@pytest.mark.parametrize(("opset", "keep"), [(13, 1), (17, 0), (18, 1), (20, 0)])
def test_reduce_mean(opset: int, keep: int) -> None:
    b = Builder(opset)
    x = b.quantize(conv(b, b.quantize(b.input(1, 3, 6, 5), 0.03), (4, 3, 3, 3)), 0.1, -4)
    if opset < 18:
        y = b.op("ReduceMean", x, axes=[2, 3], keepdims=keep)
    else:
        y = b.op("ReduceMean", x, b.constant(np.array([-1, 2])), keepdims=keep)
    check(b.model(b.quantize(y, 0.017, 9)), (3, 6, 5))


def test_batch_normalization_relu_clip() -> None:
    b = Builder()
    y = conv(b, b.quantize(b.input(1, 3, 6, 5), 0.03), (4, 3, 3, 3))
    statistics = [b.constant(b.rng.uniform(-1, 1, 4).astype(np.float32)) for _ in range(3)]
    variance = b.constant(b.rng.uniform(0.5, 2, 4).astype(np.float32))
    y = b.op("BatchNormalization", y, *statistics, variance, epsilon=1e-3)
    y = b.op("Clip", b.op("Relu", y), b.constant(np.float32(0)), b.constant(np.float32(6)))
    check(b.model(b.quantize(y, 0.03, -128)), (3, 6, 5))


def test_scalar_arithmetic() -> None:
    b = Builder()
    y = conv(b, b.quantize(b.input(1, 3, 6, 5), 0.03), (4, 3, 3, 3))
    for op, value in (("Mul", 0.5), ("Add", 1.25), ("Sub", 0.5), ("Div", 4.0)):
        y = b.op(op, y, b.constant(np.float32(value)))
    check(b.model(b.quantize(b.op("Sub", b.constant(np.float32(3)), y), 0.02)), (3, 6, 5))


@pytest.mark.parametrize("relu", [False, True])
def test_residual(relu: bool) -> None:
    b = Builder()
    x = b.quantize(b.input(1, 3, 6, 6), 0.03, 4)
    left = b.quantize(conv(b, x, (4, 3, 3, 3), pads=[1, 1, 1, 1]), 0.12, -7)
    right = b.quantize(conv(b, x, (4, 3, 1, 1)), 0.05, 11)
    y = b.op("Add", left, right)
    y = b.op("Relu", y) if relu else y
    check(b.model(b.quantize(y, 0.13, -128 if relu else 2)), (3, 6, 6))


def test_input_added_to_itself_and_to_a_layer() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 3, 6, 6), 0.03)
    twice = b.quantize(b.op("Add", x, x), 0.07, 3)
    y = b.op("Add", b.quantize(conv(b, twice, (3, 3, 3, 3), pads=[1] * 4), 0.2), twice)
    check(b.model(b.quantize(y, 0.25)), (3, 6, 6))


def test_layout_chain() -> None:
    """Transpose, Reshape of a computed shape, Flatten: no hardware, weights are permuted."""
    b = Builder()
    x = b.quantize(conv(b, b.quantize(b.input("n", 3, 4, 5), 0.03), (6, 3, 1, 1)), 0.1)
    head = b.op("Gather", b.op("Shape", x), b.constant(np.array(0)), axis=0)
    shape = b.op(
        "Concat",
        b.op("Unsqueeze", head, b.constant(np.array([0]))),
        b.constant(np.array([-1])),
        axis=0,
    )
    y = b.op("Reshape", b.op("Transpose", x, perm=[0, 3, 1, 2]), shape)
    y = b.op("Gemm", b.op("Flatten", b.op("Dropout", b.op("Identity", y))), b.weights(120, 7))
    model = b.model(b.quantize(y, 0.3))
    check(model, (3, 4, 5))
    assert [row.maps_to for row in survey(model)].count("Window + Linear") == 2


def test_softmax_and_argmax() -> None:
    b = Builder()
    y = b.quantize(b.op("Gemm", b.quantize(b.input(1, 12), 0.03), b.weights(12, 5)), 0.1)
    check(b.model(b.op("Softmax", y, axis=-1)), (12,), decimals=False)
    inputs = np.random.default_rng(1).normal(0, 1, (SAMPLES, 12)).astype(np.float32)
    model = b.model(b.op("ArgMax", y, axis=1, keepdims=0), kind=7)
    graph = load(model)
    got = next(iter(decode(graph, golden.run(graph, encode(graph, inputs))).values()))
    assert (got == oracle(model, inputs)).mean() >= 11 / 12


def test_argmax_compares_numbers_that_are_not_whole() -> None:
    b = Builder()
    y = b.op("ArgMax", b.quantize(b.input(1, 12), 0.01), axis=1, keepdims=0)
    model = b.model(y, kind=onnx.TensorProto.INT64)
    inputs = np.random.default_rng(1).normal(0, 0.3, (SAMPLES, 12)).astype(np.float32)
    graph = load(model)
    got = next(iter(decode(graph, golden.run(graph, encode(graph, inputs))).values()))
    np.testing.assert_array_equal(got, oracle(model, inputs))


@pytest.mark.parametrize("block", [0, 2])
def test_an_input_quantized_per_channel_or_block(block: int) -> None:
    b = Builder(21)
    size = (3, 6) if block else (6,)
    s = b.constant(b.rng.uniform(0.01, 0.05, size).astype(np.float32))
    z = b.constant(b.rng.integers(-20, 20, size).astype(np.int8))
    x = b.op("Transpose", b.input(1, 6, 6), perm=[0, 2, 1])
    if block:
        x = b.op("Reshape", x, ints(b, 6, 6))
    attributes = {"axis": 0, "block_size": 2} if block else {"axis": 1}
    y = b.op("QuantizeLinear", x, s, z, **attributes)
    y = b.op("DequantizeLinear", y, s, z, **attributes)
    check(b.model(b.op("Reshape", b.quantize(y, 0.03), ints(b, 1, 36))), (6, 6))


@pytest.mark.parametrize("shape", [(2, 4, 12), (4, 12)])
def test_a_stack_of_matrices(shape: tuple[int, ...]) -> None:
    b = Builder()
    x = b.quantize(b.input(1, *shape), 0.03, 5)
    codes = b.constant(b.rng.integers(-128, 128, (2, 12, 3)).astype(np.int8))
    w = b.op("DequantizeLinear", codes, b.constant(np.float32(0.01)), b.constant(np.int8(0)))
    y = b.op("Reshape", b.op("MatMul", x, w), ints(b, 1, -1))
    check(b.model(b.quantize(y, 0.3)), shape)


def test_several_outputs_and_codes() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 12), 0.03)
    first = b.quantize(b.op("Gemm", x, b.weights(12, 5)), 0.1)
    second = b.quantize(b.op("Gemm", first, b.weights(5, 3)), 0.1)
    graph = load(b.model(first, second))
    codes = golden.run(graph, encode(graph, np.zeros((2, 12), np.float32)))
    assert [codes[o.name].shape for o in graph.outputs] == [(2, 5), (2, 3)]


def test_relu_that_only_clamps_is_merged() -> None:
    import hwgen

    b = Builder()
    y = b.quantize(b.op("Gemm", b.quantize(b.input(1, 12), 0.03), b.weights(12, 5)), 0.1)
    design = hwgen.compile(b.model(b.quantize(b.op("Relu", y), 0.1)))
    kinds = [type(n).__name__ for n in design.graph.nodes]
    assert kinds.count("Requantize") == 1


def ints(b: Builder, *values) -> str:
    return b.constant(np.array(values, dtype=np.int64))


def image(b: Builder, channels: int = 4) -> str:
    """A quantized layer of (1, channels, 6, 4)."""
    x = b.quantize(b.input(1, 3, 6, 4), 0.03, 5)
    return b.quantize(conv(b, x, (channels, 3, 3, 3), pads=[1] * 4), 0.15, -3)


PARTS = {
    "slice": lambda b, x: b.op("Slice", x, ints(b, 1, 0), ints(b, 3, -1), ints(b, 1, 2)),
    "slice_steps": lambda b, x: b.op(
        "Slice", x, ints(b, -1, 3), ints(b, -100, 0), ints(b, 3, 1), ints(b, -1, -2)
    ),
    "gather": lambda b, x: b.op("Gather", x, ints(b, 3, 0, -2), axis=1),
    "depth_to_space": lambda b, x: b.op("DepthToSpace", x, blocksize=2),
    "depth_to_space_crd": lambda b, x: b.op("DepthToSpace", x, blocksize=2, mode="CRD"),
    "resize": lambda b, x: b.op(
        "Resize", x, "", b.constant(np.array([1, 1, 2, 3], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "resize_odd": lambda b, x: b.op(
        "Resize", x, "", b.constant(np.array([1, 1, 1.5, 2.5], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="ceil",
    ),
    "resize_sizes": lambda b, x: b.op(
        "Resize", x, "", "", ints(b, 1, 4, 3, 9), mode="nearest",
        coordinate_transformation_mode="align_corners",
    ),
    "pad_reflect": lambda b, x: b.op("Pad", x, ints(b, 0, 1, 0, 2, 0, 0, 1, 1), mode="reflect"),
    "pad_edge": lambda b, x: b.op("Pad", x, ints(b, 0, 0, 2, 0, 0, 1, 0, 3), mode="edge"),
    "pad": lambda b, x: b.op("Pad", x, ints(b, 0, 1, 0, 2, 0, 0, 1, 1)),
    "expand": lambda b, x: b.op(
        "Expand", b.op("Slice", x, ints(b, 0), ints(b, 1), ints(b, 2)), ints(b, 1, 4, 5, 4)
    ),
    "negate": lambda b, x: b.op("Neg", x),
    "limits": lambda b, x: b.op(
        "Max", b.op("Min", x, b.constant(np.float32(2))), b.constant(np.float32(-1.5))
    ),
    "cast": lambda b, x: b.op("Cast", x, to=1),
    "concat": lambda b, x: b.op("Concat", x, b.op("Relu", x), axis=1),
    "concat_rows": lambda b, x: b.op(
        "Concat", x, b.op("Slice", x, ints(b, 2), ints(b, 5), ints(b, 2)), axis=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_parts(case: str) -> None:
    """Ops that take parts of tensors, repeat or join them; before a layer and at the end."""
    b = Builder()
    y = b.quantize(PARTS[case](b, image(b)), 0.17, 4)
    check(b.model(y), (3, 6, 4))
    b = Builder()
    y = b.quantize(PARTS[case](b, image(b)), 0.17, 4)
    channels = {"slice": 2, "slice_steps": 2, "gather": 3, "concat": 8}.get(case, 4)
    channels = 1 if case.startswith("depth") else 5 if case.startswith("pad") else channels
    check(b.model(b.quantize(conv(b, y, (2, channels, 2, 2)), 0.3)), (3, 6, 4))


def test_split() -> None:
    b = Builder()
    outputs = [b.name("part") for _ in range(2)]
    b.nodes.append(
        onnx.helper.make_node("Split", [image(b, 5), ints(b, 2, 3)], outputs, axis=1, name="split")
    )
    b.nodes.sort(key=lambda node: node.op_type == "Split")
    first, second = (b.quantize(o, 0.13, 1) for o in outputs)
    y = b.op("Add", first, b.quantize(conv(b, second, (2, 3, 1, 1)), 0.2))
    check(b.model(b.quantize(y, 0.31)), (3, 6, 4))


def test_integer_products() -> None:
    """MatMulInteger with the scaling that follows it."""
    b = Builder()
    s, z = b.constant(np.float32(0.03)), b.constant(np.uint8(120))
    codes = b.op("QuantizeLinear", b.input(1, 12), s, z)
    w = b.constant(b.rng.integers(-128, 128, (12, 5)).astype(np.int8))
    sums = b.op("MatMulInteger", codes, w, z)
    y = b.op("Mul", b.op("Cast", sums, to=1), b.constant(np.float32(0.0004)))
    check(b.model(b.quantize(y, 0.02)), (12,))


ROWS = {
    "product": lambda b, q, k: b.op("MatMul", q, b.op("Transpose", k, perm=[0, 2, 1])),
    "softmax": lambda b, q, _: b.op("Softmax", q, axis=-1),
    "norm": lambda b, q, _: b.op(
        "LayerNormalization", q, *(b.constant(np.full(8, v, np.float32)) for v in (1, 0)), axis=-1
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_rows_of_a_flat_layer(case: str) -> None:
    """What looks at rows, behind a layer whose outputs are one row that a Reshape cuts."""
    b = Builder(seed=3)
    x = b.quantize(b.input(1, 20), 0.03, 5)
    shape = b.constant(np.array([1, 6, 8]))
    q, k = (
        b.op("Reshape", b.quantize(b.op("MatMul", x, b.weights(20, 48)), 0.1, -9), shape)
        for _ in range(2)
    )
    # Normalizations are within a part of the step, not exact.
    most = 0.1 if case == "norm" else 0.005
    step = 1.7 if case == "product" else 0.011
    check(b.model(b.quantize(ROWS[case](b, q, k), step)), (20,), most=most)
