"""Small models with attention in single steps, as exporters write it, and quantizers around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.qdq import Builder

N, C, HEADS = 6, 12, 2  # rows, width
SIZE = C // HEADS  # elements of a head
STEP = 1 / 8  # of queries, keys, values and results
Change = Callable[[Builder, str], str]


def quantized_rows(b: Builder, rows: int = N) -> str:
    return b.quantize(b.input(1, rows, C), 1 / 32)


def rounded(b: Builder, x: str) -> str:
    return b.quantize(x, STEP)


def heads(b: Builder, x: str, count: int, keys: bool = False) -> str:
    """(1, rows, count * SIZE) as heads, of keys (1, count, SIZE, rows)."""
    x = b.op("Reshape", x, b.constant(np.array([1, -1, count, SIZE])))
    return b.op("Transpose", x, perm=[0, 2, 3, 1] if keys else [0, 2, 1, 3])


def projected(b: Builder, x: str, count: int, quantize: Change = rounded) -> str:
    return quantize(b, b.op("MatMul", x, b.weights(C, count * SIZE)))


def causal(rows: int = N, left: int | None = None, right: int = 0, leading: int = 0) -> np.ndarray:
    """An additive mask: `left` keys before, all unless given, and `right` behind."""
    place = np.arange(rows)
    ahead = place - place[:, None]
    seen = ahead >= -(rows if left is None else left)
    return np.where((seen | (place < leading)) & (ahead <= right), 0.0, -np.inf)


def attend(
    b: Builder,
    x: str,
    mask: np.ndarray | str | None = None,
    factor: float | None = 0.02,
    scores: Change | None = None,
    weights: Change | None = None,
    quantize: tuple[Change, Change, Change] = (rounded, rounded, rounded),
    axis: int = -1,
) -> str:
    """The result (1, rows, C), not quantized; `quantize`: of queries, keys and values; `scores` and
    `weights` change those."""
    q, k, v = (projected(b, x, HEADS, each) for each in quantize)
    s = b.op("MatMul", heads(b, q, HEADS), heads(b, k, HEADS, keys=True))
    if factor is not None:
        s = b.op("Mul", s, b.constant(np.float32(factor)))
    if mask is not None:
        s = b.op("Add", s, mask if isinstance(mask, str) else b.constant(mask.astype(np.float32)))
    s = scores(b, s) if scores else s
    w = b.op("Softmax", s, axis=axis)
    w = weights(b, w) if weights else w
    y = b.op("Transpose", b.op("MatMul", w, heads(b, v, HEADS)), perm=[0, 2, 1, 3])
    return b.op("Reshape", y, b.constant(np.array([1, -1, C])))
