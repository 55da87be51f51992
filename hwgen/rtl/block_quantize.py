"""Rows of integers as blocks of elements with a shared exponent."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring

from hwgen.formats import Float
from hwgen.ir import BlockQuantize, Tensor
from hwgen.rtl.arith.shift import leading_zeros, shift_left
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import WordSignature, pipeline, ports, register

# Words beyond a block's own that wait at full rate while its exponent is found.
SLACK = 4


class BlockQuantizeUnit(wiring.Component):
    """y = exponent << bits | element(x / 2**(exponent - emax)), exponent = floor(log2 of the
    block's largest magnitude).

    Words wait in a queue until their block's exponent is in another one, found as the leading 1 of
    all magnitudes or-ed together. An element is the magnitude shifted left by what the block's
    largest lacks of all its bits, then, of floats, to its own leading 1, unless it is subnormal;
    the highest bits are rounded to the nearest with ties to even, and saturated.

    Latency: 7 cycles from the last word of the block: queue, exponent and queue (3); magnitude,
    shifted, normalized, rounded. Initiation interval: 1.

    Members: `i`: integers; `o`: words of the same lanes. What the last word of a row has beyond it
    counts for nothing. Tested: OCP MX's formats and others, blocks of 1 to 32, against the golden
    model, with stalls.
    """

    def __init__(self, node: BlockQuantize, x: Tensor, y: Tensor) -> None:
        self._x, self._block = x, node.block
        self._exponent_bits = y.fmt.bits - node.block.element.bits
        self._words = x.words_per_row
        self._filled = x.channels - (self._words - 1) * x.lanes  # lanes of a row's last word
        self._most = min(self._words, -(-node.block.size // x.lanes))
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """A writer into both queues, and a pipeline of lanes behind them."""
        m = Module()
        width = self.i.payload.as_value().shape().width
        depth = self._most + SLACK
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=width + 1, depth=depth)
        # Every exponent in its queue has the last word of its block in the other.
        m.submodules.exponents = exponents = fifo.SyncFIFOBuffered(
            width=self._exponent_bits, depth=depth
        )
        self._writer(m, words, exponents)
        queued = WordSignature(self._x.fmt, self._x.lanes).create()
        ce = pipeline(m, 4, self.o, queued)
        m.d.comb += [
            queued.payload.as_value().eq(words.r_data[:-1]),
            queued.valid.eq(words.r_rdy & exponents.r_rdy),
            words.r_en.eq(queued.valid & queued.ready),
            exponents.r_en.eq(words.r_en & words.r_data[-1]),
        ]
        stages = [exponents.r_data]
        for _ in range(4):
            stages.append(register(m, ce, stages[-1], "exponent"))
        for lane in range(self._x.lanes):
            element = self._element(m, ce, queued.payload[lane], stages[1])
            m.d.comb += self.o.payload[lane].eq(Cat(element, stages[-1]))
        return m

    def _writer(self, m: Module, words, exponents) -> None:
        """Words with a flag at the end of a block; a cycle behind that, the block's exponent."""
        take, end = Signal(), Signal()
        _, row_last = counter(m, self._words, take, "word")
        place = Signal(range(self._most))
        m.d.comb += [
            self.i.ready.eq(words.w_rdy),
            take.eq(self.i.valid & words.w_rdy),
            end.eq(row_last | (place == self._most - 1)),
            words.w_en.eq(take),
            words.w_data.eq(Cat(self.i.payload, end)),
        ]
        largest = Const(0)
        for lane in range(self._x.lanes):
            counts = ~row_last if lane >= self._filled else Const(1, 1)
            largest = largest | Mux(counts, _magnitude(self.i.payload[lane]), 0)
        seen, ended = Signal(self._x.fmt.bits), Signal()
        m.d.sync += ended.eq(take & end)
        with m.If(take):
            m.d.sync += [
                place.eq(Mux(end, 0, place + 1)),
                seen.eq(Mux(place == 0, 0, seen) | largest),
            ]
        lacks, _ = leading_zeros(m, Cat(Const(1, 1), seen[1:]))
        m.d.comb += [
            exponents.w_en.eq(ended),
            exponents.w_data.eq(self._x.fmt.bits - 1 - lacks),
        ]

    def _element(self, m: Module, ce, x, exponent) -> Value:
        """The element's code, 4 cycles behind x; `exponent` comes a cycle behind x."""
        element, block = self._block.element, self._block
        man = element.man if isinstance(element, Float) else -block.unit
        # Binades of normal numbers beside the largest.
        depth = element.emax - element.emin if isinstance(element, Float) else 0
        negative = register(m, ce, x[-1] if x.shape().signed else Const(0, 1), "negative")
        magnitude = register(m, ce, _magnitude(x), "magnitude")
        for _ in range(2):
            negative = register(m, ce, negative, "negative")
        lacks = Signal(range(self._x.fmt.bits), name="lacks")
        m.d.comb += lacks.eq(self._x.fmt.bits - 1 - exponent)
        wide = Cat(Const(0, max(0, man + 2 - len(magnitude))), magnitude)
        shifted = register(m, ce, shift_left(m, wide, lacks), "shifted")
        field = Const(0)
        if depth:
            places = min(depth, len(shifted))
            zeros, _ = leading_zeros(m, Cat(Const(1, 1), shifted[len(shifted) - places :]))
            field = register(m, ce, depth - zeros, "field")
            shifted = shift_left(m, shifted, zeros)
        normalized = register(m, ce, shifted, "normalized")
        # The hidden bit of a normal number counts as one of the exponent field.
        base = Mux(normalized[-1], field, 0) << man
        cut = len(normalized) - man - 1
        half, rest = normalized[cut - 1], normalized[: cut - 1].any()
        size = base + normalized[cut:] + (half & (rest | normalized[cut]))
        limit = element.largest_code if isinstance(element, Float) else element.max
        least = Mux(size > limit, limit, size)
        code = Signal(element.bits, name="code")
        if isinstance(element, Float):
            sign = negative & (least != 0) if element.specials == "fnuz" else negative
            m.d.comb += code.eq(Cat(Value.cast(least)[: element.bits - 1], sign))
        else:
            m.d.comb += code.eq(Mux(negative, -size, least))
        return register(m, ce, code, "element")


def _magnitude(x: Value) -> Value:
    """|x|, in the bits of x."""
    return Mux(x[-1], -x, x)[: len(x)] if x.shape().signed else x
