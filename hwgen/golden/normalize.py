"""Normalization and softmax of rows, in integers as their node kinds define them."""

from __future__ import annotations

import numpy as np

from hwgen.ir import Interpolation, Normalize, Softmax


def normalize(node: Normalize, x: np.ndarray) -> np.ndarray:
    """(N, ..., C) -> (N, ..., C): see `Normalize`. Exact where V < 2**62."""
    if node.centered:
        count = x.shape[-1]
        total = x.sum(axis=-1, keepdims=True)
        deviation = count * x - total
        spread = count * (x * x).sum(axis=-1, keepdims=True) - total * total
    else:
        deviation = x - node.zero
        spread = (deviation * deviation).sum(axis=-1, keepdims=True)
    spread = np.maximum(spread + node.epsilon, 1)
    half = _floor_log2(spread) // 2
    left = node.root.bits - 2 - 2 * half
    mantissa = (spread << np.maximum(left, 0)) >> np.maximum(-left, 0)
    places = half + node.up
    u = (deviation * node.root(mantissa) + (1 << (places - 1))) >> places
    y = (u * node.gamma + node.beta + (1 << (node.shift - 1))) >> node.shift
    return np.clip(y, node.low, node.high)


def softmax(node: Softmax, x: np.ndarray) -> np.ndarray:
    """(N, ..., C) -> (N, ..., C): see `Softmax`."""
    t = (x * node.multiplier + (1 << (node.shift - 1))) >> node.shift
    whole, fraction = t >> node.fraction, t & ((1 << node.fraction) - 1)
    # Whatever is shifted by 62 places is gone.
    below = np.minimum(whole.max(axis=-1, keepdims=True) - whole, 62)
    weights = node.exponential(fraction) >> below
    total = weights.sum(axis=-1, keepdims=True)
    places = _floor_log2(total)
    factor = node.reciprocal(_below_leading(total, places, node.reciprocal))
    places = places + node.up
    return np.minimum((weights * factor + (1 << (places - 1))) >> places, node.high)


def _below_leading(x: np.ndarray, places: np.ndarray, function: Interpolation) -> np.ndarray:
    """The bits of x below its leading one, as many as the function takes."""
    left = function.bits - places
    bits = (x << np.maximum(left, 0)) >> np.maximum(-left, 0)
    return bits - (1 << function.bits)


def _floor_log2(x: np.ndarray) -> np.ndarray:
    """floor(log2 x) of positive integers below 2**63."""
    return np.sum([(x >> k) > 0 for k in range(1, 63)], axis=0)
