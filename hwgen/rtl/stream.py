"""Streams between units: words of `lanes` integers of one format, with valid and ready."""

from __future__ import annotations

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Shape, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Member, Out

from hwgen.formats import Bipolar, Float, Int, Ternary
from hwgen.ir import Tensor


def shape_of(fmt: Int | Ternary | Bipolar | Float) -> Shape:
    """The Amaranth shape of one element."""
    return Shape(fmt.bits, fmt.signed)


def WordSignature(  # noqa: N802 - it stands for a class
    fmt: Int | Float, lanes: int = 1
) -> stream.Signature:
    """A stream whose payload is `lanes` elements of `fmt`, lane 0 in the least significant bits."""
    return stream.Signature(data.ArrayLayout(shape_of(fmt), lanes))


def ports(*tensors: Tensor) -> dict[str, Member]:
    """The members of a unit, from its inputs and then its output: `i`, or `i0`, `i1`...; `o`."""
    *inputs, y = tensors
    names = ["i"] if len(inputs) == 1 else [f"i{k}" for k in range(len(inputs))]
    members = {n: In(WordSignature(x.fmt, x.lanes)) for n, x in zip(names, inputs, strict=True)}
    return {**members, "o": Out(WordSignature(y.fmt, y.lanes))}


def pipeline(m: Module, latency: int, o, *inputs) -> Signal:
    """The handshake of `latency` stages that move together, from inputs taken together to `o`;
    returns the stages' clock enable."""
    ce = Signal()
    valid = Signal(latency)
    m.d.comb += [ce.eq(~o.valid | o.ready), o.valid.eq(valid[-1])]
    for i in inputs:
        m.d.comb += i.ready.eq(reduce(and_, (j.valid for j in inputs if j is not i), ce))
    with m.If(ce):
        m.d.sync += valid.eq(Cat(reduce(and_, (i.valid for i in inputs)), valid))
    return ce


def register(m: Module, ce, value, name: str = "stage") -> Signal:
    """A value one cycle of `ce` later."""
    out = Signal(value.shape(), name=name)
    with m.If(ce):
        m.d.sync += out.eq(value)
    return out


def registers(m: Module, ce, values: list, name: str = "stage") -> list[Value]:
    """Values one cycle of `ce` later, in one register: many of them cost text and time."""
    held, out, low = register(m, ce, Cat(values), name), [], 0
    for value in values:
        part = held[low : low + len(value)]
        out.append(part.as_signed() if value.shape().signed else part)
        low += len(value)
    return out


def instance(module: str, ce, a, b, o: Signal) -> Instance:
    """A clocked unit of two operands that several others share: its module is emitted once."""
    clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
    return Instance(module, **clock, i_i_ce=ce, i_i_a=a, i_i_b=b, o_o=o)
