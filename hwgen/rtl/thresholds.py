"""Monotone functions, requantization among them, by comparison with thresholds."""

from __future__ import annotations

from typing import cast

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.formats import int_holding
from hwgen.ir import MultiThreshold, Requantize, Tensor, Thresholds
from hwgen.rtl.counter import counter
from hwgen.rtl.requantize import arrange, delay, signed
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import pipeline, ports, register, shape_of


class ThresholdUnit(wiring.Component):
    """y = low + the number of thresholds at or below x (~x in channels where y falls with x).

    A bit of the count in two cycles, from the highest: one reads the threshold in the middle of
    what is left, one compares. Latency: `form.latency` cycles. Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes. `files`: its memory files.
    """

    def __init__(self, node: Requantize | MultiThreshold, x: Tensor, y: Tensor) -> None:
        form = cast(Thresholds, node.form)
        self._form, self._x, self._y = form, x, y
        self._low, self._falls = (arrange(v, x) for v in (node.low, form.falls))
        levels = np.array([arrange(v, x) for v in form.values])
        # Levels up to a power of two, which no x or ~x reaches.
        missing = (1 << form.bits) - 1 - len(levels)
        never = max(int(levels.max()), x.fmt.max) + 1
        levels = np.pad(levels, ((0, missing), (0, 0), (0, 0)), constant_values=never)
        self._fmt = signed(int_holding(int(levels.min()), int(levels.max())))
        self._period = levels.shape[1]
        self.files: dict[str, str] = {}
        self._roms = []
        for bit in range(form.bits):
            step = 1 << (form.bits - bit)
            middle = levels[step // 2 - 1 :: step]  # (2**bit, period, lanes)
            words = middle.transpose(1, 0, 2).reshape(-1, middle.shape[2])
            self._roms.append(
                [
                    Rom(words[:, lane : lane + 1], self._fmt.bits, f"threshold{bit}_{lane}")
                    for lane in range(words.shape[1])
                ]
            )
        for rom in (rom for stage in self._roms for rom in stage):
            self.files.update(rom.files)
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Operand, one stage per bit, result."""
        m = Module()
        ce = pipeline(m, self._form.latency, self.o, self.i)
        word, _ = counter(m, self._period, self.i.valid & ce, "word")
        falls, low = (
            self._column(m, ce, name, words, word)
            for name, words in (("falls", self._falls), ("low", self._low))
        )
        place = register(m, ce, word)
        for lane in range(self._y.lanes):
            x = Signal(shape_of(signed(self._x.fmt)), name=f"x{lane}")
            with m.If(ce & self.i.valid):  # nothing behind toggles with sums that are not done
                m.d.sync += x.eq(self.i.payload[lane])
            operand = x ^ Mux(falls[lane], Const(-1, x.shape()), 0)
            count = self._search(m, ce, lane, operand, place)
            base = delay(m, ce, low[lane], 2 * self._form.bits)
            m.d.comb += self.o.payload[lane].eq(register(m, ce, base + count))
        return m

    def _column(self, m: Module, ce, name: str, words: np.ndarray, address) -> list:
        """A value of each lane, registered."""
        fmt = signed(int_holding(int(words.min()), int(words.max())))
        if (words == words[:1]).all():
            return [Const(int(v), shape_of(fmt)) for v in words[0]]
        data = Rom(words, fmt.bits, name).read(m, address, ce)
        return [data.word_select(lane, fmt.bits).as_signed() for lane in range(words.shape[1])]

    def _search(self, m: Module, ce, lane: int, x, place):
        """The number of thresholds at or below x, 2 * bits cycles later."""
        found: list = []
        for rom in (stage[lane] for stage in self._roms):
            address = Cat(*found[::-1], place) if self._period > 1 else Cat(*found[::-1])
            threshold = rom.read(m, address, ce)[: self._fmt.bits].as_signed()
            x, place = delay(m, ce, x, 1), delay(m, ce, place, 1)
            found = [register(m, ce, bit) for bit in found]
            found = [register(m, ce, bit) for bit in found] + [register(m, ce, x >= threshold)]
            x, place = delay(m, ce, x, 1), delay(m, ce, place, 1)
        return Cat(*found[::-1]) if found else Const(0, 1)
