"""Rows of tables, rotations of rows, products of matrices."""

from __future__ import annotations

import numpy as np

from hwgen.ir import Embed, Positions, Product, Rotate


def embed(node: Embed, x: np.ndarray) -> np.ndarray:
    """(samples, rows) or (samples, rows, 1) -> (samples, rows, C)."""
    return node.table[np.minimum(x.reshape(len(x), -1), len(node.table) - 1)]


def places(ends: np.ndarray, rows: int) -> np.ndarray:
    """(samples,): the place of each row in its sequence, at most rows - 1, from (samples, ...) that
    say which rows are the last."""
    number = np.arange(len(ends))
    starts = np.concatenate([[0], np.flatnonzero(ends.ravel()) + 1])
    return np.minimum(number - starts[np.searchsorted(starts, number, "right") - 1], rows - 1)


def positions(node: Positions, ends: np.ndarray) -> np.ndarray:
    """(samples, 1) -> (samples, 1, C)."""
    return node.table[places(ends, len(node.table))][:, None]


def rotate(node: Rotate, x: np.ndarray, ends: np.ndarray | None = None) -> np.ndarray:
    """(samples, N, C) -> (samples, N, C); with `ends` N is 1."""
    less = x.reshape(len(x), -1, x.shape[-1]) - node.zero
    if ends is None:
        at = np.arange(less.shape[1]) % len(node.first)
    else:
        at = places(ends, len(node.first))[:, None]
    total = less * node.first[at] + less[..., node.order] * node.second[at]
    return np.clip((total + ((1 << node.shift) >> 1)) >> node.shift, node.low, node.high)


def product(node: Product, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(samples, B*M, K), (samples, B*N, K) -> (samples, B*M, N)."""
    a, b = (
        v.reshape(len(v), node.batches, -1, v.shape[-1]) - zero
        for v, zero in zip((x, y), node.zeros, strict=True)
    )
    bound = a.shape[-1] * int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0))
    # Sums below 2**53 are exact in float64, whose matrix products are much faster.
    kind = np.float64 if bound < 1 << 53 else np.int64
    sums = a.astype(kind) @ b.astype(kind).swapaxes(2, 3)
    return sums.astype(np.int64).reshape(len(x), -1, b.shape[2])
