"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from onnx import TensorProto

from hwgen.errors import ModelError
from hwgen.formats import Float, Int
from hwgen.formats.float import NAMED
from hwgen.frontend.context import Context
from hwgen.frontend.floats import add, convert, floating
from hwgen.frontend.functions import quantized
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.operands import one_term
from hwgen.frontend.rotate import rotated, rotation
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    ZERO,
    Codes,
    Constant,
    Deferred,
    Hosted,
    Input,
    Joined,
    Mapped,
    Real,
    Rounded,
    Scaled,
    Scores,
    Stream,
    Term,
    Value,
    check_scale,
    exact,
    uniform,
)
from hwgen.ir import Add, Concat

FORMATS = {
    f"{'' if signed else 'u'}int{bits}": Int(bits, signed)
    for bits in (16, 8, 4, 2)
    for signed in (True, False)
}
# Floats by the name of their NumPy type.
FLOATS = {
    "float8_e4m3fn": NAMED["e4m3fn"],
    "float8_e4m3fnuz": NAMED["e4m3fnuz"],
    "float8_e5m2": NAMED["e5m2"],
    "float8_e5m2fnuz": NAMED["e5m2fnuz"],
    "float4_e2m1fn": NAMED["e2m1"],
}
NAMES = ", ".join([*FORMATS, *FLOATS])
KINDS = {  # output_dtype -> name
    getattr(TensorProto, name.upper().replace("_", "").replace("FLOAT4E2M1FN", "FLOAT4E2M1")): name
    for name in (*FORMATS, *FLOATS)
}


def quantize(node: Node) -> Value:
    """QuantizeLinear: of an input port, of the hardware's values, or of the host's at the end."""
    saturate = node.attribute("saturate", 1)
    axis, block = node.attribute("axis", 1), node.attribute("block_size", 0)
    kind = node.attribute("output_dtype", 0)
    node.attribute("precision", 0)
    value = node.input(0)
    if isinstance(value, Input) and node.constant(1, "scale").size > 1:
        return _by_element(node, value, axis, block, kind)
    if block:
        raise ModelError("quantizes activations in blocks; quantize them per tensor")
    target = target_of(node, 1, 2, kind)
    if isinstance(value, Scores):
        return Rounded(value, target)
    if isinstance(target.fmt, Float) and not saturate:
        raise ModelError("saturate=0 turns large numbers into NaN; export it with saturate=1")
    return on_host(value, target) if isinstance(value, Hosted) else to_codes(node, value, target)


def _by_element(node: Node, value: Input, axis: int, block: int, kind: int) -> Codes:
    """An input that the host quantizes per channel or in blocks."""
    scales = check_scale(exact(node.constant(1, "scale")))
    zeros, fmt = _zero(node, 2, kind)

    def spread(array: np.ndarray) -> np.ndarray:
        """Numbers along the value as numbers along the model's input."""
        result = np.empty(value.ids.size, dtype=array.dtype)
        array = along(array, axis, value.ids.shape, block)
        result[value.ids.ravel()] = np.broadcast_to(array, value.ids.shape).ravel()
        return result.reshape(_port_shape(value))

    codes = to_codes(node, value, Target(Fraction(1), 0, fmt))
    ports = node.context.graph.inputs
    ports[-1] = replace(
        ports[-1], scale=spread(scales).astype(np.float32), zero_point=spread(zeros)
    )
    return codes


def on_host(value: Hosted, target: Target) -> Hosted:
    """Quantization of what the host computes, by the host."""
    attributes = {
        "scale": float(target.scale),
        "zero_point": target.zero,
        "dtype": str(target.fmt),
    }
    operations = (*value.operations, ("QuantizeLinear", attributes))
    return replace(value, operations=operations)


def to_codes(node: Node, value: Value | None, target: Target) -> Codes:
    """Quantize a value: an input port, a Requantize, an Add or a function."""
    context = node.context
    if isinstance(value, Input):
        index = np.arange(value.ids.size).reshape(_port_shape(value))
        tensor = context.input_port(value.name, index, np.float32, target.fmt, target)
        return Codes(Stream(tensor, value.ids), target.fmt)
    if isinstance(value, Mapped):
        return quantized(node, value, target)
    if isinstance(value, Deferred):
        codes = value.maker.codes(target)
        return Codes(Stream(codes.stream.tensor, codes.ids.ravel()[value.ids]), codes.fmt)
    if isinstance(value, Joined):
        parts = [to_codes(node, part, target) for part in value.parts]
        return join(node, parts, value.axis, target.fmt)
    real = node.having(value).real(0)
    stem = _stem(context, real)
    if rotation(real) and isinstance(target.fmt, Int):
        return rotated(node, real, target)
    floats = any(floating(context, term.stream.tensor) for term in real.terms)
    floats |= isinstance(target.fmt, Float)
    if floats and len(real.terms) == 1:
        return convert(context, real, target, f"{_maker(context, real)}.requantize", stem)
    if floats and len(real.terms) == 2:
        return add(node, real, target, stem)
    if len(real.terms) == 1:
        return context.requantize(real, target, f"{_maker(context, real)}.requantize", stem)
    return _add(node, real, target, stem)


