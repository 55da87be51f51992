"""Conversion of single nodes; folders of converted models; what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import hwgen
from hwgen import Design
from hwgen.errors import ConfigError, InputError, ModelError
from hwgen.formats import parse_arithmetic
from tests.conftest import SHIPPED
from tests.frontend.converting import (
    SIZE,
    check,
    conv,
    converted,
    model,
    residual,
    samples,
    scalar,
)
from tests.qdq import Builder


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
            "no node '/1/Relu' computes in an arithmetic; .*these do: /0/Gemm, /2/Gemm, /4/Gemm",
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


@pytest.mark.parametrize("arith", ["int8", "int16"])
@pytest.mark.parametrize("hidden", [-30.0, -1e4, -1e9])
def test_masks_that_are_inputs(arith: str, hidden: float) -> None:
    """What a mask hides takes none of the scores' range: softmax reads what it would without."""
    rng = np.random.default_rng(1)
    sizes = {"q": (1, 6, 8), "k": (1, 8, 6), "v": (1, 6, 8), "mask": (1, 6, 6)}
    inputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in sizes.items()]
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["s"], "scores"),
        helper.make_node("Add", ["s", "mask"], ["m"], "masked"),
        helper.make_node("Softmax", ["m"], ["w"], "weights", axis=-1),
        helper.make_node("MatMul", ["w", "v"], ["y"], "values"),
    ]
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, sizes["v"])
    graph = helper.make_graph(nodes, "masked", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    x = {n: rng.uniform(-1, 1, (16, *s[1:])).astype(np.float32) for n, s in sizes.items()}
    x["mask"] = np.where(np.arange(6) > np.arange(6)[:, None], hidden, 0).astype(np.float32)
    x["mask"] = np.broadcast_to(x["mask"], (16, 6, 6))
    design = hwgen.compile(model, arith=arith, calibrate=x)
    assert design.graph.notes["scores"].startswith("built from its parts: masked adds what depends")
    run = ReferenceEvaluator(model).run
    exact = [run(None, {n: a[k : k + 1] for n, a in x.items()})[0][0] for k in range(16)]
    away = np.abs(design.golden(x)["y"] - np.stack(exact))
    assert away.max() < {"int8": 0.05, "int16": 0.001}[arith]
