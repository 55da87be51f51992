"""From scores to exponents, and from those to weights: a few lanes of a bank at a time."""

from __future__ import annotations

from operator import add

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Float
from hwgen.rtl.arith.interpolate import Interpolate, interpolate
from hwgen.rtl.attention.plan import Plan
from hwgen.rtl.rows import delayed, tree
from hwgen.rtl.stream import register


class Bank:
    """The entries of a bank, handed out `units` at a time from the lowest lane on.

    `ready`: another bank may come; `take`: it does; `valid`, `first`, `last`: entries are handed
    out, those of the lowest lanes, of the highest; `entries`: them.
    """

    def __init__(self, m: Module, plan: Plan, ce, take, words: list) -> None:
        count = plan.parts_of_bank
        padded = words + [Const(0, len(words[0]))] * (count * plan.units - len(words))
        held = Signal(len(padded[0]) * len(padded), name="held")
        left = Signal(range(count + 1), name="left")
        self.valid, self.first, self.last = left != 0, left == count, left == 1
        self.ready = ce & (left <= 1)
        part = len(padded[0]) * plan.units
        with m.If(ce):
            m.d.sync += held.eq(held[part:])
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
        with m.If(take):
            m.d.sync += [held.eq(Cat(padded)), left.eq(count)]
        width = len(padded[0])
        self.entries = [held[k * width : (k + 1) * width] for k in range(plan.units)]


def collect(m: Module, plan: Plan, ce, valid, words: list, name: str) -> Signal:
    """A bank of what comes `units` at a time."""
    width = len(words[0])
    held = Signal(width * plan.units * plan.parts_of_bank, name=name)
    with m.If(ce & valid):
        m.d.sync += held.eq(Cat(held, *words)[width * plan.units :])
    return held


