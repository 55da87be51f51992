"""Permutations of a tensor's elements."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from hwgen.ir import Reorder, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports, shape_of


class ReorderUnit(wiring.Component):
    """y.flat[k] = x.flat[order[k]], or `fill` where order[k] < 0; one element per word.

    Two banks: a sample is written while the one before is read. Latency: 2 cycles from a sample's
    last element to the first of the output. Initiation interval: 1 per element, in or out.

    Members: `i`, `o`.
    """

    def __init__(self, node: Reorder, x: Tensor, y: Tensor) -> None:
        order = node.order.ravel()
        self._bits = max(1, (x.elements - 1).bit_length())
        # The bit above the place marks what `fill` replaces.
        self._order = [int(k) if k >= 0 else 1 << self._bits for k in order]
        self._size, self._fill, self._fmt = x.elements, node.fill, x.fmt
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Write in order; read through the order memory."""
        m = Module()
        size, bits = self._size, self._bits
        m.submodules.bank = bank = Memory(shape=shape_of(self._fmt), depth=2 << bits, init=[])
        m.submodules.order = order = Memory(
            shape=bits + 1, depth=len(self._order), init=self._order
        )
        write, read, place = bank.write_port(), bank.read_port(), order.read_port()
        full = Signal(range(3))

        take = Signal()
        free, filled = Signal(), Signal()
        m.d.comb += [self.i.ready.eq((full != 2) | free), take.eq(self.i.valid & self.i.ready)]
        written, write_last = counter(m, size, take, "written")
        write_bank, read_bank, place_bank = Signal(), Signal(), Signal()
        m.d.comb += [
            write.addr.eq(Cat((written + 0)[:bits], write_bank)),
            write.data.eq(self.i.payload[0]),
            write.en.eq(take),
        ]
        ce, go = Signal(), Signal()
        read_valid, place_valid, place_free = Signal(), Signal(), Signal()
        pending = Signal(range(3))
        m.d.comb += [ce.eq(~self.o.valid | self.o.ready), go.eq(ce & ((pending != 0) | filled))]
        count, read_last = counter(m, len(self._order), go, "count")
        filler = Signal()
        m.d.comb += [
            place.addr.eq(count),
            place.en.eq(ce),
            read.addr.eq(Cat((place.data + 0)[:bits], place_bank)),
            read.en.eq(ce),
            self.o.payload[0].eq(Mux(filler, self._fill, read.data)),
            self.o.valid.eq(read_valid),
        ]
        with m.If(ce):
            m.d.sync += [
                place_valid.eq(go),
                place_bank.eq(read_bank),
                place_free.eq(go & read_last),
                read_valid.eq(place_valid),
                filler.eq(place.data[bits]),
            ]
        # A bank is free in the cycle that reads its last element: the memory gives the old value.
        m.d.comb += [free.eq(ce & place_free), filled.eq(take & write_last)]
        m.d.sync += [
            full.eq(full + filled - free),
            pending.eq(pending + filled - (go & read_last)),
            write_bank.eq(write_bank ^ filled),
            read_bank.eq(read_bank ^ (go & read_last)),
        ]
        return m
