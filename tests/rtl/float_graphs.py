"""Networks of floats for the tests of node kinds, in arithmetics of every kind."""

from __future__ import annotations

from functools import partial

from hwgen.config import Config
from hwgen.frontend import load
from hwgen.ir import Graph
from hwgen.passes.pipeline import lower
from tests.floats import FloatBuilder


def _lowered(b: FloatBuilder, output: str, **config) -> Graph:
    graph = load(b.model(output))
    lower(graph, Config.parse(config))
    return graph


def network(arithmetic: str, seed: int) -> Graph:
    """A convolution with bias, a pool, a dense layer without."""
    b = FloatBuilder(arithmetic, seed)
    r = b.rng
    x = b.rounded(b.input(1, 3, 6, 5), 2.0**-5)
    y = b.layer("Conv", x, b.matrix(4, 3, 3, 3, channel=0), b.bias(4), pads=[1] * 4)
    name = b.nodes[-1].name
    y = b.rounded(b.op("Relu", y) if seed % 2 else y, 2.0**-3)
    y = b.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = b.layer("Gemm", b.op("Flatten", y), b.matrix(24, 5, channel=1))
    y = b.rounded(y, 0.3) if seed % 3 == 0 else y
    fold = {"pe": int(r.integers(1, 3)), "simd": int(r.integers(1, 4))}
    return _lowered(b, y, nodes={name: fold}, cycles=1200)


def rows(arithmetic: str, seed: int) -> Graph:
    """Dense layers of as few and as many words as partial sums take turns, and of odd lanes."""
    b = FloatBuilder(arithmetic, seed)
    inputs, simd = [(3, 1), (4, 1), (5, 1), (2, 1), (9, 3), (7, 7), (10, 5), (13, 2)][seed]
    x = b.rounded(b.input(1, 3, inputs), 0.25)
    y = b.layer("MatMul", x, b.matrix(inputs, 4))
    if seed % 2:
        y = b.op("Add", y, b.bias(4))
    name = next(n.name for n in b.nodes if n.op_type == "MatMul")
    return _lowered(b, y, nodes={name: {"pe": 1 + seed % 4, "simd": simd}})


def grouped(arithmetic: str, seed: int) -> Graph:
    """Depthwise and grouped convolutions, several pixels at once, scales that are no powers of
    two."""
    b = FloatBuilder(arithmetic, seed)
    x = b.rounded(b.input(1, 4, 4, 6), 0.03)
    y = b.layer("Conv", x, b.matrix(4, [1, 2][seed % 2], 2, 3, channel=0), group=[4, 2][seed % 2])
    y = b.op("Clip", y, b.constant(b.rng.normal(-2, 0.1, ()).astype("f4")), "")
    return _lowered(b, b.rounded(y, 0.07), cycles=[150, 12][seed // 3])


def sums(arithmetic: str, seed: int) -> Graph:
    """Residual sums, means, a function by table."""
    b = FloatBuilder(arithmetic, seed)
    x = b.rounded(b.input(1, 3, 4, 4), 2.0**-5)
    y = b.rounded(b.layer("Conv", x, b.matrix(3, 3, 3, 3), b.bias(3), pads=[1] * 4), 2.0**-4)
    y = b.rounded(b.op("Relu", b.op("Add", y, x)), 2.0**-4)
    if seed == 0:
        return _lowered(b, b.op("GlobalAveragePool", y), cycles=500)
    if seed == 1:
        return _lowered(
            b, b.rounded(b.op("AveragePool", y, kernel_shape=[3, 2]), 2.0**-4), cycles=500
        )
    if seed == 2:
        return _lowered(b, b.rounded(b.op("Sigmoid", y), 2.0**-8), cycles=500)
    # Another format, and integers, behind floats.
    y = b.rounded(b.layer("Conv", y, b.matrix(2, 3, 1, 1)), 2.0**-3, "e5m2")
    return _lowered(b, b.quantize(y, 0.11, 3), cycles=500)


def _cases(*names: str, seeds: range = range(1)) -> list:
    """For each arithmetic a network, one of the others, and rows of some lengths."""
    cases = []
    for k, name in enumerate(names):
        chosen = [(network, k), ([grouped, sums][k % 2], k // 2 % 4)]
        chosen += [(rows, (seed + 3 * k) % 8) for seed in seeds]
        cases += [(partial(kind, name), seed) for kind, seed in chosen]
    return cases


CASES = {
    "floats_exact": _cases("e4m3fn", "e5m2", "e3m2", "e4m3fnxe2m1", "e2m1", "float<3,4,2,none>"),
    "floats_products": _cases("e4m3fn:lmul", "e4m3fn:pam", "e5m2:lmul", "e4m3fnuz"),
    "floats_lanes": [(partial(rows, "bf16"), seed) for seed in range(8)],
    "floats_rounded": _cases("fp16", "bf16", "fp16+fp16", "bf16+bf16"),
    "floats_mixed": _cases("e4m3fn+fp32", "bf16:lmul", "e4m3fn:pam+bf16", "bf16:pam-c"),
    "floats_approximate": _cases(
        "bf16+an-1-1", "bf16+an-1-2", "bf16+an-2-2-20", "e4m3fn:lmul+an-1-2", "bf16:pam+an-2-2-24",
        seeds=range(2),
    ),
}  # fmt: skip
