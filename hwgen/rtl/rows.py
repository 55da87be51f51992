"""Rows that wait until what is known of the whole row has come."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwgen.errors import HwgenError
from hwgen.formats import int_holding
from hwgen.ir import Node, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import register, registers, shape_of

# Words beyond those that come until the row is known: what both queues take.
SLACK = 4
ALWAYS = Const(1, 1)  # the clock enable of what nothing stalls


class Rows(wiring.Component):
    """The words of rows in order, each with what is known of its row.

    `words` in a row; `wait`: cycles from a row's last word to its `known`, which nothing stalls.
    Latency: 2 cycles from `known` to the row's first word. Initiation interval: 1.

    Members: `i`: words; `i_known_valid`, `i_known`; `o`: `word`, `known` and whether it is the
    row's `last` word.
    """

    def __init__(self, word_bits: int, known_bits: int, words: int, wait: int) -> None:
        self._words, self._depth = words, words + wait + SLACK
        self._layout = data.StructLayout({"word": word_bits, "last": 1})
        out = data.StructLayout({"word": word_bits, "last": 1, "known": known_bits})
        super().__init__(
            {
                "i": In(stream.Signature(word_bits)),
                "i_known_valid": In(1),
                "i_known": In(known_bits),
                "o": Out(stream.Signature(out)),
            }
        )

    def elaborate(self, _platform) -> Module:
        """A queue of words, and one of what is known: of every row whose last word is in the
        first, at most."""
        m = Module()
        width, known_width = self._layout.size, len(self.i_known)
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
        depth = self._depth // self._words + 1
        m.submodules.known = known = fifo.SyncFIFOBuffered(width=known_width, depth=depth)
        word = data.View(self._layout, words.r_data)
        _, last = counter(m, self._words, words.w_en, "word")
        m.d.comb += [
            self.i.ready.eq(words.w_rdy),
            words.w_en.eq(self.i.valid & words.w_rdy),
            words.w_data.eq(Cat(self.i.payload, last)),
            known.w_en.eq(self.i_known_valid),
            known.w_data.eq(self.i_known),
            self.o.valid.eq(words.r_rdy & known.r_rdy),
            self.o.payload.word.eq(word.word),
            self.o.payload.last.eq(word.last),
            self.o.payload.known.eq(known.r_data),
            words.r_en.eq(self.o.valid & self.o.ready),
            known.r_en.eq(words.r_en & word.last),
        ]
        return m


def filled(x: Tensor, last: Value, lane: int) -> Value:
    """Whether a lane of a row's word holds an element."""
    full = x.channels - (x.words_per_row - 1) * x.lanes
    return Const(1, 1) if lane < full else ~last


def check_rows(node: Node, x: Tensor) -> None:
    """Raise `HwgenError` unless a word holds at most a row."""
    if x.lanes > x.channels:
        raise HwgenError(
            f"{node.name}: its rows have {x.channels} elements, so its words must have at most "
            f"{x.channels} lanes, not {x.lanes}"
        )


def tree(m: Module, ce, terms: list, join) -> Value:
    """All terms joined in a tree of registers, ceil(log2 of their number) cycles later."""
    while len(terms) > 1:
        pairs = [terms[k : k + 2] for k in range(0, len(terms), 2)]
        terms = registers(m, ce, [join(*pair) if len(pair) > 1 else pair[0] for pair in pairs])
    return terms[0]


def delayed(m: Module, ce, cycles: int, *values) -> list:
    """Values so many cycles later."""
    for _ in range(cycles):
        values = tuple(register(m, ce, value) for value in values)
    return list(values)


def shifted(m: Module, ce, product, places, fixed: int) -> Signal:
    """(product + 2**(n - 1)) >> n with n = places + fixed, two cycles later; `fixed` at least 1."""
    floor = register(m, ce, product.shift_right(fixed - 1) >> places, "floor")
    return register(m, ce, (floor + 1).shift_right(1), "shifted")


def range_shape(low: int, high: int) -> Shape:
    """The shape that holds every integer of [low, high]."""
    return shape_of(int_holding(min(0, low), max(1, high)))


def cut(m: Module, value, shape: Shape) -> Signal:
    """A value in a shape that holds it."""
    result = Signal(shape, name="cut")
    m.d.comb += result.eq(value)
    return result
