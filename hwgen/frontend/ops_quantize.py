"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Int
from hwgen.frontend.context import Context, Node, one_term, sample_shape
from hwgen.frontend.values import (
    ZERO,
    Codes,
    Constant,
    Input,
    Numbers,
    Real,
    Scaled,
    Stream,
    Term,
    Value,
    check_scale,
    exact,
)
from hwgen.ir import Add

FORMATS = {"int8": Int(8), "uint8": Int(8, signed=False)}


def quantize(node: Node) -> Value:
    """QuantizeLinear: an input port, a Requantize or an Add."""
    node.attribute("saturate", 1)
    node.attribute("axis", 1)
    if node.attribute("block_size", 0):
        raise ModelError("quantization in blocks is not supported for activations; use one scale")
    kind = node.attribute("output_dtype", 0)
    node.attribute("precision", 0)
    scale = _scalar_scale(node)
    zero, fmt = _zero(node, kind)
    value = node.input(0)
    context = node.context
    if isinstance(value, Input):
        tensor = context.input_port(
            value.name,
            np.arange(value.ids.size).reshape(_port_shape(value)),
            np.float32,
            fmt,
            np.float32(float(scale)),
            zero,
        )
        return Codes(Stream(tensor, value.ids), fmt)
    real = node.real(0)
    stem = _stem(context, real)
    if len(real.terms) == 1:
        name = f"{_maker(context, real)}.requantize"
        return context.requantize(real, scale, zero, fmt, name, stem)
    return _add(node, real, scale, zero, fmt, stem)


def dequantize(node: Node) -> Value:
    """DequantizeLinear: a real value, or scaled constants."""
    axis = node.attribute("axis", 1)
    block = node.attribute("block_size", 0)
    node.attribute("output_dtype", 0)
    if block:
        raise ModelError(
            "quantization in blocks is not supported; quantize per tensor or per channel"
        )
    value = node.input(0)
    scale, zero = _scale(node), node.input(2)
    zeros = np.asarray(0) if zero is None else _zeros(node, value)
    if isinstance(value, Constant):
        if value.array.dtype.kind not in "iu":
            raise ModelError(
                f"dequantizes {value.array.dtype}; 8-bit and 32-bit integers are supported"
            )
        scale, zeros = (_along(a, axis, value.array.shape) for a in (scale, zeros))
        codes = value.array.astype(np.int64) - zeros
        return Scaled(codes, scale)
    if not isinstance(value, Codes):
        raise ModelError("dequantizes something that is not quantized")
    scale, zeros = (_along(a, axis, value.ids.shape) for a in (scale, zeros))
    return Real((Term(value.stream, scale),), exact(-zeros) * scale)


def _zeros(node: Node, value: Value | None) -> np.ndarray:
    """Zero points, which have the type of the codes."""
    zeros = node.constant(2, "zero point")
    codes = value.array.dtype if isinstance(value, Constant) else getattr(value, "fmt", None)
    if codes is not None and zeros.dtype.name != str(codes):
        raise ModelError(f"its zero point is {zeros.dtype}, its codes are {codes}")
    return zeros.astype(np.int64)


def _along(array: np.ndarray, axis: int, size: tuple[int, ...]) -> np.ndarray:
    """A vector laid along an axis of a tensor of that size; one number as a scalar."""
    if array.size == 1:
        return array.reshape(())
    if array.ndim != 1:
        raise ModelError(
            f"scales of shape {list(array.shape)} are not supported; use one per channel"
        )
    rank = len(size)
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} is outside a tensor of {rank} dimensions")
    if array.size != size[axis]:
        raise ModelError(
            f"{array.size} scales or zero points don't fit axis {axis} of {list(size)}"
        )
    place = [1] * rank
    place[axis] = array.size
    return array.reshape(place)


def _scale(node: Node) -> Numbers:
    return check_scale(exact(node.constant(1, "scale")))


def _scalar_scale(node: Node) -> Fraction:
    scale = _scale(node)
    if scale.size != 1:
        raise ModelError("quantizes activations per channel; quantize them per tensor")
    return scale.ravel()[0]


def _zero(node: Node, kind: int) -> tuple[int, Int]:
    zero = node.input(2)
    if zero is None:
        if kind not in (0, 2, 3):
            raise ModelError("quantizes to a type that is not supported; use int8 or uint8")
        return 0, FORMATS["int8" if kind == 3 else "uint8"]
    array = node.constant(2, "zero point")
    if array.dtype.name not in FORMATS or array.size != 1:
        raise ModelError(
            f"quantizes to {array.dtype}; int8 and uint8 with one zero point are supported"
        )
    return int(array.ravel()[0]), FORMATS[array.dtype.name]


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


def _add(node: Node, real: Real, scale: Fraction, zero: int, fmt: Int, stem: str) -> Codes:
    """QuantizeLinear of a sum of two tensors of codes."""
    context = node.context
    if len(real.terms) > 2:
        raise ModelError("quantizes a sum of more than two tensors; quantize between the Adds")
    streams, scales = [], []
    for term in real.terms:
        stream, factor, _ = one_term(Real((term,), ZERO))
        if context.graph.tensors[stream.tensor].fmt.bits > 8:
            raise ModelError(
                "adds a layer's result before it is quantized; quantize both inputs of the Add"
            )
        streams.append(stream)
        scales.append(factor / scale)
    tensors = _aligned(node, streams)
    first = context.graph.tensors[tensors[0]]
    offset = real.offset / scale
    if np.size(offset) != 1:
        raise ModelError("adds a constant per channel to a sum; quantize between")
    low, high = (
        limit if bound is None else int(np.ravel(context.limit(bound, scale, zero, fmt))[0])
        for bound, limit in ((real.low, fmt.min), (real.high, fmt.max))
    )
    result = context.tensor(stem, first.shape, np.array(low), np.array(high), fmt)
    context.place[result] = context.place[streams[0].tensor]
    context.add(
        Add(
            name=context.unique(real.name or node.name),
            inputs=tuple(tensors),
            outputs=(result,),
            scale=tuple(scales),
            offset=Fraction(np.ravel(offset)[0]),
            zero_point=zero,
            low=low,
            high=high,
        )
    )
    return Codes(Stream(result, streams[0].ids), fmt)


def _aligned(node: Node, streams: list[Stream]) -> list[str]:
    """Tensors whose elements come in the same order."""
    context = node.context
    fixed = next((s for s in streams if context.place[s.tensor] is not None), streams[0])
    if context.place[fixed.tensor] is None:
        context.settle(fixed, fixed.ids, sample_shape(fixed.ids), node.name)
    order = np.argsort(context.positions(fixed).ravel())
    size = context.graph.tensors[fixed.tensor].shape
    return [
        s.tensor if s is fixed else context.settle(s, s.ids.ravel()[order], size, node.name)
        for s in streams
    ]


LOWER = {"QuantizeLinear": quantize, "DequantizeLinear": dequantize}
