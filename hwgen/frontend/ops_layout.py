"""Ops that only move elements or ask for shapes, and those the host does at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from onnx import helper

from hwgen.errors import ModelError
from hwgen.frontend import embed
from hwgen.frontend.constants import check_elements, scalar_list
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.operands import one_term
from hwgen.frontend.ops_quantize import join
from hwgen.frontend.values import (
    Codes,
    Constant,
    Deferred,
    Hosted,
    Input,
    Joined,
    Mapped,
    Real,
    Stream,
    Term,
    Tokens,
    Value,
    check_scale,
    exact,
    rearrange,
    shape,
)


def _moved(node: Node, move) -> Value:
    value = node.input(0)
    try:
        return rearrange(value, move)
    except (ValueError, OverflowError) as error:
        raise ModelError(f"can't give {list(shape(value))} that shape") from error


def reshape(node: Node) -> Value:
    """Reshape; 0 keeps a dimension, -1 is what is left."""
    wanted = scalar_list(node.input(1), "shape")
    size = shape(node.input(0))
    if not node.attribute("allowzero", 0):
        if any(v == 0 and k >= len(size) for k, v in enumerate(wanted)):
            raise ModelError(f"keeps a dimension that {list(size)} does not have")
        wanted = [size[k] if v == 0 else v for k, v in enumerate(wanted)]
    return _moved(node, lambda a: a.reshape(wanted))


def flatten(node: Node) -> Value:
    """Flatten to two dimensions."""
    axis = node.attribute("axis", 1)
    size = shape(node.input(0))
    if not -len(size) <= axis <= len(size):
        raise ModelError(f"axis {axis} is outside a tensor of {len(size)} dimensions")
    axis = axis + len(size) if axis < 0 else axis
    head = int(np.prod(size[:axis]))
    return _moved(node, lambda a: a.reshape(head, -1))


def transpose(node: Node) -> Value:
    """Transpose."""
    order = node.attribute("perm", None)
    return _moved(node, lambda a: a.transpose(order))


def squeeze(node: Node) -> Value:
    """Squeeze; axes as an attribute or an input."""
    axes = node.attribute("axes", None)
    if node.input(1) is not None:
        axes = scalar_list(node.input(1), "axes")
    return _moved(node, lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


def unsqueeze(node: Node) -> Value:
    """Unsqueeze; axes as an attribute or an input."""
    axes = node.attribute("axes", None)
    if axes is None:
        axes = scalar_list(node.input(1), "axes")
    return _moved(node, lambda a: np.expand_dims(a, tuple(axes)))


def _axis(node: Node, default: int, k: int = 0) -> int:
    """The attribute `axis`, counted from the front."""
    axis, rank = node.attribute("axis", default), len(shape(node.input(k)))
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} is outside a tensor of {rank} dimensions")
    axis %= rank
    if axis == 0 and shape(node.input(k))[0] == 1 and rank > 1:
        raise ModelError("works along the batch; choose another axis")
    return axis


def slice_(node: Node) -> Value:
    """Slice; limits as attributes (below opset 10) or constant inputs."""
    size = shape(node.input(0))
    if node.input(1) is None:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes", list(range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = scalar_list(node.input(1), "starts"), scalar_list(node.input(2), "ends")
        given = node.input(3), node.input(4)
        axes = scalar_list(given[0], "axes") if given[0] else list(range(len(starts)))
        steps = scalar_list(given[1], "steps") if given[1] else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ModelError("has limits that don't fit each other, or a step of 0")
    cut = [slice(None)] * len(size)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -len(size) <= axis < len(size):
            raise ModelError(f"axis {axis} is outside a tensor of {len(size)} dimensions")
        # In Python an end before the first element is None where the step is negative.
        behind = step < 0 and (end < -size[axis] or end == -1 - size[axis])
        cut[axis] = slice(start, None if behind else end, step)
    return _part(node, tuple(cut))


def _part(node: Node, cut) -> Value:
    result = _moved(node, lambda a: a[cut])
    if not np.prod(shape(result)):
        raise ModelError("leaves nothing of its input")
    return result


def split(node: Node) -> list[Value]:
    """Split into parts given by sizes or their number."""
    axis = _axis(node, 0)
    size = shape(node.input(0))[axis]
    sizes = node.attribute("split", None)
    count = node.attribute("num_outputs", None) or node.outputs
    if node.input(1) is not None:
        sizes = scalar_list(node.input(1), "split")
    if sizes is None:
        each = -(-size // count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) != node.outputs:
        raise ModelError(f"splits {size} elements into {list(sizes)}")
    ends = np.cumsum(sizes)
    return [
        _part(node, (slice(None),) * axis + (slice(end - n, end),))
        for end, n in zip(ends.tolist(), sizes, strict=True)
    ]


def gather(node: Node) -> Value:
    """Gather of constant places, or of a constant table at places that an input gives."""
    if isinstance(tokens := node.input(1), Tokens):
        return embed.gather(node, tokens)
    places = node.constant(1, "indices").astype(np.int64)
    axis = _axis(node, 0)
    size = shape(node.input(0))[axis]
    if places.size and not -size <= places.min() <= places.max() < size:
        raise ModelError(f"its indices lie outside axis {axis} of {size} elements")
    return _moved(node, lambda a: np.take(a, places % size, axis=axis))


def concat(node: Node) -> Value:
    """Concat of quantized tensors; quantized behind, or of codes that have one format."""
    axis = _axis(node, 1)
    parts = [node.input(k) for k in range(len(node.inputs))]
    if len({(*shape(p)[:axis], *shape(p)[axis + 1 :]) for p in parts}) != 1:
        raise ModelError(
            f"joins {[list(shape(p)) for p in parts]}, which differ beside axis {axis}"
        )
    codes = [p for p in parts if isinstance(p, Codes)]
    if len(codes) == len(parts):
        if len({p.fmt for p in codes}) > 1:
            raise ModelError("joins codes of different formats; quantize its inputs alike")
        return join(node, codes, axis, codes[0].fmt)
    reals = [node.real(k) for k in range(len(parts))]
    together = len({t.stream.tensor for real in reals for t in real.terms}) == 1
    if together and all(len(real.terms) == 1 and not real.clamped for real in reals):
        return _merged(reals, axis)
    return Joined(tuple(reals), axis)


def _merged(reals: list[Real], axis: int) -> Real:
    """Parts of one tensor, each with numbers of its own."""

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        if all(np.size(a) == 1 and a.item() == arrays[0].item() for a in arrays):
            return arrays[0].reshape(())
        full = [np.broadcast_to(a, r.ids.shape) for a, r in zip(arrays, reals, strict=True)]
        return np.concatenate(full, axis=axis)

    ids = np.concatenate([r.ids for r in reals], axis=axis)
    streams = [r.terms[0].stream for r in reals]
    stream = Stream(streams[0].tensor, ids, all(s.quantized for s in streams))
    scale = joined([np.asarray(r.terms[0].scale) for r in reals])
    return Real((Term(stream, scale),), joined([np.asarray(r.offset) for r in reals]))


def depth_to_space(node: Node) -> Value:
    """DepthToSpace; mode DCR or CRD."""
    block, mode = node.attribute("blocksize"), node.attribute("mode", "DCR")
    size = shape(node.input(0))
    if len(size) != 4 or size[1] % block**2 or mode not in ("DCR", "CRD"):
        raise ModelError(f"can't move channels of {list(size)} in blocks of {block}, mode {mode}")
    batch, channels, height, width = size
    less = channels // block**2
    if mode == "DCR":
        split_, axes = (batch, block, block, less, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split_, axes = (batch, less, block, block, height, width), (0, 1, 4, 2, 5, 3)
    final = (batch, less, height * block, width * block)
    return _moved(node, lambda a: a.reshape(split_).transpose(axes).reshape(final))


def pad(node: Node) -> Value:
    """Pad with a constant that is a code, or with elements of the tensor; a Reorder."""
    real, context = node.real(0), node.context
    rank = real.ids.ndim
    mode = node.attribute("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise ModelError(f"mode={mode!r} is not known")
    pads = node.attribute("pads", None)
    pads = scalar_list(node.input(1), "pads") if pads is None else pads
    value = node.attribute("value", 0.0)
    if node.input(2) is not None:
        value = node.constant(2, "padding value").reshape(-1)[0]
    axes = scalar_list(node.input(3), "axes") if node.input(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or min(pads) < 0:
        raise ModelError(f"pads {pads} don't fit axes {axes}, or are negative")
    ends = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        ends[axis] = (pads[k], pads[k + len(axes)])
    if ends[0] != (0, 0):
        raise ModelError("pads the batch; export the model without")
    stream, scale, zero = one_term(real)
    stream = context.whole(stream, node.name)
    code = Fraction(float(value)) / scale + zero if mode == "constant" else Fraction(zero)
    fmt = context.graph.tensors[stream.tensor].fmt
    if code.denominator != 1 or not fmt.min <= code <= fmt.max:
        raise ModelError(f"pads with {float(value)}, which is no code of its input")
    outer = context.order(stream)
    check_elements([n + sum(e) for n, e in zip(real.ids.shape, ends, strict=True)], "its output")
    if context.place[stream.tensor] is None:
        context.settle(stream, stream.ids, sample_shape(stream.ids), node.name)
    fill = {"constant_values": -1} if mode == "constant" else {}
    places = np.pad(context.positions(stream), ends, mode, **fill)
    moved = places.reshape(sample_shape(places)).transpose(outer)
    low, high = context.reach[stream.tensor]
    least, most = min(low.min(), int(code)), max(high.max(), int(code))
    result = context.tensor(f"{node.name}_padded", moved.shape, least, most, fmt)
    context.reorder(node.name, stream.tensor, result, moved.ravel(), int(code))
    ids = np.arange(moved.size).reshape(moved.shape).transpose(np.argsort(outer))
    return Real(
        (Term(Stream(result, ids.reshape(places.shape)), exact(scale)),), exact(-zero * scale)
    )


def expand(node: Node) -> Value:
    """Expand to a constant shape."""
    wanted = scalar_list(node.input(1), "shape")
    size = shape(node.input(0))
    result = np.broadcast_shapes(size, tuple(wanted))
    check_elements(result, "its output")
    return _moved(node, lambda a: np.broadcast_to(a, result))


def resize(node: Node) -> Value:
    """Resize and Upsample to the nearest element: elements are left out or repeated."""
    size = shape(node.input(0))
    mode = node.attribute("mode", "nearest")
    old = node.op == "Upsample" or node.opset < 11  # which know neither attribute nor sizes
    place = node.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = node.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
    node.attribute("cubic_coeff_a", 0)
    node.attribute("exclude_outside", 0)
    node.attribute("extrapolation_value", 0)
    if mode != "nearest" or place not in SOURCE or rounding not in NEAREST:
        raise ModelError(f"mode {mode!r}, {place!r} is not supported; use nearest")
    axes = [axis % len(size) for axis in node.attribute("axes", range(len(size)))]
    counts, scales = _resized(node, [size[axis] for axis in axes], 1 if old else 2)
    result = list(size)
    for axis, count in zip(axes, counts, strict=True):
        result[axis] = count
    check_elements(result, "its output")

    def choose(a: np.ndarray) -> np.ndarray:
        for axis, count, scale in zip(axes, counts, scales, strict=True):
            spots = [SOURCE[place](k, size[axis], count, scale) for k in range(count)]
            chosen = np.clip([NEAREST[rounding](s) for s in spots], 0, size[axis] - 1)
            a = np.take(a, chosen, axis=axis)
        return a

    return _moved(node, choose)


HALF = Fraction(1, 2)
# The place in the input, along one axis, of element k of the output, by the coordinate
# transformation mode; from ONNX's specification of Resize.
SOURCE: dict[str, Callable[[int, int, int, Fraction], Fraction]] = {
    "asymmetric": lambda k, size, count, scale: k / scale,
    "half_pixel": lambda k, size, count, scale: (k + HALF) / scale - HALF,
    "half_pixel_symmetric": lambda k, size, count, scale: (
        Fraction(size) / 2 * (1 - count / (scale * size)) + (k + HALF) / scale - HALF
    ),
    "pytorch_half_pixel": lambda k, size, count, scale: (
        (k + HALF) / scale - HALF if count > 1 else Fraction(0)
    ),
    "align_corners": lambda k, size, count, scale: (
        Fraction(k * (size - 1), count - 1) if count > 1 else Fraction(0)
    ),
}
NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - HALF),
    "round_prefer_ceil": lambda x: math.floor(x + HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _resized(node: Node, size: list[int], k: int) -> tuple[list[int], list[Fraction]]:
    """Counts of elements and scales along the axes of `size`, from scales at input `k` or as an
    attribute, or from sizes at the next input."""
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    scales = node.attribute("scales", None)
    if node.input(k) is not None and node.constant(k, "scales").size:
        scales = node.constant(k, "scales").ravel().tolist()
    if scales is not None:
        factors = list(check_scale(exact(np.float64(scales))))
        counts = [math.floor(n * factor) for n, factor in zip(size, factors, strict=True)]
    else:
        counts = scalar_list(node.input(k + 1), "sizes")
        factors = [Fraction(count, n) for count, n in zip(counts, size, strict=True)]
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(size)
            counts = [math.floor(n * factor + HALF) for n in size]
    if min(counts) < 1:
        raise ModelError(f"resizes {size} to {counts}, which leaves nothing")
    return counts, factors


def cast(node: Node) -> Value:
    """Cast between float types, for quantized numbers have none; and of codes, as the integers
    they are."""
    node.attribute("saturate", 1)
    node.attribute("round_mode", "up")
    kind, value = helper.tensor_dtype_to_np_dtype(node.attribute("to")), node.input(0)
    if not isinstance(value, Real | Input | Codes) or kind not in (np.float32, np.float64):
        raise ModelError(f"casts to {kind}; only to float32 or float64 is supported")
    return Real((Term(value.stream, exact(1)),)) if isinstance(value, Codes) else value


def identity(node: Node) -> Value:
    """Identity, and Dropout in evaluation mode."""
    node.attribute("ratio")
    node.attribute("seed")
    if (
        node.op == "Dropout"
        and node.input(2) is not None
        and node.constant(2, "training_mode").any()
    ):
        raise ModelError("is in training mode; export the model in evaluation mode")
    return node.input(0)


def shape_of(node: Node) -> Value:
    """Shape: a constant, batch 1."""
    size = list(shape(node.input(0)))
    start, end = node.attribute("start", 0), node.attribute("end", len(size))
    return Constant(np.array(size[start:end], dtype=np.int64))


def size_of(node: Node) -> Value:
    """Size: a constant."""
    return Constant(np.array(np.prod(shape(node.input(0))), dtype=np.int64))


def softmax(node: Node) -> Hosted:
    """Softmax at the end of the model, on the host."""
    rank = len(shape(node.input(0)))
    opset = node.attribute("opset", node.opset)  # of QLinearSoftmax
    axis = node.attribute("axis", -1 if opset >= 13 else 1)
    if opset < 13 and axis not in (rank - 1, -1):
        raise ModelError(
            "Softmax over several axes (opset below 13) is not supported; use opset 13"
        )
    return _hosted(node, "Softmax", {"axis": axis, "rank": rank})


def argmax(node: Node) -> Hosted:
    """ArgMax at the end of the model, on the host."""
    return _hosted(
        node,
        "ArgMax",
        {
            "axis": node.attribute("axis", 0),
            "rank": len(shape(node.input(0))),
            "keepdims": node.attribute("keepdims", 1),
            "select_last_index": node.attribute("select_last_index", 0),
        },
    )


def _hosted(node: Node, op: str, attributes: dict) -> Hosted:
    value = node.input(0)
    axis, rank = attributes["axis"], attributes["rank"]
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} is outside a tensor of {rank} dimensions")
    if axis in (0, -rank) and rank > 1 and shape(value)[0] == 1:
        raise ModelError("works across the batch; choose another axis")
    operation = (op, attributes)
    if isinstance(value, Mapped) and value.operations is not None:
        value = Hosted(value.real, value.operations)
    if isinstance(value, Deferred):
        value = node.real(0)
    if isinstance(value, Hosted):
        return Hosted(value.value, (*value.operations, operation))
    if isinstance(value, Real | Codes):
        return Hosted(value, (operation,))
    raise ModelError("its input is not quantized")


LOWER = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Pad": pad,
    "Expand": expand,
    "Resize": resize,
    "Upsample": resize,
    "Cast": cast,
    "Identity": identity,
    "Dropout": identity,
    "Shape": shape_of,
    "Size": size_of,
    "Softmax": softmax,
    "ArgMax": argmax,
}
