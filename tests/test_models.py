"""Whole models: golden model against onnxruntime's outputs, hardware against golden model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.engines.tools import run
from tests.conftest import model_files

FILES = model_files()


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def model(request: pytest.FixtureRequest):
    path: Path = request.param
    with np.load(path.with_suffix(".npz")) as data:
        return path, dict(data), hwgen.compile(path)


def decisions(outputs: np.ndarray) -> np.ndarray:
    return outputs.reshape(len(outputs), -1).argmax(axis=1)


def test_golden_against_onnxruntime(model) -> None:
    """Codes equal but at ties of rounding: off by one step, and at most 1 of 256 decisions."""
    path, data, design = model
    expected = data.get("outputs_noopt", data["outputs"]).reshape(len(data["inputs"]), -1)
    got = next(iter(design.golden(data["inputs"]).values())).reshape(expected.shape)
    step = np.diff(np.unique(np.concatenate([got.ravel(), expected.ravel()])))
    step = step[step > 1e-4].min()
    away = np.abs(got - expected)
    assert away.max() < 1.5 * step
    ties = (away > step / 2).mean()
    # The mean of four codes is a tie one time in four: there onnxruntime's float32 error decides.
    averages = any(node.op_type == "AveragePool" for node in onnx.load(path).graph.node)
    assert ties < (0.2 if averages else 0.01), f"{ties:.2%} of the codes differ"
    assert (decisions(got) != decisions(expected)).sum() <= len(got) // 256


@pytest.mark.model
def test_hardware_equals_golden(model) -> None:
    _, data, design = model
    inputs = data["inputs"][:16]
    result = design.simulate(inputs)
    assert result.mismatch is None
    assert result.interval == design.predicted.interval
    assert result.latency == pytest.approx(design.predicted.latency, rel=0.02)
    assert design.simulate(inputs[:4], stall=1).mismatch is None


@pytest.mark.model
def test_lint(model, tmp_path: Path) -> None:
    """Verilator warns of nothing but what lint.vlt in the design's folder gives reasons for."""
    _, _, design = model
    design.save(tmp_path / "design")
    files = ["lint.vlt", *(name for name in design.sources if name.endswith(".v"))]
    command = ["verilator", "--lint-only", "-Wall", "--top-module", design.config.name, *files]
    assert "%Warning" not in run(command, tmp_path / "design")
