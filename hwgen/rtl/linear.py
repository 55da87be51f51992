"""Matrix-vector products."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal, signed, unsigned
from amaranth.lib import data, wiring

from hwgen.formats import Bipolar, Block, Int, Lane, Ternary, int_holding
from hwgen.ir import ADDER_STAGES, Linear, Tensor
from hwgen.rtl.arith.block_dot import BlockDot
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.rounding_dot import RoundingDot
from hwgen.rtl.arith.sums import adders, module_name
from hwgen.rtl.counter import counter
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import ports, register, shape_of


class LinearUnit(wiring.Component):
    """y[p, g, o] = bias[g, o] + sum over k of x[p, g, k] * weight[g, o, k] in an arithmetic.

    `pixels` rows, `parallel` groups, `pe` outputs of each and `simd` inputs of each at once; the
    weights come from one memory in the order of use. Latency from a row's last word: 2 cycles and
    those of its Dot, of blocks its BlockDot, where sums round its RoundingDot. Initiation interval:
    ceil(inputs / simd) cycles per output word.

    Members: `i`: words of pixels * parallel * simd elements; `o`: words of pixels * parallel
    * pe accumulators.
    `parts`: what makes the modules it instantiates, by name; `files`: its memory files.
    """

    def __init__(self, node: Linear, x: Tensor, y: Tensor) -> None:
        self._node = node
        self._formats = x_fmt, w = _formats(node, x)
        weights = _fold(node, node.weight)
        depth = int(np.prod(weights.shape[:-3]))
        codes = weights < 0 if w == Bipolar() else weights
        self._rom = Rom(codes.reshape(depth, -1), w.bits, "weights", node.memory)
        self._start = None if node.bias is None else _starts(node, y.fmt.bits)
        self.files = {**self._rom.files, **(self._start.files if self._start else {})}
        if node.rounds:
            self._latency = RoundingDot.latency(node.arithmetic, node.simd, node.words)
            self._dot_shape = unsigned(y.fmt.bits)
        elif node.blocks:
            self._latency = BlockDot.latency(node.simd)
            self._dot_shape = signed(y.fmt.bits)
        else:
            self._latency = Dot.latency(node.simd)
            self._dot_shape = Dot.sum_shape(x_fmt, w, node.simd, node.arithmetic)
        self._dot_name, make = _dot(node, x_fmt, w, y)
        self.parts = {**(adders(node.arithmetic) if node.rounds else {}), self._dot_name: make}
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
        place, last = counter(m, self._node.words, take, "word")
        address, _ = counter(m, self._rom.depth, take, "weight_address")
        x = Signal(self.i.payload.shape())
        w = self._rom.read(m, address, ce)
        start = None
        if self._start is not None:
            row, _ = counter(m, self._start.depth, take & last, "row")
            start = self._start.read(m, row, ce)
        with m.If(ce):
            m.d.sync += x.eq(self.i.payload)
        flags = self._flags(m, ce, 1, (self.i.valid, place == 0, last))
        dots = self._dots(m, ce, x, w, flags, start)
        valid, first, end = self._flags(m, ce, self._latency, flags)
        out_valid, out = Signal(), Signal(self.o.payload.shape())
        with m.If(ce):
            m.d.sync += out_valid.eq(valid & end)
        m.d.comb += [self.o.valid.eq(out_valid), self.o.payload.eq(out)]
        for lane, total in enumerate(dots):
            value = total if self._node.rounds else Mux(first, 0, out[lane]) + total
            with m.If(ce & valid):
                m.d.sync += out[lane].eq(value)
        return m

    def _lane(self, start, lane: int):
        """What the sum of an output lane begins with: the same for every pixel."""
        bits = len(self.o.payload[lane])
        at = lane % (self._node.parallel * self._node.pe) * bits
        return start[at : at + bits]

    def _flags(self, m: Module, ce, stages: int, flags: tuple) -> tuple:
        """(valid, first, last of a row), `stages` cycles later."""
        names = ("valid", "first", "last")
        for _ in range(stages):
            pairs = zip(flags, names, strict=True)
            flags = tuple(register(m, ce, flag, name) for flag, name in pairs)
        return flags

    def _dots(self, m: Module, ce, x, w, flags: tuple, start) -> list[Signal]:
        """One dot product per output of the word."""
        node = self._node
        layout = data.ArrayLayout(shape_of(self._formats[1]), node.simd)
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
                more = {}
                if node.rounds:
                    more = {"i_i_valid": flags[0], "i_i_first": flags[1]}
                    if start is not None:
                        more["i_i_start"] = self._lane(start, len(totals))
                m.submodules[f"dot{len(totals)}"] = Instance(
                    self._dot_name,
                    i_clk=ClockSignal(),
                    i_rst=ResetSignal(),
                    i_i_ce=ce,
                    i_i_x=operands.as_value(),
                    i_i_w=w[place : place + width],
                    o_o=total,
                    **more,
                )
                totals.append(total)
        return totals


def _formats(node: Linear, x: Tensor) -> tuple:
    """The formats of inputs and weights."""
    if node.blocks:
        return x.fmt, _lane_of(node.blocks[1], node.weight)
    if node.arithmetic is not None:
        return node.arithmetic.x, node.arithmetic.w
    return x.fmt, _format(node.weight)


def _lane_of(block: Block, codes: np.ndarray) -> Lane:
    """The narrowest Lane of codes."""
    return Lane(max(block.element.bits + 1, int(codes.max()).bit_length()), block=block)


def _format(weights: np.ndarray) -> Int | Ternary | Bipolar:
    """The narrowest format of weights."""
    low, high = int(weights.min()), int(weights.max())
    if low >= 0:
        return int_holding(0, max(1, high))
    if low < -1 or high > 1:
        return Int(max(2, int_holding(low, max(0, high)).bits))
    return Ternary() if (weights == 0).any() else Bipolar()


def _dot(node: Linear, x, w, y: Tensor) -> tuple[str, Callable]:
    """The name of the module of a dot product, and what makes it."""
    what, lanes = node.arithmetic or f"{x}_{w}", node.simd
    if node.blocks:
        name = module_name("dot", f"{x}_{w}_{lanes}_{y.fmt.bits}")
        return name, lambda: BlockDot(x, w, lanes, node.arithmetic, y.fmt.bits)
    if not node.rounds:
        return module_name("dot", f"{what}_{lanes}"), lambda: Dot(x, w, lanes, node.arithmetic)
    biased, words = node.bias is not None, min(node.words, ADDER_STAGES + 1)
    name = module_name("dot", f"{what}_{lanes}_{words}{'_biased' * biased}")
    return name, lambda: RoundingDot(node.arithmetic, lanes, words, biased)


def _starts(node: Linear, bits: int) -> Rom:
    """What the sums of each row begin with, in the order of use."""
    shape = node.bias.shape + node.weight.shape[2:]
    starts = _fold(node, np.broadcast_to(node.bias[:, :, None, None], shape))[:, :, 0, :, :, 0]
    return Rom(starts.reshape(-1, starts.shape[2] * starts.shape[3]), bits, "starts")


def _fold(node: Linear, values: np.ndarray) -> np.ndarray:
    """Weights, or others of their shape, in the order of use: (blocks, repeats, words, parallel,
    pe, simd), zero where no inputs are left and those of any output where no outputs are."""
    groups, outputs, taps, channels = node.weight.shape
    if node.parallel == 1:
        flat = values.reshape(groups, outputs, taps * channels)
        rows, words = -(-outputs // node.pe), -(-taps * channels // node.simd)
        flat = np.pad(flat, ((0, 0), (0, rows * node.pe - outputs), (0, 0)), mode="edge")
        flat = np.pad(flat, ((0, 0), (0, 0), (0, words * node.simd - taps * channels)))
        shaped = flat.reshape(groups, rows, node.pe, words, 1, node.simd)
        return shaped.transpose(0, 1, 3, 4, 2, 5)
    at_once = node.simd // channels
    blocks, words = -(-groups // node.parallel), -(-taps // at_once)
    flat = np.pad(
        values,
        ((0, blocks * node.parallel - groups), (0, 0), (0, words * at_once - taps), (0, 0)),
    )
    shaped = flat.reshape(blocks, node.parallel, outputs, words, at_once, channels)
    shaped = shaped.transpose(0, 3, 1, 2, 4, 5)
    return shaped.reshape(blocks, 1, words, node.parallel, outputs, node.simd)
