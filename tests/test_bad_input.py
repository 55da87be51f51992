"""Options, arrays and folders a user can get wrong: one clear message, exit code 2, nothing
written."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import hwgen
from hwgen.cli import _overrides, _shapes
from hwgen.config import Config
from hwgen.emit.save import save
from hwgen.errors import ConfigError, InputError
from tests.command import fails, run, snapshot, succeeds
from tests.qdq import Builder
from tests.small import good, write

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
        ("arith = 8", "arith must be text such as 'int8', not 8"),
        ("arith = 'int8:mul'", "arith: 'int8:mul': 'mul' is not a multiplier"),
        ("[nodes.Gemm_14]\narith = 'int'", "Gemm_14.arith: 'int' is not a number format"),
        ("scale = 'mean'", "scale must be one of max, mse, not 'mean'"),
        ("per_channel = 1", "per_channel must be true or false, not 1"),
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
        (
            ["--set", "QuantizeLinear_4.pe=2"],
            "QuantizeLinear_4' has no hardware of its own, .* set one of Gemm_14$",
        ),
        (["--set", "nothing.pe=2"], "unknown node nothing: there are Gemm_14.window, Gemm_14"),
        (["--set", "Gemm_14.pq=2"], "unknown Gemm_14.pq: did you mean 'pe'"),
        (["--set", "Gemm_14.simd=13"], "Gemm_14: simd must be 1 to 12, not 13"),
        (["--set", "Gemm_14.window.pe=2"], "Gemm_14.window' has no pe or simd"),
        (["--set", "Gemm_14.pe"], "write it as NODE.pe=4"),
        (["--set", "Gemm_14.pe=x"], "pe must be a positive integer, not 'x'; write it"),
        (["--set", "Gemm_14.lanes=2"], "Gemm_14: only attention has lanes; set pe or simd"),
        (["--set", "Gemm_14.pe=-1"], "write it as NODE.pe=4"),
        (["--set", "pe=4"], "it names no node; write it as NODE.pe=4"),
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
