"""Pooling and means."""

from __future__ import annotations

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float
from hwgen.frontend.constants import scalar_list
from hwgen.frontend.floats import linear, ones
from hwgen.frontend.islands import settled
from hwgen.frontend.node import Node
from hwgen.frontend.operands import one_term
from hwgen.frontend.values import Codes, Real, Stream, Term, Value, exact
from hwgen.frontend.windows import pair, placed, sliding
from hwgen.ir import Pool, Reduce, Window


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
    size = (*window.output_image, window.image[2])
    ids = np.arange(int(np.prod(size))).reshape(size).transpose(2, 0, 1)[None]
    ids = ids[..., 0] if rank == 1 else ids
    held = context.graph.tensors[window.input].fmt
    if kind == "sum" and isinstance(held, Float):
        weight = ones(held, window.image[2], window.positions)
        return Stream(linear(node, window, weight, held, size, node.name), ids)
    if kind == "sum":
        context.check_rounded(window.input)
        low, high = np.minimum(low, 0) * window.positions, np.maximum(high, 0) * window.positions
    fmt = held if kind == "max" else None
    result = context.tensor(f"{node.name}_pooled", size, low, high, fmt)
    if window.input in context.unit:
        context.unit[result] = context.unit[window.input]
    context.add(
        Pool(
            name=context.unique(node.name),
            inputs=(window.output,),
            outputs=(result,),
            kind=kind,
            taps=window.positions,
            block=window.block,
            fmt=held if isinstance(held, Float) else None,
        )
    )
    return Stream(result, ids)


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
    kernel = pair(node.attribute("kernel_shape", []), rank)
    fmt = node.context.graph.tensors[tensor].fmt
    if isinstance(fmt, Float):
        least = fmt.sign | fmt.largest_code
    elif tensor in node.context.unit:
        least = fmt.min
    else:
        least = int(node.context.reach[tensor][0].min())
    window = sliding(node, tensor, image, kernel, rank, least)
    return _pool(node, window, "max", rank)


def average_pool(node: Node) -> Value:
    """AveragePool: sums, and a scale that holds the count."""
    stream, scale, zero = one_term(node.real(0))
    tensor, image, rank = _pool_image(node, stream)
    kernel = pair(node.attribute("kernel_shape", []), rank)
    with_pads = bool(node.attribute("count_include_pad", 0))
    if with_pads and node.has("ceil_mode"):
        raise ModelError(
            "count_include_pad=1 with ceil_mode is not supported; export with one of them"
        )
    window = sliding(node, tensor, image, kernel, rank, 0)
    inside = _counts(window, (0, 0, 0, 0))
    count = _counts(window, window.pads) if with_pads else inside
    pooled = _pool(node, window, "sum", rank)
    counts, insides = (a.reshape(1, 1, *pooled.ids.shape[2:]) for a in (count, inside))
    if (counts == counts.flat[0]).all() and (insides == insides.flat[0]).all():
        counts, insides = counts.ravel()[0], insides.ravel()[0]
    divided = scale * node.context.unit.get(pooled.tensor, 1) / exact(counts)
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
    x = x if len(x.terms) == 1 and not x.clamped else settled(node, 0)
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
    seen = context.graph.tensors[tensor]
    if seen.channels != moved.shape[1]:
        raise ModelError(
            f"averages over axes {axes}, which do not hold whole rows of the stream; average over "
            "all positions or over the channels"
        )
    result = _row_sum(node, tensor, count)
    context.place[result] = np.argsort(order)
    scale = scale * context.unit.get(result, 1)
    size = [1 if a in axes else n for a, n in enumerate(ids.shape) if keep or a not in axes]
    out = Stream(result, np.arange(moved.shape[1]).reshape(size))
    return Real((Term(out, exact(scale / count)),), exact(-zero * scale))


def _row_sum(node: Node, tensor: str, count: int) -> str:
    """The sum of all rows of a tensor; of floats by a layer whose weights are 1."""
    context, seen = node.context, node.context.graph.tensors[tensor]
    channels = seen.channels
    if isinstance(seen.fmt, Float):
        window = Window(
            name=context.unique(f"{node.name}.window"),
            inputs=(tensor,),
            outputs=(context.graph.fresh(f"{tensor}_windows"),),
            image=(count, 1, channels),
            kernel=(count, 1),
            block=channels,
        )
        weight = ones(seen.fmt, channels, count)
        return linear(node, placed(node, window), weight, seen.fmt, (channels,), node.name)
    context.check_rounded(tensor)
    low, high = context.reached(tensor, np.arange(channels))
    result = context.tensor(f"{node.name}_sum", (channels,), low * count, high * count)
    context.add(Reduce(name=context.unique(node.name), inputs=(tensor,), outputs=(result,)))
    return result


LOWER = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduce_mean,
}
