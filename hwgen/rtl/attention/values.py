"""Weighted sums of values, and their division by the sum of the weights."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.interpolate import Interpolate, interpolate
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.rows import delayed, shifted
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
                "v": In(stream.Signature(plan.v.fmt.bits * plan.simd)),
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
        values = self._read(m, ce, go & stores, step, control)
        weights = bank.weights.as_value()
        for _ in range(2):
            weights = register(m, ce, weights, "weights")
        useful = go & control.compute & (step < plan.width)
        facts = [useful, step, control.first, control.last, bank.sum, bank.down]
        for _ in range(2 + Dot.latency(plan.lanes)):
            facts = [register(m, ce, f, "fact") for f in facts]
        useful, place, first, emits, total, down = facts
        sums = self._sums(m, ce, weights, values, useful, place, first, down)
        valid = register(m, ce, useful & emits, "valid")
        self._divide(m, ce, valid, register(m, ce, total, "sum"), sums)
        return m

    def _read(self, m: Module, ce, stores, step, control):
        """The values of the visit's lanes, two cycles later."""
        plan = self._plan
        bits = plan.simd * plan.v.fmt.bits
        groups = plan.node.groups
        depth = plan.node.chunks * groups * plan.width
        m.submodules.values = values = Memory(shape=bits * plan.lanes, depth=depth, init=[])
        write, read = values.write_port(granularity=bits), values.read_port()
        place = Signal(range(max(2, depth)), name="value_address")
        m.d.comb += [
            write.addr.eq((control.slot_chunk * groups + control.group) * plan.width + step),
            write.data.eq(self.v.payload.replicate(plan.lanes)),
            write.en.eq(Cat((control.slot_lane == k) & stores for k in range(plan.lanes))),
            place.eq((control.chunk * groups + control.group) * plan.width + step),
            read.addr.eq(register(m, ce, place, "value_address")),
            read.en.eq(ce),
        ]
        return read.data

    def _sums(self, m: Module, ce, weights, values, useful, place, first, down) -> list[Signal]:
        """The sums of a word, in a memory between visits."""
        plan = self._plan
        shape = plan.output_shape
        layout = data.ArrayLayout(shape, plan.simd)
        m.submodules.sums = memory = Memory(shape=layout, depth=plan.width, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        new = Signal(layout)
        value_bits = plan.v.fmt.bits
        word = plan.simd * value_bits
        for k in range(plan.simd):
            out = Signal(plan.dot_shapes[1], name=f"dot{k}")
            operands = Cat(
                values[j * word + k * value_bits :][:value_bits] for j in range(plan.lanes)
            )
            m.submodules[f"dot{k}"] = Instance(
                plan.value_dot[0],
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_i_ce=ce,
                i_i_x=weights,
                i_i_w=operands,
                o_o=out,
            )
            m.d.comb += new[k].eq(Mux(first, 0, read.data[k] >> down) + out)
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
        places, below = Signal(range(max(2, plan.sum_bits - least))), Signal(bits)
        for k in range(least, plan.sum_bits):  # the last that holds counts
            with m.If((k == least) | total[k]):
                at = (total << bits)[k : k + bits]
                m.d.comb += [places.eq(k - least), below.eq(at)]
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
