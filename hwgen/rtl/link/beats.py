"""Between bytes of a link and beats of AXI4-Stream ports."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

DEPTH = 512  # bytes that wait in either direction


class ByteSource(wiring.Component):
    """Bytes that wait, and the beats of `size` bytes that they make, the first byte lowest.

    A byte with `i_last` ends a tensor, and its beat. Members: `i`, `i_last`, `i_valid`; `o_room`:
    bytes that there is room for; `tdata`, `tvalid`, `tready`, `tlast`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        super().__init__(
            {
                "i": In(8),
                "i_last": In(1),
                "i_valid": In(1),
                "o_room": Out(range(DEPTH + 1)),
                "tdata": Out(8 * size),
                "tvalid": Out(1),
                "tready": In(1),
                "tlast": Out(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Gather a beat, hold it until it moves."""
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=9, depth=DEPTH)
        place = Signal(range(self._size))
        m.d.comb += [
            queue.w_data.eq(Cat(self.i, self.i_last)),
            queue.w_en.eq(self.i_valid),
            self.o_room.eq(DEPTH - queue.w_level),
            queue.r_en.eq(~self.tvalid),
        ]
        last = queue.r_data[8]
        with m.If(self.tvalid & self.tready):
            m.d.sync += self.tvalid.eq(0)
        with m.If(queue.r_rdy & queue.r_en):
            m.d.sync += self.tdata.word_select(place, 8).eq(queue.r_data)
            with m.If(last | (place == self._size - 1)):
                m.d.sync += [place.eq(0), self.tvalid.eq(1), self.tlast.eq(last)]
            with m.Else():
                m.d.sync += place.eq(place + 1)
        return m


class ByteSink(wiring.Component):
    """The reverse: beats of `size` bytes to bytes that wait; the last byte of a tensor says so.

    Members: `tdata`, `tvalid`, `tready`, `tlast`; `o`, `o_last`, `o_valid`, `o_ready`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        super().__init__(
            {
                "tdata": In(8 * size),
                "tvalid": In(1),
                "tready": Out(1),
                "tlast": In(1),
                "o": Out(8),
                "o_last": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Take a beat, shift it out."""
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=9, depth=DEPTH)
        beat, last = Signal(8 * self._size), Signal()
        left = Signal(range(self._size + 1))
        m.d.comb += [
            self.tready.eq(left == 0),
            queue.w_data.eq(Cat(beat[:8], last & (left == 1))),
            queue.w_en.eq(left != 0),
            Cat(self.o, self.o_last).eq(queue.r_data),
            self.o_valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o_ready),
        ]
        with m.If(self.tvalid & self.tready):
            m.d.sync += [beat.eq(self.tdata), last.eq(self.tlast), left.eq(self._size)]
        with m.Elif(queue.w_en & queue.w_rdy):
            m.d.sync += [beat.eq(beat >> 8), left.eq(left - 1)]
        return m