def unrounded(node: Node, value: Rounded) -> Scores:
    """Scores as the model rounds them, where nothing makes attention of them."""
    scores, target = value.value, value.target

    def real() -> Real:
        return to_codes(node, scores.product(), target).real(target.scale, target.zero)

    return replace(scores, product=real)


def join(node: Node, parts: list[Codes], axis: int, fmt: Int | Float) -> Codes:
    """Codes one after another along an axis."""
    context = node.context
    streams = [context.whole(part.stream, node.name) for part in parts]
    settled = next((s for s in streams if context.place[s.tensor] is not None), streams[0])
    axes = context.order(settled)
    place = axes.index(axis - (streams[0].ids.ndim - len(axes)))
    tensors, turn, low, high = [], [], [], []
    for s in streams:
        ids = s.ids.reshape(sample_shape(s.ids)).transpose(axes)
        tensors.append(context.settle(s, ids, ids.shape, node.name))
        turn.append(int(np.prod(ids.shape[place:])))
        low.append(context.reach[tensors[-1]][0].min())
        high.append(context.reach[tensors[-1]][1].max())
    size = [*ids.shape]
    size[place] = sum(
        s.ids.reshape(sample_shape(s.ids)).transpose(axes).shape[place] for s in streams
    )
    least, most = np.array(min(low)), np.array(max(high))
    result = context.tensor(f"{node.name}_joined", tuple(size), least, most, fmt)
    context.add(
        Concat(
            name=context.unique(node.name),
            inputs=tuple(tensors),
            outputs=(result,),
            turn=tuple(turn),
        )
    )
    ids = np.arange(int(np.prod(size))).reshape(size).transpose(np.argsort(axes))
    batch = streams[0].ids.ndim - len(axes)
    return Codes(Stream(result, ids.reshape((1,) * batch + ids.shape)), fmt)


def dequantize(node: Node) -> Value:
    """DequantizeLinear: a real value, or scaled constants."""
    axis = node.attribute("axis", 1)
    block = node.attribute("block_size", 0)
    node.attribute("output_dtype", 0)
    return from_codes(node, (0, 1, 2), axis, block)


def from_codes(
    node: Node, places: tuple[int, int, int], axis: int = 1, block: int = 0
) -> Real | Scaled | Hosted | Scores:
    """The value of the codes, scale and zero point at three inputs of a node."""
    value, scale = node.input(places[0]), check_scale(exact(node.constant(places[1], "scale")))
    zeros = np.asarray(0) if node.input(places[2]) is None else _zeros(node, places[2], value)
    if isinstance(value, Constant):
        size = value.array.shape
        if fmt := FLOATS.get(value.array.dtype.name):
            codes = value.array.view(np.uint8).astype(np.int64)
            return Scaled(codes, along(scale, axis, size, block), fmt)
        if value.array.dtype.kind not in "iu" and value.array.dtype.name not in FORMATS:
            raise ModelError(f"dequantizes {value.array.dtype}; use integers of 2 to 32 bits")
        scale, zeros = (along(a, axis, size, block) for a in (scale, zeros))
        codes = value.array.astype(np.int64) - zeros
        return Scaled(codes, scale)
    if isinstance(value, Hosted) and value.operations[-1][0] == "QuantizeLinear":
        attributes = {"scale": float(uniform(scale, "its scale")), "zero_point": int(zeros.item())}
        return replace(value, operations=(*value.operations, ("DequantizeLinear", attributes)))
    if isinstance(value, Rounded):
        return unrounded(node, value)
    if not isinstance(value, Codes):
        raise ModelError("dequantizes something that is not quantized")
    scale, zeros = (along(a, axis, value.ids.shape, block) for a in (scale, zeros))
    return Real((Term(value.stream, scale),), exact(-zeros) * scale)


def _zeros(node: Node, place: int, value: Value | None) -> np.ndarray:
    """Zero points, which have the type of the codes."""
    zeros = node.constant(place, "zero point")
    if zeros.dtype.name in FLOATS:
        return _no_zero(zeros)
    codes = value.array.dtype if isinstance(value, Constant) else getattr(value, "fmt", None)
    narrowed = isinstance(value, Codes) and value.fmt.bits < 8
    if codes is not None and not narrowed and zeros.dtype.name != str(codes):
        raise ModelError(f"its zero point is {zeros.dtype}, its codes are {codes}")
    return zeros.astype(np.int64)


def _no_zero(zeros: np.ndarray) -> np.ndarray:
    """The zero points of floats, all 0."""
    if zeros.astype(np.float32).any():
        raise ModelError("has a zero point that is not 0, which floats don't have")
    return np.zeros(zeros.shape, dtype=np.int64)


