"""Products, rotations and tables of positions for the tests of node kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwgen.config import Config
from hwgen.formats import Int, int_holding
from hwgen.ir import Graph, Positions, Product, Reorder, Rotate, Tensor
from hwgen.passes.pipeline import lower
from tests.rtl.transformer_graphs import alone, having, unlowered


def product(seed: int) -> Graph:
    """Matrices of all proportions in batches, folds that leave lanes over and that are given."""
    r = np.random.default_rng(seed)
    batches, rows, columns, inner = [
        (1, 4, 5, 6), (3, 4, 4, 5), (2, 1, 6, 3), (2, 5, 3, 8), (1, 3, 1, 1), (4, 1, 1, 7),
        (2, 6, 7, 4),
    ][seed]  # fmt: skip
    x, y = [(Int(4), Int(6, False)), (Int(5, False), Int(5))][seed % 2]
    zeros = [(0, 0), (3, -2), (0, 7)][seed % 3]
    most = inner * max(abs(v) for v in (x.min - 7, x.max + 7)) * (max(abs(y.min), y.max) + 7)
    tensors = (
        Tensor((batches * rows, inner), x),
        Tensor((batches * columns, inner), y),
        Tensor((batches * rows, columns), int_holding(-most, most)),
    )
    fold = {"pe": int(r.integers(1, columns + 1)), "simd": int(r.integers(1, inner + 1))}
    config = (
        {"nodes": {"node": fold}} if seed % 2 else {"cycles": batches * max(rows, columns) * inner}
    )
    return alone(having(Product, batches=batches, zeros=zeros), *tensors, **config)


def twice(seed: int) -> Graph:
    """The product of a matrix and itself, times the matrix, which waits for it in a buffer."""
    x, y = Tensor((6, 6), Int(3)), Tensor((6, 6), Int(14))
    graph = unlowered(having(Product, batches=1, zeros=(0, 0)), x, x, y)
    first = replace(graph.nodes[0], name="first", inputs=("x0", "x0"), outputs=("x1",))
    graph.tensors["x1"] = Tensor((6, 6), Int(9))
    graph.nodes = [first, replace(graph.nodes[0], inputs=("x1", "x0"))]
    del graph.inputs[1:]
    lower(graph, Config.parse({"cycles": [36, 108][seed]}))
    return graph


def reorder(seed: int) -> Graph:
    """Groups of elements that stay together, in blocks; some left out, repeated and filled."""
    shapes, blocks = [((6, 8), (12, 4)), ((4, 6), (8, 6)), ((6, 5), (4, 5)), ((4, 12), (4, 9))], 2
    fits = [[1, 2, 4], [1, 2, 3, 6], [1, 5], [1, 3]][seed]
    x, y = (Tensor(shape, Int(5)) for shape in shapes[seed])
    groups, moved = (t.elements // blocks // fits[-1] for t in (x, y))
    order = np.random.default_rng(seed).integers(-1, groups, moved)
    order = np.where(order < 0, -1, order * fits[-1])[:, None] + np.arange(fits[-1])
    order = np.where(order.min(axis=1, keepdims=True) < 0, -1, order).ravel()
    node = having(Reorder, order=order, blocks=blocks, fill=7)
    assert node(name="n", inputs=(), outputs=()).lanes(x, y) == fits
    target = max(x.elements, y.elements) // fits[[-1, -2, -1, -1][seed]]
    return alone(node, x, y, cycles=target)


def rotate(seed: int) -> Graph:
    """Halves of heads, neighbours, any order; tables of a matrix, of a row, of sequences."""
    r = np.random.default_rng(seed)
    channels, stateful = [8, 6, 12, 8, 5, 4][seed], seed > 2
    place = np.arange(channels)
    order = [
        place ^ 2, place ^ 1, (place + 6) % 12,
        place ^ 4, r.permutation(channels), place ^ 1,
    ][seed]  # fmt: skip
    rows = 1 if stateful else 6
    first, second = r.integers(-300, 200, (2, [6, 1, 3, 5, 4, 3][seed], channels))
    fields = {"zero": [0, 3][seed % 2], "shift": [8, 0, 7][seed % 3], "low": -31, "high": 30}
    node = having(Rotate, first=first, second=second, order=order, stateful=stateful, **fields)
    x = Tensor((rows, channels), Int(6, signed=bool(seed % 2)))
    ends = [Tensor((1,), Int(1, signed=False))] * stateful
    cycles = rows * channels // [1, 2, 3, 2, 5, 1][seed]
    return alone(node, x, *ends, Tensor((rows, channels), Int(6)), cycles=cycles)


def positions(seed: int) -> Graph:
    """Tables that end before sequences do."""
    fmt = [Int(3), Int(5, signed=False)][seed]
    table = np.random.default_rng(seed).integers(fmt.min, fmt.max + 1, [(3, 4), (1, 5)][seed])
    x, y = Tensor((1,), Int(1, signed=False)), Tensor((1, table.shape[1]), fmt)
    return alone(having(Positions, table=table), x, y, cycles=[2, 5][seed])


CASES = {
    "matrices": [
        *((product, seed) for seed in range(7)),
        *((twice, seed) for seed in range(2)),
        *((reorder, seed) for seed in range(4)),
    ],
    "sequences": [
        *((rotate, seed) for seed in range(6)),
        *((positions, seed) for seed in range(2)),
    ],
}
