"""Between AXI4-Stream ports and the streams inside."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Int
from hwgen.ir import Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import WordSignature

ENDS = WordSignature(Int(1, signed=False))


def lane_bytes(x: Tensor) -> int:
    """Bytes of one lane of tdata."""
    return -(-x.fmt.bits // 8)


class AxiSink(wiring.Component):
    """AXI4-Stream in. Beats of one sample end with tlast; in a stream of sequences (`ends`) a
    sample is a row, and the rows of one sequence do.

    A sample that ends early is filled up with zeros, one that goes on is cut, so that the next one
    starts right; either sets `o_error` until reset. A sequence ends with the row that ends early.
    Latency: 0. Initiation interval: 1.

    Members: `tdata` (lanes of whole bytes, lane 0 lowest), `tvalid`, `tready`, `tlast`; `o`: the
    words; `ends`, with each row's last word: whether its sequence ends; `o_error`.
    """

    def __init__(self, x: Tensor, ends: bool = False) -> None:
        self._x, self._ends = x, ends
        super().__init__(
            {
                "tdata": In(8 * lane_bytes(x) * x.lanes),
                "tvalid": In(1),
                "tready": Out(1),
                "tlast": In(1),
                "o": Out(WordSignature(x.fmt, x.lanes)),
                **({"ends": Out(ENDS)} if ends else {}),
                "o_error": Out(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Three states: passing beats on, filling up, dropping."""
        m = Module()
        fill, drop, error = Signal(), Signal(), Signal()
        sent = Signal()
        _, last = counter(m, self._x.words, sent, "beat")
        valid, ready = self._copies(m, last, fill) if self._ends else (self.o.valid, self.o.ready)
        m.d.comb += [
            sent.eq(valid & ready),
            valid.eq(fill | (self.tvalid & ~drop)),
            self.tready.eq(drop | (ready & ~fill)),
            self.o_error.eq(error),
        ]
        stride = 8 * lane_bytes(self._x)
        for lane in range(self._x.lanes):
            element = self.tdata[lane * stride : lane * stride + self._x.fmt.bits]
            m.d.comb += self.o.payload[lane].eq(Mux(fill, 0, element))
        taken = self.tvalid & self.tready
        wrong = self.tlast & ~last if self._ends else self.tlast != last
        with m.If(sent & ~fill & wrong):
            m.d.sync += [error.eq(1), fill.eq(self.tlast), drop.eq(last)]
        with m.Elif(fill & sent & last):
            m.d.sync += fill.eq(0)
        with m.Elif(drop & taken & self.tlast):
            m.d.sync += drop.eq(0)
        return m

    def _copies(self, m: Module, last, fill) -> tuple[Signal, Signal]:
        """(valid, ready) of a word that goes to `o`, and to `ends` if it is its row's last: to
        each as soon as that is ready."""
        valid, ready = Signal(), Signal()
        word_done, end_done = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(valid & ~word_done),
            self.ends.valid.eq(valid & last & ~end_done),
            self.ends.payload[0].eq(fill | self.tlast),
            ready.eq((word_done | self.o.ready) & (~last | end_done | self.ends.ready)),
        ]
        m.d.sync += [
            word_done.eq(valid & ~ready & (word_done | self.o.ready)),
            end_done.eq(valid & ~ready & (end_done | (last & self.ends.ready))),
        ]
        return valid, ready


class AxiSource(wiring.Component):
    """AXI4-Stream out: lanes extended to whole bytes, zero behind the end of a row, tlast on a
    sample's last beat; in a stream of sequences (`ends`) only where its sequence ends.

    Latency: 0. Initiation interval: 1.

    Members: `i`: the words; `ends`, one of each row: whether its sequence ends; `tdata`, `tvalid`,
    `tready`, `tlast`.
    """

    def __init__(self, y: Tensor, ends: bool = False) -> None:
        self._y, self._ends = y, ends
        super().__init__(
            {
                "i": In(WordSignature(y.fmt, y.lanes)),
                **({"ends": In(ENDS)} if ends else {}),
                "tdata": Out(8 * lane_bytes(y) * y.lanes),
                "tvalid": Out(1),
                "tready": In(1),
                "tlast": Out(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Count beats; blank what the row's last word doesn't use."""
        m = Module()
        y = self._y
        sent = self.tvalid & self.tready
        _, last = counter(m, y.words, sent, "beat")
        row_end = last
        group = y.elements
        if y.lanes <= y.channels:
            _, row_end = counter(m, y.words_per_row, sent, "row_beat")
            group = y.channels
        used = group - (-(-group // y.lanes) - 1) * y.lanes
        lanes = []
        for lane in range(y.lanes):
            element = self.i.payload[lane]
            if lane >= used:
                element = Mux(row_end, 0, element)
            width = 8 * lane_bytes(y)
            extended = Signal(Shape(width, y.fmt.signed), name=f"lane{lane}_bytes")
            m.d.comb += extended.eq(element)
            lanes.append(extended)
        m.d.comb += [
            self.tdata.eq(Cat(lanes)),
            self.tvalid.eq(self.i.valid),
            self.i.ready.eq(self.tready),
            self.tlast.eq(last),
        ]
        if self._ends:
            there = ~last | self.ends.valid
            m.d.comb += [
                self.tvalid.eq(self.i.valid & there),
                self.i.ready.eq(self.tready & there),
                self.ends.ready.eq(self.tready & self.i.valid & last),
                self.tlast.eq(last & self.ends.payload[0]),
            ]
        return m
