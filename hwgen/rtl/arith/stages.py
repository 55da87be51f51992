"""Registers between the steps of a unit."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value


class Stages:
    """`count` registers behind the steps of a unit, shared out in the order of `cuts`: the first
    of them gets the first register, and what is left over stands behind the last step."""

    def __init__(self, m: Module, ce: Value | None, count: int, cuts: Sequence[str]) -> None:
        if count < 0:
            raise ValueError(f"stages must be 0 or more, not {count!r}")
        self._m, self._ce = m, ce
        self._at = {cut: int(k < count) for k, cut in enumerate(cuts)}
        self._at[cuts[0]] += max(0, count - len(cuts))

    def __call__(self, cut: str, *values: Value) -> list[Value]:
        """The values as they are behind a step."""
        for _ in range(self._at[cut]):
            registers = [Signal.like(value, name=f"{cut}{k}") for k, value in enumerate(values)]
            with self._m.If(self._ce):
                for register, value in zip(registers, values, strict=True):
                    self._m.d.sync += register.eq(value)
            values = tuple(registers)
        return list(values)