def along(array: np.ndarray, axis: int, size: tuple[int, ...], block: int = 0) -> np.ndarray:
    """A vector laid along an axis of a tensor of that size, or an array with an entry for every
    `block` elements along the axis; one number as a scalar."""
    if array.size == 1:
        return array.reshape(())
    rank = len(size)
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} is outside a tensor of {rank} dimensions")
    if block:
        blocks = list(size)
        blocks[axis] = -(-size[axis] // block)
        if list(array.shape) != blocks:
            raise ModelError(
                f"scales or zero points {list(array.shape)} don't fit blocks of {block} along "
                f"axis {axis} of {list(size)}"
            )
        return np.take(array, np.arange(size[axis]) // block, axis=axis)
    if array.ndim != 1:
        raise ModelError(
            f"scales of shape {list(array.shape)} are not supported; use one per channel"
        )
    if array.size != size[axis]:
        raise ModelError(
            f"{array.size} scales or zero points don't fit axis {axis} of {list(size)}"
        )
    place = [1] * rank
    place[axis] = array.size
    return array.reshape(place)


def target_of(node: Node, scale: int, zero: int, kind: int = 0) -> Target:
    """What inputs `scale` and `zero` of a node quantize to."""
    scales = check_scale(exact(node.constant(scale, "scale")))
    if scales.size != 1:
        raise ModelError("quantizes activations per channel; quantize them per tensor")
    zeros, fmt = _zero(node, zero, kind)
    if zeros.size != 1:
        raise ModelError(f"has {zeros.size} zero points and one scale; use one zero point")
    return Target(scales.ravel()[0], int(zeros.ravel()[0]), fmt)


def _zero(node: Node, place: int, kind: int) -> tuple[np.ndarray, Int | Float]:
    """Zero points, and the format that their type or the attribute `output_dtype` names."""
    if node.input(place) is None:
        if kind not in (0, *KINDS):
            raise ModelError(f"quantizes to a type that is not supported; use {NAMES}")
        name = KINDS.get(kind, "uint8")
        return np.zeros((), dtype=np.int64), (FORMATS | FLOATS)[name]
    array = node.constant(place, "zero point")
    if fmt := FLOATS.get(array.dtype.name):
        return _no_zero(array), fmt
    if array.dtype.name not in FORMATS:
        raise ModelError(f"quantizes to {array.dtype}; {NAMES} are supported")
    return array.astype(np.int64), FORMATS[array.dtype.name]


def _port_shape(value: Input) -> tuple[int, ...]:
    flat = value.ids.ravel()
    if value.ids.size != flat.max(initial=-1) + 1:
        raise ModelError("quantizes only a part of the model's input; quantize all of it")
    return value.shape


def _stem(context: Context, real: Real) -> str:
    return f"{real.terms[0].stream.tensor}_q"


def _maker(context: Context, real: Real) -> str:
    """The name of the node that made a value."""
    maker = context.graph.producer().get(real.terms[0].stream.tensor)
    return real.terms[0].stream.tensor if maker is None else maker.name.removesuffix(".requantize")


def _add(node: Node, real: Real, target: Target, stem: str) -> Codes:
    """Quantization of a sum of two tensors of codes."""
    context, scale, fmt = node.context, target.scale, target.fmt
    if target.rounding != "half_even":
        raise ModelError(f"rounds a sum by {target.rounding}; only to the nearest is supported")
    if len(real.terms) > 2:
        raise ModelError("quantizes a sum of more than two tensors; quantize between the Adds")
    streams, scales = [], []
    for term in real.terms:
        stream, factor, _ = one_term(Real((term,), ZERO))
        if context.graph.tensors[stream.tensor].fmt.bits > 16:
            raise ModelError(
                "adds a layer's result before it is quantized; quantize both inputs of the Add"
            )
        streams.append(stream)
        scales.append(factor / scale)
    tensors, lead = context.aligned(streams, node.name)
    first = context.graph.tensors[tensors[0]]
    offset = real.offset / scale
    if np.size(offset) != 1:
        raise ModelError("adds a constant per channel to a sum; quantize between")
    low, high = (
        limit if bound is None else int(uniform(target.code(bound), "the limit of the sum"))
        for bound, limit in ((real.low, target.least), (real.high, target.most))
    )
    result = context.tensor(stem, first.shape, np.array(low), np.array(high), fmt)
    context.place[result] = context.place[lead.tensor]
    context.add(
        Add(
            name=context.unique(real.name or node.name),
            inputs=tuple(tensors),
            outputs=(result,),
            scale=tuple(scales),
            offset=Fraction(np.ravel(offset)[0]),
            zero_point=target.zero,
            low=low,
            high=high,
        )
    )
    return Codes(Stream(result, lead.ids), fmt)


LOWER = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    # What onnxruntime's quantizer writes for 16 and 4 bits below opset 21.
    "com.microsoft.QuantizeLinear": quantize,
    "com.microsoft.DequantizeLinear": dequantize,
}
