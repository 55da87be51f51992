"""Convolutions, matrix products and pooling."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import int_holding
from hwgen.frontend.constants import scalar_list
from hwgen.frontend.context import Node, numbers, one_term, weights
from hwgen.frontend.scales import Whole, check_sums, whole
from hwgen.frontend.values import (
    Codes,
    Numbers,
    Real,
    Scaled,
    Stream,
    Term,
    Value,
    exact,
)
from hwgen.ir import Linear, Pool, Reduce, Tensor, Window


def conv(node: Node) -> Value:
    """Conv in one or two dimensions: Window and Linear."""
    x, w = node.real(0), weights(node.input(1))
    stream, scale, zero = one_term(x)
    rank = w.codes.ndim - 2
    if rank not in (1, 2) or stream.ids.ndim != rank + 2:
        raise ModelError(
            f"convolves {list(stream.ids.shape)} with weights {list(w.codes.shape)}; 1-D and "
            f"2-D are supported"
        )
    if rank == 1:  # a line is an image of width 1
        w = Scaled(w.codes[..., None], w.scale[..., None] if w.scale.ndim else w.scale)
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
    window = _window(node, tensor, image, (kernel[0], kernel[1]), rank, zero)
    rows, columns = window.output_image
    parts = whole(w)
    weight = parts.products.reshape(groups, outputs // groups, per_group, -1).transpose(0, 1, 3, 2)
    result = _linear(node, window, weight, (rows, columns, outputs))
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
    """Accumulators as real numbers: acc * scale + bias - scale * zero * (sum of weights)."""
    sums = exact(weight.sum(axis=(2, 3)).ravel())
    scale = np.broadcast_to(scale, sums.shape)
    offset = bias - scale * sums * zero
    return Real((Term(Stream(result, ids), scale.reshape(place)),), offset.reshape(place))


def _window(node: Node, tensor: str, image, kernel, rank: int, zero: Fraction | int) -> Window:
    """The Window of a convolution or a pool, from its attributes; appended to the graph."""
    strides = _pair(node.attribute("strides", [1] * rank), rank)
    dilations = _pair(node.attribute("dilations", [1] * rank), rank)
    given = node.attribute("pads", [0] * 2 * rank)
    before, after = _pair(given[:rank], rank, 0), _pair(given[rank:], rank, 0)
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
    return _place_window(node, window)


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


def _pair(values, rank: int, fill: int = 1) -> list[int]:
    if len(values) != rank:
        raise ModelError(f"has {list(values)} where {rank} numbers are needed")
    return [*values, fill][:2]


def _place_window(node: Node, window: Window) -> Window:
    """Append a Window and its output tensor."""
    context = node.context
    fmt = context.graph.tensors[window.input].fmt
    rows, columns = window.output_image
    context.graph.tensors[window.output] = Tensor(
        (rows * columns, window.positions * window.block), fmt
    )
    context.add(window)
    return window


def _linear(
    node: Node, window: Window, weight: np.ndarray, size: tuple[int, ...], part: str = ""
) -> str:
    """Append the Linear behind a Window, called as the node and `part`; returns its tensor."""
    context = node.context
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
    x = node.real(0)
    alpha, beta = (exact(np.float32(node.attribute(k, 1.0))) for k in ("alpha", "beta"))
    if node.attribute("transA", 0):
        raise ModelError("transA=1 is not supported; transpose the input when exporting")
    w = _matrix_weights(node)
    if not (node.attribute("transB", 0) if trans_b is None else trans_b):
        w = transposed(w)
    outputs = w.codes.shape[0]
    bias = (_bias(node, outputs) * beta).reshape(1, outputs)
    return _matrix(node, x, Scaled(w.codes, np.asarray(w.scale * alpha)), bias)


def _matrix_weights(node: Node) -> Scaled:
    w = weights(node.input(1))
    if w.codes.ndim != 2:
        raise ModelError(f"its weights {list(w.codes.shape)} must be a matrix")
    return w


def transposed(w: Scaled) -> Scaled:
    """A matrix of weights with its outputs first."""
    return Scaled(w.codes.T, w.scale.T)


def matmul(node: Node) -> Value:
    """MatMul with a constant matrix."""
    x, w = node.real(0), _matrix_weights(node)
    outputs = w.codes.shape[1]
    return _matrix(node, x, transposed(w), exact(np.zeros((1, outputs), int)))


def _matrix(node: Node, x: Real, w: Scaled, bias: Numbers) -> Real:
    """rows (1, ..., K) times weights (outputs, K), plus bias (1, outputs)."""
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
    size = (inputs,) if len(rows) == 1 else (len(rows), inputs)
    tensor = context.settle(stream, rows, size, node.name)
    window = Window(
        name=context.unique(f"{node.name}.window"),
        inputs=(tensor,),
        outputs=(context.graph.fresh(f"{tensor}_rows"),),
        image=(len(rows), 1, inputs),
        pad_code=int(zero),
        block=inputs,
    )
    _place_window(node, window)
    out_size = (outputs,) if len(rows) == 1 else (len(rows), outputs)
    shaped = parts.products.reshape(1, outputs, 1, inputs)
    if _splits(parts, context.graph.tensors[tensor].fmt.bits):
        result = _blocks(node, window, parts, out_size)
    else:
        result = _linear(node, window, shaped, out_size)
    out_ids = np.arange(len(rows) * outputs).reshape(*ids.shape[:-1], outputs)
    place = (*[1] * (ids.ndim - 1), outputs)
    return _affine(
        node, result, out_ids, scale * parts.unit, zero, shaped, bias.reshape(outputs), place
    )


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
    _place_window(node, columns)
    factors = parts.factors[:, :: parts.block].reshape(outputs, 1, blocks, 1)
    return _linear(node, columns, factors, size, ".blocks")


def _pool_image(node: Node, stream: Stream) -> tuple[str, tuple, int]:
    rank = stream.ids.ndim - 2
    if rank not in (1, 2):
        raise ModelError(f"pools {list(stream.ids.shape)}; 1-D and 2-D pooling are supported")
    tensor, image = node.context.channel_last(stream, node.name)
    return tensor, image, rank


def _pool(node: Node, window: Window, kind: str, rank: int) -> Stream:
    """Append the Pool behind a Window."""
    context = node.context
    low, high = context.reach[window.input]
    if kind == "sum":
        low, high = np.minimum(low, 0) * window.positions, np.maximum(high, 0) * window.positions
    fmt = context.graph.tensors[window.input].fmt if kind == "max" else None
    size = (*window.output_image, window.image[2])
    result = context.tensor(f"{node.name}_pooled", size, low, high, fmt)
    context.add(
        Pool(
            name=context.unique(node.name),
            inputs=(window.output,),
            outputs=(result,),
            kind=kind,
            taps=window.positions,
            block=window.block,
        )
    )
    ids = np.arange(int(np.prod(size))).reshape(size).transpose(2, 0, 1)[None]
    return Stream(result, ids[..., 0] if rank == 1 else ids)


def max_pool(node: Node) -> Value:
    """MaxPool; commutes with dequantization, so it works on codes."""
    value = node.input(0)
    if node.attribute("storage_order", 0):
        raise ModelError("storage_order=1 is not supported")
    if isinstance(value, Codes):
        return Codes(_max_pool(node, value.stream), value.fmt)
    real = node.real(0)
    if len(real.terms) != 1 or not all(v > 0 for v in np.ravel(real.terms[0].scale)):
        raise ModelError("pools a sum, or channels of negative scale; quantize its input")
    (term,) = real.terms
    for array in (term.scale, real.offset, real.low, real.high):
        if array is not None and np.ndim(array) and any(n != 1 for n in array.shape[2:]):
            raise ModelError(
                "pools values whose scale differs from pixel to pixel; quantize its input"
            )
    return Real((Term(_max_pool(node, term.stream), term.scale),), real.offset, real.low, real.high)


def _max_pool(node: Node, stream: Stream) -> Stream:
    tensor, image, rank = _pool_image(node, stream)
    kernel = _pair(node.attribute("kernel_shape", []), rank)
    least = int(node.context.reach[tensor][0].min())
    window = _window(node, tensor, image, kernel, rank, least)
    return _pool(node, window, "max", rank)


def average_pool(node: Node) -> Value:
    """AveragePool: sums, and a scale that holds the count."""
    stream, scale, zero = one_term(node.real(0))
    tensor, image, rank = _pool_image(node, stream)
    kernel = _pair(node.attribute("kernel_shape", []), rank)
    with_pads = bool(node.attribute("count_include_pad", 0))
    if with_pads and node.has("ceil_mode"):
        raise ModelError(
            "count_include_pad=1 with ceil_mode is not supported; export with one of them"
        )
    window = _window(node, tensor, image, kernel, rank, 0)
    inside = _counts(window, (0, 0, 0, 0))
    count = _counts(window, window.pads) if with_pads else inside
    pooled = _pool(node, window, "sum", rank)
    counts, insides = (a.reshape(1, 1, *pooled.ids.shape[2:]) for a in (count, inside))
    if (counts == counts.flat[0]).all() and (insides == insides.flat[0]).all():
        counts, insides = counts.ravel()[0], insides.ravel()[0]
    divided = scale / exact(counts)
    return Real((Term(pooled, divided),), exact(insides) * divided * -zero)


def _counts(window: Window, pads: tuple[int, ...]) -> np.ndarray:
    """Kernel positions of each window that lie in the image or in `pads` around it: (OH, OW)."""
    axes = []
    for axis in range(2):
        steps = np.arange(window.output_image[axis]) * window.stride[axis] - window.pads[axis]
        taps = np.arange(window.kernel[axis]) * window.dilation[axis]
        at = steps[:, None] + taps
        inside = (at >= -pads[axis]) & (at < window.image[axis] + pads[axis + 2])
        axes.append(inside.sum(axis=1))
    return axes[0][:, None] * axes[1][None, :]


def global_average_pool(node: Node) -> Value:
    """GlobalAveragePool: the mean over all but batch and channel."""
    x = node.real(0)
    return _mean(node, x, list(range(2, x.ids.ndim)), True)


def reduce_mean(node: Node) -> Value:
    """ReduceMean; `axes` as an attribute or an input."""
    x = node.real(0)
    axes = node.attribute("axes", None)
    if node.input(1) is not None:
        axes = scalar_list(node.input(1), "axes")
    keep = bool(node.attribute("keepdims", 1))
    keep_all = node.attribute("noop_with_empty_axes", 0)
    if not axes and keep_all:
        return x
    return _mean(node, x, list(axes or range(x.ids.ndim)), keep)


def _mean(node: Node, x: Real, axes: list[int], keep: bool) -> Real:
    """Sum over axes of the codes; the count goes into the scale."""
    stream, scale, zero = one_term(x)
    ids, context = stream.ids, node.context
    if any(not -ids.ndim <= a < ids.ndim for a in axes):
        raise ModelError(f"axes {axes} are outside a tensor of {ids.ndim} dimensions")
    axes = sorted({a % ids.ndim for a in axes})
    if ids.shape[0] == 1 and 0 in axes and ids.ndim > 1:
        raise ModelError("averages over the batch; export the model without")
    kept = [a for a in range(ids.ndim) if a not in axes]
    count = int(np.prod([ids.shape[a] for a in axes]))
    moved = ids.transpose(*axes, *kept).reshape(count, -1)
    # Kept elements may come in any order: take the stream's own.
    places = context.positions(stream)
    if places is not None:
        order = np.argsort(places.transpose(*axes, *kept).reshape(count, -1)[0])
        rows = np.argsort(places.transpose(*axes, *kept).reshape(count, -1)[:, 0])
    else:
        order, rows = np.arange(moved.shape[1]), np.arange(count)
    tensor = context.settle(stream, moved[rows][:, order], moved.shape, node.name)
    low, high = context.reached(tensor, np.arange(moved.shape[1]))
    result = context.tensor(f"{node.name}_sum", (moved.shape[1],), low * count, high * count)
    context.place[result] = np.argsort(order)
    seen = context.graph.tensors[tensor]
    if seen.channels != moved.shape[1]:
        raise ModelError(
            f"averages over axes {axes}, which do not hold whole rows of the stream; average over "
            "all positions or over the channels"
        )
    context.add(Reduce(name=context.unique(node.name), inputs=(tensor,), outputs=(result,)))
    size = [1 if a in axes else n for a, n in enumerate(ids.shape) if keep or a not in axes]
    out = Stream(result, np.arange(moved.shape[1]).reshape(size))
    return Real((Term(out, exact(scale / count)),), exact(-zero * scale))


def batch_normalization(node: Node) -> Value:
    """y = (x - mean) / sqrt(var + epsilon) * gamma + beta, the root in float64."""
    x = node.real(0)
    node.attribute("momentum", 0.9)
    node.attribute("spatial", 1)
    if node.attribute("training_mode", 0):
        raise ModelError("is in training mode; export the model in evaluation mode")
    epsilon = node.attribute("epsilon", 1e-5)
    gamma, beta, mean, variance = (node.constant(k, "statistics") for k in range(1, 5))
    channels = x.ids.shape[1] if x.ids.ndim > 1 else 1
    if any(a.shape != (channels,) for a in (gamma, beta, mean, variance)):
        raise ModelError(f"its statistics don't fit {channels} channels")
    if (variance + epsilon <= 0).any():
        raise ModelError("has a variance that is not positive")
    factor = exact(
        gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + np.float32(epsilon))
    )
    place = (1, channels, *[1] * (x.ids.ndim - 2))
    offset = exact(beta) - exact(mean) * factor
    return x.affine(factor.reshape(place), offset.reshape(place))


LOWER = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduce_mean,
    "BatchNormalization": batch_normalization,
}
