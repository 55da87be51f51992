"""Normalization and softmax in integers against ONNX's reference evaluator."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hwgen.errors import ModelError
from hwgen.formats import Int
from hwgen.frontend.normalize_form import normalize_form, softmax_form
from hwgen.frontend.target import Target
from hwgen.golden import EVAL
from hwgen.ir import Normalize, Softmax

NAMES = {"name": "node", "inputs": ("x",), "outputs": ("y",)}


def _reference(op: str, x: np.ndarray, *parameters: np.ndarray, **attributes) -> np.ndarray:
    """What the op gives in float64."""
    names = [f"x{k}" for k in range(1 + len(parameters))]
    values = dict(zip(names, (x, *parameters), strict=True))
    ports = [
        helper.make_tensor_value_info(n, TensorProto.DOUBLE, v.shape) for n, v in values.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, x.shape)
    node = helper.make_node(op, names, ["y"], **attributes)
    graph = helper.make_graph([node], "alone", ports, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    onnx.checker.check_model(model)
    return ReferenceEvaluator(model).run(None, values)[0]


def _rows(fmt: Int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of every spread: random ones, steps, single outliers, nearly and wholly equal ones."""
    wide = rng.integers(fmt.min, fmt.max + 1, (200, count))
    narrow = rng.integers(-9, 10, (200, count)) * 2 ** rng.integers(0, fmt.bits - 4, (200, 1))
    steps = np.where(np.arange(count) < np.arange(1, 51)[:, None] % count, fmt.max, fmt.min)
    outliers = np.zeros((count, count), np.int64) + np.eye(count, dtype=np.int64) * fmt.max
    nearly = np.eye(count, dtype=np.int64) + 5
    equal = np.repeat([[fmt.min], [0], [7], [fmt.max]], count, axis=1)
    rows = np.concatenate([wide, narrow, steps, outliers, nearly, equal])
    return np.clip(rows, fmt.min, fmt.max)


@pytest.mark.parametrize("centered", [True, False], ids=["layer", "rms"])
@pytest.mark.parametrize(
    ("bits", "out", "zero", "count", "reach"),
    [
        (16, 16, 0, 64, 8.0),
        (16, 16, -32768, 24, 4.0),
        (16, 16, 0, 768, 28.0),
        (12, 12, 100, 48, 8.0),
        (8, 8, -3, 64, 4.0),
        (8, 8, 0, 2, 2.0),
        (16, 4, 1, 10, 4.0),
    ],
)
def test_normalization(
    centered: bool, bits: int, out: int, zero: int, count: int, reach: float
) -> None:
    rng = np.random.default_rng(count)
    fmt, zero_in = Int(bits), 0 if centered else 3
    gamma = rng.normal(1, 0.5, count) * 2.0 ** -rng.integers(0, 6, count)
    beta = rng.normal(0, 0.3, count)
    scale, target = Fraction(3, 1000), Target(Fraction(2 * reach) / 2**out, zero, Int(out))
    beta = beta if centered else np.zeros(count)
    fields = normalize_form(centered, scale, zero_in, 1e-5, gamma, beta, target)
    codes = _rows(fmt, count, rng)
    got = EVAL[Normalize](Normalize(**NAMES, **fields), codes)
    real = (codes - zero_in) * float(scale)
    epsilon = float(fields["epsilon"] * scale**2 / (count**2 if centered else count))
    if centered:
        y = _reference("LayerNormalization", real, gamma, beta, axis=-1, epsilon=epsilon)
    else:
        y = _reference("RMSNormalization", real, gamma, axis=-1, epsilon=epsilon)
    exact = np.clip(y / float(target.scale) + zero, target.least, target.most)
    inside = (exact > target.least) & (exact < target.most)
    assert inside.mean() > 0.2
    assert np.abs(got - exact)[inside].max() <= 9 / 8
    np.testing.assert_array_equal(got[~inside], exact[~inside])
    assert len(np.unique(got)) > 2 ** (out - 5)


def test_epsilon() -> None:
    """Where epsilon matters it is as exact as all else."""
    gamma, beta = np.ones(32), np.zeros(32)
    target = Target(Fraction(1, 4096), 0, Int(16))
    fields = normalize_form(True, Fraction(1, 10000), 0, 1e-5, gamma, beta, target)
    codes = _rows(Int(8), 32, np.random.default_rng(0))
    got = EVAL[Normalize](Normalize(**NAMES, **fields), codes)
    exact = _reference("LayerNormalization", codes / 1e4, gamma, beta, axis=-1, epsilon=1e-5) * 4096
    assert np.abs(got - np.clip(exact, -32768, 32767)).max() <= 9 / 8
    assert fields["epsilon"] > 1000


def test_too_large() -> None:
    target = Target(Fraction(1, 4096), 0, Int(16))
    gamma = np.ones(1 << 15)
    with pytest.raises(ModelError, match="rows of 32768 elements"):
        normalize_form(True, Fraction(1, 100), 0, 1e-5, gamma, gamma, target)


@pytest.mark.parametrize("count", [1, 2, 10, 64, 1000])
@pytest.mark.parametrize("scale", [1, 0.1, 0.001, 37.3])
def test_softmax(count: int, scale: float) -> None:
    fmt = Int(16 if scale < 0.1 else 8)
    fields, unit = softmax_form(Fraction(scale), count)
    codes = _rows(fmt, count, np.random.default_rng(count))
    got = EVAL[Softmax](Softmax(**NAMES, **fields), codes) * float(unit)
    exact = _reference("Softmax", codes * float(scale), axis=-1)
    assert (np.abs(got - exact) <= exact * 2.0**-12 + 2.0**-16).all()
