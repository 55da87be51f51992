"""One function per node kind, on whole batches of integers and codes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from hwgen.golden.attention import attention
from hwgen.golden.blocks import block_quantize
from hwgen.golden.cache import UNKEPT, Cache, graph_keys, once, tensor_keys
from hwgen.golden.convert import convert, float_add
from hwgen.golden.dot import products_sum
from hwgen.golden.normalize import normalize, softmax
from hwgen.golden.rounding import affine_round
from hwgen.golden.rows import embed, positions, product, rotate
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
    Window,
)

# Elements of the largest tensor evaluated at once: 32 MiB of int64.
CHUNK = 1 << 22


def _window(node: Window, x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, OH*OW*blocks*repeat, KH*KW*block)."""
    samples = len(x)
    image = x.reshape(samples, *node.image)
    top, left, bottom, right = node.pads
    padded = np.pad(
        image,
        ((0, 0), (top, bottom), (left, right), (0, 0)),
        constant_values=node.pad_code,
    )
    padded = np.pad(
        padded, ((0, 0), (0, 0), (0, 0), (0, node.blocks * node.block - image.shape[3]))
    )
    rows, columns = node.output_image
    taps = []
    for ky in range(node.kernel[0]):
        for kx in range(node.kernel[1]):
            y, x0 = ky * node.dilation[0], kx * node.dilation[1]
            taps.append(
                padded[
                    :,
                    y : y + (rows - 1) * node.stride[0] + 1 : node.stride[0],
                    x0 : x0 + (columns - 1) * node.stride[1] + 1 : node.stride[1],
                ]
            )
    stacked = np.stack(taps, axis=3).reshape(
        samples, rows * columns, len(taps), node.blocks, node.block
    )
    windows = stacked.transpose(0, 1, 3, 2, 4).reshape(samples, -1, len(taps) * node.block)
    return np.repeat(windows, node.repeat, axis=1)


