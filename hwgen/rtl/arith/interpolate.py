"""Functions of one integer by straight lines between points of a table."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import int_holding
from hwgen.ir import Interpolation
from hwgen.rtl.rom import Rom
from hwgen.rtl.stream import register, shape_of


class Interpolate(wiring.Component):
    """o = (base[s] + slope[s] * rest) >> drop, of an unsigned x; a table where there is no rest.

    Latency: 4 cycles of `i_ce` (memory, operands, product, sum); of a table 2 (memory, output).
    Initiation interval: 1.

    Members: `i_ce`; `i_x`: `bits` bits; `o`: of the shape of all results. `files`: its memory file.
    Tested: all x of random functions, signed and not.
    """

    def __init__(self, function: Interpolation) -> None:
        self._function = function
        columns = {"base": function.base}
        if function.rest_bits:
            columns["slope"] = function.slope
        self._fields = {name: _shape(column) for name, column in columns.items()}
        # Fields of one width: what sign-extends the narrower is left out by every tool.
        bits = max(shape.width for shape in self._fields.values())
        self._layout = data.ArrayLayout(bits, len(columns))
        self._rom = Rom(np.stack(list(columns.values()), axis=1), bits, "table")
        self.files = self._rom.files
        ports = {"i_ce": In(1), "i_x": In(function.bits), "o": Out(result_shape(function))}
        super().__init__(ports)

    @staticmethod
    def latency(function: Interpolation) -> int:
        """Cycles from x to o."""
        return 4 if function.rest_bits else 2

    def elaborate(self, _platform) -> Module:
        """Memory, operands, product, sum."""
        m = Module()
        function, ce = self._function, self.i_ce
        word = data.View(self._layout, self._rom.read(m, self.i_x[function.rest_bits :], ce))
        base, *slopes = (
            register(m, ce, _of_shape(word[k], shape), name)
            for k, (name, shape) in enumerate(self._fields.items())
        )
        if not slopes:
            m.d.comb += self.o.eq(base)
            return m
        rest = self.i_x[: function.rest_bits]
        for _ in range(2):
            rest = register(m, ce, rest, "rest")
        product = register(m, ce, slopes[0] * rest, "product")
        base = register(m, ce, base, "base")
        total = Signal(self.o.shape(), name="total")
        m.d.comb += total.eq((base + product) >> function.drop)
        m.d.comb += self.o.eq(register(m, ce, total, "sum"))
        return m


def result_shape(function: Interpolation) -> Shape:
    """The shape of all results of a function."""
    return _shape(function(np.arange(1 << function.bits)))


def interpolator(function: Interpolation) -> dict[str, Callable[[], Interpolate]]:
    """What makes the module of a function, by its name: for a unit's `parts`."""
    return {_name(function): lambda: Interpolate(function)}


def interpolate(m: Module, function: Interpolation, ce, x) -> Signal:
    """The function of x, `Interpolate.latency` cycles later: an instance of its module."""
    out = Signal(result_shape(function), name="interpolated")
    clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
    m.submodules += Instance(_name(function), **clock, i_i_ce=ce, i_i_x=x, o_o=out)
    return out


def _name(function: Interpolation) -> str:
    """The same for equal functions alone."""
    digest = sha256(f"{function.bits} {function.rest_bits} {function.drop}".encode())
    for column in (function.base, function.slope):
        digest.update(np.asarray(column, dtype="<i8").tobytes())
    return f"hwgen_interpolate_{digest.hexdigest()[:12]}"


def _shape(values: np.ndarray) -> Shape:
    return shape_of(int_holding(min(0, int(values.min())), max(1, int(values.max()))))


def _of_shape(field, shape: Shape):
    """The low bits of a memory's field."""
    bits = field[: shape.width]
    return bits.as_signed() if shape.signed else bits
