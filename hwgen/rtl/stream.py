"""Streams between units: words of `lanes` integers of one format, with valid and ready."""

from __future__ import annotations

from amaranth.hdl import Shape
from amaranth.lib import data, stream

from hwgen.formats import Bipolar, Int, Ternary


def shape_of(fmt: Int | Ternary | Bipolar) -> Shape:
    """The Amaranth shape of one element."""
    return Shape(fmt.bits, fmt.signed)


def WordSignature(fmt: Int, lanes: int = 1) -> stream.Signature:  # noqa: N802 - it stands for a class
    """A stream whose payload is `lanes` elements of `fmt`, lane 0 in the least significant bits."""
    return stream.Signature(data.ArrayLayout(shape_of(fmt), lanes))
