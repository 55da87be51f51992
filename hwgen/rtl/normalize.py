"""Layer and root-mean-square normalization of rows."""

from __future__ import annotations

from math import sqrt
from operator import add
from typing import cast

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data, wiring

from hwgen.formats import Int
from hwgen.ir import Normalize, Tensor
from hwgen.rtl.arith.interpolate import Interpolate, interpolate, interpolator, result_shape
from hwgen.rtl.counter import counter
from hwgen.rtl.requantize import column, elements
from hwgen.rtl.rom import Rom
from hwgen.rtl.rows import (
    ALWAYS,
    Rows,
    check_rows,
    cut,
    delayed,
    filled,
    range_shape,
    shifted,
    tree,
)
from hwgen.rtl.stream import pipeline, ports, register, shape_of

SCALING = 3  # cycles in which the spread is scaled to the root's argument


class NormalizeUnit(wiring.Component):
    """y[c] = clamp((u[c] * gamma[c] + beta[c] + half) >> shift), u[c] = d[c] * root(m) in the units
    of `Normalize`.

    Words wait in a queue while their row's sums, spread and root are computed, in a pipeline that
    nothing stalls; behind it each lane has three multipliers (a product by C counted as one).

    Latency from a row's last word: 7 cycles, ceil(log2 lanes), `SCALING`, those of the root, and 3
    where `centered`, until a row's first word leaves the queue; 9 more, and 1 where `centered`.
    Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes, at most a row. `parts`: the root; `files`: memories
    of gamma and beta. Tested: rows of 1 to 40 elements in words of any lanes, against the golden
    model, with stalls.
    """

    def __init__(self, node: Normalize, x: Tensor, y: Tensor) -> None:
        check_rows(node, x)
        self._node, self._x, self._y = node, x, y
        self._columns = [column(v, x) for v in (node.gamma, node.beta + (1 << node.shift - 1))]
        self._roms = [
            Rom(words, fmt.bits, name)
            for (words, fmt), name in zip(self._columns, ("gamma", "beta"), strict=True)
        ]
        self.files = {name: text for rom in self._roms for name, text in rom.files.items()}
        self.parts = interpolator(node.root)
        # What is squared and summed: x itself where its mean is taken away in the end.
        zero = 0 if node.centered else node.zero
        low, high, count = x.fmt.min - zero, x.fmt.max - zero, x.channels
        self._term = range_shape(low, high)
        self._sum = range_shape(count * low, count * high)
        self._squares = unsigned((count * max(low * low, high * high)).bit_length())
        away = count * (high - low)
        self._deviation = range_shape(-away, away) if node.centered else self._term
        # Pairs of bits: the root takes the highest of which one is 1.
        self._pairs = -(-node.most_spread(cast(Int, x.fmt), count).bit_length() // 2)
        self._wait = 5 + 3 * node.centered + SCALING + (x.lanes - 1).bit_length()
        self._wait += Interpolate.latency(node.root)
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """What is known of a row, the queue, and the lanes behind it."""
        m = Module()
        node, words = self._node, self._x.words_per_row
        layout = data.StructLayout(
            {
                "total": self._sum if node.centered else unsigned(0),
                "half": range(self._pairs),
                "root": result_shape(node.root),
            }
        )
        bits = len(Value.cast(self.i.payload))
        m.submodules.rows = rows = Rows(bits, layout.size, words, self._wait)
        m.d.comb += [
            rows.i.payload.eq(self.i.payload),
            rows.i.valid.eq(self.i.valid),
            self.i.ready.eq(rows.i.ready),
        ]
        self._known(m, rows, data.View(layout, rows.i_known))
        ce = pipeline(m, 9 + node.centered, self.o, rows.o)
        known = data.View(layout, rows.o.payload.known)
        word = data.View(self.i.payload.shape(), rows.o.payload.word)
        root, half = delayed(m, ce, 1 + node.centered, known.root, known.half)
        (half,) = delayed(m, ce, 2, half)
        gamma, beta = self._parameters(m, ce, ce & rows.o.valid)
        for lane in range(self._x.lanes):
            (product,) = delayed(m, ce, 2, self._away(m, ce, word[lane], known.total) * root)
            u = Signal(self._unit_shape(), name=f"u{lane}")
            m.d.comb += u.eq(shifted(m, ce, product, half, node.up))
            (scaled,) = delayed(m, ce, 2, u * gamma[lane])
            total = register(m, ce, scaled + beta[lane])
            m.d.comb += self.o.payload[lane].eq(self._clamped(m, ce, total))
        return m

    def _known(self, m: Module, rows: Rows, known: data.View) -> None:
        """What the queue is told of a row, `_wait` cycles behind its last word."""
        node, count = self._node, self._x.channels
        done, spread, *totals = self._sums(m, rows.i.valid & rows.i.ready)
        if node.centered:
            both, own = delayed(m, ALWAYS, 2, spread * count, totals[0] * totals[0])
            spread = register(m, ALWAYS, (both - own)[: 2 * self._pairs])
        value = Signal(2 * self._pairs, name="spread")
        moved = spread + node.epsilon
        m.d.comb += value.eq(moved if node.epsilon else Mux(spread == 0, 1, spread))
        mantissa, half = self._scaled(m, register(m, ALWAYS, value))
        latency = Interpolate.latency(node.root)
        (half,) = delayed(m, ALWAYS, latency, half)
        latency += 1 + 3 * node.centered + SCALING
        done, *totals = delayed(m, ALWAYS, latency, done, *totals)
        m.d.comb += [
            rows.i_known_valid.eq(done),
            known.half.eq(half),
            known.root.eq(interpolate(m, node.root, ALWAYS, mantissa)),
        ]
        if node.centered:
            m.d.comb += known.total.eq(totals[0])

    def _sums(self, m: Module, take) -> tuple:
        """(whether a row has ended, the sum of its squares, where `centered` its own sum)."""
        place, last = counter(m, self._x.words_per_row, take, "taken")
        zero = 0 if self._node.centered else self._node.zero
        terms = [
            register(m, ALWAYS, Mux(filled(self._x, last, lane), self.i.payload[lane] - zero, 0))
            for lane in range(self._x.lanes)
        ]
        terms = [cut(m, term, self._term) for term in terms]
        squares = [delayed(m, ALWAYS, 2, term * term)[0].as_unsigned() for term in terms]
        levels = (self._x.lanes - 1).bit_length()
        taken, first, end = delayed(m, ALWAYS, 3 + levels, take, place == 0, take & last)
        sums = [(squares, self._squares, "squares")]
        if self._node.centered:
            sums.append((delayed(m, ALWAYS, 2, *terms), self._sum, "total"))
        totals = []
        for values, shape, name in sums:
            total, term = Signal(shape, name=name), tree(m, ALWAYS, values, add)
            with m.If(taken):
                m.d.sync += total.eq(Mux(first, 0, total) + term)
            totals.append(total)
        return (register(m, ALWAYS, end), *totals)

    def _scaled(self, m: Module, value: Value) -> tuple[Value, Value]:
        """The root's argument, and half the logarithm, of a spread: shifted by pairs of bits until
        one of the highest two is 1; `SCALING` cycles later."""
        zeros: list[Value] = []
        steps = [1 << k for k in reversed(range((self._pairs - 1).bit_length()))]
        share = -(-len(steps) // SCALING)
        for stage in range(SCALING):
            for step in steps[stage * share : (stage + 1) * share]:
                empty = Signal(name=f"empty{step}")
                moved = Signal(len(value), name=f"moved{step}")
                m.d.comb += empty.eq(~value[len(value) - 2 * step :].any())
                m.d.comb += moved.eq(Mux(empty, value << 2 * step, value))
                value, zeros = moved, [empty, *zeros]
            value, *zeros = delayed(m, ALWAYS, 1, value, *zeros)
        bits = self._node.root.bits
        mantissa = Cat(Const(0, max(0, bits - len(value))), value)[-bits:]
        return mantissa, self._pairs - 1 - Cat(*zeros)

    def _away(self, m: Module, ce, x, total) -> Value:
        """The deviation of an element, 1 cycle later, or 2 where `centered`."""
        if not self._node.centered:
            return cut(m, register(m, ce, x - self._node.zero), self._deviation)
        product = register(m, ce, x * self._x.channels)
        return cut(m, register(m, ce, product - register(m, ce, total)), self._deviation)

    def _unit_shape(self) -> Shape:
        """The shape of every u: |d| is at most sqrt(V), where `centered` sqrt(C * V), and
        sqrt(V) / 2**h at most sqrt((m + 1) / 2**B)."""
        root = self._node.root
        m = np.arange(1 << root.bits - 2, 1 << root.bits)
        most = float((np.abs(root(m)) * np.sqrt((m + 1) / m[0])).max()) * 0.5**self._node.up
        most = int(most * (sqrt(self._x.channels) if self._node.centered else 1)) + 2
        return range_shape(-most, most)

    def _parameters(self, m: Module, ce, step) -> list[list]:
        """gamma and beta of each lane, where u and where its product with gamma is there."""
        address, _ = counter(m, self._x.words_per_row, step, "word")
        (address,) = delayed(m, ce, 4 + self._node.centered, address)
        words = [self._roms[0].read(m, address, ce)]
        (address,) = delayed(m, ce, 2, address)
        words.append(self._roms[1].read(m, address, ce))
        return [
            elements(word, fmt, self._x.lanes)
            for word, (_, fmt) in zip(words, self._columns, strict=True)
        ]

    def _clamped(self, m: Module, ce, total) -> Signal:
        """The result of a sum, a cycle later."""
        y = total.shift_right(self._node.shift)
        low, high = self._node.low, self._node.high
        out = Signal(shape_of(self._y.fmt))
        m.d.comb += out.eq(Mux(y < low, low, Mux(y > high, high, y)))
        return register(m, ce, out)
