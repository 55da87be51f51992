"""Layers whose activations and weights lie in blocks that share an exponent."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Arithmetic, Block, Int, Lane, encode_block, from_lanes, to_lanes
from hwgen.formats.arithmetic import WIDEST
from hwgen.frontend.context import Context
from hwgen.frontend.node import Node
from hwgen.frontend.values import Blocked, Real
from hwgen.ir import BlockQuantize, Linear, Window


def operand(node: Node) -> Real:
    """The activations of a layer, its input 0, of which it may make blocks."""
    value = node.input(0)
    return value.real if isinstance(value, Blocked) else node.real(0)


def block_of(node: Node) -> Block | None:
    """The blocks that a layer makes of its activations."""
    value = node.input(0)
    return value.fmt if isinstance(value, Blocked) else None


def linear(
    context: Context,
    window: Window,
    weight: np.ndarray,
    arithmetic: Arithmetic,
    size: tuple[int, ...],
    name: str,
) -> str:
    """Append the Linear of blocks behind a Window of integers; returns its tensor.

    `weight` (groups, outputs, taps, inputs) holds the numbers of the weights. Blocks of both
    operands lie in the order in which the layer adds: (tap, channel). Groups come one at a time.
    """
    groups, outputs, taps, per_group = weight.shape
    block, weights = arithmetic.x, arithmetic.w
    assert isinstance(block, Block) and isinstance(weights, Block)
    window = _by_groups(context, window, groups)
    codes, least = _encoded(weights, weight.reshape(groups, outputs, -1))
    x = context.graph.tensors[window.output]
    assert isinstance(x.fmt, Int)
    exponent_bits = max(1, (x.fmt.bits - 1).bit_length())
    lane = Lane(block.element.bits + exponent_bits, block=block)
    blocks = context.graph.fresh(f"{window.output}_blocks")
    context.graph.tensors[blocks] = replace(x, fmt=lane)
    context.add(
        BlockQuantize(
            name=context.unique(f"{name}.blocks"),
            inputs=(window.output,),
            outputs=(blocks,),
            block=block,
        )
    )
    bits = _bits(block, weights, x.fmt, codes)
    result = context.tensor(f"{name}_acc", size, np.array(0), np.array(0), Int(bits))
    context.unit[result] = Fraction(2) ** (block.unit - block.emax + weights.unit + least)
    context.add(
        Linear(
            name=context.unique(name),
            inputs=(blocks,),
            outputs=(result,),
            weight=codes.reshape(weight.shape),
            arithmetic=arithmetic,
            pe=outputs,
            simd=taps * per_group,
        )
    )
    return result


def _by_groups(context: Context, window: Window, groups: int) -> Window:
    """The Window whose rows hold one group each."""
    graph = context.graph
    if groups == 1:
        return window
    split = replace(window, block=window.image[2] // groups)
    graph.nodes[graph.nodes.index(window)] = split
    x = graph.tensors[window.output]
    rows = x.rows * groups
    graph.tensors[window.output] = replace(x, shape=(rows, window.positions * split.block))
    return split


def _encoded(block: Block, numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes of a Lane in blocks along the last axis, and the exponent above which theirs count:
    the least of a block that is not all zeros."""
    codes, scales = encode_block(block, numbers)
    starts = np.arange(0, numbers.shape[-1], block.size)
    used = scales[np.logical_or.reduceat(numbers != 0, starts, axis=-1)]
    first = int(used.min()) if used.size else block.scale.bias
    return to_lanes(block, codes, np.maximum(scales - first, 0)), first - block.scale.bias


def _bits(block: Block, weights: Block, x: Int, codes: np.ndarray) -> int:
    """Bits of the sums: the worst case over all inputs, which are integers of `x`."""
    whole, exponents = from_lanes(weights, codes)
    sums = (np.abs(whole).astype(object) << exponents).sum(axis=-1)
    # In units of the activations an operand's magnitude is at most that of the greatest integer.
    most = block.emax - block.unit + x.bits - x.signed
    found = (int(sums.max()) << most).bit_length() + 1
    if found > WIDEST:
        raise ModelError(
            f"exact sums of its blocks need {found} bits, {WIDEST} are the most; its weights are "
            "of too different magnitudes"
        )
    return found
