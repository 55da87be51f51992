"""Tables that a model input indexes, against onnxruntime; packed queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto

import hwgen
from hwgen import golden
from hwgen.errors import InputError, ModelError
from hwgen.formats import Int
from hwgen.frontend import load
from hwgen.golden.host import decode, encode
from hwgen.ir import Fork, Reorder, Select
from tests.qdq import Builder, oracle

ROWS, CHANNELS, LENGTH = 37, 6, 5
TOKENS = np.random.default_rng(3).integers(-ROWS, ROWS, (12, LENGTH))


def codes(b: Builder, scale, dtype: type = np.int8, **attributes) -> str:
    """A quantized table."""
    info = np.iinfo(dtype)
    table = b.constant(b.rng.integers(info.min, info.max + 1, (ROWS, CHANNELS)).astype(dtype))
    scale = b.constant(np.float32(scale))
    return b.op("DequantizeLinear", table, scale, **attributes)


def floats(b: Builder, spread: float = 1) -> str:
    return b.constant(b.rng.normal(0, spread, (ROWS, CHANNELS)).astype(np.float32))


def gathered_codes(b: Builder, x: str) -> str:
    table = b.constant(b.rng.integers(0, 256, (ROWS, CHANNELS)).astype(np.uint8))
    zero = b.constant(np.uint8(120))
    return b.op("DequantizeLinear", b.op("Gather", table, x), b.constant(np.float32(0.02)), zero)


def with_positions(b: Builder, x: str) -> str:
    table = b.constant(b.rng.normal(0, 1, (LENGTH, CHANNELS)).astype(np.float32))
    return b.quantize(b.op("Add", b.op("Gather", floats(b), x), table), 0.02, 3)


def by_rows(b: Builder, x: str) -> str:
    table = codes(b, b.rng.uniform(0.01, 0.03, ROWS), axis=0)
    return b.quantize(b.op("Gather", table, x), 0.02)


def twice(b: Builder, x: str) -> str:
    both = b.op("Add", *(b.op("Gather", codes(b, scale), x) for scale in (0.01, 0.02)))
    return b.quantize(both, 0.03)


# What reads the indices, and the share of codes that may be off by one: where sums are rounded
# twice, for a table in float has 16 bits before something is added to it.
MODELS: dict[str, tuple[Callable[[Builder, str], str], float]] = {
    "float": (lambda b, x: b.quantize(b.op("Gather", floats(b), x), 0.02, 3), 0),
    "saturating": (lambda b, x: b.quantize(b.op("Gather", floats(b, 9), x), 0.02, 3), 0),
    "positions": (with_positions, 0.01),
    "codes": (gathered_codes, 0),
    "scaled": (lambda b, x: b.op("Gather", codes(b, 0.02), x), 0),
    "columns": (lambda b, x: b.op("Gather", codes(b, [0.02] * 6, axis=1), x), 0),
    "rows": (by_rows, 0),
    "twice": (twice, 0.01),
    "moved": (lambda b, x: b.op("Gather", codes(b, 0.02), b.op("Squeeze", x)), 0),
}


def model(kind: str, dtype: int = TensorProto.INT64):
    b = Builder()
    x = b.input(1, LENGTH, kind=dtype)
    y = b.op("MatMul", MODELS[kind][0](b, x), b.weights(CHANNELS, 4))
    if kind == "moved":
        y = b.op("Unsqueeze", y, b.constant(np.array([0])))
    return b.model(b.quantize(y, 0.05))


@pytest.mark.parametrize("kind", MODELS)
def test_tables(kind: str) -> None:
    proto = model(kind, TensorProto.INT32 if kind == "codes" else TensorProto.INT64)
    tokens = TOKENS.astype(np.int32) if kind == "codes" else TOKENS
    graph = load(proto)
    (port,) = graph.inputs
    assert graph.tensors[port.tensor].fmt == Int(6, signed=False)
    (got,) = decode(graph, golden.run(graph, encode(graph, tokens))).values()
    expected = oracle(proto, tokens)
    assert len(np.unique(expected)) > 20
    wrong = np.abs(got - expected) > 1e-3
    assert np.abs(got - expected).max() < 0.051
    assert wrong.mean() <= max(MODELS[kind][1], 0.002)


def test_table_of_one_number() -> None:
    b = Builder()
    x = b.input(1, LENGTH, kind=TensorProto.INT64)
    y = b.op("Gather", b.constant(np.full((3, 2), 0.99999, np.float32)), x)
    y = b.op("MatMul", y, b.weights(2, 4))
    graph = load(b.model(y))
    tokens = np.zeros((1, LENGTH), np.int64)
    (got,) = decode(graph, golden.run(graph, encode(graph, tokens))).values()
    np.testing.assert_allclose(got, oracle(b.model(y), tokens), rtol=2.0**-14, atol=1e-5)


def test_indices_are_checked() -> None:
    graph = load(model("float"))
    for index in (ROWS, -ROWS - 1):
        tokens = TOKENS.copy()
        tokens[4, 2] = index
        with pytest.raises(
            InputError, match=f"'x': sample 4 holds the index {index}, outside .* 37"
        ):
            encode(graph, tokens)
    with pytest.raises(InputError, match="'x' takes int64, not float64"):
        encode(graph, TOKENS + 0.5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda b, x: b.quantize(x, 0.1), "reads the integers of input 'x'"),
        (lambda b, x: b.op("Gather", floats(b), x, axis=1), "indexed along axis 0"),
        (
            lambda b, x: b.op(
                "Add",
                b.op("Gather", codes(b, 0.1), x),
                b.op("Gather", b.constant(np.zeros((9, CHANNELS), np.float32)), x),
            ),
            "tables of 37 and of 9 rows",
        ),
        (
            lambda b, x: b.op("Gather", b.quantize(b.input(1, 5, name="z"), 0.1), x, axis=1),
            "only places of constant tables",
        ),
    ],
)
def test_refusals(make, says: str) -> None:
    b = Builder()
    y = make(b, b.input(1, LENGTH, kind=TensorProto.INT64))
    with pytest.raises(ModelError, match=says):
        load(b.model(b.quantize(y, 0.1)))


def test_packed_layers_in_hardware() -> None:
    """Queries, keys and values from one layer are copied and selected, not reordered."""
    b = Builder()
    x = b.input(1, LENGTH, kind=TensorProto.INT64)
    y = b.quantize(b.op("Gather", floats(b), x), 0.02)
    y = b.quantize(b.op("MatMul", y, b.weights(CHANNELS, 12)), 0.05)
    names = [b.name("part") for _ in range(3)]
    b.nodes.append(b.nodes[-1].__class__(op_type="Split", input=[y], output=names, name="split"))
    b.nodes[-1].input.append(b.constant(np.array([4, 4, 4])))
    b.nodes[-1].attribute.add(name="axis", i=2, type=2)
    q, k, v = (
        b.quantize(name, scale) for name, scale in zip(names, (0.06, 0.07, 0.08), strict=True)
    )
    y = b.quantize(b.op("Mul", b.quantize(b.op("Add", q, k), 0.1), v), 0.1)
    design = hwgen.compile(b.model(y))
    kinds = [type(n) for n in design.graph.nodes]
    assert kinds.count(Select) == 3
    assert Fork in kinds
    assert Reorder not in kinds
    result = design.simulate(TOKENS)
    assert result.mismatch is None
    assert result.interval == design.predicted.interval
