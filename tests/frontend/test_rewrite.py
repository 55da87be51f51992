"""Rewritten models compute what they did, in ONNX's own ops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hwgen.frontend import read
from hwgen.frontend.convert.reference import evaluator
from hwgen.frontend.editor import Editor
from hwgen.frontend.rewrite import rewrite
from tests.conftest import SHIPPED
from tests.frontend.transformers import (
    CONTRIB,
    MICROSOFT,
    NORMS,
    SKIPS,
    STANDARD,
    C,
    N,
    built,
    packed,
)
from tests.qdq import session

X = np.random.default_rng(7).normal(0, 1, (1, N, C)).astype(np.float32)
ZOO = sorted((SHIPPED / "transformers").glob("*.onnx"))


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Checked; nothing of it is refused."""
    editor = Editor(read(model))
    _, refused = rewrite(editor, {})
    assert not refused
    return read(editor.finish())


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def same(
    model: onnx.ModelProto, opset: int = 17, plain: onnx.ModelProto | None = None
) -> list[str]:
    """The ops of the model rewritten, which gives the same, as does a `plain` one."""
    found = rewritten(model)
    plain = model if plain is None else plain
    expected = (evaluator if opset > 20 else session)(plain).run(None, {"x": X})
    foreign = MICROSOFT in {node.domain for node in found.graph.node}
    got = (session if foreign else evaluator)(found).run(None, {"x": X})
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return ops(found)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str, opset: int) -> None:
    found = same(built(NORMS[name], opset))
    extra = ["Add"] if name.startswith("root") and "b" in name.rsplit("_", maxsplit=1)[-1] else []
    op = "LayerNormalization" if name.startswith("layer") else "RMSNormalization"
    assert found == ["MatMul", op, *extra, "Relu"]


@pytest.mark.parametrize("name", SKIPS)
def test_sums_with_something_behind(name: str) -> None:
    left = {"LayerNormalization", "RMSNormalization", "Gelu", "FastGelu", "Add", "MatMul"}
    assert set(same(built(SKIPS[name]))) <= left


CANONICAL = {"MatMul", "Add", "Reshape", "Transpose", "Mul", "Softmax", "Gather", "Slice"}


@pytest.mark.parametrize("name", CONTRIB)
def test_attention_of_onnxruntime(name: str) -> None:
    assert set(same(built(CONTRIB[name]))) <= CANONICAL


@pytest.mark.parametrize("count", [2, 3])
def test_packed_keys(count: int) -> None:
    """Which onnxruntime knows on other processors alone."""
    model = built(lambda b: packed(b, count, False))
    plain = built(lambda b: packed(b, count, True))
    assert set(same(model, plain=plain)) <= CANONICAL


@pytest.mark.parametrize("name", STANDARD)
def test_attention_of_onnx(name: str) -> None:
    assert set(same(built(STANDARD[name], 23), 23)) <= CANONICAL


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_exports_of_torch(path: Path) -> None:
    """They give what torch does."""
    model = rewritten(onnx.load(path))
    with np.load(path.with_name(path.stem.rpartition("_")[0] + ".npz")) as data:
        runner = evaluator(model)
        got = [runner.run(None, {"x": x[None]})[0][0] for x in data["inputs"]]
        np.testing.assert_allclose(got, data["outputs"], atol=1e-5)
    steps = {"Attention", "ReduceMean", "Pow", "Sqrt", "Div", "Erf", "Tanh", "Neg"}
    assert steps & set(ops(model)) <= ({"ReduceMean"} if path.stem.startswith("vision") else set())
