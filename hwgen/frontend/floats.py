"""Floats in the graph: layers in any arithmetic, conversions, sums of two tensors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Arithmetic, Block, Float, Format, Int, decode, default_accumulator, encode
from hwgen.formats.float import NAMED
from hwgen.frontend import blocks
from hwgen.frontend.context import Context
from hwgen.frontend.layout import sample_shape
from hwgen.frontend.node import Node
from hwgen.frontend.target import Target
from hwgen.frontend.values import Codes, Numbers, Real, Stream, Term, exact, uniform
from hwgen.ir import Convert, FloatAdd, Linear, Pool, Window

# Sums up to this many bits go to the host as they are.
PORT_BITS = 62
SINGLE = NAMED["fp32"]


def floating(context: Context, tensor: str) -> bool:
    """Whether a tensor holds floats, or exact sums of their products."""
    return isinstance(context.graph.tensors[tensor].fmt, Float) or tensor in context.unit


def linear(
    node: Node, window: Window, weight: np.ndarray, fmt: Format | None, size: tuple, name: str
) -> str:
    """Append the Linear of floats or blocks behind a Window; returns its tensor.

    `weight` (groups, outputs, taps, inputs) holds codes of `fmt`, of blocks numbers.
    """
    context, block = node.context, blocks.block_of(node)
    arithmetic = arithmetic_of(node, block or context.graph.tensors[window.input].fmt, fmt)
    if block is not None:
        return blocks.linear(context, window, weight, arithmetic, size, name)
    accumulator = arithmetic.accumulator
    if accumulator == "exact":
        x, w = arithmetic.x, arithmetic.w
        exponent = x.unit + w.unit if arithmetic.multiplier == "exact" else x.unit
        result = _tensor(context, name, size, Int(_bits(arithmetic, weight)))
        context.unit[result] = Fraction(2) ** exponent
    else:
        fmt = accumulator if isinstance(accumulator, Float) else accumulator.result
        result = _tensor(context, name, size, fmt)
    groups, outputs, taps, per_group = weight.shape
    context.add(
        Linear(
            name=context.unique(name),
            inputs=(window.output,),
            outputs=(result,),
            weight=weight,
            arithmetic=arithmetic,
            parallel=groups,
            pe=outputs,
            simd=taps * per_group,
        )
    )
    return result


def _tensor(context: Context, stem: str, size: tuple, fmt: Int | Float) -> str:
    """A tensor whose range is its format's."""
    return context.tensor(f"{stem}_acc", size, np.array(0), np.array(0), fmt)


def arithmetic_of(node: Node, x: Any, w: Any) -> Arithmetic:
    """The node's arithmetic, or the default one of the formats."""
    if not any(isinstance(x, kind) and isinstance(w, kind) for kind in (Float, Block)):
        raise ModelError(
            f"multiplies {x} by {w or 'integers'}; quantize its input and its weights both to "
            "integers, both to floats or both to blocks"
        )
    if isinstance(x, Block) and isinstance(w, Block) and type(x.element) is not type(w.element):
        raise ModelError(f"multiplies {x} by {w}: blocks of floats by blocks of integers")
    chosen = node.arith
    try:
        if chosen is None or (chosen.x, chosen.w) != (x, w):
            return Arithmetic(x, w, accumulator=default_accumulator(x))
    except ConfigError as error:
        raise ModelError(str(error)) from error
    if chosen.multiplier == "lmul-raw":
        raise ModelError("lmul-raw gives wrong products of zeros; it is for units alone, use lmul")
    return chosen


def _bits(arithmetic: Arithmetic, weight: np.ndarray) -> int:
    """Bits of the sums of exact products: the worst case over all inputs."""
    x = arithmetic.x
    groups, outputs = weight.shape[:2]
    if arithmetic.multiplier != "exact":  # a product stays in the operands' format
        bound = weight[0, 0].size << x.span
    else:
        whole = np.ldexp(decode(arithmetic.w, weight), -arithmetic.w.unit)
        sums = np.abs(whole).reshape(groups * outputs, -1).sum(axis=1)
        bound = int(sums.max()) << x.span
    return bound.bit_length() + 1


def convert(context: Context, real: Real, target: Target, name: str, output: str) -> Codes:
    """QuantizeLinear of a one-term value from or to floats: a Convert."""
    (term,) = real.terms
    source = context.graph.tensors[term.stream.tensor].fmt
    if target.rounding != "half_even":
        raise ModelError(f"rounds floats by {target.rounding}; only to the nearest is supported")
    offset = real.offset
    if isinstance(source, Float):
        _begin_with(context, term.stream, term.scale, offset)
        offset = exact(0)
    stream = context.partly(term.stream, name)
    if context.place[stream.tensor] is None:
        context.settle(stream, stream.ids, sample_shape(stream.ids), name)
    scale, shift = context.by_channel([term.scale / target.scale, offset / target.scale], stream)
    low, high = limits(real, target)
    if _same(source, target, scale, shift, low, high):
        return Codes(replace(stream, quantized=True), target.fmt)
    size = context.graph.tensors[stream.tensor].shape
    least, most = (0, 0) if isinstance(target.fmt, Float) else (low, high)
    result = context.tensor(output, size, np.array(least), np.array(most), target.fmt)
    if isinstance(target.fmt, Float) and real.clamped:
        context.most[result] = float(np.abs(decode(target.fmt, [low, high])).max())
    context.add(
        Convert(
            name=context.unique(name),
            inputs=(stream.tensor,),
            outputs=(result,),
            source=source,
            target=target.fmt,
            scale=scale,
            offset=shift,
            low=low,
            high=high,
            zero_point=target.zero,
        )
    )
    context.place[result] = context.place[stream.tensor]
    return Codes(Stream(result, stream.ids), target.fmt)


