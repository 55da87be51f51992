"""The rows of a table in order."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal

from hwgen.rtl.embed import EmbedUnit


class PositionsUnit(EmbedUnit):
    """y = table[place], the last row behind its end; the place is 0 after a row that says it is
    the last, else one more.

    Latency: 3 cycles from a word to the first word of its row. Initiation interval: 1 per output
    word.

    Members: `i`: whether the row is the last; `o`: words of a row. `files`: its memory file.
    """

    def _row(self, m: Module):
        place = Signal(range(self._last + 1))
        with m.If(self.i.valid):
            behind = Mux(place == self._last, place, place + 1)
            m.d.sync += place.eq(Mux(self.i.payload[0], 0, behind))
        return place
