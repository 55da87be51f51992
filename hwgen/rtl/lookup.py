"""Functions of one element by table."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hwgen.ir import Lookup, Tensor
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import pipeline, ports


class LookupUnit(wiring.Component):
    """y = table[x - first], a memory per lane.

    Latency: 2 cycles. Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes. `files`: its memory files.
    """

    def __init__(self, node: Lookup, x: Tensor, y: Tensor) -> None:
        # Addressed by the bits of x: negative codes come last.
        order = np.arange(1 << x.fmt.bits)
        codes = np.where(order > x.fmt.max, order - (1 << x.fmt.bits), order)
        words = node.table[codes - node.first].reshape(-1, 1)
        self._roms = [Rom(words, y.fmt.bits, f"table{k}") for k in range(y.lanes)]
        self.files = {name: text for rom in self._roms for name, text in rom.files.items()}
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Address register, memory."""
        m = Module()
        ce = pipeline(m, 2, self.o, self.i)
        for lane, rom in enumerate(self._roms):
            address = Signal(self.i.payload[lane].shape().width, name=f"address{lane}")
            with m.If(ce):
                m.d.sync += address.eq(self.i.payload[lane])
            m.d.comb += self.o.payload[lane].eq(rom.read(m, address, ce))
        return m