class Stage(wiring.Component):
    """From banks to banks: what both stages of this file share.

    Members: `i`, `o`: banks.
    """

    def __init__(self, plan: Plan, i: data.StructLayout, o: data.StructLayout) -> None:
        self._plan = plan
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def _begin(self, m: Module, words: list) -> tuple[Signal, Signal, Bank]:
        """The clock enable, whether a bank is taken, and the bank of the lanes' `words`."""
        ce, take = Signal(), Signal()
        bank = Bank(m, self._plan, ce, take, words)
        m.d.comb += [
            ce.eq(~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(bank.ready),
        ]
        return ce, take, bank


class ExponentsUnit(Stage):
    """t = (s * multiplier + bias + half) >> shift of each lane, and the running exponent.

    Latency: the parts of a bank and 4 cycles. Initiation interval: the parts of a bank.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.score_bank, plan.exponent_bank)

    def elaborate(self, _platform) -> Module:
        """Multiply, round, compare."""
        m = Module()
        plan, node = self._plan, self._plan.node
        bits = plan.score_shape.width
        ce, take, bank = self._begin(m, self._words())
        control = Signal(plan.control)
        with m.If(take):
            m.d.sync += control.eq(self.i.payload.control)
        flags = [bank.valid, bank.first, bank.last, control.as_value()]
        products = []
        for entry in bank.entries:
            product = register(m, ce, entry[:bits].as_signed() * node.multiplier, "product")
            rest = register(m, ce, entry[bits:], "rest")
            products.append((product, rest))
        entries = []
        for product, rest in products:
            bias = rest[1:].as_signed() if plan.bias_bits else Const(0)
            t = Signal(plan.t_shape, name="t")
            half = 1 << node.shift - 1
            m.d.comb += t.eq((product + (bias << node.shift) + half) >> node.shift)
            entries.append((register(m, ce, t, "t_rounded"), register(m, ce, rest[0], "allowed")))
        most = self._most(m, ce, entries)
        entries = delayed(m, ce, 1 + plan.levels, *(Cat(entry) for entry in entries))
        valid, first, last, control = delayed(m, ce, 3 + plan.levels, *flags)
        held = collect(m, plan, ce, valid, entries, "bank")
        top = Signal(plan.top_shape)
        with m.If(ce):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid & (first | (most > top))):
                m.d.sync += top.eq(most)
        self._hand_on(m, held, top, register(m, ce, control, "control"))
        return m

    def _words(self) -> list:
        """Score, whether it is attended, bias: of each lane."""
        payload, plan = self.i.payload, self._plan
        words = []
        for lane in range(plan.lanes):
            score = payload.scores.word_select(lane, plan.score_shape.width)
            word = [score, payload.allowed[lane]]
            if plan.bias_bits:
                word.append(payload.bias.word_select(lane, plan.bias_bits))
            words.append(Cat(word))
        return words

    def _most(self, m: Module, ce, entries: list) -> Signal:
        """The largest n of those handed out."""
        low = self._plan.node.fraction
        values = [Mux(allowed, t[low:].as_signed(), self._nothing) for t, allowed in entries]
        values = [register(m, ce, value, "n") for value in values]
        return tree(m, ce, values, lambda a, b: Mux(a > b, a, b))

    @property
    def _nothing(self) -> Const:
        """What is less than every n: the exponent before the first key."""
        shape = self._plan.top_shape
        return Const(-(1 << shape.width - 1), shape)

    def _hand_on(self, m: Module, held, top, control) -> None:
        """The bank, and by how much the exponent rose since the visit before."""
        plan, payload = self._plan, self.o.payload
        last, before = Signal(plan.top_shape), Signal(plan.top_shape)
        width = plan.t_shape.width + 1
        t = Cat(held[k * width : (k + 1) * width - 1] for k in range(plan.lanes))
        # From nothing it rises by anything: there are no sums yet.
        rise, most = Signal(unsigned(plan.top_shape.width)), (1 << plan.down_bits) - 1
        m.d.comb += [
            payload.control.eq(control),
            payload.t.eq(t),
            payload.allowed.eq(Cat(held[k * width + width - 1] for k in range(plan.lanes))),
            before.eq(Mux(payload.control.first, self._nothing, last)),
            payload.top.eq(Mux(before > top, before, top)),
            rise.eq(payload.top - before),
            payload.down.eq(Mux(rise > most, most, rise)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += last.eq(payload.top)


class WeightsUnit(Stage):
    """p = 2**(n + f - N' - 1) of each attended lane, and their running sum l.

    Latency: the parts of a bank, those of the exponential and 3 cycles. Initiation interval: the
    parts of a bank.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.exponent_bank, plan.weight_bank)

    def elaborate(self, _platform) -> Module:
        """Look up the fraction's power, shift it by the exponents' difference, add."""
        m = Module()
        plan, node = self._plan, self._plan.node
        payload = self.i.payload
        width = plan.t_shape.width
        words = [
            Cat(payload.t.word_select(k, width), payload.allowed[k]) for k in range(plan.lanes)
        ]
        ce, take, bank = self._begin(m, words)
        control, down, top = Signal(plan.control), Signal(plan.down_bits), Signal(plan.top_shape)
        with m.If(take):
            m.d.sync += [control.eq(payload.control), down.eq(payload.down), top.eq(payload.top)]
        flags = [bank.valid, bank.first, bank.last, control.as_value(), down]
        weights = [self._weight(m, ce, entry, top) for entry in bank.entries]
        steps = tree(m, ce, [self._steps(p) for p in weights], add)
        weights = delayed(m, ce, plan.levels, *weights)
        latency = 1 + Interpolate.latency(node.exponential) + plan.levels
        valid, first, last, control, down = delayed(m, ce, latency, *flags)
        held = collect(m, plan, ce, valid, weights, "bank")
        total, base = Signal(plan.sum_bits), Signal(plan.sum_bits)
        begins = data.View(plan.control, control).first
        m.d.comb += base.eq(Mux(first, Mux(begins, 0, total >> down), total))
        with m.If(ce):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += total.eq(base + steps)
        out = self.o.payload
        m.d.comb += [
            out.weights.eq(held),
            out.control.eq(register(m, ce, control, "control")),
            out.down.eq(register(m, ce, down, "down")),
            out.sum.eq(total),
        ]
        return m

    def _weight(self, m: Module, ce, entry, top) -> Signal:
        """The weight of a lane; 0 of one that is not attended."""
        plan, node = self._plan, self._plan.node
        t, allowed = entry[:-1].as_signed(), entry[-1]
        most = plan.weight_fmt.bits + (1 << plan.weight_fmt.exp if self._floats else 0) + 1
        less, away = Signal(unsigned(plan.top_shape.width + 1)), Signal(range(most + 1))
        m.d.comb += [
            less.eq(top - t[node.fraction :].as_signed()),
            away.eq(Mux(less > most, most, less)),
        ]
        power = interpolate(m, node.exponential, ce, t[: node.fraction])
        away, allowed = delayed(m, ce, Interpolate.latency(node.exponential), away, allowed)
        weight = Signal(plan.weight_fmt.bits, name="weight")
        m.d.comb += weight.eq(
            Mux(allowed, self._float(power, away) if self._floats else power >> away, 0)
        )
        return register(m, ce, weight, "weight_rounded")

    @property
    def _floats(self) -> bool:
        return isinstance(self._plan.weight_fmt, Float)

    def _float(self, power, away):
        """The code of a weight: its exponent is -away - 1."""
        fmt = self._plan.weight_fmt
        normal = ((fmt.bias - 1 - away) << fmt.man) + power
        tiny = ((1 << fmt.man) + power) >> (away + 2 - fmt.bias)[: len(away)]
        return Mux(away < fmt.bias - 1, normal, tiny)

    def _steps(self, weight):
        """A weight in units of the sum."""
        if not self._floats:
            return weight
        fmt, bits = self._plan.weight_fmt, self._plan.node.weight_bits
        man, exp = weight[: fmt.man], weight[fmt.man : fmt.man + fmt.exp]
        whole = Mux(exp == 0, man, man + (1 << fmt.man))
        place = Mux(exp == 0, 1, exp)
        room = bits - fmt.man  # a weight is 1 at most
        away = (fmt.bias - place + max(0, -room))[: fmt.exp + 2]
        return (whole << max(0, room)) >> away
