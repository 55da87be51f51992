"""Sliding windows from the attributes of convolutions and pools."""

from __future__ import annotations

from fractions import Fraction

from hwgen.errors import ModelError
from hwgen.frontend.node import Node
from hwgen.ir import Tensor, Window


def sliding(node: Node, tensor: str, image, kernel, rank: int, zero: Fraction | int) -> Window:
    """The Window of a convolution or a pool, from its attributes; appended to the graph."""
    strides = pair(node.attribute("strides", [1] * rank), rank)
    dilations = pair(node.attribute("dilations", [1] * rank), rank)
    given = node.attribute("pads", [0] * 2 * rank)
    before, after = pair(given[:rank], rank, 0), pair(given[rank:], rank, 0)
    auto = node.attribute("auto_pad", "NOTSET")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [0, 0], [0, 0]
        for axis in range(rank):
            steps = -(-image[axis] // strides[axis])
            missing = max(0, (steps - 1) * strides[axis] + reach[axis] - image[axis])
            less, more = missing // 2, missing - missing // 2
            before[axis], after[axis] = (less, more) if auto == "SAME_UPPER" else (more, less)
    elif auto == "VALID":
        before, after = [0, 0], [0, 0]
    elif auto != "NOTSET":
        raise ModelError(f"auto_pad={auto!r} is not known")
    if min(*before, *after) < 0 or min(*strides, *dilations, *kernel) < 1:
        raise ModelError("has negative pads, or a stride, dilation or kernel below 1")
    if node.attribute("ceil_mode", 0):
        after = _ceil_pads(image, reach, strides, before, after)
    spaces = [image[k] + before[k] + after[k] - reach[k] for k in (0, 1)]
    if min(spaces) < 0:
        raise ModelError(f"its window {reach[:rank]} is larger than the padded input")
    context = node.context
    if any((*before, *after)) and Fraction(zero).denominator != 1:
        raise ModelError("pads a value whose zero is no code; quantize its input")
    window = Window(
        name=context.unique(f"{node.name}.window"),
        inputs=(tensor,),
        outputs=(context.graph.fresh(f"{tensor}_windows"),),
        image=tuple(image),
        kernel=tuple(kernel),
        stride=(strides[0], strides[1]),
        dilation=(dilations[0], dilations[1]),
        pads=(before[0], before[1], after[0], after[1]),
        pad_code=int(zero),
        block=image[2],
    )
    return placed(node, window)


def _ceil_pads(image, reach, strides, before, after) -> list[int]:
    """Padding at the ends that rounds the output up; windows that start in it are left out."""
    result = []
    for axis in range(2):
        space = image[axis] + before[axis] + after[axis] - reach[axis]
        steps = -(-space // strides[axis])
        if steps * strides[axis] >= image[axis] + before[axis]:
            steps -= 1
        result.append(after[axis] + max(0, steps * strides[axis] - space))
    return result


def pair(values, rank: int, fill: int = 1) -> list[int]:
    """One number for each of two axes, `fill` for the one that a line does not have."""
    if len(values) != rank:
        raise ModelError(f"has {list(values)} where {rank} numbers are needed")
    return [*values, fill][:2]


def placed(node: Node, window: Window) -> Window:
    """Append a Window and its output tensor."""
    context = node.context
    fmt = context.graph.tensors[window.input].fmt
    rows, columns = window.output_image
    context.graph.tensors[window.output] = Tensor(
        (rows * columns, window.positions * window.block), fmt
    )
    context.add(window)
    return window
