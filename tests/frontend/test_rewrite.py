"""Rewritten models compute what they did, in ONNX's own ops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from hwgen.errors import ModelError
from hwgen.formats import parse_arithmetic
from hwgen.frontend import load, read
from hwgen.frontend.convert import Options, convert
from hwgen.frontend.convert.reference import evaluator
from hwgen.frontend.editor import Editor
from hwgen.frontend.rewrite import rewrite
from tests.conftest import SHIPPED
from tests.frontend.transformers import (
    CONTRIB,
    CURVES,
    MICROSOFT,
    NORMS,
    REFUSED,
    ROTARY,
    SKIPS,
    STANDARD,
    C,
    N,
    built,
    contrib,
    multi_head,
    norm,
    numbers,
    packed,
    rows,
)
from tests.qdq import Builder, optimized, session

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


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_optimized_by_onnxruntime(path: Path, tmp_path: Path) -> None:
    """Files of its optimizer: fused ops, some of them in ONNX's domain."""
    model = optimized(path, tmp_path / "optimized.onnx")
    found = rewritten(model)
    x = np.load(path.with_name(path.stem.rpartition("_")[0] + ".npz"))["inputs"][:1]
    got, expected = (
        run(m).run(None, {"x": x})[0] for run, m in ((evaluator, found), (session, onnx.load(path)))
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert {n.domain for n in found.graph.node} <= {"", "hwgen", MICROSOFT}
    assert {n.op_type for n in found.graph.node if n.domain == MICROSOFT} <= {
        "Gelu",
        "FastGelu",
        "QuickGelu",
    }


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_in_steps(name: str) -> None:
    assert same(built(ROTARY[name])) == ["MatMul", "Mul", "Gather", "Mul", "Add"]


@pytest.mark.parametrize("name", CURVES)
def test_gelu_in_steps(name: str) -> None:
    op = "Gelu" if name.startswith("erf") else "FastGelu"
    assert same(built(CURVES[name])) == ["MatMul", op]
    assert same(built(CURVES[name], 20), 20) == ["MatMul", "Gelu"]


def cleaned(b: Builder) -> str:
    """Attention behind things that do nothing."""
    x = b.op("Identity", b.op("Cast", rows(b), to=1))
    x = b.op("Dropout", b.op("Transpose", b.op("Transpose", x, perm=[2, 0, 1]), perm=[1, 2, 0]))
    y = b.op("Softmax", b.op("Cast", b.op("Cast", x, to=11), to=1), axis=-1)
    zero = b.constant(np.zeros((1, 1), np.float32))
    y = b.op("Where", b.op("IsNaN", y), zero, y)
    y = b.op("Transpose", b.op("Transpose", y, perm=[2, 0, 1]), perm=[2, 1, 0])
    return b.op("Identity", contrib(b, "FastGelu", y, numbers(b, C)))


def test_what_does_nothing_goes() -> None:
    """And outputs keep their names."""
    assert same(built(cleaned)) == ["MatMul", "Softmax", "Transpose", "Add", "FastGelu"]


def test_shared_steps_stay() -> None:
    """What somebody else reads too is no part of a pattern."""

    def shared(b: Builder) -> str:
        y = norm(b, "Pow", "Div", True)
        centered = next(node for node in b.nodes if node.op_type == "Sub").output[0]
        return b.op("Add", y, centered)

    assert ops(rewritten(built(shared))).count("ReduceMean") == 2


def test_names_are_kept() -> None:
    """Of the node that divides, of the op that becomes a Softmax; others are called after them."""

    def both(b: Builder) -> str:
        return multi_head(b, *(norm(b, "Mul", "Div", True) for _ in range(3)))

    model = built(both)
    names = {n.name for n in model.graph.node if n.op_type in ("Div", "MultiHeadAttention")}
    found = rewritten(model)
    kept = ("LayerNormalization", "Softmax")
    assert {n.name for n in found.graph.node if n.op_type in kept} == names
    assert ops(rewritten(found)) == ops(found)


def test_inputs_nothing_reads_go() -> None:
    def lengths(b: Builder) -> str:
        given = [b.input(1, name=name, kind=TensorProto.INT32) for name in ("last", "total")]
        inputs = [*(rows(b, 4 * w) for w in (4, 2, 2)), "", "", *given]
        return contrib(b, "GroupQueryAttention", *inputs, num_heads=4, kv_num_heads=2)

    assert [v.name for v in rewritten(built(lengths)).graph.input] == ["x"]


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    """They name the node and the reason, with all others and in a conversion."""
    make, reason = REFUSED[name]
    model = built(make, 17)
    node = next(n.name for n in model.graph.node if n.domain == MICROSOFT)
    with pytest.raises(ModelError, match=rf"\n  {node} \(\w+\): {reason}"):
        load(model)
    with pytest.raises(ModelError, match=rf"^1 nodes can't be converted:\n  {node}: {reason}"):
        convert(read(model), Options(parse_arithmetic("int8")))
