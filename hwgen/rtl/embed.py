"""Rows of a table by index."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.ir import Embed, Positions, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import ports, register


class EmbedUnit(wiring.Component):
    """y[i] = table[x[i]], the last row for indices beyond; one memory.

    Latency: 3 cycles from an index to the first word of its row. Initiation interval: 1 per output
    word.

    Members: `i`: an index per word; `o`: words of a row. `files`: its memory file.
    """

    def __init__(self, node: Embed | Positions, x: Tensor, y: Tensor) -> None:
        self._words, self._last = y.words_per_row, len(node.table) - 1
        spare = self._words * y.lanes - y.channels
        padded = np.pad(node.table, ((0, 0), (0, spare)))
        self._rom = Rom(padded.reshape(-1, y.lanes), y.fmt.bits, "table")
        self.files = self._rom.files
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """A register keeps the row for all its words; address, memory."""
        m = Module()
        ce, held, row = Signal(), Signal(), Signal(range(self._last + 1))
        m.d.comb += ce.eq(~self.o.valid | self.o.ready)
        word, row_end = counter(m, self._words, held & ce, "word")
        m.d.comb += self.i.ready.eq(~held | (ce & row_end))
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.valid), row.eq(self._row(m))]
        address = Signal(range(self._rom.depth))
        with m.If(ce):
            m.d.sync += address.eq(row * self._words + word)
        m.d.comb += [
            self.o.valid.eq(register(m, ce, register(m, ce, held, "valid"), "valid")),
            self.o.payload.as_value().eq(self._rom.read(m, address, ce)),
        ]
        return m

    def _row(self, _m: Module):
        """The row that a word of the input asks for."""
        index = self.i.payload[0]
        return Mux(index > self._last, self._last, index)
