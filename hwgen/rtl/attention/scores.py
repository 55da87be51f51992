"""Scores of a query and the keys of a visit."""

from __future__ import annotations

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.attention.schedule import Schedule
from hwgen.rtl.counter import counter
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
        members["v"] = Out(stream.Signature(plan.v.fmt.bits * plan.simd))
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
        keys, queries = self._read(m, ce, go, step, schedule)
        flags = go, (step == 0), (step < plan.depth), step_last
        facts = [schedule.control.as_value(), schedule.allowed]
        if plan.bias_bits:
            facts.append(schedule.bias)
        for _ in range(2 + Dot.latency(plan.simd)):
            flags = tuple(register(m, ce, f, "flag") for f in flags)
            facts = [register(m, ce, f, "fact") for f in facts]
        valid, first, useful, last = flags
        dots = self._dots(m, ce, keys, queries)
        # Parts of one wide signal take long to convert: a signal for each score.
        scores = [Signal(plan.score_shape, name=f"score{lane}") for lane in range(plan.lanes)]
        with m.If(ce):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid & useful):
                m.d.sync += [
                    s.eq(Mux(first, 0, s) + dot) for s, dot in zip(scores, dots, strict=True)
                ]
        control, *rest = (register(m, ce, fact, "fact") for fact in facts)
        m.d.comb += self.o.payload.as_value().eq(Cat(control, *scores, *rest))
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

    def _read(self, m: Module, ce, go, step, schedule: Schedule) -> tuple:
        """The keys of the visit's lanes and the query's elements, two cycles later."""
        plan, control = self._plan, schedule.control
        bits = plan.simd * plan.k.fmt.bits
        depth = plan.node.chunks * plan.node.groups * plan.depth
        m.submodules.keys = keys = Memory(shape=bits * plan.lanes, depth=depth, init=[])
        write = keys.write_port(granularity=bits)
        taken = go & schedule.takes_key & (step < plan.depth)
        lanes = Cat((control.slot_lane == k) & taken for k in range(plan.lanes))
        groups = plan.node.groups
        m.d.comb += [
            write.addr.eq((control.slot_chunk * groups + control.group) * plan.depth + step),
            write.data.eq(self.i1.payload.as_value().replicate(plan.lanes)),
            write.en.eq(lanes),
        ]
        place = (control.chunk * groups + control.group) * plan.depth + step
        read = keys.read_port()
        m.d.comb += [
            read.addr.eq(register(m, ce, _fit(m, place, depth), "key_address")),
            read.en.eq(ce),
        ]
        bits = plan.simd * plan.q.fmt.bits
        m.submodules.query = query = Memory(shape=bits, depth=plan.depth, init=[])
        put, get = query.write_port(), query.read_port()
        m.d.comb += [
            put.addr.eq(step),
            put.data.eq(self.i0.payload),
            put.en.eq(go & schedule.takes_query & (step < plan.depth)),
            get.addr.eq(register(m, ce, _fit(m, step, plan.depth), "query_address")),
            get.en.eq(ce),
        ]
        return read.data, get.data

    def _dots(self, m: Module, ce, keys, queries) -> list[Signal]:
        """An instance of one module for each lane."""
        plan = self._plan
        word = data.View(self.i0.payload.shape(), queries)
        fmt = plan.query_fmt
        elements = Signal(data.ArrayLayout(shape_of(fmt), plan.simd))
        zero = 0 if plan.node.arithmetic is not None else plan.node.zero
        m.d.comb += [elements[k].eq(word[k] - zero) for k in range(plan.simd)]
        bits = plan.simd * plan.k.fmt.bits
        found = []
        for lane in range(plan.lanes):
            out = Signal(plan.dot_shapes[0], name=f"dot{lane}")
            m.submodules[f"dot{lane}"] = Instance(
                plan.key_dot[0],
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_i_ce=ce,
                i_i_x=elements.as_value(),
                i_i_w=keys[lane * bits : (lane + 1) * bits],
                o_o=out,
            )
            found.append(out)
        return found


def _fit(m: Module, value, depth: int) -> Signal:
    """A value as an address."""
    address = Signal(range(max(2, depth)))
    m.d.comb += address.eq(value)
    return address
