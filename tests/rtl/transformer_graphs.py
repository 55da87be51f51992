"""Single nodes of transformers for the tests of node kinds, of random shapes, formats and folds."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from hwgen.config import Config
from hwgen.formats import Int
from hwgen.frontend.normalize_form import normalize_form
from hwgen.frontend.target import Target
from hwgen.ir import (
    Curve,
    Embed,
    Graph,
    InputPort,
    Node,
    Normalize,
    OutputPort,
    Select,
    Softmax,
    Tensor,
)
from hwgen.ir.interpolation import interpolation
from hwgen.passes.pipeline import lower


def alone(node: Callable[..., Node], *tensors: Tensor, **config) -> Graph:
    """A network of one node in hardware: `tensors` are its inputs, then what it makes."""
    graph = unlowered(node, *tensors)
    lower(graph, Config.parse(config))
    return graph


def unlowered(node: Callable[..., Node], *tensors: Tensor) -> Graph:
    """The same before it is turned into hardware."""
    *inputs, y = tensors
    names = tuple(f"x{k}" for k in range(len(inputs)))
    graph = Graph("alone", {**dict(zip(names, inputs, strict=True)), "y": y})
    graph.nodes = [node(name="node", inputs=names, outputs=("y",))]
    for side, port, members in ((graph.inputs, InputPort, names), (graph.outputs, OutputPort, "y")):
        for name in members:
            index = np.arange(graph.tensors[name].elements)
            side.append(port(name, name, index, np.dtype("int64")))
    return graph


def having(kind: type[Node], **fields) -> Callable[..., Node]:
    """Makes nodes of a kind with such fields."""
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
    return alone(having(Embed, table=table), x, Tensor((rows, channels), fmt), cycles=cycles)


def select(seed: int) -> Graph:
    """Channels that words of one lane, of several, of a row and of several rows hold."""
    low, high, channels = [(0, 5, 12), (4, 8, 12), (3, 7, 7), (6, 12, 18), (2, 3, 5)][seed]
    rows, fmt = 6, Int(7)
    cycles = [72, 18, 6, 27, 3][seed]
    lanes = {"x0": [3, 1, 7, 4, 10][seed]}
    x, y = Tensor((rows, channels), fmt), Tensor((rows, high - low), fmt)
    return alone(having(Select, low=low, high=high), x, y, cycles=cycles, lanes=lanes)


def normalize(seed: int) -> Graph:
    """Rows with and without their mean, in one lane, in some that leave the last word unfilled, and
    in words of a row; rows of equal elements, and of one; a parameter for all, or one for each."""
    r = np.random.default_rng(seed)
    rows, channels, lanes = [(5, 7, 3), (3, 12, 1), (6, 8, 8), (9, 1, 1), (4, 24, 5), (2, 40, 7)][
        seed
    ]
    fmt = [Int(8), Int(8, signed=False), Int(5), Int(7), Int(12), Int(16)][seed]
    centered, precision, unit = bool(seed % 2 == 0), 9 + seed, 10
    root = interpolation(lambda m: 2.0**precision / np.sqrt(m / 256), 10, 1.0, first=1 << 8)
    alike = seed == 2
    node = having(
        Normalize,
        centered=centered,
        zero=int(r.integers(-4, 5)),
        epsilon=[0, 3, 1 << 16][seed % 3],
        root=root,
        up=precision - unit if precision > unit else 1,
        gamma=np.full(channels, -300) if alike else r.integers(-500, 500, channels),
        beta=np.full(channels, 70) if alike else r.integers(-(1 << 16), 1 << 16, channels),
        shift=int(r.integers(8, 12)),
        low=-128,
        high=100,
    )
    x, y = Tensor((rows, channels), fmt), Tensor((rows, channels), Int(8))
    # A port of words of several rows is no matter.
    port = {"x0": 2 * lanes if seed == 2 else lanes}
    return alone(node, x, y, cycles=rows * -(-channels // lanes), lanes=port)


def precise(seed: int) -> Graph:
    """Results of 16 bits: a root with a memory file of its own."""
    r = np.random.default_rng(seed)
    rows, channels = 4, 20
    target = Target(Fraction(1, 4096), -5, Int(16))
    gamma, beta = r.normal(1, 0.3, channels), r.normal(0, 1, channels)
    fields = normalize_form(seed == 0, Fraction(1, 3000), 77, 1e-5, gamma, beta, target)
    x, y = Tensor((rows, channels), Int(16)), Tensor((rows, channels), Int(16))
    return alone(having(Normalize, **fields), x, y, cycles=rows * 5)


def softmax(seed: int) -> Graph:
    """Rows whose weights all count and rows of which one counts."""
    rows, channels, lanes = [(5, 7, 3), (3, 12, 1), (6, 8, 8), (9, 1, 1), (4, 24, 5)][seed]
    fmt = [Int(8), Int(8, signed=False), Int(5), Int(7), Int(12)][seed]
    bits = [8, 10, 12, 6, 16][seed]
    node = having(
        Softmax,
        multiplier=[300, -77, 1 << 12, 1000, 901][seed],
        shift=[9, 7, 6, 9, 12][seed],
        fraction=[6, 4, 1, 7, 8][seed],
        exponential=interpolation(
            lambda f: np.minimum(2.0 ** (bits - 1 + f / 2.0 ** [6, 4, 1, 7, 8][seed]), 2**bits - 1),
            [6, 4, 1, 7, 8][seed],
            1.0,
        ),
        reciprocal=interpolation(lambda z: 2.0**12 / (1 + z / 64), 6, 1.0),
        up=[12 - 8, 12 - 16, 1, 0, 4][seed],
        high=[255, 60000, 255, 127, 255][seed],
    )
    x = Tensor((rows, channels), fmt)
    y = Tensor((rows, channels), Int([8, 16, 8, 7, 8][seed], signed=False))
    return alone(node, x, y, cycles=rows * -(-channels // lanes), lanes={"x0": lanes})


def curve(seed: int) -> Graph:
    """Functions of signed and of unsigned codes, saturated."""
    fmt = [Int(13), Int(10, signed=False)][seed]
    function = interpolation(lambda x: 900 * np.sin((x + fmt.min) / 99), fmt.bits, 0.8)
    node = having(Curve, function=function, first=fmt.min, low=-700, high=880)
    x, y = Tensor((4, 9), fmt), Tensor((4, 9), Int(11))
    return alone(node, x, y, cycles=[36, 12][seed])


CASES = {
    "transformers": [
        *((embed, seed) for seed in range(4)),
        *((select, seed) for seed in range(5)),
        *((curve, seed) for seed in range(2)),
    ],
    "normalized": [
        *((normalize, seed) for seed in range(6)),
        *((precise, seed) for seed in range(2)),
        *((softmax, seed) for seed in range(5)),
    ],
}
