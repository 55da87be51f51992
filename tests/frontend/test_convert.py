"""Conversion to other arithmetics: golden model against the reference evaluator; accuracy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.frontend import read
from tests import blocks
from tests.conftest import SHIPPED
from tests.frontend.converting import (
    MODELS,
    check,
    converted,
    evaluated,
    model,
    moved,
    pooled,
    residual,
    samples,
)
from tests.qdq import oracle

SHIPPED_NAMES = ("digits_mlp", "digits_cnn", "digits_resnet")
INTEGERS = ("int8", "int4", "uint8xint4", "int6xuint8", "fixed<8,4>", "ternary", "int8xbipolar")
FLOATS = ("e4m3fn", "e2m1", "bf16")


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
@pytest.mark.parametrize("name", MODELS)
def test_floats_equal_the_reference(arith: str, name: str) -> None:
    x = samples()
    check(converted(model(MODELS[name]), arith, x), x)


def test_wide_floats_need_no_calibration() -> None:
    proto, x = model(residual), samples()
    got = check(converted(proto, "bf16"), x)
    before = evaluated(proto, x)
    assert np.abs(got - before).max() < 0.02 * np.abs(before).max()


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


if "HWGEN_MODELS" in os.environ:

    @pytest.mark.parametrize("name", ["d01", "d02", "d03", "d05", "d06"])
    def test_accuracy_of_float_models(name: str) -> None:
        folder = Path(os.environ["HWGEN_MODELS"])
        (path,), (data,) = folder.glob(f"{name}_*float.onnx"), folder.glob(f"{name}_*.npz")
        with np.load(data) as file:
            x, labels = file["inputs"], file["labels"]
        before = evaluated(read(path), x[:64].reshape(64, *x.shape[1:]))
        y = next(iter(hwgen.compile(path, arith="int8", calibrate=x).golden(x).values()))
        decisions = y.reshape(len(x), -1).argmax(1)
        same = decisions[:64] == before.reshape(64, -1).argmax(1)
        assert same.mean() > 0.95
        assert (decisions == labels).mean() > {"d05": 0.6}.get(name, 0.94)
