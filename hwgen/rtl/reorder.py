"""Permutations of a tensor's elements."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.errors import HwgenError
from hwgen.ir import Reorder, Tensor
from hwgen.rtl.banks import stored
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import ports, register


class ReorderUnit(wiring.Component):
    """y.flat[k] = x.flat[order[k]] in every block, or `fill` where order[k] < 0; a word moves as a
    whole.

    Two banks: a block is written while the one before is read. Latency: 3 cycles from a block's
    last word to the first of the output. Initiation interval: 1 per word, in or out.

    Members: `i`, `o`: words of lanes that stay together. `files`: its memory file.
    """

    def __init__(self, node: Reorder, x: Tensor, y: Tensor) -> None:
        if x.lanes not in node.lanes(x, y):
            raise HwgenError(
                f"{node.name}: words of {x.lanes} lanes do not stay together; use 1 lane"
            )
        self._node, self._size = node, x.words // node.blocks
        words = node.order[:: x.lanes] // x.lanes
        bits = max(1, (self._size - 1).bit_length())
        # The bit above the place marks what `fill` replaces.
        places = np.where(words >= 0, words, 1 << bits)
        self._order = Rom(places[:, None], bits + 1, "order")
        self.files = self._order.files
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Write in order; read through the order's memory."""
        m = Module()
        ce, step, freed = Signal(), Signal(), Signal()
        count, last = counter(m, self._order.depth, step, "count")
        memory, turns = stored(m, self.i, self._size, step & last, ce & freed)
        m.d.comb += [ce.eq(~self.o.valid | self.o.ready), step.eq(ce & turns.there)]
        with m.If(ce):
            m.d.sync += freed.eq(step & last)
        place = self._order.read(m, count, ce)
        bank = register(m, ce, turns.read, "bank")
        filler = register(m, ce, place[-1], "filler")
        read = memory.read_port()
        m.d.comb += [
            read.addr.eq(bank + place[:-1]),
            read.en.eq(ce),
            self.o.valid.eq(register(m, ce, register(m, ce, step, "valid"), "valid")),
        ]
        for lane, element in enumerate(self.o.payload):
            m.d.comb += element.eq(Mux(filler, self._node.fill, read.data[lane]))
        return m
