"""Every node kind in hardware, equal to the golden model bit for bit.

Random shapes, folds, lanes and stalls.
Compiling a simulation takes seconds, so many small networks share one: each has its own streams.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from hwgen import engines, golden
from hwgen.config import Config
from hwgen.cost.schedule import interval, schedule
from hwgen.cost.timing import TIMING
from hwgen.design import bundle_of
from hwgen.errors import ConfigError
from hwgen.formats import random_codes
from hwgen.frontend import load
from hwgen.golden import EVAL
from hwgen.ir import Graph, Node, Thresholds
from hwgen.passes.fold import multipliers
from hwgen.passes.pipeline import lower
from hwgen.rtl.build import BUILD
from tests.merge import merge
from tests.qdq import Builder
from tests.rtl import (
    attention_graphs,
    block_graphs,
    float_graphs,
    matrix_graphs,
    transformer_graphs,
)

SAMPLES = 16


def test_tables_cover_every_node_kind() -> None:
    kinds = set(Node.__subclasses__())
    assert set(EVAL) == set(BUILD) == set(TIMING) == kinds


def _lowered(b: Builder, output: str, **config) -> Graph:
    graph = load(b.model(output))
    layers = {n.name for n in graph.nodes}
    nodes = {k: v for k, v in config.pop("nodes", {}).items() if k in layers}
    lower(graph, Config.parse({**config, "nodes": nodes}))
    return graph


def _fastest(b: Builder, output: str, slower: int = 1) -> Graph:
    """Folded for the least cycles it can reach, or `slower` times as many."""
    with pytest.raises(ConfigError, match="cycles must be at least") as refusal:
        _lowered(b, output, cycles=1)
    least = int(re.search(r"at least (\d+)", str(refusal.value))[1])
    return _lowered(b, output, cycles=slower * least)


def _layer(b: Builder) -> str:
    """Name of the ONNX node added last."""
    return b.nodes[-1].name


def conv(seed: int) -> Graph:
    """A convolution of random attributes and folds."""
    b = Builder(seed=seed)
    r = b.rng
    groups = int(r.choice([1, 1, 1, 2, 3]))
    per_group, outputs = int(r.integers(1, 5)), groups * int(r.integers(1, 5))
    kernel = [int(v) for v in r.integers(1, 4, 2)]
    dilations = [int(v) for v in r.integers(1, 3, 2)]
    pads = [int(v) for v in r.integers(0, 3, 4)] if max(kernel) > 1 else [0] * 4
    size = [int(v) for v in r.integers(5, 9, 2)]
    dtype = np.dtype(r.choice(["int8", "uint8"]))
    zero = int(r.integers(-9, 9)) if dtype == np.int8 else int(r.integers(0, 200))
    x = b.quantize(b.input(1, groups * per_group, *size), 0.05, zero, dtype)
    w = b.weights(outputs, per_group, *kernel, channel=0, zero=bool(r.integers(2)))
    y = b.op(
        "Conv", x, w, b.bias(outputs), group=groups, pads=pads, dilations=dilations,
        strides=[int(v) for v in r.integers(1, 4, 2)],
    )  # fmt: skip
    name = _layer(b)
    taps = kernel[0] * kernel[1]
    depthwise = groups > 1 == per_group
    most = (groups, taps) if depthwise else (outputs // groups, taps * per_group)
    fold = {"pe": int(r.integers(1, most[0] + 1)), "simd": int(r.integers(1, most[1] + 1))}
    lanes = {"x": int(r.integers(1, groups * per_group + 1))}
    out = b.quantize(y, 0.2, 3, np.int8)
    return _lowered(b, out, nodes={name: fold} if r.integers(3) else {}, lanes=lanes)


def gemm(seed: int) -> Graph:
    """Two dense layers, the first of rows where the seed says so."""
    b = Builder(seed=seed)
    r = b.rng
    inputs, hidden = int(r.integers(2, 30)), int(r.integers(2, 12))
    rows = [int(r.integers(2, 4))] if seed % 2 else []
    x = b.quantize(b.input(1, *rows, inputs), 0.05, -3)
    y = b.op("MatMul", x, b.weights(inputs, hidden, channel=1))
    name = _layer(b)
    y = b.quantize(b.op("Relu", y), 0.1, -128)
    if rows:
        y = b.op("Flatten", y)
    y = b.op("Gemm", y, b.weights(hidden * max([1, *rows]), 3), b.bias(3))
    fold = {"pe": int(r.integers(1, hidden + 1)), "simd": int(r.integers(1, inputs + 1))}
    return _lowered(
        b, y, nodes={name: fold}, lanes={"x": inputs * len(rows) * rows[0] if rows else 1}
    )


def pool(seed: int) -> Graph:
    """Pooling of each kind."""
    b = Builder(seed=seed)
    r = b.rng
    channels = int(r.integers(1, 7))
    size = [int(v) for v in r.integers(6, 9, 2)]
    x = b.quantize(b.input(1, channels, *size), 0.05, int(r.integers(-9, 9)))
    kinds = [
        ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 1, 0, 1]}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [1, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("GlobalAveragePool", {}),
        ("AveragePool", {"kernel_shape": [6, 6]}),
    ]
    kind, attributes = kinds[seed % len(kinds)]
    y = b.op(kind, x, **attributes)
    fold = {"pe": int(r.integers(1, channels + 1)), "simd": int(r.integers(1, 4))}
    nodes = {} if kind == "GlobalAveragePool" or seed % 3 == 0 else {_layer(b): fold}
    scale = 0.05 if kind == "MaxPool" or seed % 2 else 0.013
    return _lowered(b, b.quantize(y, scale, int(r.integers(-9, 9))), nodes=nodes)


def residual(seed: int) -> Graph:
    """Branches of different length that meet, the input among them."""
    b = Builder(seed=seed)
    channels = int(b.rng.integers(2, 5))
    x = b.quantize(b.input(1, channels, 6, 5), 0.05, 2)
    y = x
    for _ in range(1 + seed % 2):
        y = b.op("Conv", y, b.weights(channels, channels, 3, 3, channel=0), pads=[1] * 4)
        y = b.quantize(y, 0.2, -5)
    z = b.quantize(b.op("Conv", x, b.weights(channels, channels, 1, 1)), 0.1, 4) if seed % 3 else x
    scale = 0.1 if seed % 2 else 0.17
    return _lowered(b, b.quantize(b.op("Relu", b.op("Add", y, z)), scale, -128))


def reordered(seed: int) -> Graph:
    """A transposed tensor that a convolution reads: nothing but hardware can reorder it."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 3, 4, 5), 0.05)
    y = b.quantize(b.op("Conv", x, b.weights(4, 3, 1, 1)), 0.1)
    y = b.op("Transpose", y, perm=[0, 2, 1, 3])
    return _lowered(b, b.quantize(b.op("Conv", y, b.weights(2, 4, 3, 3), pads=[1] * 4), 0.2))


