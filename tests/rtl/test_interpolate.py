"""Interpolated functions in hardware: every argument, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwgen.errors import ConfigError
from hwgen.ir.interpolation import Interpolation, interpolation
from hwgen.rtl.arith.interpolate import Interpolate, interpolator

FUNCTIONS = {
    "exponential": lambda x: 2.0 ** (x / 256) * 128,
    "falling": lambda x: -(x**2) / 100,
    "wave": lambda x: 50 * np.sin(x / 20),
    "rising": lambda x: 3.0 * x,
    "none": lambda x: 0.0 * x,
}


def _fitted(name: str, bits: int, error: float) -> Interpolation:
    return interpolation(FUNCTIONS[name], bits, error)


@pytest.mark.parametrize(
    ("name", "bits", "error"),
    [
        ("exponential", 8, 0.75),
        ("exponential", 8, 0.0),  # a table
        ("exponential", 8, 1e9),  # two lines
        ("falling", 7, 1.0),
        ("wave", 8, 0.8),
        ("wave", 6, 0.0),
        ("rising", 5, 1.0),
        ("none", 1, 0.0),
        ("none", 1, 1.0),
    ],
)
def test_every_argument(name: str, bits: int, error: float) -> None:
    function = _fitted(name, bits, error)
    unit = Interpolate(function)
    x = np.arange(1 << bits)
    got: list[int] = []
    rng = np.random.default_rng(bits)

    async def bench(ctx) -> None:
        moves = 0
        while len(got) < len(x):
            go = bool(rng.integers(4))
            ctx.set(unit.i_ce, go)
            ctx.set(unit.i_x, int(x[min(moves, len(x) - 1)]) if go else int(rng.choice(x)))
            await ctx.tick()
            moves += go
            if go and moves >= Interpolate.latency(function):
                got.append(ctx.get(unit.o))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(got, function(x))


def test_one_module_per_function() -> None:
    functions = [_fitted("wave", 8, error) for error in (0.8, 0.8, 2.0)]
    first, same, other = (interpolator(function).keys() for function in functions)
    assert first == same != other


def test_bounds() -> None:
    """What no lines come near enough to is a table, which is half a unit wrong at most; arguments
    too wide for one are refused."""
    noise = np.random.default_rng(0).normal(0, 99, 256)
    for error in (0.0, 0.5):
        function = interpolation(lambda x: noise[x.astype(int)], 8, error)
        assert function.rest_bits == 0
        assert function.error == np.abs(np.rint(noise) - noise).max() <= 0.5
    for bits in (0, 19):
        with pytest.raises(ConfigError, match=f"argument must have 1 to 18 bits, not {bits}"):
            interpolation(lambda x: x, bits, 1.0)
