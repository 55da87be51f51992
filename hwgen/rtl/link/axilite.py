"""The registers behind AXI4-Lite."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS = 6  # bits, of bytes
# Signals of the port without their prefix: bits, and whether the master drives them.
SIGNALS = {
    **{"awaddr": (ADDRESS, True), "awprot": (3, True), "awvalid": (1, True), "awready": (1, False)},
    **{"wdata": (32, True), "wstrb": (4, True), "wvalid": (1, True), "wready": (1, False)},
    **{"bresp": (2, False), "bvalid": (1, False), "bready": (1, True)},
    **{"araddr": (ADDRESS, True), "arprot": (3, True), "arvalid": (1, True), "arready": (1, False)},
    **{"rdata": (32, False), "rresp": (2, False), "rvalid": (1, False), "rready": (1, True)},
}


class AxiLite(wiring.Component):
    """A slave of AXI4-Lite (ARM IHI 0022) in front of `Registers`: a write or a read at a time,
    always answered OKAY. Bytes whose strobe is low are written as zeros, which change nothing.

    Members: those of SIGNALS; `o_address`, `o_read`, and `i_data` one cycle later; `o_write`,
    `o_data`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: (In if way else Out)(bits) for name, (bits, way) in SIGNALS.items()},
                **{"o_address": Out(4), "o_read": Out(1), "i_data": In(32)},
                **{"o_write": Out(1), "o_data": Out(32)},
            }
        )

    def elaborate(self, _platform) -> Module:
        """Take address and data of a write together; a read when there is no write."""
        m = Module()
        writing = self.awvalid & self.wvalid & ~self.bvalid
        fetched = Signal()
        free = ~fetched & ~self.rvalid
        strobes = Cat(strobe.replicate(8) for strobe in self.wstrb)
        m.d.comb += [
            self.awready.eq(writing),
            self.wready.eq(writing),
            self.arready.eq(free & ~writing),
            self.o_write.eq(writing),
            self.o_data.eq(self.wdata & strobes),
            self.o_read.eq(self.arvalid & self.arready),
            self.o_address.eq(self.araddr[2:]),
        ]
        with m.If(writing):
            m.d.comb += self.o_address.eq(self.awaddr[2:])
            m.d.sync += self.bvalid.eq(1)
        with m.Elif(self.bready):
            m.d.sync += self.bvalid.eq(0)
        m.d.sync += fetched.eq(self.o_read)
        with m.If(fetched):
            m.d.sync += [self.rdata.eq(self.i_data), self.rvalid.eq(1)]
        with m.Elif(self.rready):
            m.d.sync += self.rvalid.eq(0)
        return m
