"""A serial line: 8 data bits, no parity, 1 stop bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class UartReceiver(wiring.Component):
    """Bits to bytes, `divisor` cycles per bit, 4 at least, each read in its middle.

    Members: `rx`; `o`, `o_valid`: a byte, for one cycle; `o_error`: for one cycle, a byte without a
    stop bit, which is dropped.
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__(
            {
                "rx": In(1),
                "o": Out(8),
                "o_valid": Out(1),
                "o_error": Out(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Wait for a start bit, then read ten bits: start, data, stop."""
        m = Module()
        line, timer, left = Signal(init=1), Signal(range(self._divisor)), Signal(range(11))
        bits, broken = Signal(8), Signal()
        m.submodules.line = FFSynchronizer(self.rx, line, init=1)
        m.d.comb += self.o.eq(bits)
        with m.If(left == 0):
            m.d.sync += timer.eq(self._divisor // 2 - 1)
            with m.If(line):
                m.d.sync += broken.eq(0)
            with m.Elif(~broken):
                m.d.sync += left.eq(10)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1)]
            with m.If((left == 10) & line):  # a glitch
                m.d.sync += left.eq(0)
            with m.Elif(left == 1):
                m.d.sync += broken.eq(~line)  # until it is high again
                m.d.comb += [self.o_valid.eq(line), self.o_error.eq(~line)]
            with m.Else():
                m.d.sync += bits.eq(Cat(bits[1:], line))
        return m


class UartSender(wiring.Component):
    """Bytes to bits, `divisor` cycles per bit.

    Members: `i`, `i_valid`, `i_ready`: a byte, taken when the line is free; `tx`.
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__(
            {
                "i": In(8),
                "i_valid": In(1),
                "i_ready": Out(1),
                "tx": Out(1, init=1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Shift out start, data and stop bit."""
        m = Module()
        timer, left = Signal(range(self._divisor)), Signal(range(11))
        bits = Signal(9, init=0x1FF)
        m.d.comb += [self.tx.eq(bits[0]), self.i_ready.eq(left == 0)]
        with m.If(left == 0):
            m.d.sync += timer.eq(self._divisor - 1)
            with m.If(self.i_valid):
                m.d.sync += [bits.eq(Cat(0, self.i)), left.eq(10)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1), bits.eq(Cat(bits[1:], 1))]
        return m
