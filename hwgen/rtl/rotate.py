"""Rotary position embedding."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.errors import HwgenError
from hwgen.formats import int_holding
from hwgen.ir import Rotate, Tensor
from hwgen.rtl.banks import stored
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import ports, register, shape_of


class RotateUnit(wiring.Component):
    """y[i, c] = clamp(((x[i, c] - zero) * first[i, c] + (x[i, order[c]] - zero) * second[i, c] +
    half) >> shift, low, high).

    Two banks of a row: a word and the one that holds its other elements are read at once. Latency:
    7 cycles from a row's last word to the first of the output. Initiation interval: 1 per word.

    Members: `i`: words that `node.fits`; with `stateful` `i0` and `i1`, whether a row is the last
    of its sequence; `o`: words of the same lanes. `files`: its memory files.
    """

    def __init__(self, node: Rotate, *tensors: Tensor) -> None:
        x = self._x = tensors[0]
        if not node.fits(x.lanes):
            raise HwgenError(
                f"{node.name}: its order must keep words of {x.lanes} lanes together; use 1"
            )
        self._node, self._words = node, x.words_per_row
        words = node.order.reshape(-1, x.lanes)
        self._source = [int(k) for k in words[0] % x.lanes]
        self._order = Rom(words[:, :1] // x.lanes, max(1, (len(words) - 1).bit_length()), "order")
        tables = np.concatenate([t.reshape(-1, x.lanes) for t in (node.first, node.second)], axis=1)
        low, high = int(tables.min()), int(tables.max())
        self._factor = int_holding(min(low, 0), max(high, 0))
        self._rom = Rom(tables, self._factor.bits, "factors")
        self.files = {**self._rom.files, **self._order.files}
        super().__init__(ports(*tensors))

    def elaborate(self, _platform) -> Module:
        """Order, memories, operands, products, sums, limits."""
        m = Module()
        row = self.i0 if self._node.stateful else self.i
        ce, step, freed = Signal(), Signal(), Signal()
        word, row_end = counter(m, self._words, step, "word")
        memory, turns = stored(m, row, self._words, step & row_end, ce & freed)
        m.d.comb += [ce.eq(~self.o.valid | self.o.ready), step.eq(ce & turns.there)]
        if self._node.stateful:
            m.d.comb += [
                step.eq(ce & turns.there & (self.i1.valid | ~row_end)),
                self.i1.ready.eq(ce & turns.there & row_end),
            ]
        with m.If(ce):
            m.d.sync += freed.eq(step & row_end)
        reads = [memory.read_port(), memory.read_port()]
        places = register(m, ce, word, "place"), self._order.read(m, word, ce)
        bank = register(m, ce, turns.read, "bank")
        for read, place in zip(reads, places, strict=True):
            m.d.comb += [read.addr.eq(bank + place), read.en.eq(ce)]
        address = register(m, ce, self._place(m, step & row_end) + word, "address")
        factors = self._rom.read(m, address[: max(1, (self._rom.depth - 1).bit_length())], ce)
        self._result(m, ce, reads[0].data, reads[1].data, factors)
        valid = step
        for _ in range(6):
            valid = register(m, ce, valid, "valid")
        m.d.comb += self.o.valid.eq(valid)
        return m

    def _place(self, m: Module, row_end) -> Signal:
        """Address of the first factors of the present row."""
        last = self._rom.depth - self._words
        base = Signal(range(self._rom.depth))
        with m.If(row_end):
            m.d.sync += base.eq(base + self._words)
            with m.If(base == last):
                m.d.sync += base.eq(last if self._node.stateful else 0)
            if self._node.stateful:
                with m.If(self.i1.payload[0]):
                    m.d.sync += base.eq(0)
        return base

    def _result(self, m: Module, ce, own, others, factors) -> None:
        """Operands, products, rounded sums, limits: four registers."""
        node, lanes, fmt = self._node, self._x.lanes, self._factor
        for lane, source in enumerate(self._source):
            products = []
            for k, element in enumerate((own[lane], others[source])):
                factor = Signal(shape_of(fmt), name=f"factor{lane}_{k}")
                m.d.comb += factor.eq(factors[(k * lanes + lane) * fmt.bits :])
                a = register(m, ce, element - node.zero, "element")
                products.append(register(m, ce, a * register(m, ce, factor, "factor"), "product"))
            half = (1 << node.shift) >> 1
            total = register(m, ce, (products[0] + products[1] + half) >> node.shift, "sum")
            limited = Mux(total > node.high, node.high, Mux(total < node.low, node.low, total))
            out = Signal(self.o.payload[lane].shape(), name=f"out{lane}")
            with m.If(ce):
                m.d.sync += out.eq(limited)
            m.d.comb += self.o.payload[lane].eq(out)
