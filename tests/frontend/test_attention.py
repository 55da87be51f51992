"""Attention in ONNX models: what is recognized, what is built from its parts, what is refused, and
in floats."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.errors import HwgenError, ModelError
from hwgen.frontend.convert.reference import evaluator
from hwgen.ir import Attention, Linear, Product, Softmax
from tests.floats import FloatBuilder
from tests.frontend.attending import (
    HEADS,
    SIZE,
    STEP,
    C,
    Change,
    N,
    attend,
    causal,
    heads,
    projected,
    quantized_rows,
    rounded,
)
from tests.frontend.converting import converted, evaluated
from tests.qdq import Builder, oracle

X = np.random.default_rng(1).normal(0, 1, (16, N, C)).astype(np.float32)


def last_matmul(model: onnx.ModelProto) -> str:
    return [node.name for node in model.graph.node if node.op_type == "MatMul"][-1]


def built(model: onnx.ModelProto, **options) -> tuple[hwgen.Design, list[Attention]]:
    design = hwgen.compile(model, **options)
    return design, [node for node in design.graph.nodes if isinstance(node, Attention)]


def check(away: np.ndarray) -> None:
    """Differences in steps of int8, from a model that rounds nothing inside: attention's own root
    mean square is half a step at most, the rest is rounding."""
    assert np.sqrt(np.square(away).mean()) < 0.7 and away.max() < 4


# --- recognized ----------------------------------------------------------------------------------

PLACE = np.arange(N)
SLOPES = -np.array([0.5, 0.25])[:, None, None] * np.abs(PLACE - PLACE[:, None])
CHECKERED = np.where((PLACE + PLACE[:, None]) % 2, -1e4, 0)
MASKS = {
    "none": (None, "attention to all 6 keys", 6),
    "causal": (causal(), "attention to all keys up to 0 ahead (causal)", 6),
    "ring": (causal(N, 2, 1), "attention to 2 keys before and 1 after", 4),
    "ring of 1e4": (np.maximum(causal(N, 1), -1e4), "attention to 1 keys before and 0 after", 2),
    "kept": (causal(N, 1, 0, 2), "attention to 1 keys before and 0 after and the first 2", 4),
    # Behind the end of the sequence there is nothing.
    "wider": (causal(N, 9, 9), "attention to all 6 keys", 6),
    "wider before": (causal(N, 9, 1), "attention to all keys up to 1 ahead", 6),
    "table": (CHECKERED, "attention to what a mask of its own says", 6),
    "slopes": (SLOPES, "attention to what a mask of its own says and a bias", 6),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name: str) -> None:
    """The note says what was recognized, and the memory is what that needs; results are those
    of onnxruntime."""
    mask, note, slots = MASKS[name]
    b = Builder()
    model = b.model(rounded(b, attend(b, quantized_rows(b), mask)))
    design, (node,) = built(model)
    assert design.graph.notes == {last_matmul(model): note}
    assert node.slots == slots
    assert (node.mask is not None) == ("mask of its own" in note)
    got = next(iter(design.golden(X).values()))
    away = np.abs(got - oracle(model, X)) / STEP
    check(away)


def test_no_factor_and_small_ones() -> None:
    """Scores may be as they are."""
    for factor in (None, 1.0, 1e-6):
        b = Builder()
        model = b.model(rounded(b, attend(b, quantized_rows(b), factor=factor)))
        design, (_,) = built(model)
        away = np.abs(next(iter(design.golden(X).values())) - oracle(model, X)) / STEP
        check(away)


def test_heads_of_other_counts() -> None:
    """Four heads of queries on two of keys, by repetition."""
    b = Builder()
    x = quantized_rows(b)
    q = heads(b, projected(b, x, 4), 4)
    k, v = (heads(b, projected(b, x, 2), 2, keys) for keys in (True, False))
    sizes = (SIZE, N), (N, SIZE)
    k, v = (
        b.op(
            "Reshape",
            b.op(
                "Expand",
                b.op("Unsqueeze", t, b.constant(np.array([2]))),
                b.constant(np.array([1, 2, 2, 1, 1])),
            ),
            b.constant(np.array([1, 4, *size])),
        )
        for t, size in zip((k, v), sizes, strict=True)
    )
    y = b.op("MatMul", b.op("Softmax", b.op("MatMul", q, k), axis=-1), v)
    model = b.model(rounded(b, y))
    design, (node,) = built(model)
    assert (node.heads, node.groups) == (4, 2)
    away = np.abs(next(iter(design.golden(X).values())) - oracle(model, X)) / STEP
    check(away)


def test_streams() -> None:
    """Causal attention to everything is bounded by the file's sequence, a window by nothing."""
    for mask, longest in ((causal(), N), (causal(N, 2), None)):
        b = Builder()
        model = b.model(rounded(b, attend(b, quantized_rows(b), mask)))
        options = {"nodes": {last_matmul(model): {"lanes": 2}}}  # which says where sums are rounded
        design, (node,) = built(model, config=options, stream=True)
        assert node.stateful
        assert design.graph.longest.get(node.name) == longest
        whole = next(iter(hwgen.compile(model, options).golden(X).values()))
        got = next(iter(design.golden(X).values()))
        np.testing.assert_array_equal(got, whole.reshape(got.shape))


