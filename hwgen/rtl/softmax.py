"""Softmax of rows."""

from __future__ import annotations

from operator import add

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring

from hwgen.errors import HwgenError
from hwgen.ir import Softmax, Tensor
from hwgen.rtl.arith.interpolate import Interpolate, interpolate, interpolator, result_shape
from hwgen.rtl.arith.shift import normalize
from hwgen.rtl.counter import counter
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


class SoftmaxUnit(wiring.Component):
    """y[c] = p[c] / sum(p) with p[c] = 2**(t[c] - max), in the units of `Softmax`.

    Two queues: elements wait for the largest exponent of their row, then weights for their sum.
    Each lane has an exponential, a multiplier for the score and one for the quotient.

    Latency: 6 cycles, ceil(log2 lanes) and those of the exponential from a row's last word until
    its first one leaves the first queue; 6, ceil(log2 lanes) and those of the reciprocal until it
    leaves the second; 5 to the output. Initiation interval: 1.

    Members: `i`, `o`: words of the same lanes, at most a row. `parts`: both functions. Tested: rows
    of 1 to 24 elements in words of any lanes, against the golden model, with stalls.
    """

    def __init__(self, node: Softmax, x: Tensor, y: Tensor) -> None:
        check_rows(node, x)
        self._node, self._x, self._y = node, x, y
        weights = node.exponential(np.arange(1 << node.fraction))
        if weights.min() < 1:
            raise HwgenError(f"{node.name}: its exponential must be at least 1 everywhere")
        half = 1 << node.shift - 1
        ends = sorted(v * node.multiplier + half >> node.shift for v in (x.fmt.min, x.fmt.max))
        self._score = range_shape(*ends)
        whole = range_shape(*(end >> node.fraction for end in ends))
        self._weight = unsigned(int(weights.max()).bit_length())
        self._total = unsigned(int(weights.max() * x.channels).bit_length())
        # The leading one of every sum is there or above.
        self._least = int(weights.min()).bit_length() - 1
        self._levels = (x.lanes - 1).bit_length()
        scored = data.StructLayout({"whole": whole, "weight": self._weight})
        self._words = data.ArrayLayout(scored, x.lanes), data.ArrayLayout(self._weight, x.lanes)
        factor = result_shape(node.reciprocal)
        self._known = whole, data.StructLayout({"factor": factor, "places": self._places})
        self.parts = {**interpolator(node.exponential), **interpolator(node.reciprocal)}
        super().__init__(ports(x, y))

    @property
    def _places(self) -> range:
        """What the leading one of a sum is above the least."""
        return range(max(1, self._total.width - self._least))

    def elaborate(self, _platform) -> Module:
        """Scores and exponentials, a queue, weights, a queue, quotients."""
        m = Module()
        waits = 1 + self._levels, 2 + self._levels + Interpolate.latency(self._node.reciprocal)
        scored, weighted = (
            Rows(word.size, Value.cast(Signal(known)).shape().width, self._x.words_per_row, wait)
            for word, known, wait in zip(self._words, self._known, waits, strict=True)
        )
        m.submodules.scored, m.submodules.weighted = scored, weighted
        self._scores(m, scored.i)
        self._largest(m, scored)
        self._weights(m, scored.o, weighted.i)
        self._sum(m, weighted)
        self._quotients(m, weighted.o)
        return m

    def _scores(self, m: Module, out: stream.Interface) -> None:
        """The exponent of each element, and its exponential."""
        node, latency = self._node, Interpolate.latency(self._node.exponential)
        ce = pipeline(m, 3 + latency, out, self.i)
        word = data.View(self._words[0], out.payload)
        for lane in range(self._x.lanes):
            (product,) = delayed(m, ce, 2, self.i.payload[lane] * node.multiplier)
            score = cut(m, (product + (1 << node.shift - 1)).shift_right(node.shift), self._score)
            score = register(m, ce, score, "score")
            (whole,) = delayed(m, ce, latency, score.shift_right(node.fraction))
            weight = interpolate(m, node.exponential, ce, score[: node.fraction])
            m.d.comb += [word[lane].whole.eq(whole), word[lane].weight.eq(weight)]

    def _largest(self, m: Module, rows: Rows) -> None:
        """The largest exponent of a row."""
        word = data.View(self._words[0], rows.i.payload)
        first, last, take = self._places_of(m, rows, "scored")
        # A lane that holds nothing counts as the first.
        values = [
            Mux(filled(self._x, last, lane), word[lane].whole, word[0].whole)
            for lane in range(self._x.lanes)
        ]
        largest = tree(m, ALWAYS, values, lambda a, b: Mux(a > b, a, b))
        take, first, end = delayed(m, ALWAYS, self._levels, take, first, take & last)
        known = Signal(self._known[0], name="largest")
        with m.If(take & (first | (largest > known))):
            m.d.sync += known.eq(largest)
        m.d.comb += [rows.i_known.eq(known), rows.i_known_valid.eq(register(m, ALWAYS, end))]

    def _weights(self, m: Module, scored: stream.Interface, out: stream.Interface) -> None:
        """The weight of each element: 0 where a lane holds none."""
        ce = pipeline(m, 2, out, scored)
        word = data.View(self._words[0], scored.payload.word)
        largest = Signal(self._known[0], name="row_largest")
        m.d.comb += largest.eq(scored.payload.known)
        most = self._weight.width  # places that leave nothing
        weights = data.View(self._words[1], out.payload)
        for lane in range(self._x.lanes):
            below = (largest - word[lane].whole).as_unsigned()
            gone = (below >= most) | ~filled(self._x, scored.payload.last, lane)
            places = Signal(range(most + 1), name=f"places{lane}")
            m.d.comb += places.eq(Mux(gone, most, below))
            exponential, places = delayed(m, ce, 1, word[lane].weight, places)
            m.d.comb += weights[lane].eq(register(m, ce, exponential >> places))

    def _sum(self, m: Module, rows: Rows) -> None:
        """The factor and the shift of a row: those of 1 / the sum of its weights."""
        word = data.View(self._words[1], rows.i.payload)
        first, last, take = self._places_of(m, rows, "weighted")
        terms = tree(m, ALWAYS, [word[lane] for lane in range(self._x.lanes)], add)
        take, first, end = delayed(m, ALWAYS, self._levels, take, first, take & last)
        total = Signal(self._total)
        with m.If(take):
            m.d.sync += total.eq(Mux(first, 0, total) + terms)
        top, zeros = delayed(m, ALWAYS, 1, *normalize(m, total))
        function = self._node.reciprocal
        rest = Cat(Const(0, function.bits), top[:-1])[-function.bits :]
        latency = Interpolate.latency(function)
        (end,) = delayed(m, ALWAYS, 2 + latency, end)
        (places,) = delayed(m, ALWAYS, latency, self._places[-1] - zeros)
        known = data.View(self._known[1], rows.i_known)
        m.d.comb += [
            known.factor.eq(interpolate(m, function, ALWAYS, rest)),
            known.places.eq(places),
            rows.i_known_valid.eq(end),
        ]

    def _quotients(self, m: Module, rows: stream.Interface) -> None:
        ce = pipeline(m, 5, self.o, rows)
        node = self._node
        word = data.View(self._words[1], rows.payload.word)
        known = data.View(self._known[1], rows.payload.known)
        (places,) = delayed(m, ce, 2, known.places)
        for lane in range(self._x.lanes):
            (product,) = delayed(m, ce, 2, word[lane] * known.factor)
            y = shifted(m, ce, product, places, self._least + node.up)
            out = Signal(shape_of(self._y.fmt))
            m.d.comb += out.eq(Mux(y > node.high, node.high, y))
            m.d.comb += self.o.payload[lane].eq(register(m, ce, out))

    def _places_of(self, m: Module, rows: Rows, name: str) -> tuple:
        """(whether a word that comes is a row's first, whether the last, whether one comes)."""
        take = rows.i.valid & rows.i.ready
        place, last = counter(m, self._x.words_per_row, take, name)
        return place == 0, last, take
