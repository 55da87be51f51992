"""Counters that wrap."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value


def counter(m: Module, period: int, step, name: str) -> tuple[Value, Value]:
    """A register counting 0 ... period - 1 wherever `step` is high; returns (count, count is the
    last)."""
    if period == 1:
        return Const(0, 1), Const(1, 1)
    count = Signal(range(period), name=name)
    last = Signal(name=f"{name}_last")
    m.d.comb += last.eq(count == period - 1)
    with m.If(step):
        m.d.sync += count.eq(count + 1)
        with m.If(last):
            m.d.sync += count.eq(0)
    return count, last
