"""Exact dot products, of integers and of floats in fixed point."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Const, Module, Mux, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Arithmetic, Bipolar, Float, Int, Ternary
from hwgen.ir import Grid
from hwgen.rtl.arith.multiply import fixed_product, grid_product
from hwgen.rtl.stream import shape_of

Code = Int | Ternary | Bipolar | Float
# Weights that need no multiplier: from the bits of one, whether it is not 0 and whether it is -1.
CHOICES = {
    Ternary(): lambda w: (w[0], w[1]),
    Bipolar(): lambda w: (Const(1, 1), w[0]),
    Int(1, signed=False): lambda w: (w[0], Const(0, 1)),
}


class Dot(wiring.Component):
    """o = sum over k of i_x[k] * i_w[k], exact: an integer, with an `arithmetic` in units of its
    least product.

    Registers before and behind every product and behind every level of the adder tree: products
    map to DSP blocks, and neither a memory nor an adder shares a cycle with a multiplier. With
    `stages` as many of these registers, evenly spread, the last at the output; 0 is combinational.
    Products of an `arithmetic` are its multipliers in lookup tables. A product with a weight of
    CHOICES is x, 0 or ~x, and what ~x lacks of -x is the carry into an adder of the tree, which has
    one adder fewer than there are products. With a `grid` products are rounded to it.

    Latency: `stages`, by default `latency(lanes)`, cycles
    of `i_ce`. Initiation interval: 1.

    Members: `i_ce`: clock enable, where there are registers; `i_x`, `i_w`: arrays of `lanes`; `o`:
    the sum.
    """

    def __init__(
        self,
        x: Code,
        w: Code,
        lanes: int,
        arithmetic: Arithmetic | None = None,
        stages: int | None = None,
        grid: Grid | None = None,
    ) -> None:
        self._lanes, self._choice, self._arithmetic = lanes, CHOICES.get(w), arithmetic
        self._grid = grid
        places = self.latency(lanes)
        stages = places if stages is None else stages
        ends = [k * stages // places for k in range(places + 1)]
        self._registers = [b - a for a, b in pairwise(ends)]  # behind each step
        super().__init__(
            {
                **({"i_ce": In(1)} if stages else {}),
                "i_x": In(data.ArrayLayout(shape_of(x), lanes)),
                "i_w": In(data.ArrayLayout(shape_of(w), lanes)),
                "o": Out(self.sum_shape(x, w, lanes, arithmetic, grid)),
            }
        )

    @staticmethod
    def sum_shape(
        x: Code,
        w: Code,
        lanes: int,
        arithmetic: Arithmetic | None = None,
        grid: Grid | None = None,
    ) -> Shape:
        """Shape of the sum."""
        levels = (lanes - 1).bit_length()
        if grid is not None:
            return Shape(grid.bits + levels, signed=True)
        if arithmetic is not None:
            return Shape(arithmetic.exact_bits + levels, signed=True)
        if w in CHOICES:
            return Shape(x.bits + 1 + levels, signed=True)
        return Shape(x.bits + w.bits + levels, x.signed or w.signed)

    @staticmethod
    def latency(lanes: int) -> int:
        """Cycles from operands to sum."""
        return 2 + (lanes - 1).bit_length()

    def elaborate(self, _platform) -> Module:
        """Products, then pairwise sums."""
        m = Module()
        level, carries = [], []
        for k in range(self._lanes):
            x = self._step(m, 0, self.i_x[k], f"x{k}")
            w = self._step(m, 0, self.i_w[k], f"w{k}")
            product, carry = self._product(m, x, w)
            if k == 0:  # there is no adder for its carry
                product = product if carry is None else product + carry
            elif carry is not None:
                carries.append(self._step(m, 1, carry, f"carry{k}"))
            level.append(self._step(m, 1, product, f"product{k}"))
        depth = 0
        while len(level) > 1:
            depth += 1
            pairs = [level[k : k + 2] for k in range(0, len(level), 2)]
            level = [
                self._step(m, 1 + depth, self._sum(pair, carries), f"sum{depth}_{k}")
                for k, pair in enumerate(pairs)
            ]
            carries = [
                self._step(m, 1 + depth, c, f"carry{depth}_{k}") for k, c in enumerate(carries)
            ]
        m.d.comb += self.o.eq(level[0])
        return m

    def _product(self, m: Module, x, w) -> tuple:
        """x * w as a value and what must be added to it, None for nothing."""
        if self._grid is not None:
            return grid_product(m, self._arithmetic, self._grid, x, w), None
        if self._arithmetic is not None:
            return fixed_product(m, self._arithmetic, x, w), None
        if self._choice is None:
            return x * w, None
        used, negative = self._choice(w)
        ones = Const(-1, Shape(len(x) + (not x.shape().signed), signed=True))
        return Mux(used, x, 0) ^ Mux(negative, ones, 0), negative

    @staticmethod
    def _sum(pair: list, carries: list):
        """The sum of one or two values; two take the last of the carries with them."""
        if len(pair) == 1:
            return pair[0]
        a, b = pair
        if not carries:
            return a + b
        # One bit below the operands makes the carry, without another adder.
        return ((a.shift_left(1) | 1) + (b.shift_left(1) | carries.pop())).shift_right(1)

    def _step(self, m: Module, step: int, value, name: str) -> Signal:
        """A value behind the registers of a step."""
        if not self._registers[step]:  # apart: Yosys makes larger circuits of sums of sums
            apart = Signal(value.shape(), name=name, attrs={"keep": 1})
            m.d.comb += apart.eq(value)
            return apart
        for _ in range(self._registers[step]):
            register = Signal(value.shape(), name=name)
            with m.If(self.i_ce):
                m.d.sync += register.eq(value)
            value = register
        return value
