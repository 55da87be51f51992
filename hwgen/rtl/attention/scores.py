"""Scores of a query and the keys of a visit."""

from __future__ import annotations

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.attention.lanes import key_lane, lane, one_hot
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.attention.schedule import Schedule
from hwgen.rtl.counter import counter
from hwgen.rtl.rows import delayed
from hwgen.rtl.stream import WordSignature, register, shape_of


class ScoresUnit(wiring.Component):
    """s[j] = sum over d of (q[d] - zero) * k[j, d] of the keys of each visit.

    A key row goes into the ring while the first visit looks at its query row, and value words go on
    to `v` at the same steps. Latency: 3 cycles and those of a Dot from the last step. Initiation
    interval: `steps` cycles per visit.

    Members: `i0`, `i1`, `i2`: queries, keys, values; `i3`: ends of sequences, where stateful; `o`:
    banks of scores; `v`: value words.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._schedule = plan, Schedule(plan)
        self.files = self._schedule.files
        members = {
            f"i{k}": In(WordSignature(x.fmt, x.lanes))
            for k, x in enumerate((plan.q, plan.k, plan.v))
        }
        if plan.node.stateful:
            members["i3"] = In(stream.Signature(data.ArrayLayout(1, 1)))
        members["o"] = Out(stream.Signature(plan.score_bank))
        members["v"] = Out(WordSignature(plan.v.fmt, plan.simd))
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """Take words, read keys, multiply, add."""
        m = Module()
        plan = self._plan
        ce, go = Signal(), Signal()
        m.d.comb += ce.eq(~self.o.valid | self.o.ready)
        step, step_last = counter(m, plan.steps, go, "step")
        m.submodules.schedule = schedule = self._schedule
        m.d.comb += schedule.step.eq(go & step_last)
        self._take(m, ce, go, step, schedule)
        flags = go, (step == 0), (step < plan.depth), step_last
        facts = [schedule.control.as_value(), schedule.allowed]
        if plan.bias_bits:
            facts.append(schedule.bias)
        latency = 2 + Dot.latency(plan.simd)
        valid, first, useful, last = delayed(m, ce, latency, *flags)
        elements = self._query(m, ce, go, step, schedule)
        sums = Signal()
        m.d.comb += sums.eq(valid & useful)
        scores = self._lanes(m, ce, go, step, schedule, elements, sums, first)
        with m.If(ce):
            m.d.sync += self.o.valid.eq(valid & last)
        control, *rest = delayed(m, ce, latency + 1, *facts)
        m.d.comb += self.o.payload.as_value().eq(Cat(control, scores, *rest))
        return m

    def _take(self, m: Module, ce, go, step, schedule: Schedule) -> None:
        """Words are taken together, each stream at the steps that have some of it."""
        plan = self._plan
        needs = [
            (self.i0, schedule.takes_query & (step < plan.depth)),
            (self.i1, schedule.takes_key & (step < plan.depth)),
            (self.i2, schedule.takes_key & (step < plan.width)),
        ]
        if plan.node.stateful:
            starts, held = schedule.starts & (step == 0), Signal(name="ends")
            needs.append((self.i3, starts))
            with m.If(go & starts):
                m.d.sync += held.eq(self.i3.payload[0])
            m.d.comb += schedule.ends.eq(Mux(starts, self.i3.payload[0], held))
        needs_v = needs[2][1]
        there = [~need | word.valid for word, need in needs]
        room = ~needs_v | self.v.ready
        m.d.comb += go.eq(reduce(and_, there, ce & room & schedule.ready))
        for word, need in needs:
            m.d.comb += word.ready.eq(go & need)
        m.d.comb += [
            self.v.payload.eq(self.i2.payload),
            self.v.valid.eq(go & needs_v),
        ]

    def _query(self, m: Module, ce, go, step, schedule: Schedule) -> Signal:
        """The query's elements without their zero point, two cycles later."""
        plan = self._plan
        layout = self.i0.payload.shape()
        m.submodules.query = query = Memory(shape=layout, depth=plan.depth, init=[])
        put, get = query.write_port(), query.read_port()
        elements = Signal(data.ArrayLayout(shape_of(plan.query_fmt), plan.simd))
        m.d.comb += [
            put.addr.eq(step),
            put.data.eq(self.i0.payload),
            put.en.eq(go & schedule.takes_query & (step < plan.depth)),
            get.addr.eq(register(m, ce, _fit(m, step, plan.depth), "query_address")),
            get.en.eq(ce),
        ]
        m.d.comb += [elements[k].eq(get.data[k] - plan.node.zero) for k in range(plan.simd)]
        return elements

    def _lanes(self, m: Module, ce, go, step, schedule: Schedule, elements, valid, first) -> Signal:
        """The scores of all lanes; their keys are read for two cycles later."""
        plan, control = self._plan, schedule.control
        groups, words = plan.node.groups, plan.key_words
        taken = go & schedule.takes_key & (step < plan.depth)
        write_at = (control.slot_chunk * groups + control.group) * plan.depth + step
        read_at = (control.chunk * groups + control.group) * plan.depth + step
        shared = {
            "i_i_ce": ce,
            "i_i_write_at": _fit(m, write_at, words),
            "i_i_word": self.i1.payload.as_value(),
            "i_i_at": register(m, ce, _fit(m, read_at, words), "key_address"),
            "i_i_x": elements.as_value(),
            "i_i_valid": valid,
            "i_i_first": first,
        }
        writes = one_hot(m, control.slot_lane, taken, plan.lanes)
        width = plan.score_shape.width
        scores = Signal(width * plan.lanes)
        for k in range(plan.lanes):
            own = {"i_i_write": writes[k], "o_o": scores.word_select(k, width)}
            lane(m, key_lane(plan)[0], k, {**shared, **own})
        return scores


def _fit(m: Module, value, depth: int) -> Signal:
    """A value as an address."""
    address = Signal(range(max(2, depth)))
    m.d.comb += address.eq(value)
    return address
