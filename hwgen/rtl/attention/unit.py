"""The whole of an attention unit."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, connect, flipped

from hwgen.ir import Attention, Queue, Tensor
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.interpolate import Interpolate, interpolator
from hwgen.rtl.attention.lanes import key_lane, value_lane
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.attention.scores import ScoresUnit
from hwgen.rtl.attention.values import ValuesUnit
from hwgen.rtl.attention.weights import ExponentsUnit, WeightsUnit
from hwgen.rtl.queue import QueueUnit
from hwgen.rtl.stream import ports


class AttentionUnit(wiring.Component):
    """Attention, a query row at a time, as `hwgen.ir.Attention` defines it.

    Four stages work on a visit each, for as many cycles as a head has words: scores, exponents,
    weights, weighted sums; the division goes along with the last sums. Keys and values lie in rings
    of `slots` rows, a memory for each of `lanes`. Latency: the stages' from the step of a last
    visit to its word. Initiation interval: heads * visits * words of a head per row,
    and those of a group of keys for every row that comes before the first query.

    Members: `i0`, `i1`, `i2`: words of `simd` queries, keys, values; `i3`: whether a row is the
    last of its sequence, where stateful; `o`: words of `simd` results. `parts`: the modules it
    instantiates; `files`: its memory files.
    Tested: random shapes, windows, masks, folds and stalls against the golden model.
    """

    def __init__(self, node: Attention, *tensors: Tensor) -> None:
        q, k, v, *ends, y = tensors
        self._plan = plan = Plan(node, q, k, v)
        self._scores, self._values = ScoresUnit(plan), ValuesUnit(plan, y.fmt)
        self.files = self._scores.files
        self.parts = {
            **interpolator(node.exponential),
            **interpolator(node.reciprocal),
            **dict([key_lane(plan), value_lane(plan)]),
        }
        members = ports(q, k, v, y)
        if ends:
            members["i3"] = In(stream.Signature(data.ArrayLayout(1, 1)))
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """The stages one behind another; values wait beside them."""
        m = Module()
        plan = self._plan
        m.submodules.scores = scores = self._scores
        m.submodules.exponents = exponents = ExponentsUnit(plan)
        m.submodules.weights = weights = WeightsUnit(plan)
        m.submodules.values = values = self._values
        queue = Queue(name="waiting", inputs=("v",), outputs=("v",), depth=self._waiting)
        m.submodules.waiting = waiting = QueueUnit(queue, plan.v, plan.v)
        for name in ("i0", "i1", "i2", "i3")[: 3 + plan.node.stateful]:
            connect(m, flipped(getattr(self, name)), getattr(scores, name))
        connect(m, scores.o, exponents.i)
        connect(m, exponents.o, weights.i)
        connect(m, weights.o, values.i)
        connect(m, scores.v, waiting.i)
        connect(m, waiting.o, values.v)
        connect(m, values.o, flipped(self.o))
        return m

    @property
    def _waiting(self) -> int:
        """Words of values between their visit's scores and its sums."""
        plan, node = self._plan, self._plan.node
        latency = (
            16 + 2 * plan.levels + Dot.latency(plan.simd) + Interpolate.latency(node.exponential)
        )
        visits = 5 + -(-latency // plan.steps)
        return visits * plan.width
