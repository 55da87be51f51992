"""What the unit of each node kind consists of, from the node's and its tensors' parameters: the
counterpart of hwgen.rtl in parts."""

from __future__ import annotations

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
from hwgen.cost.features_window import window
from hwgen.cost.parts import Parts, bits_of, word_bits
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
    p.register(4 + bool((words < 0).any()))
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
