"""What each lane has of its own: a module for scores and one for weighted values, emitted once."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwgen.ir import Grid
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.sums import module_name
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.rows import delayed
from hwgen.rtl.stream import shape_of


class KeyLane(wiring.Component):
    """The keys of a lane, and o = (0 if i_first, else o) + the product of i_x and the key's word.

    Latency: 1 cycle of `i_ce` from `i_at` to where `i_x` comes, those of a Dot from there to
    `i_valid` and `i_first`, 1 to `o`. Initiation interval: 1.

    Members: `i_ce`; `i_write`, `i_write_at`, `i_word`: a word to keep; `i_at`; `i_x`; `i_valid`,
    `i_first`; `o`: the score.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        super().__init__(
            {
                **_ports(plan.simd * plan.k.fmt.bits, plan.key_words),
                "i_x": In(data.ArrayLayout(shape_of(plan.query_fmt), plan.simd)),
                "i_valid": In(1),
                "i_first": In(1),
                "o": Out(plan.score_shape),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Memory, dot product, sum."""
        m = Module()
        plan, node = self._plan, self._plan.node
        m.submodules.dot = dot = Dot(
            plan.query_fmt, plan.k.fmt, plan.simd, node.arithmetic, grid=node.score_grid
        )
        m.d.comb += [
            dot.i_ce.eq(self.i_ce),
            dot.i_x.eq(self.i_x),
            Value.cast(dot.i_w).eq(_keep(m, self, plan.key_words)),
        ]
        with m.If(self.i_ce & self.i_valid):
            m.d.sync += self.o.eq(Mux(self.i_first, 0, self.o) + dot.o)
        return m


class ValueLane(wiring.Component):
    """The values of a lane, and o = the products of the weight i_p and each element of a word.

    Latency: 3 cycles of `i_ce` from `i_at` and 4 from `i_p`. Initiation interval: 1.

    Members: `i_ce`; `i_write`, `i_write_at`, `i_word`: a word to keep; `i_at`; `i_p`: the weight;
    `o`: products.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        super().__init__(
            {
                **_ports(plan.simd * plan.v.fmt.bits, plan.value_words),
                "i_p": In(shape_of(plan.weight_fmt)),
                "o": Out(data.ArrayLayout(plan.dot_shapes[1], plan.simd)),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Memory, products."""
        m = Module()
        plan, node = self._plan, self._plan.node
        word = _keep(m, self, plan.value_words)
        (weight,) = delayed(m, self.i_ce, 2, self.i_p)
        bits = plan.v.fmt.bits
        for k in range(plan.simd):
            m.submodules[f"dot{k}"] = dot = Dot(
                plan.weight_fmt, plan.v.fmt, 1, node.arithmetic, grid=node.value_grid
            )
            m.d.comb += [
                dot.i_ce.eq(self.i_ce),
                dot.i_x[0].eq(weight),
                dot.i_w[0].eq(word[k * bits : (k + 1) * bits]),
                self.o[k].eq(dot.o),
            ]
        return m


def _ports(bits: int, words: int) -> dict:
    """Members of a lane's memory."""
    address = range(max(2, words))
    return {
        "i_ce": In(1),
        "i_write": In(1),
        "i_write_at": In(address),
        "i_word": In(bits),
        "i_at": In(address),
    }


def _keep(m: Module, lane: KeyLane | ValueLane, words: int) -> Value:
    """A lane's memory; its word."""
    m.submodules.kept = kept = Memory(shape=len(lane.i_word), depth=words, init=[])
    write, read = kept.write_port(), kept.read_port()
    m.d.comb += [
        write.en.eq(lane.i_write),
        write.addr.eq(lane.i_write_at),
        write.data.eq(lane.i_word),
        read.en.eq(lane.i_ce),
        read.addr.eq(lane.i_at),
    ]
    return read.data


def key_lane(plan: Plan) -> tuple[str, Callable[[], KeyLane]]:
    """The name of the module of scores, and what makes it."""
    node = plan.node
    formats = node.arithmetic or f"{plan.query_fmt}_{plan.k.fmt}"
    parts = ["keys", formats, plan.simd, plan.key_words, plan.score_shape.width]
    return _name(parts, node.score_grid), lambda: KeyLane(plan)


def value_lane(plan: Plan) -> tuple[str, Callable[[], ValueLane]]:
    """The name of the module of weighted values, and what makes it."""
    formats = plan.node.arithmetic or f"{plan.weight_fmt}_{plan.v.fmt}"
    parts = ["values", formats, plan.simd, plan.value_words]
    return _name(parts, plan.node.value_grid), lambda: ValueLane(plan)


def _name(parts: list, grid: Grid | None) -> str:
    more = [] if grid is None else ["grid", grid.exponent, grid.bits]
    return module_name("lane", "_".join(map(str, parts + more)))


def lane(m: Module, name: str, place: int, ports: dict) -> None:
    """An instance of a lane's module."""
    clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
    m.submodules[f"lane{place}"] = Instance(name, **clock, **ports)


def one_hot(m: Module, place: Value, enable: Value, lanes: int) -> Signal:
    """A bit for each lane: whether it is the one at a place."""
    chosen = Signal(lanes, name="writes")
    m.d.comb += chosen.eq(enable << place)
    return chosen
