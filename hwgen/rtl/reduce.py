"""Sums over all rows of a tensor."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from hwgen.ir import Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports


class ReduceUnit(wiring.Component):
    """y[c] = sum over rows r of x[r, c].

    Latency: 1 cycle; the sums go out while the last row comes in. Initiation interval: 1 per word.

    Members: `i`: words of a part of a row or of several rows; `o`: words of the same part of the
    sums, or of all.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._rows = x, max(1, x.lanes // x.channels)  # rows in a word
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """One memory of running sums, read and written in the same cycle."""
        m = Module()
        layout = self.o.payload.shape()
        ce = Signal()
        m.d.comb += [ce.eq(~self.o.valid | self.o.ready), self.i.ready.eq(ce)]
        take = Signal()
        m.d.comb += take.eq(self.i.valid & ce)
        words = self._x.words_per_row
        word, row_end = counter(m, words, take, "word")
        row, last = counter(m, self._x.words // words, take & row_end, "row")
        m.submodules.sums = sums = Memory(shape=layout, depth=words, init=[])
        read, write = sums.read_port(domain="comb"), sums.write_port()
        total, out, out_valid = Signal(layout), Signal(layout), Signal()
        left = self._x.rows - (self._x.words // words - 1) * self._rows  # rows in the last word
        for lane in range(layout.length):
            terms = [self.i.payload[k * layout.length + lane] for k in range(self._rows)]
            for k in range(left, self._rows):
                terms[k] = Mux(last, 0, terms[k])
            m.d.comb += total[lane].eq(sum(terms, Mux(row == 0, 0, read.data[lane])))
        m.d.comb += [
            read.addr.eq(word),
            write.addr.eq(word),
            write.en.eq(take),
            write.data.eq(total),
            self.o.payload.eq(out),
            self.o.valid.eq(out_valid),
        ]
        with m.If(ce):
            m.d.sync += [out.eq(total), out_valid.eq(self.i.valid & last)]
        return m
