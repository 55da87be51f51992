"""Parts of units that work on rows: normalization, softmax, rotation."""

from __future__ import annotations

from math import sqrt
from typing import cast

import numpy as np

from hwgen.cost.features_dot import interpolate, interpolation_latency, result_of
from hwgen.cost.features_memory import banks
from hwgen.cost.features_scale import alike, arrange
from hwgen.cost.parts import Parts, bits_of, distinct_bits, shape, signed_bits, spans
from hwgen.formats import Int, int_holding
from hwgen.ir import Normalize, Rotate, Softmax, Tensor

SLACK = 4  # words beyond those of a row that a queue of rows takes
SCALING = 3  # cycles in which a spread is scaled


def range_of(low: int, high: int) -> tuple[int, bool]:
    """(bits, signed) of what holds every integer of [low, high]."""
    return shape(int_holding(min(0, low), max(1, high)))


def rows(p: Parts, word: int, known: int, words: int, wait: int) -> None:
    """A queue of words, and one of what is known of their rows."""
    depth = words + wait + SLACK
    p.counter(words)
    p.queue(depth, word + 1)
    p.queue(depth // words + 1, known)
    p.add("logic", 3)


def delayed_tree(p: Parts, widths: list[float], grows: bool, cycles: int) -> float:
    """A tree behind `cycles` more registers of its operands."""
    p.register(sum(widths) * cycles)
    return p.tree(widths, grows)


def normalize(p: Parts, node: Normalize, x: Tensor, y: Tensor) -> None:
    """Sums, the spread, the root; a queue; three multipliers for each lane."""
    count, lanes, words = x.channels, x.lanes, x.words_per_row
    zero = 0 if node.centered else node.zero
    low, high = x.fmt.min - zero, x.fmt.max - zero
    term = range_of(low, high)
    total = range_of(count * low, count * high)
    squares = (count * max(low * low, high * high)).bit_length()
    away = count * (high - low)
    deviation = range_of(-away, away) if node.centered else term
    pairs = -(-node.most_spread(cast(Int, x.fmt), count).bit_length() // 2)
    latency, levels = interpolation_latency(node.root), (lanes - 1).bit_length()
    root = result_of(node.root)
    half = bits_of(pairs)
    known = total[0] * node.centered + half + root[0]
    rows(p, x.fmt.bits * lanes, known, words, 5 + 3 * node.centered + SCALING + levels + latency)
    _row_sums(p, node, x, term, total[0], squares)
    _root(p, node, total, squares, pairs, latency)
    _normalized(p, node, x, y, total[0], deviation, pairs, root)


def _row_sums(p: Parts, node: Normalize, x: Tensor, term, total: int, squares: int) -> None:
    """Sums of a row and of its squares."""
    lanes, levels = x.lanes, (x.lanes - 1).bit_length()
    zero = 0 if node.centered else node.zero
    p.counter(x.words_per_row)
    p.register(term[0], lanes)
    p.add("add", term[0] * bool(zero), lanes)
    p.multiply(term, term, lanes)
    sizes = [(2 * term[0], squares, 2)]
    if node.centered:
        sizes.append((term[0], total, 2))
    for width, result, cycles in sizes:
        delayed_tree(p, [width] * lanes, True, cycles)
        p.register(result)
        p.add("add", result)
        p.add("choose", result)
    p.register(3 * (3 + levels) + 1)


def _root(p: Parts, node: Normalize, total, squares: int, pairs: int, latency: int) -> None:
    """The spread of a row, scaled, and its root."""
    half, count = bits_of(pairs), len(np.ravel(node.gamma))
    if node.centered:
        p.constant_multiply((squares, False), count)
        p.multiply(total, total)
        both = squares + count.bit_length()
        p.register(2 * (min(both, 2 * pairs) + min(2 * total[0], 2 * pairs)) + 2 * pairs)
        p.add("add", 2 * pairs)
    p.add("add", 2 * pairs * bool(node.epsilon))
    p.register(2 * pairs * (1 + SCALING) + SCALING * half)
    p.shifter(2 * pairs, pairs)
    p.add("count", 2 * pairs)
    interpolate(p, node.root)
    p.register(half * latency)
    later = latency + 1 + 3 * node.centered + SCALING
    p.register(later * (1 + total[0] * node.centered))


def _normalized(
    p: Parts, node: Normalize, x: Tensor, y: Tensor, total: int, deviation, pairs: int, root
) -> None:
    """The lanes: deviations times the root, gamma, beta, limits."""
    count, lanes, words, half = x.channels, x.lanes, x.words_per_row, bits_of(pairs)
    p.handshake(9 + node.centered)
    p.register((root[0] + half) * (1 + node.centered) + 2 * half)
    m = node.root.bits - 2
    at = np.array([1 << m, (1 << m + 2) - 1])
    most = float((np.abs(node.root(at)) * np.sqrt((at + 1) / at[0])).max()) * 0.5**node.up
    most = int(most * (sqrt(count) if node.centered else 1)) + 2
    unit = range_of(-most, most)
    if node.centered:
        p.register(total)
        p.constant_multiply(shape(x.fmt), count, lanes)
        p.register(x.fmt.bits + count.bit_length(), lanes)
        p.add("add", deviation[0], lanes)
    p.register(deviation[0], lanes)
    p.multiply(deviation, root, lanes)
    kept = deviation[0] + root[0] - node.up + 1
    p.register(2 * kept, lanes)
    p.shifter(kept, min(pairs, kept), lanes)
    p.register(2 * unit[0] + 1, lanes)
    p.add("add", unit[0], lanes)
    words_of = [arrange(v, x) for v in (node.gamma, node.beta + (1 << node.shift - 1))]
    sizes_of = [shape(int_holding(*spans(np.ravel(w).tolist()))) for w in words_of]
    p.counter(words)
    p.register(bits_of(words) * (6 + node.centered))
    for column, (bits, _) in zip(words_of, sizes_of, strict=True):
        if not alike(column):
            p.rom(column, bits)
    gamma, beta = sizes_of
    if alike(words_of[0]):
        for lane in range(lanes):
            p.constant_multiply(unit, int(words_of[0][0, lane]))
    else:
        p.multiply(unit, gamma, lanes)
    scaled = unit[0] + gamma[0]
    p.register(3 * scaled - node.shift, lanes)
    p.add("add", max(scaled, beta[0]), lanes)
    p.clamp((scaled + 1 - node.shift) * lanes, y.fmt.bits * lanes)
    p.register(y.fmt.bits, lanes)


def softmax(p: Parts, node: Softmax, x: Tensor, y: Tensor) -> None:
    """Scores and exponentials, a queue, weights, a queue, quotients."""
    lanes, words = x.lanes, x.words_per_row
    half = 1 << node.shift - 1
    ends = sorted((v * node.multiplier + half) >> node.shift for v in (x.fmt.min, x.fmt.max))
    score, whole = range_of(*ends), range_of(*(end >> node.fraction for end in ends))
    weights = node.exponential(np.arange(1 << node.fraction))
    weight = int(weights.max()).bit_length()
    total = int(weights.max() * x.channels).bit_length()
    least = int(weights.min()).bit_length() - 1
    levels, latency = (lanes - 1).bit_length(), interpolation_latency(node.exponential)
    again = interpolation_latency(node.reciprocal)
    factor, places = result_of(node.reciprocal), bits_of(max(1, total - least))
    rows(p, (whole[0] + weight) * lanes, whole[0], words, 1 + levels)
    rows(p, weight * lanes, factor[0] + places, words, 2 + levels + again)
    p.handshake(3 + latency)
    p.constant_multiply(shape(x.fmt), node.multiplier, lanes)
    product = x.fmt.bits + signed_bits(node.multiplier, node.multiplier)
    product -= node.shift - 1  # what rounding leaves out
    p.register(2 * product + score[0] + whole[0] * latency, lanes)
    p.add("add", product, lanes)
    interpolate(p, node.exponential, lanes)
    for width, grows in ((whole[0], False), (weight, True)):
        p.counter(words)
        p.tree([width] * lanes, grows)
        p.register(3 * levels + 1)
        p.add("choose", width * (x.channels % lanes != 0) * lanes)
    p.add("compare", whole[0])
    p.register(whole[0] + total)
    p.add("add", total)
    p.add("choose", total)
    p.handshake(2)
    p.add("add", whole[0], lanes)
    p.add("compare", whole[0], lanes)
    p.shifter(weight, weight, lanes)
    p.register(2 * weight + weight.bit_length(), lanes)
    p.shifter(total, total, 1)
    p.add("count", total)
    p.register(total + bits_of(total) + places * again + 2 + again)
    interpolate(p, node.reciprocal)
    p.handshake(5)
    p.register(2 * places)
    p.multiply((weight, False), factor, lanes)
    kept = weight + factor[0] - least - node.up + 1
    p.register(2 * kept, lanes)
    p.shifter(kept, max(0, total - least), lanes)
    p.register(2 * kept + y.fmt.bits, lanes)
    p.add("add", kept, lanes)
    p.clamp(kept * lanes, y.fmt.bits * lanes, low=False)


def rotate(p: Parts, node: Rotate, *tensors: Tensor) -> None:
    """Two banks of a row read twice, tables, two products for each lane."""
    x, y = tensors[0], tensors[-1]
    words, lanes = x.words_per_row, x.lanes
    p.counter(words)
    banks(p, words, x.fmt.bits * lanes, 2)
    order = node.order.reshape(-1, lanes)[:, :1] // lanes
    p.rom(order, max(1, bits_of(len(order))))
    p.register(bits_of(words) + 8)
    p.add("add", 2 * bits_of(2 * words))
    tables = np.concatenate([t.reshape(-1, lanes) for t in (node.first, node.second)], axis=1)
    low, high = int(tables.min()), int(tables.max())
    factor = int_holding(min(low, 0), max(high, 0))
    address = bits_of(len(tables))
    p.register(2 * address)
    p.add("add", 2 * address)
    p.rom(tables, factor.bits)
    element = (x.fmt.bits + bool(node.zero), x.fmt.signed or bool(node.zero))
    kept = distinct_bits(tables, factor.bits)  # equal registers are one
    p.register(2 * element[0] * lanes + kept)
    p.add("add", 2 * element[0] * bool(node.zero), lanes)
    p.multiply(element, shape(factor), 2 * lanes)
    wide = element[0] + factor.bits
    total = wide + 2 - node.shift
    p.register(2 * wide + total + y.fmt.bits, lanes)
    p.add("add", 2 * wide, lanes)
    p.clamp(total * lanes, y.fmt.bits * lanes)
