"""Energy of a module in gates of a cell library, from simulation of its netlist."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from hwgen.cost.gates import Netlist, Timing, timing
from hwgen.cost.liberty import Library, read_liberty
from hwgen.cost.power import LEAK, GatePower, gate_power
from hwgen.engines.gates import simulate
from hwgen.synth.gates import DELAY, gate_netlist

SPARE = 1.05  # of the clock period over the slowest path


@dataclass(frozen=True)
class Energy:
    """pJ per clock cycle. `switching` charges nets (their wires by the library's default wire load,
    where there is one), `internal` is what gates take besides, `clock` is the clock's net and pins,
    and `leakage`. `glitch` is what switching and internal energy grow by once gates have delays;
    the other parts are without it."""

    switching: float
    internal: float
    clock: float
    leakage: float
    glitch: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def glitch_factor(self) -> float:
        """By how much glitches multiply the energy of transitions, the clock's aside."""
        quiet = self.switching + self.internal
        return 1 + self.glitch / quiet if quiet else 1.0


@dataclass(frozen=True)
class UnitEnergy:
    """A module in gates: `area` in the library's unit (square micrometres as a rule), `delay` of
    the slowest path in ns, `period` of the clock in ns, cells and flip-flops among them, the
    energy, and the module's outputs cycle by cycle."""

    area: float
    delay: float
    period: float
    cells: int
    flops: int
    energy: Energy
    outputs: dict[str, np.ndarray]


def unit_energy(
    sources: Mapping[str, str],
    top: str,
    liberty: str | Path | Library,
    vectors: Mapping[str, Sequence[int] | np.ndarray],
    *,
    delay: int = DELAY,
    period: float | None = None,
    warm: int = 0,
) -> UnitEnergy:
    """Energy per cycle of a module of Verilog `sources`, synthesized to a library's gates.

    `vectors`: codes by input port, one a cycle; other inputs are 0. `delay`: what synthesis aims
    at, in ps. `period`: of the clock in ns, just over the slowest path unless given. The first
    `warm` cycles, and two of reset before them, are not counted. Raises `ConfigError` for a library
    that lacks something, `ToolError`, `InputError` and `SimulationError`.
    """
    library = liberty if isinstance(liberty, Library) else read_liberty(liberty)
    library.check()
    netlist = gate_netlist(sources, top, library, delay)
    return netlist_energy(netlist, vectors, period=period, warm=warm)


def netlist_energy(
    netlist: Netlist,
    vectors: Mapping[str, Sequence[int] | np.ndarray],
    *,
    period: float | None = None,
    warm: int = 0,
) -> UnitEnergy:
    """The same of a netlist."""
    times = timing(netlist)
    period = period or clock_period(times)
    given, skipped = _with_reset(netlist, vectors)
    skipped += warm
    quiet = simulate(netlist, given, None, period, skipped)
    timed = simulate(netlist, given, times, period, skipped)
    still, moving = (gate_power(netlist, times, activity) for activity in (quiet, timed))
    switching, internal = _dynamic(still)
    energy = Energy(
        switching,
        internal,
        clock=float(still.clock.sum()) + still.clock_net,
        leakage=float(still.leakage.sum()) * period * LEAK,
        glitch=sum(_dynamic(moving)) - switching - internal,
    )
    size = netlist.area, times.path, period, len(netlist.names), netlist.flops
    outputs = {name: codes[skipped:] for name, codes in quiet.outputs.items()}
    return UnitEnergy(*size, energy, outputs)


def clock_period(times: Timing) -> float:
    """Just over the slowest path, in ns."""
    return max(math.ceil(10 * SPARE * times.path) / 10, 0.1)


def _dynamic(power: GatePower) -> tuple[float, float]:
    """Switching and internal energy."""
    return float(power.switching.sum()) + power.ports, float(power.internal.sum())


def _with_reset(netlist: Netlist, vectors: Mapping) -> tuple[dict, int]:
    """The vectors behind two cycles of reset, where there is one, and how many those are."""
    if "rst" not in netlist.ports or "rst" in vectors:
        return dict(vectors), 0
    longer = {name: np.concatenate([[v[0]] * 2, np.asarray(v)]) for name, v in vectors.items()}
    count = len(next(iter(longer.values())))
    return {**longer, "rst": np.arange(count) < 2}, 2