# --- from its parts ------------------------------------------------------------------------------


def by_data(b: Builder) -> str:
    mask = rounded(b, b.op("MatMul", x := quantized_rows(b), b.weights(C, N)))
    return attend(b, x, b.op("Reshape", mask, b.constant(np.array([1, 1, N, N]))))


def moved(b: Builder, w: str) -> str:
    return b.op("Transpose", w, perm=[0, 1, 3, 2])


PARTS = {
    "mask of data": by_data,
    "negative factor": lambda b: attend(b, quantized_rows(b), factor=-0.3),
    "moved": lambda b: attend(b, quantized_rows(b), weights=moved),
}


REASONS = {
    "mask of data": r"Add_\d+ adds what depends on the inputs; a mask must be a constant",
    "negative factor": r"Mul_\d+ scales or shifts scores otherwise than by one positive factor",
    "moved": "the weights have moved since their softmax",
}


@pytest.mark.parametrize("name", PARTS)
def test_built_from_its_parts(name: str) -> None:
    """Where attention does not apply, its products and softmax are units of their own."""
    b = Builder()
    model = b.model(rounded(b, PARTS[name](b)))
    design, found = built(model)
    assert not found
    kinds = [type(node) for node in design.graph.nodes]
    assert (kinds.count(Product), kinds.count(Softmax)) == (2, 1)
    ((_, note),) = design.graph.notes.items()
    assert re.fullmatch(f"built from its parts: {REASONS[name]}", note)
    away = np.abs(next(iter(design.golden(X).values())) - oracle(model, X)) / STEP
    check(away)


# --- refused -------------------------------------------------------------------------------------


def not_dividing(b: Builder) -> str:
    x = quantized_rows(b)
    q, k = heads(b, projected(b, x, 4), 4), heads(b, projected(b, x, 2), 2, keys=True)
    return b.op("MatMul", q, k)


def replaced(b: Builder, s: str) -> str:
    return b.op("Where", b.constant(np.tri(N, dtype=bool)), s, b.constant(np.float32(-1)))


REFUSED = {
    "rows without keys": (
        lambda b: attend(b, quantized_rows(b), np.full((N, N), -np.inf)),
        r"MatMul_\d+ \(MatMul\): .*row 0 of its mask \(head 0\) leaves no key, .* make the mask",
    ),
    "no number": (
        lambda b: attend(b, quantized_rows(b), np.full((N, N), np.nan)),
        r"Add_\d+ \(Add\): adds NaN or infinity to scores; mend the mask",
    ),
    "heads": (not_dividing, r"MatMul_\d+ \(MatMul\): multiplies \[1, 4, 6, 6\] and \[1, 2, 6, 6\]"),
    "soft mask": (
        lambda b: attend(b, quantized_rows(b), scores=replaced),
        r"Where_\d+ \(Where\): replaces scores by numbers above -10000; add them instead",
    ),
    "axis": (
        lambda b: attend(b, quantized_rows(b), axis=-2),
        r"MatMul_\d+ \(MatMul\): reads the result of Softmax, which the host computes; that is",
    ),
    "memory": (
        lambda b: attend(b, quantized_rows(b, 1 << 14)),
        r"MatMul_\d+ \(MatMul\): its output has more than 64 million elements: \[1, 2, 16384, 163",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, says = REFUSED[name]
    b = Builder()
    with pytest.raises(ModelError, match=says):
        hwgen.compile(b.model(rounded(b, make(b))))


def test_what_looks_ahead_does_not_stream() -> None:
    for mask, rows in ((None, 5), (causal(N, 1, 1), 1)):
        b = Builder()
        model = b.model(rounded(b, attend(b, quantized_rows(b), mask)))
        says = rf"{last_matmul(model)} \(Attention\): attends to {rows} rows that come later"
        with pytest.raises(ModelError, match=says):
            hwgen.compile(model, stream=True)


# --- floats --------------------------------------------------------------------------------------


def float_model(mask: np.ndarray | None = None, bias: bool = False) -> onnx.ModelProto:
    """Without quantizers; `bias`: queries, keys and values from one layer with a bias, scaled
    apart as torch's older exporter does."""
    b = Builder(seed=4)
    x = b.input(1, N, C)
    matrix = lambda *size: b.constant((b.rng.normal(0, 1, size) / 3).astype(np.float32))  # noqa: E731
    if bias:
        whole = b.op("Add", b.op("MatMul", x, matrix(C, 3 * C)), b.bias(3 * C))
        q = b.op("Split", whole, axis=2)
        b.nodes[-1].output.extend(names := [b.name("part") for _ in range(2)])
        parts = [q, *names]
    else:
        parts = [b.op("MatMul", x, matrix(C, C)) for _ in range(3)]
    q, k, v = (heads(b, t, HEADS, j == 1) for j, t in enumerate(parts))
    if bias:
        q, k = (b.op("Mul", t, b.constant(np.float32(0.6))) for t in (q, k))
    s = b.op("MatMul", q, k)
    s = s if mask is None else b.op("Add", s, b.constant(mask.astype(np.float32)))
    y = b.op("MatMul", b.op("Softmax", s, axis=-1), v)
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), b.constant(np.array([1, -1, C])))
    return b.model(b.op("MatMul", y, matrix(C, 5)))


