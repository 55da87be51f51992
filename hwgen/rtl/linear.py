"""Matrix-vector products."""

from __future__ import annotations

from itertools import product

import numpy as np
from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring

from hwgen.formats import Bipolar, Int, Ternary, int_holding
from hwgen.ir import Linear, Tensor
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import ports, shape_of


class LinearUnit(wiring.Component):
    """y[p, g, o] = sum over k of x[p, g, k] * weight[g, o, k], exact.

    `pixels` rows, `parallel` groups, `pe` outputs of each and `simd` inputs of each at once; the
    weights come from one memory in the order of use. Latency: 2 + Dot.latency(simd) cycles from a
    row's last word. Initiation interval: ceil(inputs / simd) cycles per output word.

    Members: `i`: words of pixels * parallel * simd elements; `o`: words of pixels * parallel
    * pe accumulators.
    `parts`: what makes the modules it instantiates, by name; `files`: its memory files.
    """

    def __init__(self, node: Linear, x: Tensor, y: Tensor) -> None:
        self._node = node
        weights = _fold(node)
        self._words = weights.shape[-4]
        self._weight_format = _format(weights)
        depth = int(np.prod(weights.shape[:-3]))
        codes = weights < 0 if self._weight_format == Bipolar() else weights
        self._rom = Rom(codes.reshape(depth, -1), self._weight_format.bits, "weights")
        self.files = self._rom.files
        self._dot_name = f"hwgen_dot_{x.fmt}_{self._weight_format}_{node.simd}"
        self.parts = {self._dot_name: lambda: Dot(x.fmt, self._weight_format, node.simd)}
        self._dot_shape = Dot.sum_shape(x.fmt, self._weight_format, node.simd)
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Operand registers, dot products, accumulators; the accumulators are the output."""
        m = Module()
        ce, take = Signal(), Signal()
        m.d.comb += [
            ce.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(ce),
            take.eq(self.i.valid & ce),
        ]
        place, last = counter(m, self._words, take, "word")
        address, _ = counter(m, self._rom.depth, take, "weight_address")
        x = Signal(self.i.payload.shape())
        w = self._rom.read(m, address, ce)
        valid, first, end = self._flags(m, ce, place == 0, last)
        with m.If(ce):
            m.d.sync += x.eq(self.i.payload)
        out_valid, out = Signal(), Signal(self.o.payload.shape())
        with m.If(ce):
            m.d.sync += out_valid.eq(valid & end)
        m.d.comb += [self.o.valid.eq(out_valid), self.o.payload.eq(out)]
        for lane, total in enumerate(self._dots(m, ce, x, w)):
            with m.If(ce & valid):
                m.d.sync += out[lane].eq(Mux(first, 0, out[lane]) + total)
        return m

    def _flags(self, m: Module, ce, first, last) -> tuple[Signal, Signal, Signal]:
        """(valid, first, last of a row) as they come out of the dot products."""
        stages = 1 + Dot.latency(self._node.simd)
        flags = (self.i.valid, first, last)
        for k in range(stages):
            registers = tuple(Signal(name=f"{n}{k}") for n in ("valid", "first", "last"))
            with m.If(ce):
                m.d.sync += [r.eq(f) for r, f in zip(registers, flags, strict=True)]
            flags = registers
        return flags

    def _dots(self, m: Module, ce, x, w) -> list[Signal]:
        """One dot product per output of the word."""
        node = self._node
        layout = data.ArrayLayout(shape_of(self._weight_format), node.simd)
        width = layout.size
        per_tap = node.weight.shape[3]
        totals: list[Signal] = []
        for pixel, g in product(range(node.pixels), range(node.parallel)):
            first = pixel * node.parallel * node.simd
            lanes = (
                [
                    first + (t * node.parallel + g) * per_tap + c
                    for t in range(node.simd // per_tap)
                    for c in range(per_tap)
                ]
                if node.parallel > 1
                else range(first, first + node.simd)
            )
            shape = data.ArrayLayout(x.shape().elem_shape, node.simd)
            operands = Signal(shape, name=f"x{pixel * node.parallel + g}")
            m.d.comb += [operands[k].eq(x[lane]) for k, lane in enumerate(lanes)]
            for o in range(node.pe):
                total = Signal(self._dot_shape, name=f"dot{len(totals)}")
                place = (g * node.pe + o) * width
                m.submodules[f"dot{len(totals)}"] = Instance(
                    self._dot_name,
                    i_clk=ClockSignal(),
                    i_rst=ResetSignal(),
                    i_i_ce=ce,
                    i_i_x=operands.as_value(),
                    i_i_w=w[place : place + width],
                    o_o=total,
                )
                totals.append(total)
        return totals


def _format(weights: np.ndarray) -> Int | Ternary | Bipolar:
    """The narrowest format of weights."""
    low, high = int(weights.min()), int(weights.max())
    if low >= 0:
        return int_holding(0, max(1, high))
    if low < -1 or high > 1:
        return Int(max(2, int_holding(low, max(0, high)).bits))
    return Ternary() if (weights == 0).any() else Bipolar()


def _fold(node: Linear) -> np.ndarray:
    """Weights in the order of use: (blocks, repeats, words, parallel, pe, simd), zero where no
    inputs are left and those of any output where no outputs are."""
    groups, outputs, taps, channels = node.weight.shape
    if node.parallel == 1:
        flat = node.weight.reshape(groups, outputs, taps * channels)
        rows, words = -(-outputs // node.pe), -(-taps * channels // node.simd)
        flat = np.pad(flat, ((0, 0), (0, rows * node.pe - outputs), (0, 0)), mode="edge")
        flat = np.pad(flat, ((0, 0), (0, 0), (0, words * node.simd - taps * channels)))
        shaped = flat.reshape(groups, rows, node.pe, words, 1, node.simd)
        return shaped.transpose(0, 1, 3, 4, 2, 5)
    at_once = node.simd // channels
    blocks, words = -(-groups // node.parallel), -(-taps // at_once)
    flat = np.pad(
        node.weight,
        ((0, blocks * node.parallel - groups), (0, 0), (0, words * at_once - taps), (0, 0)),
    )
    shaped = flat.reshape(blocks, node.parallel, outputs, words, at_once, channels)
    shaped = shaped.transpose(0, 3, 1, 2, 4, 5)
    return shaped.reshape(blocks, 1, words, node.parallel, outputs, node.simd)
