"""Copies of a stream."""

from __future__ import annotations

from functools import reduce
from operator import and_

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.ir import Fork, Tensor
from hwgen.rtl.stream import WordSignature


class ForkUnit(wiring.Component):
    """Each word of `i` goes to every output, to each as soon as it is ready.

    Latency: 0. Initiation interval: 1.

    Members: `i`; `o0`, `o1`...: the copies.
    """

    def __init__(self, node: Fork, x: Tensor) -> None:
        signature = WordSignature(x.fmt, x.lanes)
        self._count = len(node.outputs)
        super().__init__(
            {"i": In(signature), **{f"o{k}": Out(signature) for k in range(self._count)}}
        )

    def elaborate(self, _platform) -> Module:
        """A flag per output remembers that it has taken the present word."""
        m = Module()
        outputs = [getattr(self, f"o{k}") for k in range(self._count)]
        done = [Signal(name=f"done{k}") for k in range(self._count)]
        m.d.comb += self.i.ready.eq(
            reduce(and_, [flag | o.ready for flag, o in zip(done, outputs, strict=True)])
        )
        for flag, o in zip(done, outputs, strict=True):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~flag)]
            m.d.sync += flag.eq(self.i.valid & ~self.i.ready & (flag | o.ready))
        return m
