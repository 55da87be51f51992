"""Models that can't be mapped, and files that are none: what the command says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import hwgen
from hwgen.errors import HwgenError, ModelError
from hwgen.frontend import load
from tests.command import fails, run, succeeds
from tests.conftest import SHIPPED
from tests.qdq import Builder
from tests.small import dense, good, raw, write


def codes(b: Builder) -> str:
    return b.quantize(dense(b), 0.1)


def image(b: Builder) -> str:
    return b.quantize(b.input(1, 3, 6, 6), 0.03)


def constants(b: Builder, *values) -> list[str]:
    return [b.constant(np.asarray(v)) for v in values]


def test_every_unsupported_node_is_listed(tmp_path: Path) -> None:
    b = Builder()
    y = b.quantize(b.op("Hardmax", dense(b)), 0.1)
    y = b.op("ReduceMean", y, axes=[0])
    y = b.op("Det", b.op("Gemm", b.quantize(y, 0.1), b.constant(np.ones((5, 5), np.float32))))
    b.op("LSTM", y, *constants(b, np.ones((1, 4, 1), "f"), np.ones((1, 4, 1), "f")), hidden_size=1)
    y = b.op("Gemm", b.quantize(b.op("Mish", y, domain="com.acme"), 0.1), b.weights(5, 2))
    names = {node.op_type: node.name for node in b.nodes}
    path = write(raw(b, y, domain="com.acme"), tmp_path)
    listed = [
        rf"\n  {names['Hardmax']} \(Hardmax\): the op Hardmax is not supported; remove it",
        r"\n  ReduceMean_\d+ \(ReduceMean\): averages over the batch; export the model without\n",
        r"\n  Gemm_\d+ \(Gemm\): its weights are not quantized; quantize them to at most 16",
        rf"\n  {names['Det']} \(Det\): the op Det is not supported",
        rf"\n  {names['LSTM']} \(LSTM\): the op LSTM is not supported",
        rf"\n  {names['Mish']} \(Mish\): the op com.acme.Mish is not supported",
        r"\n  nodes behind these that were not checked: 3\n",
    ]
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says=["^hwgen: 6 of ", *listed])
    outcome = run("inspect", path)
    assert outcome.code == 2
    assert outcome.err.startswith("hwgen: 6 of ")
    assert outcome.out.count("unsupported: ") == 6
    assert all(node.name in outcome.out for node in b.nodes)


def test_a_float_model_is_told_to_be_quantized(tmp_path: Path) -> None:
    b = Builder()
    x = b.input(1, 12)
    for _ in range(3):
        x = b.op("Relu", b.op("Gemm", x, b.constant(np.ones((12, 12), np.float32))))
    path = write(b.model(x), tmp_path)
    says = ["input 0 is not quantized; .*onnxruntime.quantization.quantize_static"]
    message = fails(tmp_path, "build", path, "-o", tmp_path / "d", says=says)
    assert message.count("(Gemm)") == 3


ATTRIBUTES: dict[str, tuple[Callable[[Builder], str], str]] = {
    "storage_order": (
        lambda b: b.op("MaxPool", image(b), kernel_shape=[2, 2], storage_order=1),
        "storage_order=1",
    ),
    "auto_pad": (
        lambda b: b.op("Conv", image(b), b.weights(4, 3, 3, 3), auto_pad="NEAR"),
        "auto_pad='NEAR'",
    ),
    "negative pads": (
        lambda b: b.op("Conv", image(b), b.weights(4, 3, 3, 3), pads=[-1, 0, 0, 0]),
        "negative pads",
    ),
    "no groups": (lambda b: b.op("Conv", image(b), b.weights(4, 3, 3, 3), group=0), "in 0 groups"),
    "pads and ceil": (
        lambda b: b.op(
            "AveragePool", image(b), kernel_shape=[2, 2], ceil_mode=1, count_include_pad=1
        ),
        "count_include_pad=1 with ceil_mode",
    ),
    "training": (
        lambda b: b.op(
            "BatchNormalization", image(b), *constants(b, *[np.ones(3, "f")] * 4), training_mode=1
        ),
        "training mode; export the model in evaluation mode",
    ),
    "batch mean": (lambda b: b.op("ReduceMean", image(b), axes=[0]), "averages over the batch"),
    "batch softmax": (lambda b: b.op("Softmax", dense(b), axis=0), "across the batch"),
    "softmax axis": (lambda b: b.op("Softmax", dense(b), axis=2), "axis 2 is outside"),
    "flatten axis": (lambda b: b.op("Flatten", image(b), axis=9), "axis 9 is outside"),
    "three dimensions": (
        lambda b: b.op("Conv", b.quantize(b.input(1, 3, 5, 5, 5), 0.1), b.weights(4, 3, 3, 3, 3)),
        "1-D and 2-D are supported",
    ),
    "float weights": (
        lambda b: b.op("Conv", image(b), b.constant(np.ones((4, 3, 3, 3), np.float32))),
        "its weights are not quantized; quantize them to at most 16",
    ),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_unsupported_attributes(case: str, tmp_path: Path) -> None:
    make, says = ATTRIBUTES[case]
    b = Builder()
    y = make(b)
    node = b.nodes[-1]
    path = write(raw(b, b.quantize(y, 0.1)), tmp_path)
    says = rf"\n  {node.name} \({node.op_type}\): .*{says}"
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says=says)


SHAPES: dict[str, tuple[Callable[[Builder], str], str]] = {
    "gemm": (lambda b: b.op("Gemm", codes(b), b.weights(6, 5)), "[1, 5] by weights for 6 inputs"),
    "matmul": (lambda b: b.op("MatMul", codes(b), b.weights(4, 5)), "[1, 5] by weights for 4"),
    "conv": (lambda b: b.op("Conv", image(b), b.weights(4, 2, 3, 3)), "an input of 3 channels"),
    "window": (lambda b: b.op("Conv", image(b), b.weights(4, 3, 7, 7)), "larger than the padded"),
    "bias": (
        lambda b: b.op("Gemm", b.quantize(b.input(1, 12), 0.1), b.weights(12, 5), b.bias(4)),
        "the bias [4] does not fit a tensor [1, 5]",
    ),
    "add": (
        lambda b: b.op("Add", b.quantize(x := dense(b), 0.1), b.op("Gemm", x, b.weights(5, 4))),
        "combines [1, 5] and [1, 4]",
    ),
    "constant": (lambda b: b.op("Mul", dense(b), b.bias(4)), "[4] does not fit a tensor [1, 5]"),
    "reshape": (
        lambda b: b.op("Reshape", dense(b), b.constant(np.array([1, 7]))),
        "can't give [1, 5] that shape",
    ),
    "statistics": (
        lambda b: b.op("BatchNormalization", image(b), *constants(b, *[np.ones(4, "f")] * 4)),
        "statistics don't fit 3 channels",
    ),
    "scales": (
        lambda b: b.op(
            "DequantizeLinear", *constants(b, np.ones((12, 5), np.int8), np.ones(4, "f")), axis=1
        ),
        "4 scales or zero points don't fit axis 1 of [12, 5]",
    ),
    "empty": (
        lambda b: b.op("Gemm", b.quantize(b.input(1, 12), 0.1), b.weights(12, 0)),
        "its weights are empty",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_that_do_not_chain(case: str, tmp_path: Path) -> None:
    make, says = SHAPES[case]
    b = Builder()
    y = make(b)
    node = b.nodes[-1]
    if case == "scales":
        y = b.op("Gemm", b.quantize(b.input(1, 12), 0.1), y)
    message = fails(
        tmp_path, "build", write(raw(b, y), tmp_path), "-o", tmp_path / "d", says="can't be mapped"
    )
    assert f"\n  {node.name} ({node.op_type}): " in message
    assert says in message


def activation_scale(b: Builder, value: float) -> str:
    return b.op("Gemm", b.quantize(b.input(1, 12), value), b.weights(12, 5))


def weight_scale(b: Builder, value: float) -> str:
    codes, scale = np.ones((12, 5), np.int8), np.array([1, 1, value, 1, 1], np.float32)
    w = b.op("DequantizeLinear", *constants(b, codes, scale), axis=1)
    return b.op("Gemm", b.quantize(b.input(1, 12), 0.1), w)


def weight(b: Builder, value: float) -> str:
    floats = np.zeros((12, 5), np.float32)
    floats[3, 2] = value
    return b.op("Gemm", b.quantize(b.input(1, 12), 0.1), b.quantize(b.constant(floats), 0.1))


def bias(b: Builder, value: float) -> str:
    floats = np.array([0, 0, value, 0, 0], np.float32)
    return b.op("Gemm", b.quantize(b.input(1, 12), 0.1), b.weights(12, 5), b.constant(floats))


def variance(b: Builder, value: float) -> str:
    floats = np.array([1, 1, value], np.float32)
    return b.op("BatchNormalization", image(b), *constants(b, *[np.ones(3, "f")] * 3, floats))


def limit(b: Builder, value: float) -> str:
    return b.op("Clip", dense(b), b.constant(np.float32(value)))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        *[(f, np.nan, "NaN") for f in (activation_scale, weight_scale, weight, bias, variance)],
        *[(f, np.inf, "infinity") for f in (activation_scale, weight_scale, weight, bias)],
        *[(f, 0.0, "zero or negative") for f in (activation_scale, weight_scale)],
        *[(f, -0.5, "zero or negative") for f in (activation_scale, weight_scale)],
        (limit, np.nan, "NaN"),
        (variance, -2.0, "variance that is not positive"),
    ],
)
def test_numbers_that_are_none(place, value: float, says: str, tmp_path: Path) -> None:
    b = Builder()
    path = write(raw(b, b.quantize(place(b, value), 0.1)), tmp_path)
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says=rf"\n  \w+ \(\w+\): .*{says}")


@pytest.mark.parametrize(
    ("shape", "kind", "says"),
    [
        ((4, 12), TensorProto.FLOAT, "fixed batch of 4: .* give --shape x=1,12"),
        ((1, "k"), TensorProto.FLOAT, "fix it, e.g. --shape x="),
        ((1, 0), TensorProto.FLOAT, "has shape"),
        ((1, 12), TensorProto.BOOL, "type bool; float32, int16, .* are supported, and int64"),
    ],
)
def test_inputs_of_the_model(shape, kind: int, says: str, tmp_path: Path) -> None:
    b = Builder()
    path = write(raw(b, dense_of(b, b.input(*shape, kind=kind))), tmp_path)
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says=f"input 'x' .*{says}")


def dense_of(b: Builder, x: str) -> str:
    return b.op("Gemm", b.quantize(x, 0.1), b.weights(12, 5))


def test_outputs_of_the_model(tmp_path: Path) -> None:
    b = Builder()
    path = write(raw(b, b.op("Identity", b.input(1, 12))), tmp_path)
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says="does not depend on a quantized")
    model = good()
    del model.graph.output[:]
    fails(tmp_path, "build", write(model, tmp_path), "-o", tmp_path / "d", says="no outputs")


@pytest.mark.parametrize(("opset", "says"), [(8, "opset 8; opsets 9 to"), (999, "opset 999")])
def test_opsets(opset: int, says: str, tmp_path: Path) -> None:
    b = Builder(opset)
    fails(tmp_path, "build", write(raw(b, dense(b)), tmp_path), "-o", tmp_path / "d", says=says)


def test_breaches_of_the_specification(tmp_path: Path) -> None:
    b = Builder()
    unknown = raw(b, b.quantize(dense(b, gamma=2.0), 0.1))
    b = Builder()
    dangling = raw(b, b.op("Gemm", "nowhere", b.weights(12, 5)))
    short = good()
    short.graph.initializer[2].raw_data = short.graph.initializer[2].raw_data[:-3]
    for model, says in (
        (unknown, "Unrecognized attribute: gamma .*Gemm"),
        (dangling, "nowhere"),
        (short, "raw_data size"),
    ):
        path = write(model, tmp_path)
        fails(tmp_path, "build", path, "-o", tmp_path / "d", says=f"specification: .*{says}")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for name, content in {
        "text.onnx": b"hello, world\n",
        "empty.onnx": b"",
        "cut.onnx": (SHIPPED / "digits_mlp.onnx").read_bytes()[:4000],
        "binary.onnx": bytes(range(256)) * 4,
    }.items():
        (tmp_path / name).write_bytes(content)
        for command in (["build", "-o", tmp_path / "d"], ["inspect"]):
            fails(tmp_path, command[0], tmp_path / name, *command[1:], says="no ONNX model")
    for command in (["build", "-o", tmp_path / "d"], ["inspect"]):
        nothing = tmp_path / "nothing.onnx"
        fails(
            tmp_path, command[0], nothing, *command[1:], says="can't read .*nothing.onnx: No such"
        )
        fails(tmp_path, command[0], tmp_path, *command[1:], says="can't read .*: Is a directory")


def test_no_cut_or_damaged_model_gives_a_traceback() -> None:
    whole = good().SerializeToString()
    refused = 0
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole), 29)]
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(len(whole), size=2):
            content[place] = rng.integers(256)
        damaged.append(bytes(content))
    for content in damaged:
        try:
            load(content)
        except HwgenError:
            refused += 1
    assert refused > len(damaged) / 2


def external(folder: Path, **entries: str) -> Path:
    """A model whose weights lie in a file of their own."""
    model = good()
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return write(model, folder)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": "nothing.bin"}, "external data file 'nothing.bin' is missing"),
        ({"location": "../weights.bin"}, "outside the model's folder; refused"),
        ({"location": "/etc/hostname"}, "outside the model's folder; refused"),
        ({"location": "link.bin"}, "outside the model's folder; refused"),
        ({"offset": "9999"}, "can't read 'weights.bin'"),
        ({"offset": "-4"}, "non-negative"),
        ({"length": "many"}, "many"),
        ({"length": "5"}, "raw_data size"),
    ],
)
def test_external_data(entries: dict, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(60))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    succeeds("inspect", external(folder))
    path = external(folder, **entries)
    fails(tmp_path, "build", path, "-o", tmp_path / "d", says=says)


def test_external_data_needs_the_path(tmp_path: Path) -> None:
    model = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(ModelError, match="give the path of the model, not its bytes"):
        hwgen.compile(model)
