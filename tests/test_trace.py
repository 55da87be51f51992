"""Layer by layer: golden beside onnxruntime, and where an error enters."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hwgen
from hwgen.errors import ConfigError, InputError
from hwgen.trace import Trace, trace
from tests.command import fails, succeeds
from tests.conftest import SHIPPED

MLP, DATA = SHIPPED / "digits_mlp.onnx", SHIPPED / "digits_mlp.npz"
FIRST = "/1/Relu_output_0_DequantizeLinear_Output"  # behind the first layer's requantization


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.load(DATA)["inputs"][:8]


@pytest.fixture(scope="module")
def exact(inputs: np.ndarray) -> Trace:
    return trace(hwgen.compile(MLP), inputs)


def test_layers(exact: Trace) -> None:
    assert exact.reference.startswith("onnxruntime ")
    assert [layer.node for layer in exact.layers if layer.op == "Gemm"] == [
        "/0/Gemm", "/2/Gemm", "/4/Gemm"
    ]  # fmt: skip
    for layer in exact.layers:
        assert layer.max_error < 1e-5 and layer.error < 1e-6  # float32 sums in another order
        assert 1e-4 < layer.float_error < 0.05
        assert (layer.least is None) == (layer.op == "Gemm")
        if layer.least is not None:
            assert layer.least <= layer.low <= layer.high <= layer.most
    assert exact.first() is None
    assert exact.layers[-1].tensor == "y"


def test_arrays(exact: Trace, inputs: np.ndarray) -> None:
    last = exact.golden["y"].reshape(8, 10)
    np.testing.assert_allclose(last, hwgen.compile(MLP).golden(inputs)["y"], atol=1e-5)
    assert exact.golden["/0/Gemm_output_0"].shape == exact.model["/0/Gemm_output_0"].shape
    assert exact.real.keys() == exact.golden.keys()


def test_where_an_error_enters(inputs: np.ndarray) -> None:
    rough = hwgen.compile(MLP, overrides={"/0/Gemm": {"requant_bits": 3}})
    found = trace(rough, inputs)
    assert found.first().tensor == FIRST
    before = [layer.tensor for layer in found.layers].index(FIRST)
    assert all(layer.error < 1e-6 for layer in found.layers[:before])


def test_convolutions_and_sums() -> None:
    images = np.load(SHIPPED / "digits_resnet.npz")["inputs"][:4]
    found = trace(hwgen.compile(SHIPPED / "digits_resnet.onnx"), images)
    assert {"Conv", "Add", "ReduceMean", "Gemm"} <= {layer.op for layer in found.layers}
    assert found.first() is None


def test_converted_model(inputs: np.ndarray) -> None:
    """Ops of our own: ONNX's reference evaluator."""
    design = hwgen.compile(MLP, arith="e4m3fn", calibrate=inputs)
    found = trace(design, inputs)
    assert "reference evaluator" in found.reference
    assert all(layer.error < 1e-6 for layer in found.layers)
    assert any(layer.op == "Quantize" and layer.float_error > 0.01 for layer in found.layers)


def test_wrong_inputs(inputs: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"must have shape \(samples, 64\)"):
        trace(hwgen.compile(MLP), inputs[:, :9])
    with pytest.raises(ConfigError, match="without stream"):
        trace(SimpleNamespace(graph=SimpleNamespace(ends="ends"), config=None), inputs)


def test_command(tmp_path: Path) -> None:
    call = ("trace", MLP, "--inputs", DATA, "--limit", 4)
    printed = succeeds(*call, "-o", tmp_path / "y.npz", "--threshold", 0.005)
    assert "relative error above 0.005 against the model: nowhere" in printed
    assert FIRST in printed.splitlines()[-1]
    with np.load(tmp_path / "y.npz") as file:
        assert {"golden:y", "model:y", "float:y"} <= set(file.files)
    found = json.loads(succeeds(*call, "--json"))
    assert found["first"] is None and found["samples"] == 4
    assert found["layers"][0]["tensor"] == "x_DequantizeLinear_Output"
    fails(tmp_path, *call, "-o", tmp_path / "no" / "y.npz", says="no")
