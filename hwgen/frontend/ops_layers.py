"""Convolutions and matrix products."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Block, Float, int_holding
from hwgen.frontend.blocks import block_of, operand
from hwgen.frontend.floats import linear
from hwgen.frontend.node import Node
from hwgen.frontend.operands import numbers, one_term, weights
from hwgen.frontend.ops_arithmetic import fitting
from hwgen.frontend.scales import Whole, check_sums, whole
from hwgen.frontend.values import (
    ZERO,
    Numbers,
    Real,
    Scaled,
    Stream,
    Term,
    Value,
    exact,
    rearrange,
)
from hwgen.frontend.windows import placed, sliding
from hwgen.ir import Linear, Window


def conv(node: Node) -> Value:
    """Conv in one or two dimensions: Window and Linear."""
    x, w = operand(node), weights(node.input(1))
    stream, scale, zero = one_term(x)
    rank = w.codes.ndim - 2
    if rank not in (1, 2) or stream.ids.ndim != rank + 2:
        raise ModelError(
            f"convolves {list(stream.ids.shape)} with weights {list(w.codes.shape)}; 1-D and "
            f"2-D are supported"
        )
    if rank == 1:  # a line is an image of width 1
        factors = w.scale[..., None] if w.scale.ndim else w.scale
        w = replace(w, codes=w.codes[..., None], scale=factors)
    outputs, per_group, *kernel = w.codes.shape
    groups = node.attribute("group", 1)
    declared = node.attribute("kernel_shape", kernel[:rank])
    channels = stream.ids.shape[1]
    fits = groups > 0 and per_group * groups == channels and outputs % groups == 0
    if not fits or list(declared) != kernel[:rank]:
        raise ModelError(
            f"the weights {list(w.codes.shape)[: rank + 2]} don't fit an input of {channels} "
            f"channels in {groups} groups"
        )
    tensor, image = node.context.channel_last(stream, node.name)
    window = sliding(node, tensor, image, (kernel[0], kernel[1]), rank, zero)
    rows, columns = window.output_image
    parts = whole(w)
    weight = parts.products.reshape(groups, outputs // groups, per_group, -1).transpose(0, 1, 3, 2)
    result = _linear(node, window, weight, (rows, columns, outputs), fmt=w.fmt)
    places = np.arange(rows * columns * outputs).reshape(rows, columns, outputs)
    ids = places.transpose(2, 0, 1)[None]
    ids = ids[..., 0] if rank == 1 else ids
    place = (1, outputs, *[1] * rank)
    return _affine(node, result, ids, scale * parts.unit, zero, weight, _bias(node, outputs), place)


def _bias(node: Node, outputs: int) -> Numbers:
    """The third input as exact numbers (outputs,)."""
    if node.input(2) is None:
        return exact(np.zeros(outputs, dtype=np.int64))
    bias = numbers(node.input(2))
    try:
        return np.broadcast_to(bias, (1, outputs)).reshape(outputs)
    except ValueError as error:
        raise ModelError(f"the bias {list(bias.shape)} does not fit {outputs} outputs") from error


def _affine(node, result, ids, scale, zero, weight, bias, place) -> Real:
    """Accumulators as real numbers: acc * scale + bias - scale * zero * (sum of weights); floats
    have no zero point."""
    sums = exact(weight.sum(axis=(2, 3)).ravel())
    scale = np.broadcast_to(scale * node.context.unit.get(result, 1), sums.shape)
    offset = bias - scale * sums * zero
    return Real((Term(Stream(result, ids), scale.reshape(place)),), offset.reshape(place))


def per_output(scale: Numbers, axis: int, outputs: int) -> Numbers:
    """Scales of the weights as one number or (outputs,)."""
    if scale.ndim == 0:
        return scale
    if scale.shape[axis] != scale.size or scale.size != outputs:
        raise ModelError(
            "its weights have a scale per input channel; quantize them per output channel"
        )
    return scale.ravel()


def _linear(
    node: Node,
    window: Window,
    weight: np.ndarray,
    size: tuple[int, ...],
    part: str = "",
    fmt: Float | Block | None = None,
) -> str:
    """Append the Linear behind a Window, called as the node and `part`; returns its tensor. `fmt`:
    of weights that are codes of floats, or numbers that blocks are made of."""
    context = node.context
    x = block_of(node) or context.graph.tensors[window.input].fmt
    if fmt is not None or isinstance(x, Float | Block):
        return linear(node, window, weight, fmt, size, node.name + part)
    context.check_rounded(window.input)
    low, high = context.reach[window.input]
    channels = window.image[2]
    low, high = (
        np.resize(v, channels) for v in (low, high)
    )  # a view repeats its tensor's channels
    low, high = np.minimum(low, window.pad_code), np.maximum(high, window.pad_code)
    groups, outputs, taps, per_group = weight.shape
    low, high = (v.reshape(groups, 1, 1, per_group) for v in (low, high))
    check_sums((weight * np.maximum(-low, high).astype(np.float64)).reshape(groups, outputs, -1))
    ends = weight * low, weight * high
    least = np.minimum(*ends).sum(axis=(2, 3)).reshape(-1, size[-1]).min(axis=0)
    most = np.maximum(*ends).sum(axis=(2, 3)).reshape(-1, size[-1]).max(axis=0)
    result = context.tensor(f"{node.name}{part}_acc", size, least, most)
    context.add(
        Linear(
            name=context.unique(f"{node.name}{part}"),
            inputs=(window.output,),
            outputs=(result,),
            weight=weight,
            parallel=groups,
            pe=outputs,
            simd=taps * per_group,
        )
    )
    return result


def gemm(node: Node, trans_b: bool | None = None) -> Value:
    """Gemm with constant weights; `trans_b` in place of its attribute."""
    x = operand(node)
    alpha, beta = (exact(np.float32(node.attribute(k, 1.0))) for k in ("alpha", "beta"))
    if node.attribute("transA", 0):
        x = node.having(rearrange(x, np.transpose)).real(0)
    w = _matrix_weights(node)
    if not (node.attribute("transB", 0) if trans_b is None else trans_b):
        w = transposed(w)
    y = _matrix(node, x, replace(w, scale=np.asarray(w.scale * alpha)))
    if node.input(2) is None:
        return y
    return y.affine(exact(1), fitting(node.input(2), y, "bias") * beta)


def _matrix_weights(node: Node) -> Scaled:
    w = weights(node.input(1))
    if w.codes.ndim != 2:
        raise ModelError(f"its weights {list(w.codes.shape)} must be a matrix")
    return w


def transposed(w: Scaled) -> Scaled:
    """A matrix of weights with its outputs first."""
    return replace(w, codes=w.codes.T, scale=w.scale.T)


def matmul(node: Node) -> Value:
    """MatMul with a constant matrix, a vector, or a matrix for each of several."""
    x, w = operand(node), weights(node.input(1))
    if w.codes.ndim == 1:
        y = _matrix(node, x, replace(w, codes=w.codes[None]))
        return rearrange(y, lambda a: a[..., 0])
    if w.codes.ndim > 2:
        return _stacked(node, x, w)
    return _matrix(node, x, transposed(w))


def _stacked(node: Node, x: Real, w: Scaled) -> Value:
    """Rows (..., M, K) times weights (..., K, outputs): one grouped product of M rows that hold
    the row of each group."""
    stream, scale, zero = one_term(x)
    ids = np.atleast_2d(stream.ids)
    inputs, outputs = w.codes.shape[-2:]
    if ids.shape[-1] != inputs:
        raise ModelError(f"multiplies {list(stream.ids.shape)} by weights {list(w.codes.shape)}")
    stack, count = np.broadcast_shapes(ids.shape[:-2], w.codes.shape[:-2]), ids.shape[-2]
    factor = np.broadcast_to(w.scale, (*stack, inputs, outputs))
    if not (factor == factor[..., :1, :]).all():
        raise ModelError(
            "its weights have a scale per input channel; quantize them per output channel"
        )
    rows = np.broadcast_to(ids, (*stack, count, inputs)).reshape(-1, count, inputs)
    window = _row_window(node, stream, rows.transpose(1, 0, 2).reshape(count, -1), zero)
    weight = np.broadcast_to(w.codes, (*stack, inputs, outputs)).reshape(-1, inputs, outputs)
    weight = weight.transpose(0, 2, 1)[:, :, None]
    size = (count, weight.shape[0] * outputs)
    result = _linear(node, window, weight, size if count > 1 else size[1:], fmt=w.fmt)
    places = np.arange(size[0] * size[1]).reshape(count, -1, outputs).transpose(1, 0, 2)
    places = places.reshape(*stack, count, outputs)
    scales = scale * factor[..., 0, :].ravel()
    y = _affine(node, result, places, scales, zero, weight, ZERO, (*stack, 1, outputs))
    return rearrange(y, lambda a: a[..., 0, :]) if stream.ids.ndim == 1 else y


def _matrix(node: Node, x: Real, w: Scaled) -> Real:
    """Rows (..., K) times weights (outputs, K)."""
    stream, scale, zero = one_term(x)
    context = node.context
    outputs, inputs = w.codes.shape
    ids = stream.ids
    if ids.ndim < 1 or ids.shape[-1] != inputs:
        raise ModelError(f"multiplies {list(ids.shape)} by weights for {inputs} inputs")
    rows = ids.reshape(-1, inputs)
    places = context.positions(stream)
    parts = whole(w)
    if places is not None and ids.size == places.max(initial=-1) + 1:
        # The order of the inputs is free where every row has the same: weights follow it.
        local = places.reshape(-1, inputs) - np.arange(len(rows))[:, None] * inputs
        if (local == local[:1]).all() and set(local[0]) == set(range(inputs)):
            parts = parts.picked(np.argsort(local[0]))
            rows = np.argsort(places.ravel())
            rows = ids.ravel()[rows].reshape(-1, inputs)
    window = _row_window(node, stream, rows, zero)
    out_size = (outputs,) if len(rows) == 1 else (len(rows), outputs)
    shaped = parts.products.reshape(1, outputs, 1, inputs)
    if w.fmt is None and _splits(parts, context.graph.tensors[window.input].fmt.bits):
        result = _blocks(node, window, parts, out_size)
    else:
        result = _linear(node, window, shaped, out_size, fmt=w.fmt)
    out_ids = np.arange(len(rows) * outputs).reshape(*ids.shape[:-1], outputs)
    place = (*[1] * (ids.ndim - 1), outputs)
    return _affine(node, result, out_ids, scale * parts.unit, zero, shaped, ZERO, place)


def _row_window(node: Node, stream: Stream, rows: np.ndarray, zero: Fraction) -> Window:
    """The Window that repeats each of the rows (ids)."""
    context = node.context
    count, width = rows.shape
    size = (width,) if count == 1 else (count, width)
    tensor = context.settle(stream, rows, size, node.name)
    window = Window(
        name=context.unique(f"{node.name}.window"),
        inputs=(tensor,),
        outputs=(context.graph.fresh(f"{tensor}_rows"),),
        image=(count, 1, width),
        pad_code=int(zero),
        block=width,
    )
    return placed(node, window)


def _splits(parts: Whole, bits: int) -> bool:
    """Whether the sum of a block times its factor is less work, in bits times bits, than inputs of
    so many bits times the factor."""
    low, high = min(0, int(parts.codes.min())), max(0, int(parts.codes.max()))
    sum_bits = bits + int_holding(low, high).bits + (parts.block - 1).bit_length()
    return parts.block < parts.codes.shape[1] and sum_bits < bits * parts.block


def _blocks(node: Node, window: Window, parts: Whole, size: tuple[int, ...]) -> str:
    """Append a Linear whose groups are the blocks, and a depthwise one that sums what the blocks
    give, each with its factor: y[o] = sum over b of factor[o, b] * (sum over k in b of x[k] *
    code[o, k])."""
    outputs, inputs = parts.codes.shape
    blocks, rows = inputs // parts.block, window.image[0]
    codes = parts.codes.reshape(outputs, blocks, 1, -1).transpose(1, 0, 2, 3)
    sums = _linear(node, window, codes, (rows * blocks, outputs))
    context = node.context
    columns = Window(
        name=context.unique(f"{node.name}.blocks.window"),
        inputs=(sums,),
        outputs=(context.graph.fresh(f"{sums}_blocks"),),
        image=(rows * blocks, 1, outputs),
        kernel=(blocks, 1),
        stride=(blocks, 1),
        block=outputs,
    )
    placed(node, columns)
    factors = parts.factors[:, :: parts.block].reshape(outputs, 1, blocks, 1)
    return _linear(node, columns, factors, size, ".blocks")


LOWER = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
}