# The largest error over the largest number, about 1.5 times what was measured, and the formats of
# queries and keys.
FLOATS = {
    "bf16": (0.012, "bf16", "bf16"),
    "bf16:pam": (0.3, "bf16", "bf16"),
    "fp16": (0.0015, "fp16", "fp16"),
    "e4m3fn": (0.13, "e4m3fn", "e4m3fn"),
    "e4m3fn:lmul": (0.35, "e4m3fn", "e4m3fn"),
    "e4m3fnxe5m2": (0.4, "e4m3fn", "e5m2"),
    "mxfp8": (0.15, "int16", "int16"),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", FLOATS)
def test_floats(name: str, bias: bool) -> None:
    """Attention multiplies what a conversion gives it; blocks are none of its business."""
    error, *formats = FLOATS[name]
    model = float_model(causal(N, 2), bias)
    design, (node,) = built(model, arith=name, calibrate=X)
    assert [str(design.graph.tensors[t].fmt) for t in node.inputs[:2]] == formats
    arithmetic = None if formats[0] == "int16" else name
    assert (node.arithmetic and str(node.arithmetic)) == arithmetic
    got, expected = next(iter(design.golden(X).values())), evaluated(model, X)
    away = np.abs(got.reshape(expected.shape) - expected)
    assert away.max() < error * np.abs(expected).max()


def test_wide_floats_are_clipped() -> None:
    """To a power of two that calibration's numbers leave a quarter to; what is beyond saturates."""
    model = converted(float_model(), "bf16", X)
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert len(clips) == 3
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    design = hwgen.compile(model)
    for clip in clips:
        low, high = (float(values[name]) for name in clip.input[1:3])
        assert low == -high and np.log2(high) % 1 == 0
    got = next(iter(design.golden(4 * X).values()))
    expected = evaluated(model, 4 * X)
    assert np.abs(got.reshape(expected.shape) - expected).max() < 0.02 * np.abs(expected).max()


def in_floats(*names: str, clip: bool = True) -> onnx.ModelProto:
    """A QDQ model whose queries, keys and values are of such formats."""
    b = FloatBuilder("e4m3fn")

    def quantizer(name: str) -> Change:
        def quantize(b: Builder, x: str) -> str:
            if clip:
                x = b.op("Clip", x, *(b.constant(np.float32(v)) for v in (-8, 8)))
            return b.rounded(x, 0.25, name)  # type: ignore[attr-defined]

        return rounded if name == "int8" else quantize

    return b.model(attend(b, quantized_rows(b), quantize=tuple(map(quantizer, names))))


def test_floats_of_a_file() -> None:
    """Without a conversion; a range that is not known is asked for."""
    _, (node,) = built(in_floats("bf16", "bf16", "bf16"))
    assert str(node.arithmetic) == "bf16"
    assert node.value_grid.exponent == 4 - 16 - 3  # 8 is in the grid, of 6 keys and 16 bits
    _, (node,) = built(in_floats("e4m3fn", "e5m2", "e5m2", clip=False))
    assert str(node.arithmetic) == "e4m3fnxe5m2"
    says = r"MatMul_\d+ \(MatMul\): attends with bf16 whose range is not known; put a Clip in front"
    with pytest.raises(ModelError, match=says):
        hwgen.compile(in_floats("bf16", "bf16", "bf16", clip=False))
    for names in (
        ("int8", "e4m3fn", "e4m3fn"),
        ("e4m3fn", "e4m3fn", "int8"),
        ("e4m3fn", "e4m3fn", "e5m2"),
    ):
        said = "attends with queries in {}, keys in {} and values in {}; quantize".format(*names)
        with pytest.raises(ModelError, match=said):
            hwgen.compile(in_floats(*names))


def test_one_arithmetic_for_both_products() -> None:
    model = float_model()
    last = last_matmul(model)
    name = [node.name for node in model.graph.node if node.op_type == "MatMul"][-2]
    given = {"arith": "e4m3fn", "nodes": {name: {"arith": "e4m3fn:lmul"}}}
    assert last != name
    says = rf"{name} .*: sums values in e4m3fn:lmul, its scores are in e4m3fn; give both the same"
    with pytest.raises(HwgenError, match=says):
        hwgen.compile(model, given, calibrate=X)


# --- constants and rounded sums ------------------------------------------------------------------


def test_positions_are_no_bias() -> None:
    """A table added to a layer's rounded sums is added in fixed point; a bias begins them."""
    b = Builder(seed=2)
    y = b.op("MatMul", b.input(1, N, C), b.constant(b.rng.normal(0, 1, (C, 8)).astype(np.float32)))
    y = b.op(
        "Add", b.op("Add", y, b.bias(8)), b.constant(b.rng.normal(0, 1, (1, N, 8)).astype("f"))
    )
    y = b.op("MatMul", y, b.constant(b.rng.normal(0, 1, (8, 3)).astype(np.float32)))
    model = b.model(y)
    design = hwgen.compile(model, arith="bf16", calibrate=X)
    (first, _) = [node for node in design.graph.nodes if isinstance(node, Linear)]
    assert first.bias is not None
    got, expected = next(iter(design.golden(X).values())), evaluated(model, X)
    assert np.abs(got.reshape(expected.shape) - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("arith", ["bf16", "bf16+bf16"])
def test_readers_of_rounded_sums_agree(arith: str, order: int) -> None:
    """A bias that only one of two readers adds is not given to both."""
    b = FloatBuilder(arith)
    y = b.layer("MatMul", b.rounded(b.input(1, N, C), 1), b.matrix(C, 8))
    ways = [lambda: b.rounded(y, 1), lambda: b.rounded(b.op("Add", y, b.bias(8)), 1)][::order]
    outputs = [b.layer("MatMul", way(), b.matrix(8, 3)) for way in ways]
    with pytest.raises(ModelError, match="two nodes add different constants to its rounded sums"):
        hwgen.compile(b.model(*outputs))


def test_quantizers_that_change_nothing() -> None:
    """Sums in the format of activations, read behind their quantizer: with their bias, once."""
    b = FloatBuilder("bf16+bf16")
    x = b.rounded(b.input(1, N, C), 1)
    y = b.rounded(b.op("Add", b.layer("MatMul", x, b.matrix(C, C)), b.bias(C)), 1)
    y = b.rounded(b.op("Add", y, x), 1)
    model = b.model(b.layer("MatMul", y, b.matrix(C, 3)))
    design = hwgen.compile(model)
    first = next(node for node in design.graph.nodes if isinstance(node, Linear))
    assert first.bias is not None
    got = next(iter(design.golden(X).values()))
    expected = np.stack([evaluator(model).run(None, {"x": x[None]})[0][0] for x in X])
    away = np.abs(got.reshape(expected.shape) - expected)
    assert (away > 0.01 * np.abs(expected).max()).mean() < 0.02


def test_a_bias_behind_a_quantizer_is_refused() -> None:
    b = FloatBuilder("bf16+bf16")
    y = b.layer("MatMul", b.rounded(b.input(1, N, C), 1), b.matrix(C, C))
    y = b.rounded(b.op("Add", b.rounded(y, 1), b.bias(C)), 1)
    model = b.model(b.layer("MatMul", y, b.matrix(C, 3)))
    with pytest.raises(ModelError, match="adds a constant to floats that are rounded"):
        hwgen.compile(model)


def test_a_bias_for_each_part() -> None:
    """Parts of a layer's rounded sums may be read apart; the same part twice."""
    b = FloatBuilder("bf16")
    y = b.layer("MatMul", b.rounded(b.input(1, N, C), 1), b.matrix(C, 8))
    ends = ((0, 3), (3, 8), (3, 8))
    parts = [b.op("Slice", y, *(b.constant(np.array([v])) for v in (*e, 2))) for e in ends]
    bias = b.bias(5)
    parts = [parts[0], *(b.op("Add", part, bias) for part in parts[1:])]
    outputs = [
        b.layer("MatMul", b.rounded(p, 1), b.matrix(e[1] - e[0], 2))
        for p, e in zip(parts, ends, strict=True)
    ]
    model = b.model(*outputs)
    design = hwgen.compile(model)
    got = design.golden(X)
    session = evaluator(model)
    for name, values in got.items():
        expected = np.stack([session.run([name], {"x": x[None]})[0][0] for x in X])
        away = np.abs(values.reshape(expected.shape) - expected)
        assert (away > 0.01 * np.abs(expected).max()).mean() < 0.02
