"""CRC-32, a bit per cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

POLYNOMIAL = 0xEDB88320  # of IEEE 802.3, the least bit first
GOOD = 0xDEBB20E3  # what is left behind a message and its CRC
CYCLES = 8


class Crc32(wiring.Component):
    """The CRC of IEEE 802.3 of bytes, each taken with `i_valid` and ready 8 cycles later.

    Members: `i`, `i_valid`; `i_clear`: begin a new message; `o`: the CRC, not yet inverted;
    `o_busy`: it still changes.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(8),
                "i_valid": In(1),
                "i_clear": In(1),
                "o": Out(32, init=0xFFFFFFFF),
                "o_busy": Out(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """One division step per cycle."""
        m = Module()
        left, bits = Signal(range(CYCLES + 1)), Signal(8)
        m.d.comb += self.o_busy.eq(left != 0)
        with m.If(self.i_clear):
            m.d.sync += [self.o.eq(0xFFFFFFFF), left.eq(0)]
        with m.Elif(self.i_valid):
            m.d.sync += [bits.eq(self.i), left.eq(CYCLES)]
        with m.Elif(left != 0):
            odd = self.o[0] ^ bits[0]
            m.d.sync += [
                self.o.eq((self.o >> 1) ^ Mux(odd, POLYNOMIAL, 0)),
                bits.eq(bits >> 1),
                left.eq(left - 1),
            ]
        return m
