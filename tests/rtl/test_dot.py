"""Dot products by choice against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwgen.formats import Bipolar, Int, Ternary
from hwgen.rtl.arith.dot import Dot

VALUES = {Ternary(): (-1, 0, 1), Bipolar(): (-1, 1), Int(1, signed=False): (0, 1)}


@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("x", [Int(8), Int(8, signed=False), Int(1, signed=False), Int(2)], ids=str)
@pytest.mark.parametrize("fmt", VALUES, ids=str)
def test_choices(x: Int, fmt, lanes: int) -> None:
    """Extreme operands with every weight, then random ones."""
    rng = np.random.default_rng(lanes)
    values = VALUES[fmt]
    cases = [
        (np.full(lanes, v), np.full(lanes, w))
        for v, w in itertools.product((x.min, x.max, 0), values)
    ]
    cases += [(rng.integers(x.min, x.max + 1, lanes), rng.choice(values, lanes)) for _ in range(20)]
    dot = Dot(x, fmt, lanes)

    async def bench(ctx) -> None:
        ctx.set(dot.i_ce, 1)
        for operands, weights in cases:
            for k in range(lanes):
                ctx.set(dot.i_x[k], int(operands[k]))
                ctx.set(dot.i_w[k], int(weights[k] < 0 if fmt == Bipolar() else weights[k]))
            await ctx.tick().repeat(Dot.latency(lanes))
            assert ctx.get(dot.o) == operands @ weights

    simulator = Simulator(dot)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
