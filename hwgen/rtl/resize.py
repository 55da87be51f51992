"""The same elements in wider or narrower words."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.ir import Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports


class WidenUnit(wiring.Component):
    """Collects words of `x.lanes` elements into words of `y.lanes`.

    One of the two divides the other, or `y.lanes` is a whole row. A row's (beyond C lanes: a
    sample's) last word goes out as soon as its last element is there. Latency: 1 cycle from the
    last element of a word. Initiation interval: 1 per input word.

    Members: `i`, `o`.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._ratio = -(-y.lanes // x.lanes)
        self._group = x.words if y.lanes > y.channels else x.words_per_row
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """The output register is filled slot by slot."""
        m = Module()
        width = self.i.payload.as_value().shape().width
        word = self.o.payload.as_value()
        out = Signal(word.shape())
        valid = Signal()
        ce = Signal()
        m.d.comb += [ce.eq(~valid | self.o.ready), self.i.ready.eq(ce)]
        m.d.comb += [self.o.valid.eq(valid), word.eq(out)]
        take = self.i.valid & ce
        _, group_last = counter(m, self._group, take, "word")
        slot = Signal(range(self._ratio))
        full = group_last | (slot == self._ratio - 1)
        with m.If(ce):
            m.d.sync += valid.eq(self.i.valid & full)
        with m.If(take):
            m.d.sync += slot.eq(Mux(full, 0, slot + 1))
            with m.Switch(slot):
                for k in range(self._ratio):
                    with m.Case(k):
                        part = out[k * width : (k + 1) * width]
                        m.d.sync += part.eq(self.i.payload.as_value()[: len(part)])
        return m


class NarrowUnit(wiring.Component):
    """Hands out each word of `x.lanes` elements as words of `y.lanes`.

    `y.lanes` divides `x.lanes`, or `x.lanes` is a whole row. Parts that lie behind the end of a
    row (beyond C lanes: of the sample) are left out. Latency: 1 cycle to the first part.
    Initiation interval: the parts of the word.

    Members: `i`, `o`.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._ratio = -(-x.lanes // y.lanes)
        self._group = x.words if x.lanes > x.channels else x.words_per_row
        parts = y.words if x.lanes > x.channels else y.words_per_row
        self._last = parts - (self._group - 1) * self._ratio
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """A register that shifts by one part for each word handed out."""
        m = Module()
        word = self.i.payload.as_value()
        part = self.o.payload.as_value()
        held = Signal(word.shape().width)
        left = Signal(range(self._ratio + 1))
        m.d.comb += [
            part.eq(held),
            self.o.valid.eq(left != 0),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        take = self.i.valid & self.i.ready
        _, group_last = counter(m, self._group, take, "word")
        with m.If(take):
            m.d.sync += [
                held.eq(word),
                left.eq(Mux(group_last, self._last, self._ratio)),
            ]
        with m.Elif(self.o.ready & self.o.valid):
            m.d.sync += [held.eq(held >> part.shape().width), left.eq(left - 1)]
        return m


def resize_unit(x: Tensor, y: Tensor) -> wiring.Component:
    """The unit that turns the words of `x` into those of `y`."""
    return WidenUnit(x, y) if y.lanes > x.lanes else NarrowUnit(x, y)
