"""Requantization in integers, in a pipeline or bit by bit."""

from __future__ import annotations

from typing import cast

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring

from hwgen.formats import Float, Int, int_holding
from hwgen.ir import Form, Requantize, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import pipeline, ports, register, shape_of


class RequantizeUnit(wiring.Component):
    """y = clamp((x * m + b) >> s, low, high) with the form's tie correction, per channel.

    Parallel (`form.radix_bits` None): latency `form.latency`, initiation interval 1. Serial:
    `form.radix_bits` bits of m per cycle, all lanes at once: latency `form.latency`, initiation
    interval `form.steps`.

    Members: `i`, `o`: words of the same lanes. `files`: its memory files.
    """

    def __init__(self, node: Requantize, x: Tensor, y: Tensor) -> None:
        self._form, self._x, self._y = cast(Form, node.form), x, y
        self._parameters = Parameters(node, x)
        self.files = self._parameters.files
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Operands, product, sum, result."""
        m = Module()
        if self._form.radix_bits is None:
            self._parallel(m)
        else:
            self._serial(m)
        return m

    def _parallel(self, m: Module) -> None:
        form = self._form
        ce = pipeline(m, form.latency, self.o, self.i)
        words = self._parameters.read(m, ce, self.i.valid & ce)
        x = Signal(self.i.payload.shape())
        with m.If(ce & self.i.valid):  # nothing behind toggles with sums that are not done
            m.d.sync += x.eq(self.i.payload)
        for lane, (multiplier, offset, low, high) in enumerate(words):
            terms = [register(m, ce, p) for p in products(x[lane], multiplier)]
            terms.append(delay(m, ce, offset, 1))
            for _ in range(form.levels):
                pairs = [terms[k : k + 2] for k in range(0, len(terms), 2)]
                terms = [register(m, ce, sum(pair[1:], pair[0])) for pair in pairs]
            low, high = (delay(m, ce, v, 1 + form.levels) for v in (low, high))
            total = self._parameters.total(m, terms[0])
            self._result(m, lane, ce, total, low, high)

    def _result(self, m: Module, lane: int, ce: Signal, total, low, high) -> None:
        """From the total to the output register."""
        fmt = self._parameters.total_fmt
        result = finish(m, ce, self._form, total, fmt, self._y.fmt, low, high)
        m.d.comb += self.o.payload[lane].eq(result)

    def _serial(self, m: Module) -> None:
        form, radix = self._form, self._form.radix_bits
        count = form.steps - 2
        left = Signal(range(count + 2))
        ce, finishing, take = Signal(), Signal(), Signal()
        tail = Signal(
            form.latency - form.steps + 1
        )  # a word in the total, ... in the output register
        total_valid, out_valid = tail[0], tail[-1]
        m.d.comb += [
            self.i.ready.eq(left == 0),
            take.eq(self.i.valid & (left == 0)),
            self.o.valid.eq(out_valid),
            ce.eq(~out_valid | self.o.ready),
            finishing.eq((left == 1) & (~total_valid | ce)),
        ]
        with m.If(take):
            m.d.sync += left.eq(count + 1)
        with m.Elif((left > 1) | finishing):
            m.d.sync += left.eq(left - 1)
        with m.If(ce):
            m.d.sync += tail.eq(tail << 1)
        with m.If(finishing):
            m.d.sync += total_valid.eq(1)
        width = self._x.fmt.bits
        # The next multiplier must be there one cycle after the finish, this offset until then.
        words = self._parameters.read(m, (left != 1) | finishing, left == 2)
        for lane, (multiplier, offset, low, high) in enumerate(words):
            x = Signal(shape_of(self._x.fmt), name=f"x{lane}")
            high_part = Signal(Int(width + 1 + radix, True).bits, name=f"high{lane}")
            rest = Signal(count * radix, name=f"rest{lane}")
            with m.If(take):
                m.d.sync += [x.eq(self.i.payload[lane]), high_part.eq(0), rest.eq(multiplier)]
            with m.Elif(left > 1):
                partial = sum(
                    (Mux(rest[k], x << k, 0) for k in range(radix)), high_part.as_signed()
                )
                step = Signal(Int(width + 1 + 2 * radix, True).bits, name=f"step{lane}")
                m.d.comb += step.eq(partial)
                m.d.sync += [
                    high_part.eq(step.as_signed() >> radix),
                    rest.eq(Cat(rest[radix:], step[:radix])),
                ]
            product = Cat(rest, high_part).as_signed()
            total = register(m, finishing, self._parameters.total(m, product + offset))
            low, high = (delay(m, finishing, v, 1) for v in (low, high))
            self._result(m, lane, ce, total, low, high)


def arrange(column: np.ndarray, x: Tensor) -> np.ndarray:
    """Values of the channels (or of all elements) as the words of a stream: (period, lanes)."""
    whole = np.size(column) != x.channels
    row, lanes = x.channels, x.lanes
    rows = np.ravel(column).reshape(-1, row)
    if lanes > row:
        flat = (rows if whole else np.tile(rows, (-(-lanes // row), 1))).ravel()
        flat = np.pad(flat, (0, -len(flat) % lanes), mode="edge")
    else:
        flat = np.pad(rows, ((0, 0), (0, -row % lanes)), mode="edge").ravel()
    return flat.reshape(-1, lanes)[: max(1, x.words if whole else x.words_per_row)]


def column(values: np.ndarray, x: Tensor) -> tuple[np.ndarray, Int]:
    """Parameters in words of the stream (one word where all are alike), and their format."""
    words = arrange(values, x)
    if (words == words[:1]).all():
        words = words[:1]
    return words, int_holding(int(values.min()), int(values.max()))


def elements(word, fmt: Int, lanes: int) -> list:
    """The parameters of a word, constants where it is one."""
    if isinstance(word, Const):
        mask = (1 << fmt.bits) - 1
        return [Const(word.value >> k * fmt.bits & mask, shape_of(fmt)) for k in range(lanes)]
    return list(data.View(data.ArrayLayout(shape_of(fmt), lanes), word))


class Parameters:
    """Multiplier, offset and limits of each lane, out of a memory where they change from word to
    word."""

    def __init__(self, node: Requantize, x: Tensor) -> None:
        form = cast(Form, node.form)
        columns = [np.ravel(v) for v in (form.multiplier, form.offset, node.low, node.high)]
        ends = [np.ravel(v).astype(object) for v in (node.x_low, node.x_high)]
        totals = [columns[0] * end + columns[1] for end in ends]
        self.total_fmt = int_holding(int(np.min(totals)), int(np.max(totals)))
        self._fmts = [signed(int_holding(int(v.min()), int(v.max()))) for v in columns]
        self.files: dict[str, str] = {}
        self._words = [arrange(column, x) for column in columns]

    def read(self, m: Module, ce, step) -> list[tuple]:
        """(multiplier, offset, low, high) of each lane, the cycle after `ce`; `step` goes on to
        the next word."""
        period = len(self._words[0])
        address, _ = counter(m, period, step, "parameter_word")
        lanes = []
        for words, fmt, name in zip(self._words, self._fmts, NAMES, strict=True):
            if (words == words[:1]).all():
                lanes.append([Const(int(v), shape_of(fmt)) for v in words[0]])
                continue
            rom = Rom(words, fmt.bits, name)
            self.files.update(rom.files)
            out = rom.read(m, address, ce)
            values = Signal(data.ArrayLayout(shape_of(fmt), words.shape[1]), name=f"{name}s")
            m.d.comb += values.eq(out)
            lanes.append([values[k] for k in range(words.shape[1])])
        return list(zip(*lanes, strict=True))

    def total(self, m: Module, value):
        """`value` cut to what a total can be."""
        total = Signal(shape_of(self.total_fmt))
        m.d.comb += total.eq(value)
        return total


# Multipliers of FPGAs take at least 18 signed bits.
LIMB_BITS = 17
NAMES = ("multiplier", "offset", "low", "high")


def products(x, multiplier) -> list:
    """Products of the limbs of two operands, shifted: their sum is x * multiplier."""
    return [
        (a * b) << (i + j)
        for i, a in _limbs(x)
        for j, b in ([(0, multiplier)] if isinstance(multiplier, Const) else _limbs(multiplier))
    ]


def _limbs(value) -> list:
    """(place, part) of a value: 17 bits each, the last with the sign."""
    shape = value.shape()
    width = shape.width + (not shape.signed)
    parts = []
    for place in range(0, max(1, width - 1), LIMB_BITS):
        last = place + LIMB_BITS >= width - 1
        part = value[place:] if last else value[place : place + LIMB_BITS]
        parts.append((place, part.as_signed() if last and shape.signed else part))
    return parts


def finish(m: Module, ce, form: Form, total, fmt: Int, out: Int | Float, low, high) -> Signal:
    """total >> shift, tie correction (a cycle of its own), clamp; registered."""
    value = total.shift_right(form.shift)
    least, most = fmt.min >> form.shift, fmt.max >> form.shift
    if form.correction:
        odd = ~value[0] if form.flip else value[0]
        below = total.as_unsigned()[: form.shift] < form.correction
        value = register(m, ce, value - (odd & below))
        low, high = (delay(m, ce, v, 1) for v in (low, high))
        least -= 1
    shifted = Signal(shape_of(signed(int_holding(least, most))))
    m.d.comb += shifted.eq(value)
    result = shifted
    if not (isinstance(low, Const) and least >= low.value):
        result = Mux(shifted < low, low, result)
    if not (isinstance(high, Const) and most <= high.value):
        result = Mux(shifted > high, high, result)
    clamped = Signal(shape_of(out))
    m.d.comb += clamped.eq(result)
    return register(m, ce, clamped)


def signed(fmt: Int | Float) -> Int:
    """A signed format that holds the same."""
    return Int(fmt.bits + (not fmt.signed))


def delay(m: Module, ce, value, cycles: int):
    """A constant stays one."""
    for _ in range(0 if isinstance(value, Const) else cycles):
        value = register(m, ce, value)
    return value
