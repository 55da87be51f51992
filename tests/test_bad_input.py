"""Whatever a user can get wrong: one clear message, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hwgen
from hwgen.cli import _overrides, _shapes
from hwgen.config import Config
from hwgen.emit.save import save
from hwgen.errors import ConfigError, HwgenError, InputError, ModelError
from hwgen.frontend import load
from tests.command import fails, run, snapshot, succeeds
from tests.conftest import SHIPPED
from tests.qdq import Builder

DIGITS = SHIPPED / "digits_mlp.onnx"


# --- models --------------------------------------------------------------------------------------


def raw(b: Builder, *outputs: str, domain: str = "") -> onnx.ModelProto:
    """A model that ONNX's shape inference need not understand."""
    values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, (1, 5)) for o in outputs]
    graph = helper.make_graph(b.nodes, "test", b.inputs, values, b.initializers)
    opsets = [helper.make_opsetid("", b.opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def dense(b: Builder, inputs: int = 12, outputs: int = 5, **attributes) -> str:
    x = b.quantize(b.input(1, inputs), 0.03)
    return b.op("Gemm", x, b.weights(inputs, outputs), b.bias(outputs), **attributes)


def codes(b: Builder) -> str:
    return b.quantize(dense(b), 0.1)


def image(b: Builder) -> str:
    return b.quantize(b.input(1, 3, 6, 6), 0.03)


def constants(b: Builder, *values) -> list[str]:
    return [b.constant(np.asarray(v)) for v in values]


def good() -> onnx.ModelProto:
    b = Builder()
    return b.model(b.quantize(dense(b), 0.1))


def write(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_every_unsupported_node_is_listed(tmp_path: Path) -> None:
    b = Builder()
    y = b.quantize(b.op("Tanh", dense(b)), 0.1)
    y = b.op("Gemm", y, b.weights(1, 3), transA=1)
    y = b.op("Erf", b.op("Gemm", b.quantize(y, 0.1), b.constant(np.ones((3, 5), np.float32))))
    b.op("LSTM", y, *constants(b, np.ones((1, 4, 1), "f"), np.ones((1, 4, 1), "f")), hidden_size=1)
    y = b.op("Gemm", b.quantize(b.op("Mish", y, domain="com.acme"), 0.1), b.weights(5, 2))
    names = {node.op_type: node.name for node in b.nodes}
    path = write(raw(b, y, domain="com.acme"), tmp_path)
    listed = [
        rf"\n  {names['Tanh']} \(Tanh\): the op Tanh is not supported; remove it or replace it\n",
        r"\n  Gemm_\d+ \(Gemm\): transA=1 is not supported; transpose the input when exporting\n",
        r"\n  Gemm_\d+ \(Gemm\): its weights are not quantized; quantize them to 8 bits",
        rf"\n  {names['Erf']} \(Erf\): the op Erf is not supported",
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
    "softmax inside": (
        lambda b: b.quantize(b.op("Softmax", dense(b)), 0.1),
        "Softmax, which the host computes; that is supported at the end",
    ),
    "three dimensions": (
        lambda b: b.op("Conv", b.quantize(b.input(1, 3, 5, 5, 5), 0.1), b.weights(4, 3, 3, 3, 3)),
        "1-D and 2-D are supported",
    ),
    "products of activations": (
        lambda b: b.op("MatMul", *[b.quantize(b.input(1, 6, 6), 0.1)] * 2),
        "weights must be constants",
    ),
    "float weights": (
        lambda b: b.op("Conv", image(b), b.constant(np.ones((4, 3, 3, 3), np.float32))),
        "its weights are not quantized; quantize them to 8 bits",
    ),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_unsupported_attributes(case: str, tmp_path: Path) -> None:
    make, says = ATTRIBUTES[case]
    b = Builder()
    y = make(b)
    node = b.nodes[-2 if case == "softmax inside" else -1]
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
        "the bias [4] does not fit 5 outputs",
    ),
    "add": (
        lambda b: b.op("Add", b.quantize(x := dense(b), 0.1), b.op("Gemm", x, b.weights(5, 4))),
        "adds [1, 5] and [1, 4]",
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
        ((1, 12), TensorProto.INT64, "type int64; float32, int8 and uint8 are supported"),
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


@pytest.mark.parametrize(("opset", "says"), [(9, "opset 9; opsets 10 to"), (999, "opset 999")])
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


# --- files ---------------------------------------------------------------------------------------


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for name, content in {
        "text.onnx": b"hello, world\n",
        "empty.onnx": b"",
        "cut.onnx": DIGITS.read_bytes()[:4000],
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


def test_unwritable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(good(), tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "a web page"}')
    for folder, says in {
        path / "below": "model.onnx is a file",
        path / "far" / "below": "model.onnx is a file",
        path: "model.onnx is a file",
        foreign: "holds files that are no hwgen design",
    }.items():
        fails(tmp_path, "build", path, "-o", folder, says=f"{says}.* choose")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    fails(tmp_path, "build", path, "-o", ".", says="is the current folder")


def test_a_full_disk_leaves_the_older_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": "1", "sub/b": b"2", "manifest.json": '{"model_sha256": ""}'}
    save(tmp_path / "d", files)
    before = snapshot(tmp_path)
    assert before == {
        "d": None,
        "d/a": b"1",
        "d/manifest.json": b'{"model_sha256": ""}',
        "d/sub": None,
        "d/sub/b": b"2",
    }
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    for folder in ("d", "new"):
        with pytest.raises(ConfigError, match=f"can't write .*{folder}: No space left on device"):
            save(tmp_path / folder, {**files, "a": "new"})
        assert snapshot(tmp_path) == before
    monkeypatch.undo()
    save(tmp_path / "d", {"manifest.json": files["manifest.json"]})
    assert set(snapshot(tmp_path)) == {"d", "d/manifest.json"}


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cycle = 3", "unknown key cycle: did you mean 'cycles'"),
        ("colour = 3", "unknown key colour: there are name, cycles, macs"),
        ("[nodes.Gemm_14]\nped = 1", "unknown nodes.Gemm_14.ped: did you mean 'pe'"),
        ("[nodes.Gemm_15]\npe = 1", "unknown node Gemm_15: did you mean 'Gemm_14'"),
        ("[nodes.Gemm_14]\npe = 99", "Gemm_14: pe must be 1 to 5, not 99"),
        ("[nodes.Gemm_14]\npe = '4'", "Gemm_14.pe must be a positive integer, not '4'"),
        ("nodes = 3", "nodes must be a table, not 3"),
        ("nodes.Gemm_14 = 3", "nodes.Gemm_14 must be a table, not 3"),
        ("cycles = 0", "cycles must be a positive integer, not 0"),
        ("cycles = 1.5", "cycles must be a positive integer, not 1.5"),
        ("macs = true", "macs must be a positive integer, not True"),
        ("cycles = 4\nmacs = 4", "cycles and macs exclude each other"),
        ("requant_bits = 33", "requant_bits must be at most 32, not 33"),
        ("name = 3", "name must be text, not 3"),
        ("lanes = {z = 2}", "'z'"),
        ("lanes = {x = 5.0}", "lanes.x must be a positive integer, not 5.0"),
        ("lanes = {x = 13}", "lanes of 'x' must be at most 12 or a multiple"),
        ("shapes = {x = 12}", "shapes.x must be a list of numbers, not 12"),
        ("shapes = {x = [1, 'k']}", "shapes.x must be a positive integer, not 'k'"),
        ("shapes = {x = [1, 13]}", r"x=\[1, 13\] does not fit the model's \[1, 12\]"),
        ("shapes = {z = [1, 12]}", r"the model has no input \['z'\]; it has \['x'\]"),
        ("cycles = = 3", "is no TOML file"),
        ("\udcff", "is no TOML file"),
    ],
)
def test_configuration(text: str, says: str, tmp_path: Path) -> None:
    path = write(good(), tmp_path)
    config = tmp_path / "design.toml"
    config.write_bytes(text.encode(errors="surrogateescape"))
    fails(tmp_path, "build", path, "-o", tmp_path / "d", "--config", config, says=says)


def test_configuration_missing(tmp_path: Path) -> None:
    path = write(good(), tmp_path)
    arguments = ("build", path, "-o", tmp_path / "d", "--config")
    fails(tmp_path, *arguments, tmp_path / "no.toml", says="can't read .*no.toml: No such file")
    fails(tmp_path, *arguments, tmp_path, says="can't read .*: Is a directory")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "Gemm_15.pe=2"], "unknown node Gemm_15: did you mean 'Gemm_14'"),
        (["--set", "nothing.pe=2"], "unknown node nothing: there are Gemm_14.window, Gemm_14"),
        (["--set", "Gemm_14.pq=2"], "unknown Gemm_14.pq: did you mean 'pe'"),
        (["--set", "Gemm_14.simd=13"], "Gemm_14: simd must be 1 to 12, not 13"),
        (["--set", "Gemm_14.window.pe=2"], "Gemm_14.window' has no pe or simd"),
        (["--set", "Gemm_14.pe"], "write it as NODE.pe=4"),
        (["--set", "Gemm_14.pe=-1"], "write it as NODE.pe=4"),
        (["--set", "pe=4"], "write it as NODE.pe=4"),
        (["--shape", "x=1,13"], "does not fit"),
        (["--shape", "z=1,12"], "no input"),
        (["--shape", "x=1,,12"], "write it as NAME=1,64"),
        (["--shape", "x"], "write it as NAME=1,64"),
        (["--cycles", "0"], "cycles must be a positive integer"),
        (["--macs", "4", "--cycles", "4"], "exclude each other"),
    ],
)
def test_options(options: list[str], says: str, tmp_path: Path) -> None:
    path = write(good(), tmp_path)
    fails(tmp_path, "build", path, "-o", tmp_path / "d", *options, says=says)


