"""Dot products whose sums are rounded: every addition in a stated place."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Arithmetic
from hwgen.ir import ADDER_STAGES
from hwgen.rtl.arith.sums import sums_of
from hwgen.rtl.stream import instance, shape_of


class RoundingDot(wiring.Component):
    """o = the sum of a row of words, `words` of `lanes` products each, as `hwgen.ir.Linear` defines
    it.

    Registers before and behind the products; a tree of adders for the products of a word, each
    rounded before where there are several; an adder in whose stages ADDER_STAGES partial sums take
    turns, so that a word can come every cycle; and an adder for each level of the tree that merges
    them: it adds every value to the one before, and what it makes of a row's last word is the one
    that counts. Latency: `latency` cycles of `i_ce` from a row's last word to `o`. Initiation
    interval: a word per cycle.

    Members: `i_ce`: clock enable; `i_valid`, `i_first`: a word is there, and begins a row; `i_x`,
    `i_w`: codes; `i_start`: where `biased` the code that this row's sum begins with; `o`: its code.
    """

    def __init__(self, arithmetic: Arithmetic, lanes: int, words: int, biased: bool) -> None:
        self._arithmetic, self._lanes, self._biased = arithmetic, lanes, biased
        self._words = min(words, ADDER_STAGES + 1)  # longer rows are built alike
        self._sums = sums_of(arithmetic)
        members = {
            "i_ce": In(1),
            "i_valid": In(1),
            "i_first": In(1),
            "i_x": In(data.ArrayLayout(shape_of(arithmetic.x), lanes)),
            "i_w": In(data.ArrayLayout(shape_of(arithmetic.w), lanes)),
            "o": Out(self._sums.result.bits),
        }
        if biased:
            members["i_start"] = In(self._sums.result.bits)
        super().__init__(members)

    @staticmethod
    def latency(arithmetic: Arithmetic, lanes: int, words: int) -> int:
        """Cycles from a row's last operands to its sum."""
        tree = (lanes - 1).bit_length() + (lanes > 1)
        levels = tree + 1 + (min(words, ADDER_STAGES) - 1).bit_length()
        finishing = isinstance(arithmetic.accumulator, Approximate)
        return 2 + levels * ADDER_STAGES + finishing

    def elaborate(self, _platform) -> Module:
        """Products, their tree, the partial sums, and the tree that merges them."""
        m = Module()
        terms, depth = self._products(m), 0
        if self._lanes > 1:
            terms = [
                self._add(m, f"product{k}", self._sums.nothing, product, fused=True)
                for k, product in enumerate(terms)
            ]
            depth = 1
        while len(terms) > 1:
            terms += [self._sums.nothing] * (len(terms) % 2)
            pairs = zip(terms[::2], terms[1::2], strict=True)
            terms = [self._add(m, f"tree{depth}_{k}", a, b) for k, (a, b) in enumerate(pairs)]
            depth += 1
        delay = 2 + depth * ADDER_STAGES
        valid, first = (self._delayed(m, flag, delay) for flag in (self.i_valid, self.i_first))
        value = self._accumulate(m, valid, first, delay, terms[0])
        valid, first = (self._delayed(m, flag, ADDER_STAGES) for flag in (valid, first))
        for level in range((min(self._words, ADDER_STAGES) - 1).bit_length()):
            before = self._before(m, level, valid, first, value)
            value = self._add(m, f"merge{level}", before, value)
            valid, first = (self._delayed(m, flag, ADDER_STAGES) for flag in (valid, first))
        m.d.comb += self.o.eq(self._sums.finish(m, self.i_ce, value))
        return m

    def _products(self, m: Module) -> list:
        """Products behind their registers."""
        products = []
        for k in range(self._lanes):
            x = self._register(m, self.i_x[k])
            w = self._register(m, self.i_w[k])
            products.append(self._register(m, self._sums.product(m, x, w)))
        return products

    def _accumulate(self, m: Module, valid, first, delay: int, term) -> Signal:
        """The partial sum that a word went to, ADDER_STAGES cycles after it came.

        Its partial sum before is just coming out of the adder, or came out earlier and is kept.
        """
        start = nothing = self._sums.nothing
        if self._biased:
            start = self._sums.begin(m, self._delayed(m, self.i_start, delay))
        total = Signal(self._sums.bits, name="total")
        operand = Mux(first, start, nothing)
        if self._words > ADDER_STAGES:
            place, more = Signal(range(ADDER_STAGES)), Signal()
            here = Mux(first, 0, place)
            with m.If(self.i_ce & valid):
                m.d.sync += [
                    place.eq(here + 1),
                    more.eq((more & ~first) | (here == ADDER_STAGES - 1)),
                ]
            came, there = self._delayed(m, valid, ADDER_STAGES), here
            for _ in range(ADDER_STAGES):
                there = self._register(m, there)
            kept = data.ArrayLayout(self._sums.bits, ADDER_STAGES)
            kept = Signal(kept, name="kept")
            with m.If(self.i_ce & came):
                m.d.sync += kept[there].eq(total)
            old = Mux(came & (there == here), total, kept[here])
            operand = Mux(first, start, Mux(more, old, nothing))
        m.d.comb += total.eq(self._add(m, "partial", operand, term, fused=self._lanes == 1))
        return total

    def _before(self, m: Module, level: int, valid, first, value):
        """The value 2**level words before, of the same row; nothing where there is none."""
        history = value
        for k in range(1 << level):
            held = Signal(self._sums.bits, name=f"before{level}_{k}")
            with m.If(self.i_ce & valid):
                m.d.sync += held.eq(history)
            history = held
        # At level 1 only a row's last word counts, and rows that short don't get there.
        return Mux(first, self._sums.nothing, history) if level == 0 else history

    def _add(self, m: Module, name: str, a, b, fused: bool = False) -> Signal:
        """a + b, ADDER_STAGES cycles later; b is a product where `fused`."""
        total = Signal(self._sums.bits, name=name)
        m.submodules[name] = instance(self._sums.adder(fused)[0], self.i_ce, a, b, total)
        return total

    def _register(self, m: Module, value) -> Signal:
        register = Signal(value.shape() if hasattr(value, "shape") else Shape.cast(value))
        with m.If(self.i_ce):
            m.d.sync += register.eq(value)
        return register

    def _delayed(self, m: Module, value, cycles: int):
        for _ in range(cycles):
            value = self._register(m, value)
        return value
