"""Node kinds of transformers: attention, normalization, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwgen.formats import Arithmetic, Int
from hwgen.ir.interpolation import Interpolation
from hwgen.ir.nodes import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Sums of products in fixed point: each product is rounded down to a multiple of 2**exponent
    and saturated to `bits` bits, two's complement; the sums are exact."""

    exponent: int
    bits: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Mask:
    """Which keys each query attends to, where that is no band: `allowed` (bool) of shape (heads or
    1, queries, keys); `bias` (int64, the same shape, in units of the scores) is added to them."""

    allowed: np.ndarray
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(Node):
    """Scaled dot-product attention: (N, H*D), (M, G*D), (M, G*E) -> (N, H*E).

    The inputs are queries, keys and values: N rows of `heads` H, M rows of `groups` G; head h reads
    group h // (H / G). Keys and values are kept in `slots`: key j in slot j if j < leading, else in
    slot leading + (j - leading) mod (slots - leading), where it replaces what was there. Row i is
    computed when keys 0 ... min(i + right, M - 1) have come. It attends to those of them that are
    within [i - left, i] or (i, i + right] or below `leading`, or to what `mask` says.

    Keys are looked at in visits. Visit c is slots c*lanes ... (c+1)*lanes - 1; a row's visits are
    those of `visits`, in rising order. A visit of a row and head, with N the running exponent (none
    before the first key) and sums l and o[e], all 0 at first:

        s_j = sum over d of (q[i, h, d] - zero) * k[j, g, d]        exact, for every attended key j
        t_j = (s_j * multiplier + (bias[j] << shift) + (1 << shift - 1)) >> shift
        n_j, f_j = t_j >> fraction, t_j mod 2**fraction
        N' = max(N, max over j of n_j);   l, o = l >> (N' - N), o >> (N' - N)
        p_j = 2**(n_j + f_j / 2**fraction - N' - 1)                 as said below
        l = l + sum over j of p_j,   o[e] = o[e] + sum over j of p_j * v[j, g, e]

    and after the last visit, with L = max(floor(log2 l), weight_bits - 1) and x the bits of l below
    its leading one, `reciprocal.bits` of them (more are dropped, missing ones are 0):

        y[e] = clamp((o[e] * reciprocal(x) + (1 << L + up - 1)) >> L + up, low, high)

    so y is about 2**K * sum(softmax * v) with up = R - K, where reciprocal(x) is about
    2**R / (1 + x / 2**reciprocal.bits). A row that attends to nothing gives 0. All shifts round
    down. Scores are in units of 2**-fraction of log2 of the weights. Everything the softmax does
    not depend on is left out: a zero point of k shifts all scores of a row alike; that of v is up
    to the reader.

    Integers (`arithmetic` None): p_j = exponential(f_j) >> (N' - n_j), `weight_bits` bits unsigned,
    exponential from 2**(weight_bits - 1) up to 2**weight_bits - 1.

    With an `arithmetic` q is in its x, k and v in its w format (`zero` 0), and products are its
    multiplier's: s_j in units of the least product, or of `score_grid`. p_j is a code of the x
    format (mantissa of m bits, bias b): with B = n_j - N' - 1 + b, (B << m) + exponential(f_j) if
    B >= 1, else (2**m + exponential(f_j)) >> (1 - B); exponential is the mantissa, 0 ... 2**m. l is
    in units of 2**-weight_bits, to which each p_j is rounded down; o in those of the least product,
    or of `value_grid`.

    Source: SWAT (arXiv 2405.17025) for the ring and the division last, Softermax (arXiv 2103.09301)
    for base 2 and the running exponent, which makes rescaling a shift.
    """

    heads: int
    groups: int
    zero: int = 0
    multiplier: int
    shift: int
    fraction: int
    exponential: Interpolation
    weight_bits: int
    reciprocal: Interpolation
    up: int
    low: int
    high: int
    left: int
    right: int
    leading: int = 0
    slots: int
    mask: Mask | None = None
    arithmetic: Arithmetic | None = None
    score_grid: Grid | None = None
    value_grid: Grid | None = None
    lanes: int = 1  # keys at once: chooses the visits, and so where sums are rounded
    simd: int = 1  # fold: elements of a head at once
    stateful: bool = False  # a sample is one row (N = M = 1), the fourth input ends sequences

    @property
    def multipliers(self) -> int:
        """Multipliers of scores and of weighted sums."""
        return 2 * self.lanes * self.simd

    @property
    def chunks(self) -> int:
        """Visits that hold all slots."""
        return -(-self.slots // self.lanes)

    def visits(self, row: int, head: int, keys: int) -> Sequence[int]:
        """The visits of a row and head, of a sequence of so many keys: those that hold a key that
        has come; with a mask those that hold one the row attends to (or the first alone)."""
        if self.mask is None:
            held = min(self.slots, row + self.right + 1, keys)
            return range(-(-held // self.lanes))
        allowed = self.mask.allowed[head % len(self.mask.allowed), row]
        return sorted({int(key) // self.lanes for key in np.flatnonzero(allowed)}) or [0]

    def turns(self, rows: int, keys: int) -> Iterator[tuple[bool, bool, int]]:
        """Of each row and head in the order of the hardware: whether a query is taken and a result
        given, whether a key and a value are taken, and the number of visits. Of a stream those of a
        row in the steady state, when every slot is held.

        Rows of keys that come before the first query can be computed, or behind the last, take a
        visit of each group.
        """
        if self.stateful:
            rows, keys, steps = self.slots, self.slots, range(self.slots - 1, self.slots)
        else:
            steps = range(max(rows + self.right, keys))
        for key in steps:
            computes = 0 <= key - self.right < rows
            for head in range(self.heads if computes else self.groups):
                loads = key < keys and (not computes or head % (self.heads // self.groups) == 0)
                count = len(self.visits(key - self.right, head, keys)) if computes else 1
                yield computes, loads, count


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalize(Node):
    """Layer or root-mean-square normalization of rows: (..., C) -> (..., C), integers.

    With `centered` d[c] = C * x[c] - sum(x) and V = C * sum(x**2) - sum(x)**2, else d[c] =
    x[c] - zero and V = sum(d**2). V' = max(V + epsilon, 1), h = floor(log2(V') / 2), and m =
    floor(V' * 2**(B - 2*h)) with B = root.bits - 2, so that m / 2**B is in [1, 4). With r =
    root(m), about 2**R / sqrt(m / 2**B):

        u[c] = (d[c] * r + (1 << h + up - 1)) >> h + up             about 2**U * d[c] / sqrt(V')
        y[c] = clamp((u[c] * gamma[c] + beta[c] + (1 << shift - 1)) >> shift, low, high)

    with up = R - U, at least 1. `gamma` and `beta` (int64) have shape (C,).
    """

    centered: bool
    zero: int = 0
    epsilon: int
    root: Interpolation
    up: int
    gamma: np.ndarray
    beta: np.ndarray
    shift: int
    low: int
    high: int

    def most_spread(self, fmt: Int, count: int) -> int:
        """The most V' can be for rows of so many codes of a format."""
        if self.centered:
            spread = (count // 2) * (count - count // 2) * (fmt.max - fmt.min) ** 2
        else:
            spread = count * max((fmt.min - self.zero) ** 2, (fmt.max - self.zero) ** 2)
        return max(1, spread + self.epsilon)


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Node):
    """Softmax of rows: (..., C) -> (..., C), integers.

        t[c] = (x[c] * multiplier + (1 << shift - 1)) >> shift
        n[c], f[c] = t[c] >> fraction, t[c] mod 2**fraction
        N = max over c of n[c],   p[c] = exponential(f[c]) >> (N - n[c]),   l = sum over c of p[c]
        y[c] = (p[c] * reciprocal(z) + (1 << L + up - 1)) >> L + up

    with L = floor(log2 l) and z the bits of l below its leading one, as in Attention; y is about
    2**K * softmax, saturated to `high`.
    """

    multiplier: int
    shift: int
    fraction: int
    exponential: Interpolation
    reciprocal: Interpolation
    up: int
    high: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve(Node):
    """out = clamp(function(x - first), low, high), elementwise: a function of codes too many for a
    table; `first` is the least."""

    function: Interpolation
    first: int
    low: int
    high: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Rotate(Node):
    """Rotary position embedding, or any sum of two elements of a row: (N, C) -> (N, C), integers.

        y[i, c] = clamp(((x[i, c] - zero) * first[i, c] + (x[i, order[c]] - zero) * second[i, c]
                        + (1 << shift - 1)) >> shift, low, high)

    `first` and `second` (int64) have shape (rows, C), of which row i takes row i mod rows; `order`
    (C,). The half, 1 << shift - 1, is 0 for `shift` 0. With `stateful` a sample is one row, whose
    place i in its sequence counts up to the last of the tables; the second input ends sequences.
    """

    zero: int
    first: np.ndarray
    second: np.ndarray
    order: np.ndarray
    shift: int
    low: int
    high: int
    stateful: bool = False

    def fits(self, lanes: int) -> bool:
        """Whether the elements that a word needs lie in one word, at the same lanes for all
        words."""
        if len(self.order) % lanes:
            return False
        words = self.order.reshape(-1, lanes)
        one = words // lanes == words[:, :1] // lanes
        return bool(one.all() and (words % lanes == words[:1] % lanes).all())


@dataclass(frozen=True, eq=False, kw_only=True)
class Embed(Node):
    """Rows of a table: (N,) or (N, 1) indices -> (N, C): y[i] = table[x[i]]; indices beyond the
    table read its last row."""

    table: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Positions(Node):
    """The rows of a table in order, one for each row of a sequence: (1,) -> (1, C).

    A sample is one row. Its input says whether the row is the last of its sequence (1) or not (0);
    behind the end of the table the last row comes again.
    """

    table: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Select(Node):
    """Channels low ... high - 1 of every row: (..., C) -> (..., high - low)."""

    low: int
    high: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Node):
    """Products of two matrices, in batches: (B*M, K), (B*N, K) -> (B*M, N).

    out[b*M + m, n] = sum over k of (x[b*M + m, k] - zeros[0]) * (y[b*N + n, k] - zeros[1]), exact
    integers: the second input comes transposed. It is held while M rows of the first pass.
    """

    batches: int
    zeros: tuple[int, int]
    pe: int = 1  # fold: outputs at once
    simd: int = 1  # fold: elements of a sum at once

    @property
    def multipliers(self) -> int:
        """Multipliers."""
        return self.pe * self.simd