def limits(real: Real, target: Target) -> tuple[int, int]:
    """The least and the greatest code of a value that is clamped."""
    fmt = target.fmt
    if not isinstance(fmt, Float):
        codes = (
            limit if bound is None else int(uniform(target.code(bound), "a limit"))
            for bound, limit in ((real.low, target.least), (real.high, target.most))
        )
        return next(codes), next(codes)
    most = Fraction(float(decode(fmt, fmt.largest_code)))
    bounds = [
        limit if bound is None else min(max(uniform(bound, "a limit") / target.scale, -most), most)
        for bound, limit in ((real.low, -most), (real.high, most))
    ]
    low, high = (int(v) for v in encode(fmt, [float(v) for v in bounds]))
    return low, high


def _same(source, target: Target, scale, shift, low: int, high: int) -> bool:
    """Whether a conversion changes no code."""
    fmt = target.fmt
    if source != fmt or not isinstance(fmt, Float) or not (np.all(scale == 1) and not any(shift)):
        return False
    return (low, high) == (fmt.sign | fmt.largest_code, fmt.largest_code)


def _begin_with(context: Context, stream: Stream, scale: Numbers, offset: Numbers) -> None:
    """Let a layer's rounded sums begin with offset / scale. All that read a channel must mean the
    same."""
    makers = context.graph.producer()
    maker = makers.get(stream.tensor)
    while isinstance(maker, Pool):  # the largest of sums that all begin with it
        maker = makers.get(makers[maker.input].input)
    if stream.quantized or not isinstance(maker, Linear):
        if any(np.ravel(offset)):
            raise ModelError("adds a constant to floats that are rounded; put it in front")
        return
    groups, outputs = maker.weight.shape[:2]
    fmt = context.graph.tensors[maker.output].fmt
    assert isinstance(fmt, Float)
    bias = np.zeros(groups * outputs, dtype=np.int64)
    if any(np.ravel(offset)):
        scales, offsets = context.by_channel([np.asarray(scale), np.asarray(offset)], stream)
        if scales.ndim != 1 or scales.size != bias.size or not all(scales):
            raise ModelError("adds a constant that differs from row to row to rounded sums")
        bias = encode(fmt, [float(b / s) for s, b in zip(scales, offsets, strict=True)])
    unread = np.full(bias.size, -1)
    begun = context.begun.setdefault(maker.output, unread)
    read = np.unique(context.positions(stream) % bias.size)
    if ((begun[read] >= 0) & (begun[read] != bias[read])).any():
        raise ModelError("two nodes add different constants to its rounded sums")
    begun[read] = bias[read]
    if begun.max() > 0:
        codes = np.maximum(begun, 0).reshape(groups, outputs)
        context.graph.nodes[context.graph.nodes.index(maker)] = replace(maker, bias=codes)


def add(node: Node, real: Real, target: Target, output: str) -> Codes:
    """Quantization of a sum of two tensors of floats: a FloatAdd of fp32, and a Convert.

    To a target of at most 11 bits of precision that is as good as rounding once (Figueroa, "When is
    double rounding innocuous?").
    """
    context, single = node.context, Target(target.scale, 0, SINGLE)
    codes = []
    for term in real.terms:
        tensor = term.stream.tensor
        if not isinstance(context.graph.tensors[tensor].fmt, Float):
            raise ModelError("adds sums that are not quantized; quantize both inputs of the Add")
        codes.append(convert(context, Real((term,)), single, f"{tensor}.widen", f"{tensor}_wide"))
    tensors, lead = context.aligned([c.stream for c in codes], node.name)
    name = real.name or node.name
    result = _tensor(context, name, context.graph.tensors[tensors[0]].shape, SINGLE)
    context.place[result] = context.place[lead.tensor]
    context.add(
        FloatAdd(name=context.unique(name), inputs=tuple(tensors), outputs=(result,), fmt=SINGLE)
    )
    total = Real(
        (Term(Stream(result, lead.ids), exact(target.scale)),), real.offset, real.low, real.high
    )
    return convert(context, total, target, f"{name}.requantize", output)


def ones(fmt: Float, outputs: int, taps: int) -> np.ndarray:
    """The weights of a sum over taps, channel by channel: (outputs, 1, taps, 1) codes of 1."""
    one = int(encode(fmt, 1.0))
    if decode(fmt, one) != 1:
        raise ModelError(f"sums numbers of {fmt}, which has no 1; choose another format")
    return np.full((outputs, 1, taps, 1), one)


def narrowed(context: Context, name: str, real: Real) -> Real:
    """An output of the model; exact sums too wide for a port as fp32."""
    (term,) = real.terms
    tensor = term.stream.tensor
    if isinstance(context.graph.tensors[tensor].fmt, Float):  # the host adds its constants
        _begin_with(context, term.stream, term.scale, exact(0))
    if tensor not in context.unit or context.graph.tensors[tensor].fmt.bits <= PORT_BITS:
        return real
    unit = exact(context.unit[tensor])
    plain, target = Real((Term(term.stream, unit),)), Target(Fraction(1), 0, SINGLE)
    codes = convert(context, plain, target, f"{name}.round", f"{name}_rounded")
    return replace(real, terms=(Term(codes.stream, term.scale / unit),))
