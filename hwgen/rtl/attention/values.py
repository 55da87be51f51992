"""Weighted sums of values, and their division by the sum of the weights."""

from __future__ import annotations

from operator import add

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.interpolate import Interpolate, interpolate
from hwgen.rtl.arith.shift import normalize
from hwgen.rtl.attention.lanes import lane, one_hot, value_lane
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.rows import delayed, shifted, tree
from hwgen.rtl.stream import WordSignature, register


class ValuesUnit(wiring.Component):
    """o[e] = (o[e] >> rise) + sum over j of p[j] * v[j, e], and y[e] = o[e] / l of the last visits.

    A value row goes into the ring while the first visit is summed. Latency: from a bank 9 cycles,
    those of a Dot and of the reciprocal to the first word. Initiation interval: `steps` cycles per
    visit.

    Members: `i`: banks of weights; `v`: value words; `o`: words of quotients.
    """

    def __init__(self, plan: Plan, fmt) -> None:
        self._plan, self._fmt = plan, fmt
        super().__init__(
            {
                "i": In(stream.Signature(plan.weight_bank)),
                "v": In(WordSignature(plan.v.fmt, plan.simd)),
                "o": Out(WordSignature(fmt, plan.simd)),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Take a bank, step through the words of a head, sum, divide."""
        m = Module()
        plan = self._plan
        ce, go, active = Signal(), Signal(), Signal()
        step = Signal(range(max(2, plan.steps)))
        last = step == plan.steps - 1
        bank = Signal(plan.weight_bank)
        control = bank.control
        stores = active & control.load & (step < plan.width)
        m.d.comb += [
            ce.eq(~self.o.valid | self.o.ready),
            go.eq(active & ce & (~stores | self.v.valid)),
            self.v.ready.eq(go & stores),
            self.i.ready.eq(ce & (~active | (go & last))),
        ]
        with m.If(go):
            m.d.sync += step.eq(Mux(last, 0, step + 1))
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [active.eq(1), bank.eq(self.i.payload)]
        products = self._lanes(m, ce, go & stores, step, bank)
        useful = go & control.compute & (step < plan.width)
        facts = [useful, step, control.first, control.last, bank.sum, bank.down]
        facts = delayed(m, ce, 2 + Dot.latency(plan.lanes), *facts)
        useful, place, first, emits, total, down = facts
        sums = self._sums(m, ce, products, useful, place, first, down)
        valid = register(m, ce, useful & emits, "valid")
        self._divide(m, ce, valid, register(m, ce, total, "sum"), sums)
        return m

    def _lanes(self, m: Module, ce, stores, step, bank) -> Signal:
        """The weighted values of all lanes, those of a lane's word together, four cycles later."""
        plan, control = self._plan, bank.control
        groups, words = plan.node.groups, range(max(2, plan.value_words))
        read_at, write_at = Signal(words, name="read_at"), Signal(words, name="write_at")
        m.d.comb += [
            write_at.eq((control.slot_chunk * groups + control.group) * plan.width + step),
            read_at.eq((control.chunk * groups + control.group) * plan.width + step),
        ]
        shared = {
            "i_i_ce": ce,
            "i_i_write_at": write_at,
            "i_i_word": self.v.payload.as_value(),
            "i_i_at": register(m, ce, read_at, "value_address"),
        }
        width, size = plan.dot_shapes[1].width, plan.weight_fmt.bits
        products = Signal(width * plan.simd * plan.lanes)
        writes = one_hot(m, control.slot_lane, stores, plan.lanes)
        for k in range(plan.lanes):
            own = {
                "i_i_write": writes[k],
                "i_i_p": bank.weights.word_select(k, size),
                "o_o": products.word_select(k, width * plan.simd),
            }
            lane(m, value_lane(plan)[0], k, {**shared, **own})
        return products

    def _sums(self, m: Module, ce, products, useful, place, first, down) -> list[Signal]:
        """The sums of a word, in a memory between visits."""
        plan = self._plan
        layout = data.ArrayLayout(plan.output_shape, plan.simd)
        m.submodules.sums = memory = Memory(shape=layout, depth=plan.width, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        new = Signal(layout)
        product = data.ArrayLayout(plan.dot_shapes[1], plan.simd * plan.lanes)
        terms = data.View(product, products)
        for k in range(plan.simd):
            dot = tree(m, ce, [terms[j] for j in range(k, len(terms), plan.simd)], add)
            m.d.comb += new[k].eq(Mux(first, 0, read.data[k] >> down) + dot)
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.en.eq(ce & useful),
            write.data.eq(new),
        ]
        return [register(m, ce, new[k], f"sum{k}") for k in range(plan.simd)]

    def _divide(self, m: Module, ce, valid, total, sums: list) -> None:
        """(o * reciprocal + half) >> shift, clamped; the shift follows the sum's leading one."""
        plan, node = self._plan, self._plan.node
        bits, least = node.reciprocal.bits, node.weight_bits - 1
        # A sum of 0, of a row that attends to nothing, divides sums of 0.
        top, zeros = normalize(m, total)
        below = Cat(Const(0, bits), top[:-1])[-bits:]
        places = Signal(range(max(2, plan.sum_bits - least)))
        m.d.comb += places.eq(plan.sum_bits - 1 - least - zeros)
        latency = 1 + Interpolate.latency(node.reciprocal)
        reciprocal = interpolate(m, node.reciprocal, ce, register(m, ce, below, "below"))
        places, *sums = delayed(m, ce, latency, places, *sums)
        products = [register(m, ce, s.as_signed() * reciprocal, "product") for s in sums]
        places = register(m, ce, places, "places")
        quotients = [shifted(m, ce, p, places, least + node.up) for p in products]
        (valid,) = delayed(m, ce, latency + 3, valid)
        out = Signal.like(self.o.payload)
        with m.If(ce):
            m.d.sync += self.o.valid.eq(valid)
            for k, quotient in enumerate(quotients):
                low, high = Const(node.low), Const(node.high)
                m.d.sync += out[k].eq(
                    Mux(quotient < low, low, Mux(quotient > high, high, quotient))
                )
        m.d.comb += self.o.payload.eq(out)
