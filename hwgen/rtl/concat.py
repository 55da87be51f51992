"""Several streams one after another."""

from __future__ import annotations

from itertools import accumulate

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.ir import Concat, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import WordSignature


class ConcatUnit(wiring.Component):
    """In turns, `turn[j]` elements of every input j; words come from one input.

    Latency: 0. Initiation interval: 1 per output word.

    Members: `i0`, `i1`...; `o`.
    """

    def __init__(self, node: Concat, *tensors: Tensor) -> None:
        *inputs, y = tensors
        self._turn = [size // y.lanes for size in node.turn]
        members = {f"i{k}": In(WordSignature(x.fmt, x.lanes)) for k, x in enumerate(inputs)}
        super().__init__({**members, "o": Out(WordSignature(y.fmt, y.lanes))})

    def elaborate(self, _platform) -> Module:
        """A counter of the words of a turn says whose word is next."""
        m = Module()
        sent = Signal()
        m.d.comb += sent.eq(self.o.valid & self.o.ready)
        place, _ = counter(m, sum(self._turn), sent, "place")
        inputs = [getattr(self, f"i{k}") for k in range(len(self._turn))]
        ends = list(accumulate(self._turn))
        for k, source in enumerate(inputs):
            with m.If(place < ends[0]) if k == 0 else m.Elif(place < ends[k]):
                m.d.comb += [
                    self.o.payload.eq(source.payload),
                    self.o.valid.eq(source.valid),
                    source.ready.eq(self.o.ready),
                ]
        return m
