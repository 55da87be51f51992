"""What the unit of each node kind consists of, from the node's and its tensors' parameters: the
counterpart of hwgen.rtl in parts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hwgen.cost.features_attention import attention
from hwgen.cost.features_dot import (
    block_quantize,
    convert,
    curve,
    float_sum,
    linear,
    product,
)
from hwgen.cost.features_memory import banks
from hwgen.cost.features_rows import normalize, rotate, softmax
from hwgen.cost.features_scale import add, requantize, thresholds
from hwgen.cost.parts import Parts, bits_of, distinct_bits
from hwgen.cost.technology import Technology
from hwgen.ir import (
    Add,
    Attention,
    BlockQuantize,
    Concat,
    Convert,
    Curve,
    Embed,
    FloatAdd,
    Fork,
    Graph,
    Linear,
    Lookup,
    Multiply,
    MultiThreshold,
    Node,
    Normalize,
    Pool,
    Positions,
    Product,
    Queue,
    Reduce,
    Reorder,
    Requantize,
    Resize,
    Rotate,
    Select,
    Softmax,
    Tensor,
    Thresholds,
    Window,
)


def word_bits(x: Tensor) -> int:
    """Bits of a word."""
    return x.lanes * x.fmt.bits


def window(p: Parts, node: Window, x: Tensor, y: Tensor) -> None:
    """Writer, counters, tables, readers."""
    (_, width, channels), (rows, columns) = node.image, node.output_image
    across = width // node.columns if node.wide else width * -(-channels // x.lanes)
    depth = node.rows * across
    address, held, bits = bits_of(depth), bits_of(node.rows + 1), word_bits(x)
    wraps = depth & (depth - 1) != 0
    p.counter(depth)
    p.counter(across)
    p.register(held)
    p.add("add", 2 * held)
    # The gate: rows there, rows needed and freed by a table.
    p.register(held + 1)
    p.add("add", 2 * held)
    p.add("compare", held)
    table = node.row_schedule
    common = max(set(table), key=table.count)
    odd = sum(entry != common for entry in table)
    p.add("logic", 2 * held * min(odd, 1 << bits_of(rows)) / 2)
    p.counter(rows)
    p.counter(node.repeat)
    p.register(address - _zeros(node, x, depth, across))  # the base
    p.add("add", address)
    p.add("choose", 2 * address)
    if wraps:
        p.add("compare", address)
        p.add("add", address)
        p.add("choose", address)
    p.register(3 + 2 * held)  # valid, freed
    if node.wide:
        _wide_reader(p, node, x, depth, across)
        return
    per_block = -(-node.block // x.lanes)
    groups = -(-node.positions // node.taps)
    p.counter(per_block)
    p.counter(groups)
    p.counter(node.blocks)
    p.counter(columns)
    p.add("add", address if per_block > 1 else 0)  # base + word
    p.register(address)
    inside = _insides(node)
    p.add("logic", inside)
    taps = node.taps
    p.register(address, taps)
    offsets, crossing = _taps(node, depth, across)
    p.register(offsets)
    p.add("logic", offsets * max(1, groups / 8))
    p.add("add", address, taps if groups > 1 or taps > 1 else 1)
    if wraps:
        p.add("compare", address, taps)
        p.add("add", address, taps)
        p.add("choose", address, taps)
    p.register(3, crossing)
    p.add("logic", groups / 2, crossing)
    p.memory(depth, bits, taps)
    p.add("choose", bits * crossing)


def _zeros(node: Window, x: Tensor, depth: int, across: int) -> int:
    """Low bits that are 0 in every address where a window begins."""
    if node.wide:
        steps = [across]
    else:
        pixel, blocks = across // node.image[1], node.blocks
        columns, rows = node.output_image[1] > 1, node.output_image[0] > 1
        steps = [-(-node.block // x.lanes) * (blocks > 1), node.stride[1] * pixel * columns]
        steps += [node.stride[0] * across * rows, node.image[0] * across]
        steps.append(node.pads[0] * across + node.pads[1] * pixel)
    common = math.gcd(depth, *steps)
    return (common & -common).bit_length() - 1


def _taps(node: Window, depth: int, across: int) -> tuple[int, int]:
    """(bits of the offsets of all taps that differ, taps that may lie outside the image)."""
    pixel = across // node.image[1]
    outside = _outside(node)
    offsets, crossing = [], 0
    for lane in range(node.taps):
        places = [
            min(first + lane, node.positions - 1) for first in range(0, node.positions, node.taps)
        ]
        at = [divmod(place, node.kernel[1]) for place in places]
        offsets.append(
            [
                (ky * node.dilation[0] * across + kx * node.dilation[1] * pixel) % depth
                for ky, kx in at
            ]
        )
        crossing += any(outside[0][ky] or outside[1][kx] for ky, kx in at)
    return distinct_bits(np.array(offsets).T, bits_of(depth)), crossing


def _outside(node: Window) -> tuple[list[bool], list[bool]]:
    """Of each kernel row and column, whether it may lie outside the image."""
    found = []
    for axis in (0, 1):
        size, before = node.image[axis], node.pads[axis]
        last = (node.output_image[axis] - 1) * node.stride[axis]
        places = [k * node.dilation[axis] - before for k in range(node.kernel[axis])]
        found.append([at < 0 or last + at >= size for at in places])
    return found[0], found[1]


def _insides(node: Window) -> int:
    """Comparisons of a row or column with where a kernel position lies inside, in bits."""
    found = 0
    for axis in (0, 1):
        size, before = node.image[axis], node.pads[axis]
        last = node.output_image[axis] - 1
        for k in range(node.kernel[axis]):
            at = k * node.dilation[axis] - before
            found += (at < 0) + (last * node.stride[axis] + at >= size)
    return 2 * found


def _wide_reader(p: Parts, node: Window, x: Tensor, depth: int, across: int) -> None:
    kh, kw = node.kernel
    groups = node.output_image[1] // node.pixels
    starts = [g * node.pixels * node.stride[1] - node.pads[1] for g in range(groups)]
    residues = sorted({start % node.columns for start in starts})
    places = [
        q * node.stride[1] + k * node.dilation[1] for q in range(node.pixels) for k in range(kw)
    ]
    words = (residues[-1] + max(places)) // node.columns + 1
    address, column = bits_of(depth), bits_of(max(2, across))
    p.counter(groups)
    inside = 0
    for place in places:
        flags = [0 <= start + place < node.image[1] for start in starts]
        inside += not all(flags)
    rows_inside = _insides(node) // 2
    flags = bits_of(len(residues)) + inside + min(rows_inside, kh)
    p.register(3 * flags)
    p.add("logic", (inside + words * column) * max(1, bits_of(groups) - 3) + 2 * rows_inside)
    at = [[start // node.columns + n for start in starts] for n in range(words)]
    held = {tuple(w if 0 <= w < across else 0 for w in row) for row in at}
    words = len(held)  # what reads the same word is one
    reads = kh * words
    moves = column if groups > 1 else 0
    p.register(address * kh + moves * words + address * reads)
    p.add("add", address * (kh + reads))
    if depth & (depth - 1):
        p.add("compare", address * (kh + reads))
        p.add("add", address * (kh + reads))
        p.add("choose", address * (kh + reads))
    p.memory(depth, word_bits(x), reads)
    pixel = node.image[2] * x.fmt.bits
    elements = node.pixels * kh * kw * pixel
    p.add("choose", elements * (len(residues) - 1))
    p.add("choose", elements * bool(inside or rows_inside))


def pool(p: Parts, node: Pool, x: Tensor, y: Tensor) -> None:
    """A tree, and an accumulator that is the output."""
    words, bits = -(-node.taps // node.simd), y.fmt.bits
    lanes = node.pixels * node.block
    p.counter(words)
    p.register(word_bits(x) + 4 + lanes * bits)
    left = node.taps - (words - 1) * node.simd
    p.add("choose", x.fmt.bits * lanes * (node.simd - left))
    for _ in range(node.simd - 1 + (words > 1)):
        p.add("add" if node.kind == "sum" else "compare", bits, lanes)
        p.add("choose", bits * (node.kind != "sum"), lanes)
    p.add("choose", bits * (words > 1), lanes)
    p.add("logic", 3)


def reduce(p: Parts, node: Node, x: Tensor, y: Tensor) -> None:
    """A memory of sums."""
    words, rows = x.words_per_row, max(1, x.lanes // x.channels)
    bits = word_bits(y)
    p.counter(words)
    p.counter(x.words // words)
    p.memory(words, bits, 1, registered=False)
    p.register(bits + 1)
    p.add("add", bits * rows)
    p.add("choose", bits)
    p.add("logic", 3)


def queue(p: Parts, node: Queue, x: Tensor, y: Tensor) -> None:
    """Two registers, or a memory."""
    if node.depth > 2:
        p.queue(node.depth, word_bits(x))
        return
    p.register(2 * word_bits(x) + 2)
    p.add("choose", word_bits(x))
    p.add("logic", 4)


def fork(p: Parts, node: Fork, *tensors: Tensor) -> None:
    """A flag for each copy."""
    p.register(len(node.outputs))
    p.add("logic", 3 * len(node.outputs))


def resize(p: Parts, node: Resize, x: Tensor, y: Tensor) -> None:
    """A register that is filled, or shifted out, by parts."""
    if y.lanes > x.lanes:
        ratio = -(-y.lanes // x.lanes)
        p.counter(x.words if y.lanes > y.channels else x.words_per_row)
        p.register(word_bits(y) + bits_of(ratio) + 1)
        p.add("logic", ratio + 2 * bits_of(ratio) + 3)
        return
    ratio = -(-x.lanes // y.lanes)
    p.counter(x.words if x.lanes > x.channels else x.words_per_row)
    left = bits_of(ratio + 1)
    p.register(word_bits(x) + left)
    p.add("choose", word_bits(x) - word_bits(y))
    p.add("add", left)
    p.add("logic", left + 4)


def multiply(p: Parts, node: Multiply, a: Tensor, b: Tensor, y: Tensor) -> None:
    """A multiplier for each lane."""
    p.handshake(2, 2)
    operands = []
    for x, zero in zip((a, b), node.zeros, strict=True):
        operands.append((x.fmt.bits + bool(zero), x.fmt.signed or bool(zero)))
        p.register(operands[-1][0], y.lanes)
        p.add("add", operands[-1][0] * bool(zero), y.lanes)
    p.multiply(operands[0], operands[1], y.lanes)
    p.register(y.fmt.bits, y.lanes)


def reorder(p: Parts, node: Reorder, x: Tensor, y: Tensor) -> None:
    """Two banks, and the memory of the order."""
    size = x.words // node.blocks
    words = node.order[:: x.lanes] // x.lanes
    bits = max(1, bits_of(size))
    order = np.where(words >= 0, words, 1 << bits)[:, None]
    p.counter(len(order))
    banks(p, size, word_bits(x), 1)
    p.rom(order, bits + 1)
    p.register(1 + bits_of(2 * size) + bool((words < 0).any()) + 2)
    p.add("add", bits_of(2 * size))
    p.add("choose", word_bits(x) * bool((words < 0).any()))


def concat(p: Parts, node: Concat, *tensors: Tensor) -> None:
    """A choice of inputs."""
    y = tensors[-1]
    place = sum(size // y.lanes for size in node.turn)
    p.counter(place)
    others = len(node.turn) - 1
    p.add("choose", (word_bits(y) + 1) * others)
    p.add("compare", bits_of(place) * others)
    p.add("logic", len(node.turn))


def select(p: Parts, node: Select, x: Tensor, y: Tensor) -> None:
    """A counter that says which words pass."""
    p.counter(x.words_per_row)
    whole = x.lanes % x.channels == 0
    p.add("compare", 0 if whole else 2 * bits_of(x.words_per_row))
    p.add("logic", 2)


def embed(p: Parts, node: Embed | Positions, x: Tensor, y: Tensor) -> None:
    """A memory of rows."""
    words, last = y.words_per_row, len(node.table) - 1
    spare = words * y.lanes - y.channels
    table = np.pad(node.table, ((0, 0), (0, spare))).reshape(-1, y.lanes)
    row, address = bits_of(last + 1), bits_of(len(table))
    p.counter(words)
    p.register(1 + row + address + 2)
    p.add("add", address * (words > 1) + address * (words & (words - 1) != 0))
    p.add("compare", row)
    if isinstance(node, Positions):
        p.register(row)
        p.add("add", row)
    p.rom(table, y.fmt.bits)
    p.add("logic", 4)


def lookup(p: Parts, node: Lookup, x: Tensor, y: Tensor) -> None:
    """A memory for each lane."""
    p.handshake(2)
    p.register(x.fmt.bits, y.lanes)
    order = np.arange(1 << x.fmt.bits)
    codes = np.where(order > x.fmt.max, order - (1 << x.fmt.bits), order)
    p.rom(node.table[codes - node.first].reshape(-1, 1), y.fmt.bits, y.lanes)


def scaling(p: Parts, node: Requantize, x: Tensor, y: Tensor) -> None:
    """By arithmetic or by thresholds."""
    (thresholds if isinstance(node.form, Thresholds) else requantize)(p, node, x, y)


# A function of the parts to count into, the node and the tensors it reads and writes.
FEATURES: dict[type[Node], Callable[..., None]] = {
    Window: window,
    Linear: linear,
    Pool: pool,
    Reduce: reduce,
    Requantize: scaling,
    Add: add,
    Attention: attention,
    BlockQuantize: block_quantize,
    Convert: convert,
    FloatAdd: float_sum,
    Multiply: multiply,
    Reorder: reorder,
    Concat: concat,
    Embed: embed,
    Positions: embed,
    Product: product,
    Rotate: rotate,
    Select: select,
    Lookup: lookup,
    MultiThreshold: thresholds,
    Fork: fork,
    Normalize: normalize,
    Softmax: softmax,
    Curve: curve,
    Queue: queue,
    Resize: resize,
}


def parts_of(node: Node, graph: Graph, technology: Technology) -> Parts:
    """The parts of a node's unit."""
    parts = Parts(technology)
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    FEATURES[type(node)](parts, node, *tensors)
    return parts


def ports_of(graph: Graph, technology: Technology) -> Parts:
    """The parts of all AXI4-Stream ports."""
    p = Parts(technology)
    for port in graph.inputs:
        x = graph.tensors[port.tensor]
        p.counter(x.words)
        p.register(3 + 2 * bool(port.ends))
        p.add("choose", word_bits(x) / 2)
        p.add("logic", 10)
    for out in graph.outputs:
        y = graph.tensors[out.tensor]
        p.counter(y.words)
        if 1 < y.words_per_row < y.words and y.lanes <= y.channels:
            p.counter(y.words_per_row)
        p.add("logic", 3)
    return p


__all__ = ["FEATURES", "parts_of", "ports_of"]
