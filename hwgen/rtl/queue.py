"""First-in first-out buffers."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from hwgen.ir import Queue, Tensor
from hwgen.rtl.stream import WordSignature


class QueueUnit(wiring.Component):
    """A buffer of `depth` words; no path from `o.ready` to `i.ready` is combinational.

    Latency: 1 cycle at depth 2 (two registers), else 2 (a memory and an output register).
    Initiation interval: 1.

    Members: `i`, `o`: streams of the same words.
    """

    def __init__(self, node: Queue, x: Tensor, _y: Tensor) -> None:
        self._depth = node.depth
        signature = WordSignature(x.fmt, x.lanes)
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, _platform) -> Module:
        """Two registers, or the library's buffered memory."""
        m = Module()
        if self._depth <= 2:
            self._registers(m)
        else:
            width = self.i.payload.as_value().shape().width
            m.submodules.memory = memory = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
            m.d.comb += [
                memory.w_data.eq(self.i.payload),
                memory.w_en.eq(self.i.valid),
                self.i.ready.eq(memory.w_rdy),
                self.o.payload.eq(memory.r_data),
                self.o.valid.eq(memory.r_rdy),
                memory.r_en.eq(self.o.ready),
            ]
        return m

    def _registers(self, m: Module) -> None:
        value = self.o.payload.as_value()
        spare, spare_valid = Signal(value.shape()), Signal()
        out, out_valid = Signal(value.shape()), Signal()
        m.d.comb += [
            self.i.ready.eq(~spare_valid),
            self.o.valid.eq(out_valid),
            value.eq(out),
        ]
        with m.If(self.o.ready | ~out_valid):
            m.d.sync += out_valid.eq(self.i.valid | spare_valid)
            with m.If(spare_valid):
                m.d.sync += [out.eq(spare), spare_valid.eq(0)]
            with m.Else():
                m.d.sync += out.eq(self.i.payload)
        with m.Elif(self.i.valid & ~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