def _linear(node: Linear, x: np.ndarray) -> np.ndarray:
    """(N, P*blocks*repeat, taps*parallel*Cg) -> (N, P, groups*Og)."""
    groups, outputs, taps, channels = node.weight.shape
    blocks = -(-groups // node.parallel)
    rows = x.reshape(len(x), -1, taps * node.parallel * channels)[:, :: node.repeat]
    split = rows.reshape(len(x), -1, blocks, taps, node.parallel, channels)
    by_group = split.transpose(2, 4, 0, 1, 3, 5).reshape(
        blocks * node.parallel, len(x), -1, taps * channels
    )[:groups]
    weight = node.weight.reshape(groups, outputs, taps * channels)
    if node.arithmetic is not None:
        biases = node.bias if node.bias is not None else [None] * groups
        sums = [
            products_sum(node, part.reshape(-1, taps * channels), codes, bias)
            for part, codes, bias in zip(by_group, weight, biases, strict=True)
        ]
        result = np.stack(sums).reshape(groups, len(x), -1, outputs)
        return result.transpose(1, 2, 0, 3).reshape(len(x), -1, groups * outputs)
    bound = int(np.abs(weight).sum(axis=2).max()) * max(1, int(np.abs(x).max(initial=0)))
    # Sums below 2**53 are exact in float64, whose matrix products are much faster.
    kind = np.float64 if bound < 1 << 53 else np.int64
    result = by_group.astype(kind).reshape(groups, -1, taps * channels) @ weight.astype(
        kind
    ).transpose(0, 2, 1)
    result = result.astype(np.int64).reshape(groups, len(x), -1, outputs)
    return result.transpose(1, 2, 0, 3).reshape(len(x), -1, groups * outputs)


def _pool(node: Pool, x: np.ndarray) -> np.ndarray:
    """(N, P*blocks, taps*block) -> (N, P*blocks, block)."""
    windows = x.reshape(len(x), -1, node.taps, node.block)
    if node.fmt is not None:
        sign = node.fmt.sign  # in the order of the numbers, -0 below 0
        keys = np.where(windows & sign, sign - 1 - windows, windows).max(axis=2)
        return np.where(keys < 0, sign - 1 - keys, keys)
    return windows.max(axis=2) if node.kind == "max" else windows.sum(axis=2)


def _requantize(node: Requantize, x: np.ndarray) -> np.ndarray:
    """Elementwise on (N, ..., C)."""
    if node.bits is not None:
        return _approximate(node, x)
    rounded = affine_round([(x, node.scale)], node.offset, node.rounding)
    return np.clip(rounded + node.zero_point, node.low, node.high)


def _approximate(node: Requantize, x: np.ndarray) -> np.ndarray:
    """floor((x*m + b) / 2**s) with m of `bits` bits: the largest s with every |m| < 2**bits."""
    scales, offsets = ([Fraction(v) for v in np.ravel(a)] for a in (node.scale, node.offset))

    def multipliers(s: int) -> list[int]:
        return [round(v * Fraction(2) ** s) for v in scales]

    shift = -64
    while any(scales) and max(map(abs, multipliers(shift + 1))) < 1 << node.bits:
        shift += 1
    shift = shift if any(scales) else 0
    half = Fraction(1, 2)
    offset = np.array([round((v + half) * Fraction(2) ** shift) for v in offsets], dtype=object)
    multiplier = np.array(multipliers(shift), dtype=object).reshape(np.shape(node.scale))
    total = x.astype(object) * multiplier + offset.reshape(np.shape(node.scale))
    floor = total // (1 << shift) if shift >= 0 else total * (1 << -shift)
    return np.clip(floor + node.zero_point, node.low, node.high).astype(np.int64)


def _add(node: Add, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise, of rows in one order, whatever the axes they are counted along."""
    b = b.reshape(a.shape)
    terms = [(a, np.array(node.scale[0], dtype=object)), (b, np.array(node.scale[1], dtype=object))]
    rounded = affine_round(terms, np.array(node.offset, dtype=object))
    return np.clip(rounded + node.zero_point, node.low, node.high)


def _reorder(node: Reorder, x: np.ndarray) -> np.ndarray:
    """(N, blocks * elements) -> (N, blocks, len(order))."""
    return np.where(node.order < 0, node.fill, x.reshape(len(x), node.blocks, -1)[..., node.order])


def _concat(node: Concat, *inputs: np.ndarray) -> np.ndarray:
    """(N, turns * turn[j]) each -> (N, turns * sum of turn)."""
    turns = [x.reshape(len(x), -1, size) for x, size in zip(inputs, node.turn, strict=True)]
    return np.concatenate(turns, axis=2)


def _lookup(node: Lookup, x: np.ndarray) -> np.ndarray:
    """Elementwise."""
    return node.table[x - node.first]


def _curve(node: Curve, x: np.ndarray) -> np.ndarray:
    """Elementwise."""
    return np.clip(node.function(x - node.first), node.low, node.high)


def _multi_threshold(node: MultiThreshold, x: np.ndarray) -> np.ndarray:
    """Elementwise on (N, ..., C)."""
    compared = np.where(node.form.falls == 1, ~x, x)
    return node.low + sum((compared >= values).astype(np.int64) for values in node.form.values)


# A function of the node and its inputs, each (samples, *shape); returns one output (a Fork: the
# same for all).
EVAL: dict[type[Node], Callable[..., np.ndarray]] = {
    Window: _window,
    Linear: _linear,
    Pool: _pool,
    Reduce: lambda _node, x: x.reshape(len(x), -1, x.shape[-1]).sum(axis=1),
    Requantize: _requantize,
    Add: _add,
    BlockQuantize: block_quantize,
    Convert: convert,
    FloatAdd: float_add,
    Attention: attention,
    Multiply: lambda node, a, b: (a - node.zeros[0]) * (b - node.zeros[1]),
    Reorder: _reorder,
    Concat: _concat,
    Embed: embed,
    Positions: positions,
    Product: product,
    Rotate: rotate,
    Select: lambda node, x: x[..., node.low : node.high],
    Lookup: _lookup,
    Curve: _curve,
    Normalize: normalize,
    Softmax: softmax,
    MultiThreshold: _multi_threshold,
    Fork: lambda _node, x: x,
    Queue: lambda _node, x: x,
    Resize: lambda _node, x: x,
}


def run(
    graph: Graph,
    codes: dict[str, np.ndarray],
    keep: dict[str, np.ndarray] | None = None,
    cache: Cache | None = None,
) -> dict[str, np.ndarray]:
    """Codes of all outputs, by port name, from those of all inputs: int64 (samples, elements) in
    stream order.

    Of a stream of sequences the samples are rows, and `codes` hold (samples, 1) ends by the name
    of their tensor. `keep`, if given, receives every tensor by name, shaped (samples, *shape).
    `cache`: results of nodes that other graphs on the same inputs can use; without `keep`.
    """
    samples = len(next(iter(codes.values())))
    graph = graph if cache is None else once(graph)
    size = max(1, CHUNK // max(tensor.elements for tensor in graph.tensors.values()))
    if any(isinstance(node, Positions) or getattr(node, "stateful", False) for node in graph.nodes):
        size = samples  # a sequence is of one piece
    pieces = (
        _inputs({name: a[k : k + size] for name, a in codes.items()}, graph)
        for k in range(0, samples, size)
    )
    if cache is None:
        parts = [_run(values, graph) for values in pieces]
    else:
        contents = graph_keys(graph)
        parts = [
            _cached(values, graph, tensor_keys(graph, contents, values), cache) for values in pieces
        ]
    if keep is not None:
        keep.update({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return {
        port.name: np.concatenate([part[port.tensor] for part in parts]).reshape(samples, -1)
        for port in graph.outputs
    }


def _inputs(codes: dict[str, np.ndarray], graph: Graph) -> dict[str, np.ndarray]:
    """What the graph is given, by tensor."""
    values: dict[str, np.ndarray] = {}
    for port in graph.inputs:
        values[port.tensor] = _shaped(codes[port.name], graph.tensors[port.tensor])
        if port.ends:
            values[port.ends] = _shaped(codes[port.ends], graph.tensors[port.ends])
    return values


def _run(values: dict[str, np.ndarray], graph: Graph) -> dict[str, np.ndarray]:
    for node in graph.nodes:
        result = EVAL[type(node)](node, *(values[tensor] for tensor in node.inputs))
        for tensor in node.outputs:
            values[tensor] = _shaped(result, graph.tensors[tensor])
    return values


def _cached(
    values: dict[str, np.ndarray], graph: Graph, keys: dict[str, bytes], cache: Cache
) -> dict[str, np.ndarray]:
    """The outputs; of the nodes before them those are computed that nothing is kept of."""
    wanted = set(graph.port_tensors())
    given, missing = set(values), []
    for node in reversed(graph.nodes):
        asked = wanted.intersection(node.outputs)
        if asked and not all(keys[tensor] in cache for tensor in asked):
            missing.append(node)
            wanted.update(node.inputs)
    for tensor in wanted - given:
        if keys[tensor] in cache:
            values[tensor] = _shaped(cache.get(keys[tensor]), graph.tensors[tensor])
    for node in reversed(missing):
        result = EVAL[type(node)](node, *(values[tensor] for tensor in node.inputs))
        for tensor in node.outputs:
            values[tensor] = _shaped(result, graph.tensors[tensor])
        if not isinstance(node, UNKEPT):
            cache.put(keys[node.output], values[node.output])
    return {name: values[name] for name in graph.port_tensors()}


def _shaped(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """(samples, *shape); what a last block has beyond the tensor's channels is dropped."""
    samples = len(values)
    if values.size != samples * tensor.elements:
        values = values.reshape(samples, tensor.rows, -1)[:, :, : tensor.channels]
    kind = np.int64 if tensor.fmt.bits < 64 else object
    return values.reshape(samples, *tensor.shape).astype(kind)