@pytest.mark.parametrize("parse", [_shapes, _overrides])
@pytest.mark.parametrize("digits", ["\u00b2", "\u0663", "9" * 5000, "1e3", "0x2", " 4"])
def test_numbers_of_options(parse, digits: str) -> None:
    with pytest.raises(ConfigError, match="write it as"):
        parse([f"x.pe={digits}"])


def test_long_lists_of_names_are_cut() -> None:
    with pytest.raises(ConfigError, match=r"there are n0, n1, .*n7, \.\.\.$"):
        Config.parse({"nodes": {"zzz": {}}}).check_nodes([f"n{k}" for k in range(1000)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulat"], "No such command"),
        (["build", "m.onnx"], "Missing option"),
        (["build", "m.onnx", "-o", "d", "--cycles", "many"], "Invalid value"),
        (["build", "m.onnx", "-o", "d", "--colour", "red"], "No such option"),
        (["simulate", "m.onnx"], "Missing option"),
        (["simulate", "m.onnx", "--inputs", "x.npz", "--limit", "0"], "Invalid value"),
        (["simulate", "m.onnx", "--inputs", "x.npz", "--stall", "-1"], "Invalid value"),
        (["inspect"], "Missing argument"),
    ],
)
def test_usage(arguments: list[str], says: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert says in outcome.err
    assert "Traceback" not in outcome.err


# --- inputs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("design")
    succeeds("build", write(good(), folder), "-o", folder / "d")
    return folder / "d"


X = np.zeros((3, 12), np.float32)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y": X}, "has no array for input x; it has y"),
        ({"inputs": X, "x": X[:, :11]}, r"must have shape \(samples, 12\), not \(3, 11\)"),
        ({"x": X[0]}, r"must have shape \(samples, 12\), not \(12,\)"),
        ({"x": X[:0]}, r"must have shape \(samples, 12\), not \(0, 12\)"),
        ({"x": np.float32(1)}, "x must have samples as its leading axis"),
        ({"x": X.astype(str)}, "takes float32, not <U32"),
        ({"x": X > 0}, "takes float32, not bool"),
        ({"x": X + 1j}, "takes float32, not complex64"),
        ({"x": X + np.nan}, "holds NaN"),
        ({"x": X.astype(object)}, "as an NPZ file: Object arrays cannot be loaded"),
        ({"x": X, "labels": np.zeros(4, int)}, "4 labels for 3 samples"),
        ({"x": X, "labels": np.int64(1)}, "labels must have samples as its leading axis"),
    ],
)
def test_arrays(arrays: dict, says: str, design: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    outputs = ("-o", tmp_path / "y.npz")
    fails(tmp_path, "simulate", design, "--inputs", tmp_path / "x.npz", *outputs, says=says)


def test_archives(design: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "single.npy", X)
    np.savez_compressed(tmp_path / "whole.npz", x=np.random.default_rng(0).normal(size=(30, 12)))
    whole = bytearray((tmp_path / "whole.npz").read_bytes())
    (tmp_path / "cut.npz").write_bytes(whole[:1000])
    whole[1000] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(whole)
    (tmp_path / "empty.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x", "hello")
    simulate = ("simulate", design, "--inputs", tmp_path / "text.npz")
    fails(tmp_path, *simulate, says="x must have samples as its leading axis")
    for name in ("single.npy", "cut.npz", "damaged.npz", "empty.npz"):
        arguments = ("simulate", design, "--inputs", tmp_path / name)
        fails(tmp_path, *arguments, says=f"can't read .*{name} as an NPZ file: ")
    fails(tmp_path, "simulate", design, "--inputs", tmp_path / "no.npz", says="No such file")
    fails(tmp_path, "simulate", design, "--inputs", tmp_path, says="can't read .*: Is a directory")


def test_arrays_of_the_api(design: Path) -> None:
    loaded = hwgen.Design.load(design)
    with pytest.raises(InputError, match="no input 'xx'; did you mean 'x'"):
        loaded.golden({"xx": X})
    with pytest.raises(InputError, match="inputs missing: x"):
        loaded.golden({})
    with pytest.raises(InputError, match="rows of equal length"):
        loaded.golden([[1.0], [1.0, 2.0]])
    with pytest.raises(ConfigError, match="fast, cocotb, not 'verilator'"):
        loaded.simulate(X, engine="verilator")


def test_codes_of_the_api() -> None:
    b = Builder()
    scale = b.constant(np.float32(0.1))
    left, right = (b.input(1, 4, name=n, kind=TensorProto.INT8) for n in ("left", "right"))
    parts = [b.op("DequantizeLinear", x, scale) for x in (left, right)]
    design = hwgen.compile(b.model(b.quantize(b.op("Add", *parts), 0.2)))
    codes = np.zeros((3, 4), np.int8)
    assert design.golden({"left": codes, "right": codes})
    with pytest.raises(InputError, match=r"several inputs \(left, right\): give arrays by name"):
        design.golden(codes)
    with pytest.raises(InputError, match="different numbers of samples"):
        design.golden({"left": codes, "right": codes[:2]})
    with pytest.raises(InputError, match="'right' takes int8, not float64"):
        design.golden({"left": codes, "right": codes / 2})
    with pytest.raises(InputError, match=r"'left' must be within -128 \.\.\. 127"):
        design.golden({"left": codes.astype(int) + 128, "right": codes})


# --- designs on disk -----------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=X)
    return tmp_path / "x.npz"


def test_folders_that_are_no_design(design: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    simulate = ("simulate", tmp_path / "empty", "--inputs", inputs)
    fails(tmp_path, *simulate, says="is no hwgen design: it has no manifest.json")
    for name in ("model.onnx", "config.toml", "model.v"):
        copy = tmp_path / f"without_{name}"
        shutil.copytree(design, copy)
        (copy / name).unlink()
        says = f"can't read .*{name}: No such file"
        fails(tmp_path, "simulate", copy, "--inputs", inputs, says=says)
    damaged = tmp_path / "damaged"
    shutil.copytree(design, damaged)
    for content, says in {
        "{": "no hwgen design, or it is damaged",
        "{}": "no hwgen design, or it is damaged",
        "[]": "no hwgen design, or it is damaged",
        '{"files": ["../model.v"]}': "files outside its folder",
    }.items():
        (damaged / "manifest.json").write_text(content)
        fails(tmp_path, "simulate", damaged, "--inputs", inputs, says=says)


def test_outputs_of_a_simulation(design: Path, inputs: Path, tmp_path: Path) -> None:
    simulate = ("simulate", design, "--inputs", inputs)
    fails(tmp_path, *simulate, "-o", tmp_path / "no" / "y.npz", says="there is no folder .*no")
    fails(tmp_path, *simulate, "--wave", tmp_path / "no" / "w.fst", says="there is no folder")
    fails(tmp_path, *simulate, "--wave", tmp_path, says="it is a folder")
    fails(tmp_path, *simulate, "--engine", "slow", says="engine must be one of fast, cocotb")
    fails(tmp_path, *simulate, "--cycles", "4", says="give options to `hwgen build`")


@pytest.mark.parametrize("engine", ["fast", "cocotb"])
@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ([], r"g\+\+ is missing: apt install g\+\+ .*hwgen doctor"),
        (["g++"], "make is missing: apt install make"),
        (["g++", "make"], "perl is missing: apt install perl"),
    ],
)
def test_tools_missing(
    engine: str,
    tools: list[str],
    says: str,
    design: Path,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "cache").mkdir()
    for tool in tools:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))
    fails(tmp_path, "simulate", design, "--inputs", inputs, "--engine", engine, says=says)
    outcome = run("doctor")
    assert outcome.code == 2
    assert outcome.err == "hwgen: something that hwgen needs is missing\n"
    missing = {"g++", "make", "perl"} - set(tools)
    assert outcome.out.count("apt install") == len(missing)


