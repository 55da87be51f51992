"""Single nodes of transformers for the tests of node kinds, of random shapes, formats and folds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.config import Config
from hwgen.formats import Int
from hwgen.ir import Embed, Graph, InputPort, Node, OutputPort, Select, Tensor
from hwgen.passes.pipeline import lower


def alone(node: Callable[..., Node], *tensors: Tensor, **config) -> Graph:
    """A network of one node: `tensors` are its inputs, then what it makes."""
    *inputs, y = tensors
    names = tuple(f"x{k}" for k in range(len(inputs)))
    graph = Graph("alone", {**dict(zip(names, inputs, strict=True)), "y": y})
    graph.nodes = [node(name="node", inputs=names, outputs=("y",))]
    for side, port, members in ((graph.inputs, InputPort, names), (graph.outputs, OutputPort, "y")):
        for name in members:
            index = np.arange(graph.tensors[name].elements)
            side.append(port(name, name, index, np.dtype("int64")))
    lower(graph, Config.parse(config))
    return graph


def _with(kind: type[Node], **fields) -> Callable[..., Node]:
    return lambda **names: kind(**fields, **names)


def embed(seed: int) -> Graph:
    """Tables that fill their indices and that don't, one of them large enough for a file."""
    r = np.random.default_rng(seed)
    entries, channels = [(5, 3), (64, 64), (1, 4), (16, 1)][seed]
    fmt = [Int(7), Int(9), Int(6), Int(4, signed=False)][seed]
    table = r.integers(fmt.min, fmt.max + 1, (entries, channels))
    rows = int(r.integers(2, 6))
    x = Tensor([(rows,), (rows, 1)][seed % 2], Int([4, 6, 2, 4][seed], signed=False))
    cycles = rows * int(r.integers(1, channels + 1))
    return alone(_with(Embed, table=table), x, Tensor((rows, channels), fmt), cycles=cycles)


def select(seed: int) -> Graph:
    """Channels that words of one lane, of several, of a row and of several rows hold."""
    low, high, channels = [(0, 5, 12), (4, 8, 12), (3, 7, 7), (6, 12, 18), (2, 3, 5)][seed]
    rows, fmt = 6, Int(7)
    cycles = [72, 18, 6, 27, 3][seed]
    lanes = {"x0": [3, 1, 7, 4, 10][seed]}
    x, y = Tensor((rows, channels), fmt), Tensor((rows, high - low), fmt)
    return alone(_with(Select, low=low, high=high), x, y, cycles=cycles, lanes=lanes)


CASES = {
    "transformers": [
        *((embed, seed) for seed in range(4)),
        *((select, seed) for seed in range(5)),
    ]
}
