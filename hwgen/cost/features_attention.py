"""Parts of an attention unit: what hwgen.rtl.attention is built of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from hwgen.cost.features_dot import dot, dot_latency, interpolate, interpolation_latency, result_of
from hwgen.cost.parts import Parts, bits_of
from hwgen.formats import Arithmetic, Float, Int, int_holding
from hwgen.ir import Attention, Grid, Mask, Tensor


@dataclass
class Sizes:
    """Widths and lengths of a unit, as hwgen.rtl.attention.plan has them."""

    node: Attention
    q: Tensor
    k: Tensor
    v: Tensor

    def __post_init__(self) -> None:
        node, q = self.node, self.q
        self.depth = q.channels // node.heads // node.simd
        self.width = self.v.channels // node.groups // node.simd
        self.steps = max(self.depth, self.width)
        self.rows = 1 if node.stateful else max(q.rows + node.right, self.k.rows)
        self.units = -(-node.lanes // self.steps)
        self.parts = -(-node.lanes // self.units)
        self.levels = (self.units - 1).bit_length()
        self.query = q.fmt
        if node.arithmetic is None and node.zero:
            self.query = int_holding(q.fmt.min - node.zero, q.fmt.max - node.zero)
        self.weight: Any = (
            node.arithmetic.x if node.arithmetic else Int(node.weight_bits, signed=False)
        )
        self.bias = 0
        if node.mask is not None and node.mask.bias is not None:
            bias = node.mask.bias
            self.bias = 1 + max(int(bias.max()), -int(bias.min())).bit_length()

    def _sum(self, x, w, lanes: int, grid: Grid | None) -> int:
        """Bits of a dot product."""
        levels = (lanes - 1).bit_length()
        arithmetic = self.node.arithmetic
        if grid is not None:
            return grid.bits + levels
        return (arithmetic.exact_bits if arithmetic else x.bits + w.bits) + levels

    @cached_property
    def score_ends(self) -> tuple[int, int]:
        """The least and the largest score."""
        node, fmt = self.node, self.q.fmt
        if node.arithmetic is not None:
            width = self._sum(self.query, self.k.fmt, node.simd, node.score_grid)
            return -self.depth << width - 1, self.depth * ((1 << width - 1) - 1)
        return _products((fmt.min - node.zero, fmt.max - node.zero), self.k, self.depth * node.simd)

    @cached_property
    def score(self) -> int:
        """Bits of a score."""
        return _signed(*self.score_ends)

    @cached_property
    def t(self) -> int:
        """Bits of a scaled score."""
        node = self.node
        half = 1 << node.shift - 1
        low, high = sorted(s * node.multiplier + half >> node.shift for s in self.score_ends)
        if self.bias:
            bias = cast(Mask, node.mask).bias
            low, high = low + int(bias.min()), high + int(bias.max())
        return max(_signed(low, high), node.fraction + 1)

    @cached_property
    def product(self) -> int:
        """Bits of a weighted value."""
        return self._sum(self.weight, self.v.fmt, 1, self.node.value_grid)

    @cached_property
    def output(self) -> int:
        """Bits of a weighted sum."""
        node = self.node
        if node.arithmetic is not None:
            high = node.slots * ((1 << self.product - 1) - 1)
            return _signed(-node.slots << self.product - 1, high)
        return _signed(*_products((0, self.weight.max), self.v, node.slots))

    @cached_property
    def sums(self) -> int:
        """Bits of the sum of the weights."""
        most = (1 << self.node.weight_bits) - (self.node.arithmetic is None)
        return (self.node.slots * most).bit_length()

    @cached_property
    def down(self) -> int:
        """Bits of a shift."""
        return max(self.sums, self.output).bit_length()

    @cached_property
    def control(self) -> int:
        """Bits that go with a visit."""
        node = self.node
        chunks = bits_of(max(2, node.chunks))
        return 4 + 2 * chunks + bits_of(max(2, node.groups)) + bits_of(max(2, node.lanes))


def _signed(low: int, high: int) -> int:
    return 1 + max((low if low >= 0 else ~low).bit_length(), high.bit_length())


def _products(x: tuple[int, int], y: Tensor, count: int) -> tuple[int, int]:
    ends = [count * a * b for a in x for b in (y.fmt.min, y.fmt.max)]
    return min(ends), max(ends)


def attention(p: Parts, node: Attention, *tensors: Tensor) -> None:
    """Scores, exponents, weights, weighted sums; the ring of keys and values."""
    q, k, v = tensors[:3]
    s = Sizes(node, q, k, v)
    _schedule(p, s)
    _scores(p, s)
    _exponents(p, s)
    _weights(p, s)
    _values(p, s, tensors[-1])
    latency = 16 + 2 * s.levels + dot_latency(node.simd) + interpolation_latency(node.exponential)
    p.queue((5 + -(-latency // s.steps)) * s.width, v.fmt.bits * node.simd)


def _schedule(p: Parts, s: Sizes) -> None:
    node = s.node
    p.counter(node.heads // node.groups)
    p.counter(node.groups)
    p.counter(s.rows)
    p.counter(s.steps)
    p.register(1)
    slot, lane = bits_of(max(2, node.slots)), bits_of(max(2, node.lanes))
    chunk = bits_of(max(2, node.chunks))
    p.register(slot + chunk * (node.chunks > 1) + lane * (node.lanes > 1))
    p.add("add", slot + chunk + lane)
    p.add("compare", slot + lane)
    p.add("logic", 10 + slot + chunk + lane)
    if node.mask is None:
        held = node.lanes * node.chunks
        p.register(held + 2 * chunk * (node.chunks > 1))
        p.add("logic", 2 * held + node.lanes)
        p.add("choose", 2 * held)
        p.add("compare", 2 * chunk)
        p.add("add", chunk)
        return
    allowed = node.mask.allowed
    rows, heads = allowed.shape[1], node.heads
    visits = sum(len(node.visits(r, h, s.k.rows)) for r in range(rows) for h in range(heads))
    p.counter(visits)
    p.add("choose", bits_of(visits))
    p.read_only(visits, max(1, bits_of(node.chunks)) + 1 + node.lanes * (1 + s.bias))


def _lane_memory(p: Parts, words: int, bits: int, lanes: int) -> None:
    one = p.apart()
    one.memory(words, bits)
    p.merge(one, lanes)


def _scores(p: Parts, s: Sizes) -> None:
    node, lanes = s.node, s.node.lanes
    latency = 2 + dot_latency(node.simd)
    p.register(4 * latency + 1)
    p.register((s.control + lanes * (1 + s.bias)) * (latency + 1))
    p.add("logic", 12)
    p.memory(s.depth, s.q.fmt.bits * node.simd)
    words = node.chunks * node.groups * s.depth
    p.register(bits_of(s.depth) + bits_of(max(2, words)))
    p.add("add", 2 * bits_of(words) * (1 + (node.groups > 1)))
    p.add("add", s.query.bits * bool(node.zero and not node.arithmetic), node.simd)
    p.add("logic", lanes)
    _lane_memory(p, words, s.k.fmt.bits * node.simd, lanes)
    arithmetic, grid = cast(Arithmetic, node.arithmetic), node.score_grid
    dot(p, s.query, s.k.fmt, node.simd, lanes, arithmetic, grid, (1, lanes))
    p.register(s.score, lanes)
    p.add("add", s.score, lanes)
    p.add("choose", s.score * (s.depth > 1), lanes)
    if node.stateful:
        p.register(1)


def _bank(p: Parts, s: Sizes, word: int) -> None:
    padded = s.parts * s.units
    p.register(word * padded + bits_of(s.parts + 1))
    p.add("choose", word * (padded - s.units) if s.parts > 1 else 0)
    p.add("add", bits_of(s.parts + 1))
    p.add("logic", 4)


def _exponents(p: Parts, s: Sizes) -> None:
    node, units = s.node, s.units
    rest = 1 + s.bias
    _bank(p, s, s.score + rest)
    p.register(s.control * (1 + 3 + s.levels + 1) + 3 * (3 + s.levels) + 1)
    p.constant_multiply((s.score, True), node.multiplier, units)
    wide = s.score + node.multiplier.bit_length() + 1 - (node.shift - 1)
    p.register(wide + rest + s.t + 1, units)
    p.add("add", wide * (1 + bool(s.bias)), units)
    top = s.t - node.fraction
    p.add("choose", top, units)
    p.register(top * units)
    p.tree([top] * units, False)
    p.register((s.t + 1) * (1 + s.levels), units)
    p.register((s.t + 1) * units * s.parts)
    p.register(2 * top)
    p.add("compare", 2 * top + top)
    p.add("choose", 2 * top + s.down)
    p.add("add", top)


def _weights(p: Parts, s: Sizes) -> None:
    node, units = s.node, s.units
    top, latency = s.t - node.fraction, interpolation_latency(node.exponential)
    _bank(p, s, s.t + 1)
    delay = 1 + latency + s.levels
    p.register((s.control + s.down) * (1 + delay + 1) + top + 3 * delay + 1)
    floats = isinstance(s.weight, Float)
    most = s.weight.bits + (1 << s.weight.exp if floats else 0) + 1
    places = most.bit_length()
    p.add("add", top + 1, units)
    p.add("compare", top + 1, units)
    p.add("choose", places, units)
    result = interpolate(p, node.exponential, units)
    p.register((places + 1) * latency + s.weight.bits, units)
    p.shifter(max(result, s.weight.bits), most, units)
    p.add("add", (s.weight.bits + places) * floats, units)
    p.add("logic", s.weight.bits, units)
    if floats:
        p.shifter(s.sums, s.weight.bits, units)
        p.add("add", s.weight.exp + 2, units)
    p.tree([node.weight_bits] * units, True)
    p.register(s.weight.bits * s.levels, units)
    p.register(s.weight.bits * units * s.parts)
    p.register(s.sums)
    p.shifter(s.sums, (1 << s.down) - 1)
    p.add("add", s.sums)
    p.add("choose", 2 * s.sums)


def _values(p: Parts, s: Sizes, y: Tensor) -> None:
    node, lanes, simd = s.node, s.node.lanes, s.node.simd
    words = node.chunks * node.groups * s.width
    p.register(s.control + s.weight.bits * lanes + s.sums + s.down)
    p.register(1 + bits_of(max(2, s.steps)) + bits_of(max(2, words)))
    p.add("add", bits_of(s.steps) + 2 * bits_of(words) * (1 + (node.groups > 1)))
    p.add("logic", 8 + lanes)
    _lane_memory(p, words, s.v.fmt.bits * simd, lanes)
    p.register(2 * s.weight.bits, lanes)
    arithmetic, grid = cast(Arithmetic, node.arithmetic), node.value_grid
    dot(p, s.weight, s.v.fmt, 1, lanes * simd, arithmetic, grid, (lanes, lanes * simd))
    delay = 2 + dot_latency(lanes)
    p.register((3 + bits_of(max(2, s.steps)) + s.sums + s.down) * delay)
    for _ in range(simd):
        p.tree([s.product] * lanes, True)
    p.memory(s.width, s.output * simd, 1, registered=False)
    p.shifter(s.output, (1 << s.down) - 1, simd)
    p.add("add", s.output, simd)
    p.add("choose", s.output, simd)
    p.register(s.output, simd)
    # The division.
    again = interpolation_latency(node.reciprocal)
    p.register(1 + s.sums + node.reciprocal.bits)
    p.shifter(s.sums, s.sums - 1)
    p.add("count", s.sums)
    least = node.weight_bits - 1
    places = bits_of(max(2, s.sums - least))
    p.add("add", places)
    interpolate(p, node.reciprocal)
    factor = result_of(node.reciprocal)
    p.register((places + s.output * simd) * (1 + again) + places + again + 3 + 1)
    p.multiply((s.output, True), factor, simd)
    kept = s.output + factor[0] - least - node.up + 1
    p.register(kept, simd)
    p.shifter(kept, (1 << places) - 1, simd)
    p.register(2 * kept + y.fmt.bits, simd)
    p.add("add", kept, simd)
    p.clamp(kept * simd, y.fmt.bits * simd)
