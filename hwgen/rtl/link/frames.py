"""Frames on a line of bytes, as docs/boards.md defines them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.protocol import ESCAPE, FLIP, HEADER, PAYLOAD, START
from hwgen.rtl.link.crc import GOOD, Crc32


class FrameReceiver(wiring.Component):
    """Bytes to checked frames.

    A start byte begins a frame wherever it comes, so that whatever was lost or added before costs
    one frame at most. While `i_hold` is high no frame begins.

    Members: `i`, `i_valid`: bytes; `o_good`: for one cycle, a frame is there; `o_bad`: a frame is
    dropped: its CRC is wrong or it is too long; `o_cut`: another one began before its end; then
    `o_sequence`, `o_command`, `o_port`, `o_length` hold, and its payload: `i_address`, and `o_data`
    one cycle later.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(8),
                "i_valid": In(1),
                "i_hold": In(1),
                "i_address": In(8),
                "o_good": Out(1),
                "o_bad": Out(1),
                "o_cut": Out(1),
                "o_sequence": Out(8),
                "o_command": Out(8),
                "o_port": Out(8),
                "o_length": Out(16),
                "o_data": Out(8),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Count bytes from the start; the CRC's own bytes leave a fixed remainder."""
        m = Module()
        m.submodules.crc = crc = Crc32()
        m.submodules.memory = memory = Memory(shape=8, depth=PAYLOAD, init=[])
        write, read = memory.write_port(), memory.read_port()
        inside, escaped, check = Signal(), Signal(), Signal()
        place = Signal(range(HEADER + PAYLOAD + 5))
        byte = Signal(8)
        header = Cat(self.o_sequence, self.o_command, self.o_port, self.o_length)
        start = self.i_valid & (self.i == START)
        taken = self.i_valid & ~start & (escaped | (self.i != ESCAPE)) & inside
        ends = place == self.o_length + (HEADER + 3)
        m.d.comb += [
            byte.eq(Mux(escaped, self.i ^ FLIP, self.i)),
            crc.i.eq(byte),
            crc.i_valid.eq(taken),
            crc.i_clear.eq(start),
            write.addr.eq(place - HEADER),
            write.data.eq(byte),
            write.en.eq(taken & (place >= HEADER) & (place < self.o_length + HEADER)),
            read.addr.eq(self.i_address),
            read.en.eq(1),
            self.o_data.eq(read.data),
        ]
        with m.If(start):
            m.d.comb += self.o_cut.eq(inside & (place != 0))
            m.d.sync += [inside.eq(~self.i_hold), escaped.eq(0), place.eq(0), check.eq(0)]
        with m.Elif(taken):
            m.d.sync += [escaped.eq(0), place.eq(place + 1)]
            with m.If(place < HEADER):
                m.d.sync += header.eq(Cat(header[8:], byte))
            with m.Elif((place == HEADER) & (self.o_length > PAYLOAD)):
                m.d.comb += self.o_bad.eq(1)
                m.d.sync += inside.eq(0)
            with m.Elif(ends):
                m.d.sync += [inside.eq(0), check.eq(1)]
        with m.Elif(self.i_valid & inside):
            m.d.sync += escaped.eq(1)
        with m.If(check & ~crc.o_busy):
            m.d.sync += check.eq(0)
            m.d.comb += [self.o_good.eq(crc.o == GOOD), self.o_bad.eq(crc.o != GOOD)]
        return m


class FrameSender(wiring.Component):
    """Frames to bytes.

    Members: `i_send`: for one cycle, send a frame of `i_header` (five bytes, the last two the
    length, which stay until it is sent) and its payload, which `o_address` asks for and `i_data`
    gives one cycle later; `o_busy`; `o`, `o_valid`, `o_ready`: bytes.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i_send": In(1),
                "i_header": In(8 * HEADER),
                "i_data": In(8),
                "o_address": Out(8),
                "o_busy": Out(1),
                "o": Out(8),
                "o_valid": Out(1),
                "o_ready": In(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Start byte, header, payload, CRC; each byte fetched, then sent."""
        m = Module()
        m.submodules.crc = crc = Crc32()
        place = Signal(range(HEADER + PAYLOAD + 5))
        length = self.i_header[24:][: len(range(PAYLOAD + 1)).bit_length()]
        byte, escaped = Signal(8), Signal()
        special = (byte == START) | (byte == ESCAPE)
        body = HEADER + length
        m.d.comb += self.o_address.eq(place - HEADER)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += [place.eq(0), escaped.eq(0)]
                m.d.comb += crc.i_clear.eq(1)
                with m.If(self.i_send):
                    m.next = "start"
            with m.State("start"):
                m.d.comb += [self.o.eq(START), self.o_valid.eq(1)]
                with m.If(self.o_ready):
                    m.next = "fetch"
            with m.State("fetch"), m.If(self.o_ready):  # the CRC of all before is done
                m.next = "choose"
            with m.State("choose"):
                with m.If(place < HEADER):
                    m.d.sync += byte.eq(self.i_header.word_select(place[:3], 8))
                with m.Elif(place < body):
                    m.d.sync += byte.eq(self.i_data)
                with m.Else():
                    m.d.sync += byte.eq(~crc.o.word_select((place - body)[:2], 8))
                m.next = "send"
            with m.State("send"):
                plain = ~special | escaped
                m.d.comb += self.o_valid.eq(1)
                m.d.comb += self.o.eq(Mux(plain, byte ^ Mux(escaped, FLIP, 0), ESCAPE))
                with m.If(self.o_ready & plain):
                    m.d.comb += [crc.i.eq(byte), crc.i_valid.eq(place < body)]
                    m.d.sync += [place.eq(place + 1), escaped.eq(0)]
                    m.next = "fetch"
                    with m.If(place == body + 3):
                        m.next = "idle"
                with m.Elif(self.o_ready):
                    m.d.sync += escaped.eq(1)
        m.d.comb += self.o_busy.eq(~fsm.ongoing("idle"))
        return m
