"""Scaled dot-product attention with a running softmax in base 2."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from hwgen.formats import Arithmetic, Float, decode
from hwgen.golden.dot import exact_sums, units, whole
from hwgen.golden.multiply import product
from hwgen.ir import Attention, Grid

# Numbers held at once in the largest array: 4 MiB of int64, beside some of their size.
CHUNK = 1 << 19
ROWS = 64  # taken at once, at least, where all of them fit
NONE = -(1 << 61)  # a running exponent before the first key
FAR = 62  # a shift that leaves nothing but the sign


def attention(
    node: Attention, q: np.ndarray, k: np.ndarray, v: np.ndarray, last: np.ndarray | None = None
) -> np.ndarray:
    """(S, N, H*D), (S, M, G*D), (S, M, G*E) -> (S, N, H*E), as `Attention` defines.

    A stateful node's samples are rows in their order, and `last` (S, 1) ends sequences; the first
    begins one. Floats must be finite.

    Errors against softmax in real numbers, for the integers of `frontend.attention_form`, values of
    magnitudes up to r and n attended keys, with W = weight_bits and F = fraction: at most
    2 * r * ((n + 2) * 2**(1 - W) + 2**-F + 2 * s) + r * 2**(4 - W), where s = 2**(2 - W), above 12
    bits 2**(4 - W), or 2**-m of floats with m bits of mantissa. Of normal random
    numbers the root mean square is below r * 2**-8 for int8, 2**-15 for int16, 2**-7 for e4m3fn,
    2**-6 for e5m2, 2**-11 for bf16 and 2**-14 for fp16.
    """
    if not node.stateful:
        return _attend(node, q, k, v)
    ends = (0, *(np.flatnonzero(last[:-1]) + 1), len(q))
    rows = [_attend(node, *(x[None, a:b, 0] for x in (q, k, v)))[0] for a, b in pairwise(ends)]
    return np.concatenate(rows)[:, None]


def _attend(node: Attention, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    samples, rows, _ = q.shape
    group = np.arange(node.heads) // (node.heads // node.groups)
    q = (q - node.zero).reshape(samples, rows, node.heads, -1).swapaxes(1, 2)
    k, v = (
        x.reshape(*x.shape[:2], node.groups, -1).transpose(0, 2, 1, 3)[:, group] for x in (k, v)
    )
    wide = max(k.shape[3], v.shape[3]) if node.arithmetic else 1
    each = max(1, samples * node.heads * min(2 * node.lanes, k.shape[2]) * wide)
    step = max(1, min(CHUNK // each, max(ROWS, node.slots)))
    parts = [_block(node, np.arange(rows)[r : r + step], q, k, v) for r in range(0, rows, step)]
    y = _divide(node, *(np.concatenate(part, axis=2) for part in zip(*parts, strict=True)))
    return y.swapaxes(1, 2).reshape(samples, rows, -1)


def _block(
    node: Attention, rows: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sums l (S, H, R) and o (S, H, R, E) of some rows."""
    samples, heads = q.shape[:2]
    q = q[:, :, rows]
    running = np.full((samples, heads, len(rows)), NONE)
    l, o = np.zeros_like(running), np.zeros((*running.shape, v.shape[3]), dtype=np.int64)
    slot, attended = _attended(node, rows, k.shape[2])
    # A visit without an attended key changes nothing: it does not matter whether it is made.
    for visit in range(node.chunks):
        keys = np.flatnonzero((slot // node.lanes == visit) & attended.any(axis=(0, 1)))
        if not len(keys):
            continue
        here = attended[:, :, keys]
        t = _scores(node, rows, keys, q, k[:, :, keys])
        n = np.where(here, t >> node.fraction, NONE)
        before, running = running, np.maximum(running, n.max(axis=3))
        away = np.minimum(running - before, FAR)
        p = np.where(here, _weights(node, t, n - running[..., None]), 0)
        values = v[:, :, keys].swapaxes(2, 3)
        l = (l >> away) + _steps(node, p).sum(axis=3)
        o = (o >> away[..., None]) + _sums(node.arithmetic, node.value_grid, p, values)
    return l, o


def _attended(node: Attention, rows: np.ndarray, keys: int) -> tuple[np.ndarray, np.ndarray]:
    """The slot of each key (keys,), and whether a row attends to it (heads or 1, rows, keys)."""
    key, ring = np.arange(keys), node.slots - node.leading
    behind = key - node.leading
    leads = behind < 0
    slot = np.where(leads, key, node.leading + behind % max(1, ring))
    row = rows[:, None]
    come = np.minimum(row + node.right, keys - 1)
    held = (key <= come) & (leads | (key > come - ring))
    if node.mask is not None:
        return slot, held & node.mask.allowed[:, rows, :keys]
    return slot, (held & (leads | (key >= row - node.left)))[None]


def _scores(
    node: Attention, rows: np.ndarray, keys: np.ndarray, q: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """t of rows and keys: (S, H, R, keys)."""
    s = _sums(node.arithmetic, node.score_grid, q, k)
    bias = np.zeros((1, 1, 1), dtype=np.int64)
    if node.mask is not None and node.mask.bias is not None:
        bias = node.mask.bias[:, rows][:, :, keys]
    most = _most(s) * abs(node.multiplier) + (_most(bias) + 1 << node.shift)
    if most >= 1 << FAR:
        s, bias = s.astype(object), bias.astype(object)
    t = (s * node.multiplier + (bias << node.shift) + (1 << node.shift - 1)) >> node.shift
    return t.astype(np.int64)


def _weights(node: Attention, t: np.ndarray, less: np.ndarray) -> np.ndarray:
    """p of scores t, `less` is n - N': integers, or codes of the arithmetic's x."""
    f = node.exponential(t & ((1 << node.fraction) - 1))
    if node.arithmetic is None:
        return f >> np.minimum(-less, FAR)
    fmt = node.arithmetic.x
    b = less - 1 + fmt.bias
    normal = (np.maximum(b, 1) << fmt.man) + f
    return np.where(b >= 1, normal, ((1 << fmt.man) + f) >> np.clip(1 - b, 0, FAR))


def _steps(node: Attention, p: np.ndarray) -> np.ndarray:
    """Weights as l counts them."""
    if node.arithmetic is None:
        return p
    return np.floor(np.ldexp(decode(node.arithmetic.x, p), node.weight_bits)).astype(np.int64)


def _divide(node: Attention, l: np.ndarray, o: np.ndarray) -> np.ndarray:
    """y of the sums."""
    bits = node.reciprocal.bits
    log2 = np.maximum(np.frexp(l)[1] - 1, node.weight_bits - 1).astype(np.int64)
    x = np.where(log2 >= bits, l >> np.maximum(log2 - bits, 0), l << np.maximum(bits - log2, 0))
    r = node.reciprocal(x & ((1 << bits) - 1))[..., None]
    shift = (log2 + node.up)[..., None]
    if _most(o) * _most(r) + (1 << int(shift.max())) >= 1 << FAR:
        o, r, shift = o.astype(object), r.astype(object), shift.astype(object)
    y = (o * r + (1 << shift - 1)) >> shift
    return np.clip(y, node.low, node.high).astype(np.int64)


def _sums(
    arithmetic: Arithmetic | None, grid: Grid | None, x: np.ndarray, w: np.ndarray
) -> np.ndarray:
    """Sums over d of products x[r, d] * w[j, d]: (..., R, D), (..., J, D) -> (..., R, J)."""
    if arithmetic is None:
        return exact_sums(x, w)
    if grid is None and arithmetic.multiplier == "exact":
        return exact_sums(whole(arithmetic.x, x), whole(arithmetic.w, w))
    x, w = x[..., :, None, :], w[..., None, :, :]
    if arithmetic.x.bits + arithmetic.w.bits > 16:
        return _products(arithmetic, grid, x, w).sum(axis=-1)
    codes = (_finite(f) for f in (arithmetic.x, arithmetic.w))
    return _products(arithmetic, grid, *np.ix_(*codes))[x, w].sum(axis=-1)


def _finite(fmt: Float) -> np.ndarray:
    """All codes, 0 for those that are no numbers."""
    codes = np.arange(fmt.max + 1)
    return np.where(np.isfinite(decode(fmt, codes)), codes, 0)


def _products(
    arithmetic: Arithmetic, grid: Grid | None, x: np.ndarray, w: np.ndarray
) -> np.ndarray:
    """Products of codes as integers, in units of the least or of a grid."""
    if grid is None:
        return units(arithmetic, x, w)
    steps = np.floor(np.ldexp(product(arithmetic, x, w), -grid.exponent))
    most = 1 << grid.bits - 1
    return np.minimum(np.clip(np.nan_to_num(steps), -most, most).astype(np.int64), most - 1)


def _most(values: np.ndarray) -> int:
    """The largest magnitude."""
    return int(np.abs(values).max(initial=0))
