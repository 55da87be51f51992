"""Models whose rows stream through one by one: the token graph, hardware, files, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.errors import InputError, ModelError, SimulationError
from tests.command import fails, succeeds
from tests.qdq import Builder
from tests.small import write

ROWS, INPUTS = 6, 8


def mlp(rows: int = ROWS) -> onnx.ModelProto:
    """Two layers, row by row."""
    b = Builder(seed=1)
    y = b.quantize(b.input(1, rows, INPUTS), 0.03, 5)
    for inputs, outputs in ((INPUTS, 12), (12, 5)):
        y = b.op(
            "Relu", b.op("Add", b.op("MatMul", y, b.weights(inputs, outputs)), b.bias(outputs))
        )
        y = b.quantize(y, 0.1, -9)
    return b.model(y)


def sequences(lengths: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (n, INPUTS)).astype(np.float32) for n in lengths]


@pytest.fixture(scope="module")
def design() -> hwgen.Design:
    return hwgen.compile(mlp(), {"lanes": {"x": 3}}, stream=True)


def only(outputs: dict):
    (found,) = outputs.values()
    return found


def equal(got, expected) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# --- rows without state --------------------------------------------------------------------------


def test_rows_equal_those_of_the_whole(design: hwgen.Design) -> None:
    """Each sequence gives what the model of so many rows gives, shorter or longer than the file."""
    given = sequences((1, ROWS, 17))
    for got, x in zip(only(design.golden(given)), given, strict=True):
        whole = only(hwgen.compile(mlp(len(x))).golden(x[None]))[0]
        np.testing.assert_array_equal(got, whole.reshape(got.shape))
    same = np.stack(sequences((4, 4, 4)))
    assert only(design.golden(same)).shape == (3, 4, 5)


@pytest.mark.model
def test_hardware(design: hwgen.Design) -> None:
    given = sequences((5, 1, 1, 30, 2))
    result = design.simulate(given)
    assert result.mismatch is None
    equal(only(result.outputs), only(design.golden(given)))
    assert result.interval == design.predicted.interval
    assert result.latency == design.predicted.latency
    assert design.simulate(given, stall=2).mismatch is None


@pytest.mark.model
def test_session(design: hwgen.Design) -> None:
    """Rows one by one, some at once, and sequences one after another."""
    first, second = sequences((5, 2))
    expected = only(design.golden([first, second]))
    with design.session() as session:
        got = [only(session.step(row[None])) for row in first[:3]]
        assert session.cycles == design.predicted.latency
        got.append(only(session.step(first[3:], last=True)))
        again = only(session.step({"x": second}, last=True))
    equal([np.concatenate(got), again], expected)
    with pytest.raises(SimulationError, match=r"is closed; start another with Design\.session"):
        session.step(first)
    with pytest.raises(hwgen.HwgenError, match="is no stream: compile it with stream=True"):
        hwgen.compile(mlp()).session()


@pytest.mark.model
def test_folder(tmp_path: Path) -> None:
    """A folder remembers that it streams; its own testbench ends sequences."""
    model = write(mlp(), tmp_path)
    x = np.stack(sequences((40, 40, 40)))
    np.savez(tmp_path / "x.npz", x=x)
    folder = tmp_path / "d"
    assert "cycles per row, latency" in succeeds("build", model, "-o", folder, "--stream")
    text = succeeds("simulate", folder, "--inputs", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    assert "sequences: 3\ncycles per row: " in text
    with np.load(tmp_path / "y.npz") as got:
        equal(only(got), only(hwgen.compile(model, stream=True).golden(x)))
    says = "is a built design: give options"
    fails(tmp_path, "simulate", folder, "--stream", "--inputs", tmp_path / "x.npz", says=says)
    assert json.loads((folder / "manifest.json").read_text())["stream"]["longest"] == {}
    shutil.copytree(folder, tmp_path / "bench")
    command = [sys.executable, "run_bench.py", "build", "test"]
    done = subprocess.run(
        command, cwd=tmp_path / "bench", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples equal" in done.stdout


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((6, INPUTS)), r"'x' must have shape \(samples, 8\), not \(48,\)"),
        (5, "'x' must hold sequences of rows"),
        ([np.zeros((3, INPUTS)), np.zeros((0, INPUTS))], "'x' has a sequence without rows"),
        ({"y": np.zeros((1, 6, INPUTS))}, "no input 'y'; did you mean 'x'"),
        ([np.zeros((3, INPUTS)), np.zeros((3, 4))], "must hold sequences of rows: all the input"),
    ],
)
def test_wrong_inputs(design: hwgen.Design, given, says: str) -> None:
    with pytest.raises(InputError, match=says):
        design.golden(given)


def test_configuration() -> None:
    assert hwgen.Config.parse({"stream": True}).dump() == "stream = true\n"
    with pytest.raises(hwgen.HwgenError, match="stream must be true or false, not 1"):
        hwgen.Config(stream=1)


# --- rows with state -----------------------------------------------------------------------------


def placed(quantized: bool) -> onnx.ModelProto:
    """A table added by position, between two layers."""
    b = Builder(seed=3)
    y = b.quantize(b.input(1, ROWS, INPUTS), 0.03, 5)
    y = b.quantize(b.op("MatMul", y, b.weights(INPUTS, 12)), 0.1, -9)
    table = b.constant(b.rng.normal(0, 2, (1, ROWS, 12)).astype(np.float32))
    if quantized:
        table = b.quantize(table, 0.05, 3)
    y = b.quantize(b.op("Add", y, table), 0.12, 1)
    return b.model(b.quantize(b.op("MatMul", y, b.weights(12, 5)), 0.3, 2))


@pytest.mark.parametrize("quantized", [True, False])
def test_positions(quantized: bool) -> None:
    """A table gives what the whole model gives, but for ties of one that had to be rounded; a
    longer sequence than the table is an error."""
    model = placed(quantized)
    design = hwgen.compile(model, stream=True)
    given = np.stack(sequences((ROWS,) * 40))
    whole = only(hwgen.compile(model).golden(given))
    wrong = (only(design.golden(given)) != whole.reshape(40, ROWS, -1)).mean()
    assert wrong == 0 if quantized else wrong < 0.01
    with pytest.raises(InputError, match=r"a sequence has 7 rows; .* bounds it to 6: export the"):
        design.golden(sequences((2, 7)))


@pytest.mark.model
def test_positions_in_hardware() -> None:
    """The place starts anew with every sequence, and the session knows it."""
    design = hwgen.compile(placed(True), stream=True)
    given = sequences((ROWS, 1, 4, 1, 1, ROWS, 3))
    result = design.simulate(given)
    assert result.mismatch is None
    assert result.latency == design.predicted.latency
    assert design.simulate(given, stall=3).mismatch is None
    with design.session() as session:
        session.step(given[0][:4])
        with pytest.raises(InputError, match="bounds it to 6"):
            session.step(given[0][:3])


@pytest.mark.model
def test_attention() -> None:
    """A decoder, word by word: keys and values of one sequence are gone in the next."""
    stem = str(Path(__file__).parent.parent / "models" / "transformers" / "decoder")
    with np.load(f"{stem}.npz") as data:
        words = data["inputs"]
    model = hwgen.compile(f"{stem}_script14.onnx", arith="int8", calibrate=words).model
    design = hwgen.compile(model, stream=True)
    given = [*words[:3], words[3][:1], words[4][:5], words[5]]
    result = design.simulate(given)
    assert result.mismatch is None
    assert result.interval <= design.predicted.interval  # fewer keys than slots
    assert result.latency <= design.predicted.latency
    assert design.simulate(given, stall=5).mismatch is None
    alone = [only(design.golden([x]))[0] for x in given]
    equal(only(result.outputs), alone)
    whole, step = only(hwgen.compile(model).golden(words[:3])), np.ptp(alone[0]) / 255
    assert np.abs(whole - np.stack(alone[:3])).max() < 4 * step
    with design.session() as session:
        for word, expected in zip(words[5], alone[-1], strict=True):
            np.testing.assert_array_equal(only(session.step([word]))[0], expected)
        with pytest.raises(InputError, match=r"has 9 rows; .* bounds it to 8"):
            session.step(words[5][:1])


@pytest.fixture(scope="module")
def charlm() -> tuple[hwgen.Design, dict[str, np.ndarray]]:
    """The shipped language model, as `make demo-lm` builds it, and its text."""
    path = Path(__file__).parent.parent / "models" / "charlm.onnx"
    with np.load(path.with_suffix(".npz")) as data:
        return hwgen.compile(path, cycles=768, stream=True), dict(data)


def test_language_model(charlm) -> None:
    """As good as onnxruntime's, in sequences of the file's length and longer."""
    design, data = charlm
    assert design.predicted.interval <= 768
    assert hwgen.compile(design.model, cycles=96, stream=True).predicted.interval <= 96

    def bits(scores: np.ndarray) -> float:
        scores = scores.astype(np.float64)
        top = np.take_along_axis(scores, data["labels"][..., None], axis=2)[..., 0]
        return float((np.log(np.exp(scores).sum(axis=2)) - top).mean() / np.log(2))

    got = only(design.golden(data["inputs"]))
    assert bits(got) == pytest.approx(bits(data["outputs"]), abs=0.03)
    assert (got.argmax(axis=2) == data["outputs"].argmax(axis=2)).mean() > 0.95
    assert design.graph.longest == {}
    joined = data["inputs"][:2].reshape(1, -1)  # what is 19 characters back is forgotten
    after = only(design.golden(joined))[0, 32 + 19 :]
    np.testing.assert_array_equal(after, got[1, 19:])


@pytest.mark.model
def test_language_model_in_hardware(charlm) -> None:
    """Longer than the file's shape, at the interval of full windows."""
    design, data = charlm
    result = design.simulate([data["inputs"][:3].ravel(), data["inputs"][3][:2]])
    assert result.mismatch is None
    assert result.interval == pytest.approx(design.predicted.interval, rel=0.05)
    with design.session() as session:
        session.step(data["inputs"][0])
        session.step(data["inputs"][1][:1])
        assert session.cycles == pytest.approx(design.predicted.latency, rel=0.002)