def test_cache_that_can_not_be_written(
    design: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWGEN_CACHE", str(inputs / "below"))
    simulate = ("simulate", design, "--inputs", inputs)
    fails(tmp_path, *simulate, says="can't write the cache .*below: .*set HWGEN_CACHE")


# --- hardware that misbehaves --------------------------------------------------------------------

# y = x for x >= 0, four elements; the first one chooses a fault.
FAULTY = """
module relu (
    input wire aclk, input wire aresetn, output wire tlast_error,
    input wire [7:0] s_axis_tdata, input wire s_axis_tvalid, output wire s_axis_tready,
    input wire s_axis_tlast,
    output wire [7:0] m_axis_tdata, output wire m_axis_tvalid, input wire m_axis_tready,
    output wire m_axis_tlast
);
  reg [7:0] word [0:3];
  reg [2:0] written, read;
  reg [7:0] waited;
  wire [7:0] fault = written == 0 ? 8'd0 : word[0];
  assign s_axis_tready = written < 4 && fault != 2;
  assign m_axis_tvalid = written == 4 && fault != 1;
  assign m_axis_tdata = word[read[1:0]] ^ {7'd0, fault == 6 && read == 2}
                        ^ (fault == 7 ? waited : 8'd0);
  assign m_axis_tlast = read == (fault == 3 ? 2 : 3);
  assign tlast_error = fault == 5;
  always @(posedge aclk) begin
    waited <= waited + 1;
    if (s_axis_tvalid && s_axis_tready) begin
      word[written[1:0]] <= s_axis_tdata;
      written <= written + 1;
    end
    if (m_axis_tvalid && m_axis_tready) begin
      read <= read + 1;
      if (read == (fault == 4 ? 4 : 3)) begin
        written <= 0;
        read <= 0;
      end
    end
    if (!aresetn) begin
      written <= 0;
      read <= 0;
      waited <= 0;
    end
  end
endmodule
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A design whose Verilog was written by another hand."""
    b = Builder()
    scale = b.constant(np.float32(0.1))
    x = b.op("DequantizeLinear", b.input(1, 4, kind=TensorProto.INT8), scale)
    y = b.quantize(b.op("Relu", x), 0.1)
    folder = tmp_path_factory.mktemp("faulty")
    model = write(b.model(y), folder)
    (folder / "relu.toml").write_text('name = "relu"')
    succeeds("build", model, "-o", folder / "d", "--config", folder / "relu.toml")
    assert (folder / "d" / "relu.v").exists()
    (folder / "d" / "relu.v").write_text(FAULTY)
    return folder / "d"


FAULTS = {  # by the code that starts a sample
    1: r"deadlock: nothing moved for \d+ cycles; s_axis_\* moved 8 of 12 beats; "
    r"m_axis_\* moved 4 of 12 beats$",
    2: r"deadlock: .* s_axis_\* moved 5 of 12 beats; m_axis_\* moved 4 of 12 beats$",
    3: "m_axis_: tlast is wrong at sample 1, beat 2 of 4",
    4: "m_axis_: tlast is wrong at sample 2, beat 3 of 4",
    5: "tlast_error rose",
}


@pytest.mark.parametrize("engine", ["fast", "cocotb"])
def test_hardware_that_misbehaves(engine: str, faulty: Path, tmp_path: Path) -> None:
    simulate = ("simulate", faulty, "--inputs", tmp_path / "x.npz", "--engine", engine)
    output = ("-o", tmp_path / "y.npz")

    def inputs(*first: int) -> None:
        codes = np.full((3, 4), 9, np.int8)
        codes[:, 0] = first
        np.savez(tmp_path / "x.npz", x=codes)

    inputs(9, 9, 9)
    assert succeeds(*simulate).endswith("hardware equals the golden model\n")
    for fault, says in FAULTS.items():
        inputs(9, fault, 9)
        fails(tmp_path, *simulate, *output, says=says)
    inputs(9, 9, 4)
    fails(tmp_path, *simulate, *output, says="m_axis_: a beat too many")
    if engine == "cocotb":  # only it watches beats that wait
        inputs(7, 7, 7)
        fails(tmp_path, *simulate, "--stall", "1", says="payload changed before ready came")
    inputs(9, 6, 9)
    outcome = run(*simulate)
    assert outcome.code == 1
    assert not outcome.err
    assert "differ: input 1, output 'dequantizelinear_" in outcome.out
    assert "[0, 2]: 8 in hardware, 9 in the golden model (node " in outcome.out


def test_verilog_that_does_not_compile(faulty: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d"
    shutil.copytree(faulty, copy)
    (copy / "relu.v").write_text(FAULTY.replace("endmodule", ""))
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 4), np.int8))
    for engine in ("fast", "cocotb"):
        simulate = ("simulate", copy, "--inputs", tmp_path / "x.npz", "--engine", engine)
        fails(tmp_path, *simulate, says="(verilator|building the cocotb simulation) failed: .*rror")
