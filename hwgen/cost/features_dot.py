"""Parts of dot products in every arithmetic, and of conversions between them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from hwgen.cost.features_float import (
    decoded,
    fixed_product,
    float_adder,
    partial_adder,
    rounded_operand,
)
from hwgen.cost.features_scale import alike, arrange
from hwgen.cost.parts import BLOCK_BITS, Parts, bits_of, changing_bits, distinct_bits, shape, spans
from hwgen.formats import Approximate, Arithmetic, Bipolar, Block, Float, Int, Ternary, int_holding
from hwgen.ir import (
    ADDER_STAGES,
    BlockQuantize,
    Convert,
    ConvertForm,
    Curve,
    FloatAdd,
    Grid,
    Interpolation,
    Linear,
    Product,
    Tensor,
)

CHOICES = (Ternary(), Bipolar(), Int(1, signed=False))  # weights that need no multiplier


def weight_format(weights: np.ndarray) -> Int | Ternary | Bipolar:
    """The narrowest format of weights."""
    low, high = int(weights.min()), int(weights.max())
    if low >= 0:
        return int_holding(0, max(1, high))
    if low < -1 or high > 1:
        return Int(max(2, int_holding(low, max(0, high)).bits))
    return Ternary() if (weights == 0).any() else Bipolar()


def dot_latency(lanes: int) -> int:
    """Cycles of a dot product of exact sums."""
    return 2 + (lanes - 1).bit_length()


def dot(
    p: Parts,
    x,
    w,
    lanes: int,
    times: int,
    arithmetic: Arithmetic | None = None,
    grid: Grid | None = None,
    copies: tuple[int, int] | None = None,
) -> int:
    """`times` dot products of exact sums; `copies`: how many different operands x and w there are
    (equal registers become one). Bits of the sum."""
    x_copies, w_copies = copies or (times, times)
    p.register(x.bits * lanes, x_copies)
    p.register(w.bits * lanes, w_copies)
    if arithmetic is not None:
        width = grid.bits if grid else arithmetic.exact_bits
        fixed_product(p, arithmetic, grid, lanes * times)
    elif w in CHOICES:
        width = x.bits + 1
        p.add("pick", width, lanes * times)
        p.add("add", width + 2 * (lanes - 1), times)
        p.register(lanes - 1, times)
    else:
        width = x.bits + w.bits
        p.multiply(shape(x), shape(w), lanes * times)
    p.register(width, lanes * times)
    return int(p.tree([width] * lanes, True, times))


def linear(p: Parts, node: Linear, x: Tensor, y: Tensor) -> None:
    """Weights, operands, dot products, accumulators."""
    lanes, dots = node.simd, node.pixels * node.parallel * node.pe
    blocks = node.blocks
    arithmetic = node.arithmetic
    fmts: tuple[Any, Any]
    if blocks:
        element = blocks[1].element
        w_bits = max(element.bits + 1, int(node.weight.max()).bit_length())
        fmts = x.fmt, Int(w_bits, signed=False)
    elif arithmetic is not None:
        fmts = arithmetic.x, arithmetic.w
    else:
        fmts = x.fmt, weight_format(node.weight)
    depth, kept = _weights(p, node, fmts[1].bits)
    p.counter(node.words)
    p.counter(depth)
    p.register(x.fmt.bits * x.lanes)
    p.register(kept)
    p.add("logic", 3)
    copies = node.pixels * node.parallel, 0
    if node.rounds:
        latency = _rounding(p, node, fmts, dots, copies)
    else:
        latency = dot_latency(lanes) + bool(blocks)
        if blocks:
            _block_dot(p, node, x, fmts, y.fmt.bits, dots, copies)
        elif depth == 1 and arithmetic is None:
            _wired(p, node, fmts[0], fmts[1])
        else:
            dot(p, fmts[0], fmts[1], lanes, dots, arithmetic, None, copies)
        p.add("add", y.fmt.bits, dots)
        p.add("choose", y.fmt.bits, dots)
    p.register(y.fmt.bits, dots)
    p.register(3 * (1 + latency) if node.words > 1 else 1 + latency)
    p.register(1)


def _weights(p: Parts, node: Linear, bits: int) -> tuple[int, float]:
    """The memory of weights: its words, and how many bits of a word differ."""
    groups, outputs, _, _ = node.weight.shape
    if node.parallel == 1:
        depth = groups * -(-outputs // node.pe) * node.words
    else:
        depth = -(-groups // node.parallel) * node.words
    width = node.parallel * node.pe * node.simd * bits
    if depth == 1:
        return 1, 1
    words = folded(node)
    if depth * width >= BLOCK_BITS and p.technology.blocks:
        kept = changing_bits(words, bits)
        p.read_only(depth, width, 1, kept)
        return depth, kept
    p.rom(words, bits)
    return depth, distinct_bits(words, bits)


def folded(node: Linear) -> np.ndarray:
    """Weights in the order of use (words, elements)."""
    groups, outputs, taps, channels = node.weight.shape
    if node.parallel == 1:
        flat = node.weight.reshape(groups, outputs, taps * channels)
        rows, words = -(-outputs // node.pe), node.words
        flat = np.pad(flat, ((0, 0), (0, rows * node.pe - outputs), (0, 0)), mode="edge")
        flat = np.pad(flat, ((0, 0), (0, 0), (0, words * node.simd - taps * channels)))
        shaped = flat.reshape(groups, rows, node.pe, words, node.simd).transpose(0, 1, 3, 2, 4)
        return shaped.reshape(groups * rows * words, -1)
    at_once = node.simd // channels
    blocks, words = -(-groups // node.parallel), -(-taps // at_once)
    flat = np.pad(
        node.weight,
        ((0, blocks * node.parallel - groups), (0, 0), (0, words * at_once - taps), (0, 0)),
    )
    shaped = flat.reshape(blocks, node.parallel, outputs, words, at_once * channels)
    return shaped.transpose(0, 3, 1, 2, 4).reshape(blocks * words, -1)


def _wired(p: Parts, node: Linear, x, w) -> None:
    """Dot products with weights that never change: equal products of an input are one, those with 0
    none."""
    words = folded(node).reshape(node.parallel * node.pe, node.simd)
    p.register(x.bits * node.simd, node.pixels * node.parallel)
    choice = w in CHOICES
    width = x.bits + (1 if choice else w.bits)
    for group in words.reshape(node.parallel, node.pe, node.simd):
        for lane in range(node.simd):
            factors = {int(v) for v in group[:, lane]} - {0}
            p.register(width * len(factors), node.pixels)
            if not choice:
                for factor in factors:
                    odd = abs(factor) // (abs(factor) & -abs(factor))
                    bits = odd.bit_length() + (factor < 0)
                    p.multiply(shape(x), (max(bits, 2), w.signed), node.pixels)
    for row in words:
        terms = max(1, int((row != 0).sum()))
        p.tree([width] * terms, True, node.pixels)
        if choice and (row < 0).any():  # carries: an adder, and a bit of all others
            p.add("add", width + 2 * (terms - 1), node.pixels)


def _block_dot(p: Parts, node: Linear, x: Tensor, fmts, bits: int, dots: int, copies) -> None:
    a, b = (block.element for block in cast(tuple[Block, Block], node.blocks))
    width = dot(p, a, b, node.simd, dots, node.arithmetic, None, copies)
    exponent = max(x.fmt.bits - a.bits, fmts[1].bits - b.bits) + 1
    p.add("add", exponent, dots)
    p.register(exponent * dot_latency(node.simd), dots)
    p.shifter(bits, min(bits - 1, (1 << exponent) - 1), dots)
    p.register(max(bits, width), dots)


def _rounding(p: Parts, node: Linear, fmts, dots: int, copies) -> int:
    """Dot products whose sums round."""
    arithmetic = cast(Arithmetic, node.arithmetic)
    lanes, words = node.simd, min(node.words, ADDER_STAGES + 1)
    approximate = isinstance(arithmetic.accumulator, Approximate)
    p.register(fmts[0].bits * lanes, copies[0])
    one = p.apart()
    product, bits = rounded_operand(one, arithmetic)
    p.merge(one, lanes * dots)
    p.register(product, lanes * dots)
    merges = (min(words, ADDER_STAGES) - 1).bit_length()
    fused = lanes if lanes > 1 else 1
    plain = (lanes - 1 if lanes > 1 else 0) + (lanes > 1) + merges
    for count, adds_product in ((fused, True), (plain, False)):
        one = p.apart()
        if approximate:
            partial_adder(one, arithmetic.accumulator)
        else:
            float_adder(one, arithmetic.accumulator, arithmetic if adds_product else None)
        p.merge(one, count * dots)
    levels = (lanes - 1).bit_length() + (lanes > 1) + 1 + merges
    p.register(2 * (2 + levels * ADDER_STAGES), dots)  # valid and first
    if words > ADDER_STAGES:
        p.register(bits * ADDER_STAGES + 3 + 2 * ADDER_STAGES + ADDER_STAGES, dots)
        p.add("choose", bits * (ADDER_STAGES + 1), dots)
        p.add("logic", 12, dots)
    p.add("choose", bits, dots)
    p.register(bits * sum(1 << k for k in range(merges)), dots)
    if node.bias is not None:
        start = node.accumulator.bits
        delay = 2 + ((lanes - 1).bit_length() + (lanes > 1)) * ADDER_STAGES
        p.register(start * delay, node.parallel * node.pe)
        rows = node.bias.size // (node.parallel * node.pe)
        p.counter(rows)
        p.read_only(max(1, rows), start * node.parallel * node.pe) if rows > 1 else None
        p.add("choose", bits, dots)
    if approximate:
        result = arithmetic.accumulator.result
        p.shifter(arithmetic.accumulator.bits, arithmetic.accumulator.bits - 1, dots)
        p.add("count", arithmetic.accumulator.bits, dots)
        p.add("add", 13 + result.bits, dots)
        p.register(result.bits, dots)
    return 2 + levels * ADDER_STAGES + approximate


def product(p: Parts, node: Product, a: Tensor, b: Tensor, y: Tensor) -> None:
    """Two banks of the second input, rows of the first, dot products."""
    rows, columns = a.rows // node.batches, b.rows // node.batches
    words, passes = a.words_per_row, -(-columns // node.pe)
    fmts = [
        int_holding(x.fmt.min - zero, x.fmt.max - zero)
        for x, zero in zip((a, b), node.zeros, strict=True)
    ]
    for period in (words, passes, rows, words, columns, passes * words):
        p.counter(period)
    depth = passes * words
    p.register(6)  # of the first addresses all bits that change are one
    p.add("logic", 4)
    p.add("add", 4 + 3 * bits_of(2 * depth))
    for _ in range(node.pe):  # a memory for each lane that is written alone
        p.memory(2 * depth, node.simd * b.fmt.bits)
    p.register(node.pe + bits_of(depth))
    p.register(a.fmt.bits * a.lanes)
    if passes > 1:
        p.memory(words, a.fmt.bits * a.lanes)
        p.register(1)
        p.add("choose", a.fmt.bits * a.lanes)
    p.add("add", fmts[0].bits * bool(node.zeros[0]), node.simd)
    p.add("add", fmts[1].bits * bool(node.zeros[1]), node.simd * node.pe)
    dot(p, fmts[0], fmts[1], node.simd, node.pe, None, None, (1, node.pe))
    p.add("add", y.fmt.bits, node.pe)
    p.add("choose", y.fmt.bits, node.pe)
    p.register(y.fmt.bits, node.pe)
    p.register(3 * (1 + dot_latency(node.simd)) + 1)


def interpolate(p: Parts, function: Interpolation, times: int = 1) -> int:
    """Functions by straight lines; bits of a result."""
    columns = [function.base, function.slope] if function.rest_bits else [function.base]
    sizes = []
    for column in columns:
        low, high = min(0, int(column.min())), max(1, int(column.max()))
        fmt = int_holding(low, high)
        sizes.append((fmt.bits, fmt.signed))
    most = max(bits for bits, _ in sizes)
    depth, width = len(function.base), most * len(columns)
    used = sum(bits for bits, _ in sizes)  # what extends the narrower is not read
    if depth * width < BLOCK_BITS or not p.technology.blocks:
        used = sum(
            distinct_bits(column[:, None], bits)
            for column, (bits, _) in zip(columns, sizes, strict=True)
        )
    if depth > 1:
        p.read_only(depth, width, times, used)
    p.register(sum(bits for bits, _ in sizes), times)
    if not function.rest_bits:
        return sizes[0][0]
    rest = function.rest_bits
    p.register(2 * rest, times)
    slope = sizes[1]
    p.multiply(slope, (rest, False), times)
    p.register(slope[0] + rest + sizes[0][0], times)
    result = result_of(function)[0]
    p.add("add", result + function.drop, times)
    p.register(result, times)
    return result


def result_of(function: Interpolation) -> tuple[int, bool]:
    """(bits, signed) of all results."""
    last = function.base + function.slope * ((1 << function.rest_bits) - 1)
    ends = [int(v) >> function.drop for c in (function.base, last) for v in (c.min(), c.max())]
    return shape(int_holding(min(0, *ends), max(1, *ends)))


def interpolation_latency(function: Interpolation) -> int:
    """Cycles."""
    return 4 if function.rest_bits else 2


def curve(p: Parts, node: Curve, x: Tensor, y: Tensor) -> None:
    """An interpolator for each lane."""
    p.handshake(2 + interpolation_latency(node.function))
    p.register(node.function.bits + y.fmt.bits, y.lanes)
    p.add("add", node.function.bits * bool(node.first), y.lanes)
    bits = interpolate(p, node.function, y.lanes)
    p.clamp(bits * y.lanes, y.fmt.bits * y.lanes)


def convert(p: Parts, node: Convert, x: Tensor, y: Tensor) -> None:
    """Scaled, normalized, rounded."""
    form = cast(ConvertForm, node.form)
    p.handshake(5)
    lanes, source, target = x.lanes, node.source, node.target
    words = [arrange(np.ravel(v), x) for v in (form.multiplier, form.offset)]
    sizes = []
    for column in words:
        fmt = int_holding(*spans(np.ravel(column).tolist()))
        sizes.append((fmt.bits, fmt.signed))
    fixed = [alike(column) for column in words]
    if not all(fixed):
        p.counter(len(words[0]))
    for column, size, same in zip(words, sizes, fixed, strict=True):
        if not same:
            p.rom(column, size[0])
            p.register(distinct_bits(column, size[0]) * (column is words[1]))
    p.register(x.fmt.bits, lanes)
    significand, exponent = shape(x.fmt), 0
    if isinstance(source, Float):
        significand, exponent = (source.man + 2, True), max(source.exp, 11) + 2
        p.add("add", source.man + 2 + exponent, lanes)
        p.register(2 * (exponent + 1), lanes)
    for lane in range(lanes):
        if fixed[0]:
            p.constant_multiply(significand, int(words[0][0, lane]))
        else:
            p.multiply(significand, sizes[0])
    wide = significand[0] + sizes[0][0]
    p.register(wide, lanes)
    p.add("add", wide, lanes)
    total = max(2, wide + 1 - form.drop)
    p.register(total, lanes)
    p.add("add", total, lanes)  # the magnitude
    p.shifter(total, total - 1, lanes)
    p.add("count", total, lanes)
    top = max(exponent, bits_of(abs(form.exponent) + total + 1) + 1) + 1
    p.add("add", top, lanes)
    p.register(1 + total + top + bool(exponent), lanes)
    kept = (target.man if isinstance(target, Float) else target.bits) + 2
    p.add("add", 2 * top + kept, lanes)
    p.shifter(2 * kept, kept, lanes)
    p.add("compare", top + y.fmt.bits * 2, lanes)
    p.add("choose", 3 * y.fmt.bits, lanes)
    p.register(y.fmt.bits, lanes)


def float_sum(p: Parts, node: FloatAdd, a: Tensor, b: Tensor, y: Tensor) -> None:
    """Operands, adder, result."""
    p.handshake(ADDER_STAGES + 2, 2)
    p.register(3 * node.fmt.bits, y.lanes)
    one = p.apart()
    float_adder(one, node.fmt, None)
    p.merge(one, y.lanes)


def block_quantize(p: Parts, node: BlockQuantize, x: Tensor, y: Tensor) -> None:
    """Queues, exponents, elements."""
    element, bits = node.block.element, x.fmt.bits
    exponent = y.fmt.bits - element.bits
    words = x.words_per_row
    depth = min(words, -(-node.block.size // x.lanes)) + 4
    p.counter(words)
    p.queue(depth, bits * x.lanes + 1)
    p.queue(depth, exponent)
    p.add("logic", bits * x.lanes)
    p.add("add", bits * x.fmt.signed, x.lanes)
    p.register(bits + 1 + bits_of(min(words, -(-node.block.size // x.lanes))))
    p.add("count", bits)
    p.handshake(4)
    p.register(4 * exponent)
    man = element.man if isinstance(element, Float) else -node.block.unit
    wide = max(bits, man + 2)
    depth = element.emax - element.emin if isinstance(element, Float) else 0
    lanes = x.lanes
    p.register(3 + bits + 2 * wide + bits_of(depth + 1) + element.bits, lanes)
    p.add("add", bits * x.fmt.signed, lanes)
    p.shifter(wide, bits - 1, lanes)
    p.shifter(wide, depth, lanes)
    p.add("count", depth, lanes)
    p.add("add", element.bits + (0 if isinstance(element, Float) else element.bits), lanes)
    p.add("compare", element.bits, lanes)
    p.add("choose", element.bits, lanes)
    decoded(p, element, 0)