# --- what can't stream ---------------------------------------------------------------------------


def mixing(kind: str) -> onnx.ModelProto:
    """Models that look at several rows at once."""
    b = Builder(seed=2)
    x = b.quantize(b.input(1, ROWS, INPUTS), 0.03, 5)
    if kind == "mean":
        y = b.op("ReduceMean", x, axes=[1], keepdims=1)
    elif kind == "turned":
        y = b.op("Transpose", x, perm=[0, 2, 1])
        y = b.op("MatMul", y, b.weights(ROWS, 5))
    elif kind == "joined":
        half = b.op("Slice", x, *(b.constant(np.array([v])) for v in (0, 3, 1)))
        y = b.op("Concat", half, x, axis=1)
    else:
        y = b.op("Transpose", x, perm=[0, 2, 1])
        y = b.op("Conv", y, b.weights(4, INPUTS, 3), b.bias(4), pads=[1, 1])
    return b.model(b.quantize(y, 0.1))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("mean", r"ReduceMean_8 (Reduce): reads or makes [8] of all 6 rows at once"),
        ("turned", "MatMul_15.window (Window): reads or makes [8, 6] of all 6 rows at once"),
        ("joined", "(Reorder): reads or makes [9, 8] of all 6 rows at once"),
        ("convolution", "reach over several rows"),
    ],
)
def test_refused(kind: str, says: str) -> None:
    with pytest.raises(ModelError, match="can't stream row by row; build it without --s") as error:
        hwgen.compile(mixing(kind), stream=True)
    assert says in str(error.value)


def test_several_inputs_refused() -> None:
    b = Builder()
    x, y = (b.quantize(b.input(1, ROWS, INPUTS, name=name), 0.03) for name in "xy")
    with pytest.raises(ModelError, match="a stream has one input; the model has x, y"):
        hwgen.compile(b.model(b.quantize(b.op("Add", x, y), 0.1)), stream=True)