def line(seed: int) -> Graph:
    """A 1-D convolution, folded for a target."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 3, 20), 0.05)
    y = b.op("Conv", x, b.weights(6, 3, 5, channel=0), pads=[2, 2])
    return _lowered(b, b.quantize(y, 0.2, 0, np.uint8), cycles=[20, 45, 400][seed % 3])


def approximate(seed: int) -> Graph:
    """Requantization with few bits, serial and parallel."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 16), 0.05)
    y = b.op("Gemm", x, b.weights(16, 6, channel=1), b.bias(6))
    target = {"cycles": 16} if seed % 2 else {"macs": 1}
    return _lowered(b, b.quantize(y, 0.2), requant_bits=5 + seed % 4, **target)


def wide(seed: int) -> Graph:
    """Several pixels and windows at once: convolutions and pools of random attributes, a sum."""
    b = Builder(seed=seed)
    r = b.rng
    groups = [1, 1, 2, 2][seed % 4]
    channels = groups
    size = [int(v) for v in r.choice([3, 4, 6], 2)]
    x = b.quantize(b.input(1, channels, *size), 0.05, int(r.integers(-9, 9)))
    kernel, dilations = ([int(v) for v in r.integers(1, n, 2)] for n in (4, 3))
    y = b.op(
        "Conv", x, b.weights(2, channels // groups, *kernel, channel=0), group=groups,
        pads=[int(v) for v in r.integers(1, 3, 4)], dilations=dilations,
        strides=[int(v) for v in r.integers(1, 3, 2)],
    )  # fmt: skip
    y = b.quantize(y, 0.2, -5)
    if seed % 2:
        y = b.quantize(b.op("MaxPool", y, kernel_shape=[2, 2], pads=[1, 0, 0, 1]), 0.2, -5)
    else:
        y = b.quantize(b.op("Add", y, b.quantize(b.op("Relu", y), 0.2)), 0.3)
    if seed % 3 == 0:
        y = b.quantize(b.op("GlobalAveragePool", y), 0.1)
    return _fastest(b, y, 1 + seed // 4)


def wide_rows(seed: int) -> Graph:
    """The rows of a matrix as pixels."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 4, 3), 0.05, -3)
    y = b.quantize(b.op("MatMul", x, b.weights(3, 2, channel=1)), 0.1)
    return _lowered(b, b.op("MatMul", y, b.weights(2, 3, channel=1)), cycles=1 + seed)


def compared(seed: int) -> Graph:
    """Few levels, rising and falling with the sum: requantization by comparison."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 9), 0.05)
    y = b.op("Gemm", x, b.weights(9, 7, channel=1), b.bias(7))
    factor = b.constant(b.rng.choice([-1.0, 1.0, 0.0][: 2 + seed % 2], 7).astype(np.float32))
    y = b.op("Clip", b.op("Mul", y, factor), b.constant(np.float32(-1)), b.constant(np.float32(2)))
    graph = _lowered(b, b.quantize(y, [0.5, 1.0, 0.7][seed % 3]), cycles=[9, 63][seed % 2])
    assert any(isinstance(getattr(n, "form", None), Thresholds) for n in graph.nodes)
    return graph


def functions(seed: int) -> Graph:
    """Functions by table."""
    b = Builder(seed=seed)
    y = b.quantize(b.input(1, 3, 4, 5), 0.05, [0, 7, 3, 100][seed], [np.int8, np.uint8][seed % 2])
    op = ["Sigmoid", "Tanh", "HardSwish", "LeakyRelu"][seed]
    return _lowered(b, b.quantize(b.op(op, y), 0.01, 0), cycles=[60, 20][seed % 2])


def sums(seed: int) -> Graph:
    """Functions of sums, rising, falling and constant: by comparison."""
    b = Builder(seed=seed)
    y = b.op("Conv", b.quantize(b.input(1, 3, 4, 5), 0.05, 7), b.weights(4, 3, 2, 2), b.bias(4))
    factor = b.constant(np.array([1, -1, 0, 0.3], np.float32).reshape(4, 1, 1))
    op = ["Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu"][seed]
    y = b.op(op, b.op("Mul", y, factor) if seed % 2 else y)
    return _lowered(b, b.quantize(y, [0.01, 0.02, 0.3, 0.1][seed]), cycles=[60, 20][seed // 2])


def gated(seed: int) -> Graph:
    """A short branch beside one through a table, both at full rate."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 4, 5, 5), 0.03, 3)
    y = b.quantize(b.op("Conv", x, b.weights(4, 4, 1, 1)), 0.05) if seed else x
    gate = b.quantize(b.op("Sigmoid", y), 1 / 256, 0, np.uint8)
    return _lowered(b, b.quantize(b.op("Mul", y, gate), 0.03, 3))


def parts(seed: int) -> Graph:
    """Slices, repeats, padding and joined streams between layers."""
    b = Builder(seed=seed)
    x = b.quantize(b.input(1, 4, 4, 5), 0.05, 2)
    y = b.quantize(b.op("Conv", x, b.weights(4, 4, 3, 3), pads=[1] * 4), 0.1, 3)
    ints = [b.constant(np.array(v)) for v in ([1], [3], [1], [0, 1, 0, 2, 0, 0, 1, 1])]
    if seed == 0:
        z = b.op("Slice", y, *ints[:3])
    elif seed == 1:
        z = b.op("Pad", y, ints[3])
    elif seed == 2:
        z = b.op("Concat", y, x, axis=1)
    else:
        z = b.op("Concat", b.op("Slice", y, *ints[:3]), y, axis=1)
    z = b.quantize(z, 0.11, 1)
    channels = [2, 5, 8, 6][seed]
    return _lowered(b, b.quantize(b.op("Conv", z, b.weights(3, channels, 2, 2)), 0.2))


def precise(seed: int) -> Graph:
    """16-bit activations."""
    b = Builder(21, seed=seed)
    dtype, zero = [(np.int16, -300), (np.uint16, 30000)][seed % 2]
    x = b.quantize(b.input(1, 3, 5, 4), 2e-4, zero, dtype)
    y = b.op("Conv", x, b.weights(3, 3, 3, 3, channel=0), b.bias(3), pads=[1] * 4)
    y = b.quantize(y, 3e-4, zero, dtype)
    if seed in (0, 1):
        y = b.quantize(b.op("Add", y, x), 2.7e-4, zero, dtype)
    elif seed == 2:
        y = b.quantize(b.op("AveragePool", y, kernel_shape=[2, 2]), 2.1e-4, zero, dtype)
    else:
        y = b.op("Gemm", b.op("Flatten", y), b.weights(60, 4, channel=1, dtype=np.int16))
        y = b.quantize(y, 9e-4, zero, dtype)
    return _lowered(b, y, cycles=[60, 300][seed % 2])


def products(seed: int) -> Graph:
    """Products of two layers, of a layer and itself, and of an image and a factor per channel; a
    sum of a matrix and a vector that comes in rows of another length."""
    b = Builder(seed=seed)
    if seed == 4:
        x = b.quantize(b.input(1, 6, 5), 0.05)
        y = b.quantize(b.op("MatMul", x, b.weights(5, 4)), 0.2)
        y = b.op("Reshape", y, b.constant(np.array([1, 24])))
        z = b.quantize(b.op("Gemm", y, b.weights(24, 24)), 0.3)
        return _lowered(b, b.quantize(b.op("Add", y, z), 0.4), cycles=30)
    x = b.quantize(b.input(1, 4, 6, 5), 0.05, [2, 120][seed % 2], [np.int8, np.uint8][seed % 2])
    y = b.quantize(b.op("Conv", x, b.weights(4, 4, 3, 3), pads=[1] * 4), 0.2, -5)
    z = [x, y, y, y][seed]
    if seed >= 2:
        z = b.quantize(b.op("GlobalAveragePool", y), 0.1, 4)
        z = b.quantize(b.op("Conv", z, b.weights(4, 4, 1, 1)), 0.1, -7)
    z = b.quantize(b.op("Mul", z, y), [0.1, 0.17][seed % 2], 3)
    return _lowered(b, z, cycles=[None, 60, None, 240][seed])


def transposed(seed: int) -> Graph:
    """A transposed convolution of random attributes, in front of another layer where the seed says
    so."""
    b = Builder(seed=seed)
    r = b.rng
    groups, outputs = [1, 1, 2, 3][seed % 4], int(r.integers(1, 4))
    kernel, strides, dilations = ([int(v) for v in r.integers(1, n, 2)] for n in (5, 4, 3))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = [int(r.integers(0, n // 2 + 2)) for n in reach * 2]
    x = b.quantize(b.input(1, 2 * groups, 5, 4), 0.05, int(r.integers(-9, 9)))
    w = b.weights(2 * groups, outputs, *kernel, channel=1)
    y = b.op(
        "ConvTranspose", x, w, b.bias(groups * outputs),
        group=groups, strides=strides, dilations=dilations, pads=pads,
    )  # fmt: skip
    y = b.quantize(y, 0.2, 3)
    if seed % 2:
        y = b.quantize(b.op("Conv", y, b.weights(2, groups * outputs, 2, 2)), 0.3)
    return _lowered(b, y)


def blocks(seed: int) -> Graph:
    """Weights with scales in blocks, in two stages or as factors of the weights, and folds."""
    b = Builder(21, seed)
    r = b.rng
    rows = [int(r.integers(2, 4))] if seed % 2 else []
    inputs, outputs = 24, int(r.integers(1, 7))
    x = b.quantize(b.input(1, *rows, inputs), 0.05, -3)
    w = b.packed("INT4", inputs, outputs, block=[6, 4, 1, 8, 5, 12][seed], spread=[2, 64][seed % 2])
    y = b.op("MatMul", x, w)
    name = _layer(b)
    most = {name: (outputs, 6 if seed == 0 else 4), f"{name}.blocks": (outputs, 3)}
    nodes = {
        n: {"pe": int(r.integers(1, pe + 1)), "simd": int(r.integers(1, simd + 1))}
        for n, (pe, simd) in most.items()
    }
    if seed == 3:
        return _fastest(b, y)
    y = b.quantize(y, 0.1) if seed else y
    return _lowered(b, y, nodes=nodes if seed < 2 else {}, requant_bits=12 if seed > 4 else None)


def channel_scales(seed: int) -> Graph:
    """A convolution with blocks of input channels, and zero points of weights."""
    b = Builder(21, seed)
    x = b.quantize(b.input(1, 6, 4, 4), 0.05, 4)
    y = b.op("Conv", x, b.packed("UINT4", 3, 6, 3, 3, block=2 - seed, axis=1), pads=[1] * 4)
    return _lowered(b, b.quantize(y, 0.2), cycles=[400, 3000][seed])


def choices(seed: int) -> Graph:
    """Layers of weights -1, 0 and 1, or fewer of them, with random folds."""
    b = Builder(seed=seed)
    r = b.rng
    values = [[-1, 0, 1], [-1, 1], [0, 1], [-127, 127], [-1, 0, 1], [-1]][seed]
    dtype = np.uint8 if seed % 2 else np.int8
    x = b.quantize(b.input(1, *([2, 5, 4] if seed == 4 else [12])), 0.05, 9, dtype)
    shape = (5, 2, 3, 3) if seed == 4 else (5, 12)
    codes = b.constant(r.choice(values, shape).astype(np.int8))
    w = b.op("DequantizeLinear", codes, b.constant(np.float32(0.03)))
    y = b.op("Conv", x, w) if seed == 4 else b.op("Gemm", x, w, b.bias(5), transB=1)
    fold = {"pe": int(r.integers(1, 6)), "simd": [5, 4, 12, 3, 7, 1][seed]}
    graph = _lowered(b, b.quantize(y, 0.1) if seed else y, nodes={_layer_of(b, y): fold})
    assert multipliers(graph) == 0
    return graph


def _layer_of(b: Builder, value: str) -> str:
    """Name of the ONNX node that makes a value."""
    return next(node.name for node in b.nodes if value in node.output)


CASES = {
    "precise": [(precise, seed) for seed in range(4)],
    "conv": [(conv, seed) for seed in range(12)],
    "conv_more": [(conv, seed) for seed in range(12, 24)],
    "dense": [(f, seed) for f in (gemm, approximate, line, compared) for seed in range(4)],
    "pool": [(pool, seed) for seed in range(10)],
    "wide": [(wide, seed) for seed in range(8)] + [(wide_rows, seed) for seed in range(2)],
    "functions": [(f, seed) for f in (functions, sums, parts) for seed in range(4)],
    "products": [(products, seed) for seed in range(5)] + [(gated, seed) for seed in range(2)],
    "transposed": [(transposed, seed) for seed in range(10)],
    "weights": [(blocks, seed) for seed in range(6)] + [(channel_scales, seed) for seed in (0, 1)],
    "choices": [(choices, seed) for seed in range(6)],
    "joined": [(residual, seed) for seed in range(6)] + [(reordered, 0)],
    **float_graphs.CASES,
    **block_graphs.CASES,
    **transformer_graphs.CASES,
    **matrix_graphs.CASES,
    **attention_graphs.CASES,
}


# Large simulators, which cocotb builds a second time: one of each kind is enough.
FAST_ALONE = {*float_graphs.CASES, *block_graphs.CASES, *transformer_graphs.CASES}
FAST_ALONE |= {*matrix_graphs.CASES, *attention_graphs.CASES}
FAST_ALONE -= {"floats_products", "blocks"}


@cache
def _prepared(name: str):
    graphs = [make(seed) for make, seed in CASES[name]]
    graph = merge(graphs)
    rng = np.random.default_rng(7)
    codes = {}
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        codes[port.name] = random_codes(tensor.fmt, rng, (SAMPLES, tensor.elements))
    expected = golden.run(graph, codes)
    return graph, bundle_of(graph), codes, expected, [interval(g) for g in graphs]


@pytest.fixture(scope="module", params=CASES)
def together(request: pytest.FixtureRequest):
    return _prepared(request.param)


def _equal(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, codes in expected.items():
        assert codes.size
        np.testing.assert_array_equal(got[name], codes, err_msg=name)


def test_full_rate(together) -> None:
    graph, bundle, codes, expected, intervals = together
    result = engines.run(bundle, codes)
    _equal(result.codes, expected)
    assert result.intervals == intervals
    plan = schedule(graph, paced=False)
    latency = max(int(plan.words[port.tensor][-1]) for port in graph.outputs) + 1
    assert result.latency == pytest.approx(latency, rel=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_stalls(together, seed: int) -> None:
    _, bundle, codes, expected, _ = together
    _equal(engines.run(bundle, codes, stall=seed).codes, expected)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", [name for name in CASES if name not in FAST_ALONE])
def test_cocotb(name: str, seed) -> None:
    _, bundle, codes, expected, _ = _prepared(name)
    few = {name: c[:2] for name, c in codes.items()}
    result = engines.run(bundle, few, engine="cocotb", stall=seed)
    _equal(result.codes, {name: c[:2] for name, c in expected.items()})
