"""The order of visits, and which lanes of each hold keys that are attended."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom


class Schedule(wiring.Component):
    """Rows, groups, heads of a group, visits, the last innermost; `step` ends a visit.

    Members: `step`: a visit ends; `ready`: a visit is there; `control`: what is known of it;
    `allowed`: its attended lanes, `bias` theirs; `takes_query`, `takes_key`: whether words come
    with it; `starts`: it is the first of its row; `ends`: whether its row is a sequence's last.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        mask = plan.node.mask
        self._rom = None if mask is None else _rom(plan)
        self.files = {} if self._rom is None else self._rom.files
        bias = plan.bias_bits * plan.lanes
        super().__init__(
            {
                "step": In(1),
                "ready": Out(1),
                "control": Out(plan.control),
                "allowed": Out(plan.lanes),
                **({"bias": Out(bias)} if bias else {}),
                "takes_query": Out(1),
                "takes_key": Out(1),
                "starts": Out(1),
                "ends": In(1),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Counters of rows, groups and heads; the ring's place; visits by ring or by table."""
        m = Module()
        plan, node, control = self._plan, self._plan.node, self.control
        visit_last, fresh = Signal(), Signal(init=1)
        loads, computes = Signal(), Signal()
        row_end, done = Signal(), Signal()
        # A row that only loads has one visit of each group.
        head, head_last = counter(m, node.heads // node.groups, done & computes, "head")
        group_end = Signal()
        m.d.comb += [
            done.eq(self.step & (visit_last | ~computes)),
            group_end.eq(done & (head_last | ~computes)),
        ]
        group, group_last = counter(m, node.groups, group_end, "group")
        m.d.comb += row_end.eq(group_end & group_last)
        row, row_last = counter(m, plan.rows, row_end, "row")
        restart = row_end & (self.ends if node.stateful else row_last)
        if node.stateful:
            m.d.comb += [loads.eq(1), computes.eq(1)]
        else:
            last = plan.ahead + plan.q.rows
            m.d.comb += [
                loads.eq(row < plan.k.rows),
                computes.eq((row >= plan.ahead) & (row < last)),
            ]
        with m.If(self.step):
            m.d.sync += fresh.eq(visit_last | ~computes)
        m.d.comb += [
            control.first.eq(fresh),
            control.last.eq(visit_last & computes),
            control.load.eq(self.takes_key),
            control.compute.eq(computes),
            control.group.eq(group),
            self.takes_query.eq(computes & fresh),
            self.takes_key.eq(loads & fresh & (head == 0)),
            self.starts.eq(fresh & (head == 0) & (group == 0)),
        ]
        self._ring(m, loads, row_end, restart)
        if self._rom is None:
            self._by_ring(m, loads, computes, row_end, restart, visit_last)
        else:
            self._by_table(m, computes, visit_last)
        return m

    def _ring(self, m: Module, loads, row_end, restart) -> None:
        """The slot of the row's key."""
        plan, node = self._plan, self._plan.node
        slot = Signal(range(max(2, node.slots)))
        chunk, lane = Signal(range(max(2, node.chunks))), Signal(range(max(2, node.lanes)))
        first_chunk, first_lane = divmod(node.leading % node.slots, node.lanes)
        m.d.comb += [self.control.slot_chunk.eq(chunk), self.control.slot_lane.eq(lane)]
        with m.If(row_end & (loads | Const(plan.expires))):
            m.d.sync += [slot.eq(slot + 1), lane.eq(lane + 1)]
            with m.If(lane == node.lanes - 1):
                m.d.sync += [lane.eq(0), chunk.eq(chunk + 1)]
            with m.If(slot == node.slots - 1):
                m.d.sync += [
                    slot.eq(node.leading % node.slots),
                    chunk.eq(first_chunk),
                    lane.eq(first_lane),
                ]
        with m.If(restart):
            m.d.sync += [slot.eq(0), chunk.eq(0), lane.eq(0)]

    def _by_ring(self, m: Module, loads, computes, row_end, restart, visit_last) -> None:
        """Visits of all slots that a key has come to; a bit for each says whether it counts."""
        node, control = self._plan.node, self.control
        layout = data.ArrayLayout(node.lanes, max(2, node.chunks))
        held, now = Signal(layout), Signal(layout)
        visit, top, reached = (
            Signal(range(max(2, node.chunks)), name=name) for name in ("visit", "top", "reached")
        )
        bit = Signal(node.lanes)
        m.d.comb += [bit.eq(Const(1, node.lanes) << control.slot_lane), now.eq(held)]
        word = held[control.slot_chunk]
        with m.If(loads):
            m.d.comb += now[control.slot_chunk].eq(word | bit)
        if self._plan.expires:
            with m.Else():
                m.d.comb += now[control.slot_chunk].eq(word & ~bit)
        m.d.comb += [
            reached.eq(Mux(loads & (control.slot_chunk > top), control.slot_chunk, top)),
            visit_last.eq(visit == reached),
            control.chunk.eq(visit),
            self.allowed.eq(Mux(computes, now[visit], 0)),
            self.ready.eq(1),
        ]
        with m.If(self.step & computes):
            m.d.sync += visit.eq(Mux(visit_last, 0, visit + 1))
        with m.If(row_end):
            m.d.sync += [held.eq(now), top.eq(reached)]
        with m.If(restart):
            m.d.sync += [held.eq(0), top.eq(0)]

    def _by_table(self, m: Module, computes, visit_last) -> None:
        """Visits as the table has them."""
        plan, control = self._plan, self.control
        rom = self._rom
        layout = _entry(plan)
        step = self.step & computes
        place, _ = counter(m, rom.depth, step, "entry")
        after = Signal(range(max(2, rom.depth)))
        # The memory gives the entry of the next cycle.
        m.d.comb += after.eq(Mux(step, Mux(place == rom.depth - 1, 0, place + 1), place))
        m.d.sync += self.ready.eq(1)
        entry = data.View(layout, rom.read(m, after, Const(1)))
        m.d.comb += [
            control.chunk.eq(entry.chunk),
            visit_last.eq(entry.last),
            self.allowed.eq(Mux(computes, entry.allowed, 0)),
        ]
        if plan.bias_bits:
            m.d.comb += self.bias.eq(entry.bias)


def _entry(plan: Plan) -> data.StructLayout:
    """One visit in the table."""
    fields = {"chunk": range(max(2, plan.node.chunks)), "last": 1, "allowed": plan.lanes}
    if plan.bias_bits:
        fields["bias"] = plan.bias_bits * plan.lanes
    return data.StructLayout(fields)


def _rom(plan: Plan) -> Rom:
    """All visits of a sequence in order."""
    node, mask = plan.node, plan.node.mask
    assert mask is not None
    words = []
    chunk_bits = max(1, (node.chunks - 1).bit_length())
    spare = node.chunks * node.lanes - mask.allowed.shape[2]
    allowed = np.pad(mask.allowed, ((0, 0), (0, 0), (0, spare)))
    bias = None if mask.bias is None else np.pad(mask.bias, ((0, 0), (0, 0), (0, spare)))
    for row in range(plan.q.rows):
        for head in range(node.heads):
            visits = node.visits(row, head, plan.k.rows)
            at = head % len(allowed), row
            for chunk in visits:
                lanes = slice(chunk * node.lanes, (chunk + 1) * node.lanes)
                word = [chunk >> b & 1 for b in range(chunk_bits)]
                word += [int(chunk == visits[-1])]
                word += allowed[at][lanes].astype(int).tolist()
                if bias is not None and plan.bias_bits:
                    bits = np.arange(plan.bias_bits)
                    word += ((bias[at][lanes][:, None] >> bits) & 1).ravel().tolist()
                words.append(word)
    return Rom(np.array(words), 1, "visits")
