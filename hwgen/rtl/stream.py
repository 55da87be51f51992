"""Streams between units: words of `lanes` integers of one format, with valid and ready."""

from __future__ import annotations

from amaranth.hdl import Module, Shape
from amaranth.lib import data, stream, wiring

from hwgen.errors import HwgenError
from hwgen.formats import Int


def shape_of(fmt: Int) -> Shape:
    """The Amaranth shape of one element."""
    return Shape(fmt.bits, fmt.signed)


class WordSignature(stream.Signature):
    """A stream whose payload is `lanes` elements of `fmt`, lane 0 in the least significant bits."""

    def __init__(self, fmt: Int, lanes: int = 1) -> None:
        self.fmt, self.lanes = fmt, lanes
        super().__init__(data.ArrayLayout(shape_of(fmt), lanes))

    def __repr__(self) -> str:
        return f"WordSignature({self.fmt}, {self.lanes})"


def connect(m: Module, source, sink) -> None:
    """Join two streams; unlike `wiring.connect` it refuses words of different formats or lanes."""
    if (source.signature.fmt, source.signature.lanes) != (sink.signature.fmt, sink.signature.lanes):
        raise HwgenError(f"can't connect {source.signature!r} to {sink.signature!r}")
    wiring.connect(m, source, sink)
