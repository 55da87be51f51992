"""Networks of layers in blocks for the tests of node kinds."""

from __future__ import annotations

import numpy as np

from hwgen.config import Config
from hwgen.formats import Arithmetic
from hwgen.frontend import load
from hwgen.ir import Graph
from hwgen.passes.pipeline import lower
from tests.floats import FloatBuilder

FORMATS = [
    "mxfp8", "mxfp8-e5m2", "mxfp6", "mxfp6-e3m2", "mxfp4", "mxint8", "block<e2m1,5>",
    "block<int4,16>", "block<e2m1,8>xblock<e2m3,8>", "block<int16,16>",
    "block<float<4,0,7,fnuz>,16>", "block<e4m3fn,1>",
]  # fmt: skip


class BlockBuilder(FloatBuilder):
    """A FloatBuilder of layers that make blocks of integers."""

    def carried(self, x: str, scale: float, dtype: type = np.int16) -> str:
        """Integers times a power of two, of which a layer makes blocks."""
        return self.in_blocks(self.quantize(x, scale, 0, dtype), self.arithmetic.x)

    def in_blocks(self, x: str, fmt: object) -> str:
        name = self.op("Quantize", x, self.constant(np.float32(1)), format=str(fmt))
        self.nodes[-1].domain = "hwgen"
        return name

    def spread(self, *shape: int) -> str:
        """Weights of different magnitudes, and zeros among them."""
        values = self.rng.normal(0, 2.0 ** self.rng.integers(-3, 4, shape))
        values.reshape(-1)[: values.size // 4] = 0
        return self.in_blocks(self.constant(values.astype(np.float32)), self.arithmetic.w)


def _lowered(b: BlockBuilder, output: str, nodes: dict, **config) -> Graph:
    graph = load(b.model(output))
    lower(graph, Config.parse({"nodes": nodes, **config}))
    return graph


def _simd(b: BlockBuilder, inputs: int) -> int:
    """A random one whose words never cross the end of a block; few, to compile quickly."""
    sizes = [fmt.size for fmt in _blocks(b.arithmetic) if fmt.size < inputs]
    choices = [s for s in range(1, min(inputs, 8) + 1) if all(size % s == 0 for size in sizes)]
    return int(b.rng.choice(choices))


def _blocks(arithmetic: Arithmetic) -> tuple:
    return arithmetic.x, arithmetic.w


def conv(arithmetic: str, seed: int) -> Graph:
    """A convolution of a group or more with bias, a pool, a dense layer whose sums go out."""
    b = BlockBuilder(arithmetic, seed)
    groups = [1, 1, 4, 2][seed % 4]
    x = b.carried(b.input(1, 4, 5, 6), [2.0**-14, 2.0**-6][seed % 2], [np.int16, np.int8][seed % 2])
    y = b.layer("Conv", x, b.spread(4, 4 // groups, 3, 3), b.bias(4), pads=[1] * 4, group=groups)
    pe = int(b.rng.integers(1, 5)) if groups == 1 else 1
    nodes = {b.nodes[-1].name: {"pe": pe, "simd": _simd(b, 36 // groups)}}
    y = b.op("MaxPool", b.op("Relu", y), kernel_shape=[2, 2], strides=[2, 2])
    y = b.carried(b.op("Flatten", y), 2.0**-9, [np.int16, np.uint16, np.uint8][seed % 3])
    y = b.layer("Gemm", y, b.spread(24, 5), b.bias(5))
    nodes[b.nodes[-1].name] = {"pe": int(b.rng.integers(1, 6)), "simd": _simd(b, 24)}
    y = y if seed % 2 else b.quantize(y, 0.3, 3)
    return _lowered(b, y, nodes if seed % 3 else {}, cycles=[None, 900][seed % 2])


def dense(arithmetic: str, seed: int) -> Graph:
    """Rows with short last blocks, of numbers that become smaller down to zeros."""
    b = BlockBuilder(arithmetic, seed)
    inputs = [40, 33, 7, 64, 21, 32][seed % 6]
    x = b.quantize(b.input(1, 4, inputs), 2.0**-12, 0, np.int16)
    falling = 2.0 ** -np.linspace(0, 18, inputs).round()
    x = b.carried(b.op("Mul", x, b.constant(falling.astype(np.float32))), 2.0**-12)
    y = b.layer("MatMul", x, b.spread(inputs, 4))
    fold = {"pe": 1 + seed % 4, "simd": _simd(b, inputs)}
    return _lowered(b, y, {b.nodes[-1].name: fold})


def _cases(names: list[str], first: int) -> list:
    return [
        (lambda s, kind=kind, name=name: kind(name, s), first + k)
        for k, name in enumerate(names)
        for kind in (conv, dense)
    ]


CASES = {"blocks": _cases(FORMATS[:6], 0), "blocks_more": _cases(FORMATS[6:], 7)}
