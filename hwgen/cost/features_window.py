"""Parts of sliding windows."""

from __future__ import annotations

import math

import numpy as np

from hwgen.cost.parts import Parts, bits_of, distinct_bits, word_bits
from hwgen.ir import Tensor, Window


def window(p: Parts, node: Window, x: Tensor, y: Tensor) -> None:
    """Writer, counters, tables, readers."""
    (_, width, channels), rows = node.image, node.output_image[0]
    across = width // node.columns if node.wide else width * -(-channels // x.lanes)
    depth = node.rows * across
    address, held = bits_of(depth), bits_of(node.rows + 1)
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
    p.add("choose", 2 * address)
    p.around(depth)
    p.register(3 + 2 * held)  # valid, freed
    (_wide_reader if node.wide else _reader)(p, node, x, depth, across)


def _reader(p: Parts, node: Window, x: Tensor, depth: int, across: int) -> None:
    """Counters, offsets of the taps, addresses, memory."""
    taps, address, bits = node.taps, bits_of(depth), word_bits(x)
    per_block = -(-node.block // x.lanes)
    groups = -(-node.positions // node.taps)
    p.counter(per_block)
    p.counter(groups)
    p.counter(node.blocks)
    p.counter(node.output_image[1])
    p.add("add", address if per_block > 1 else 0)  # base + word
    p.register(address)
    p.add("logic", _insides(node))
    p.register(address, taps)
    offsets, crossing = _taps(node, depth, across)
    p.register(offsets)
    p.add("logic", offsets * max(1, groups / 8))
    p.around(depth, taps)
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
    delayed = bits_of(len(residues)) + inside + min(rows_inside, kh)
    p.register(3 * delayed)
    p.add("logic", (inside + words * column) * max(1, bits_of(groups) - 3) + 2 * rows_inside)
    at = [[start // node.columns + n for start in starts] for n in range(words)]
    held = {tuple(w if 0 <= w < across else 0 for w in row) for row in at}
    words = len(held)  # what reads the same word is one
    reads = kh * words
    moves = column if groups > 1 else 0
    p.register(address * kh + moves * words + address * reads)
    p.around(depth, kh + reads)
    p.memory(depth, word_bits(x), reads)
    pixel = node.image[2] * x.fmt.bits
    elements = node.pixels * kh * kw * pixel
    p.add("choose", elements * (len(residues) - 1))
    p.add("choose", elements * bool(inside or rows_inside))
