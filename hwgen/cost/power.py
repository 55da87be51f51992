"""Energy of gates from counts of what happened in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwgen.cost.gates import Kind, Members, Netlist, Timing
from hwgen.cost.liberty import Power

LEAK = 1e-6  # nW times ns in pJ


@dataclass(frozen=True, eq=False)
class Activity:
    """What happened in `cycles` cycles. `toggles`: (nets,). For each kind of gate `pins` (n,
    inputs, states): changes of an input by the state then; `causes` (n, outputs, inputs, states):
    changes of an output by the input that caused it and the state then; `times` (n, states):
    shares of time."""

    cycles: int
    toggles: np.ndarray
    pins: list[np.ndarray]
    causes: list[np.ndarray]
    times: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class GatePower:
    """pJ per cycle. Of each gate (gates,): `switching` charges the nets it drives, `internal` is
    what its tables say, `clock` those of its clock pin, and `leakage`, in nW. `ports` charges the
    nets that input ports drive, `clock_net` the clock's."""

    switching: np.ndarray
    internal: np.ndarray
    clock: np.ndarray
    leakage: np.ndarray
    ports: float
    clock_net: float


def gate_power(netlist: Netlist, timing: Timing, activity: Activity) -> GatePower:
    """The energy of all gates; each table is read at the slew of its input's net and the load of
    its output's."""
    charge = 0.5 * netlist.load * netlist.library.voltage**2
    nets = charge * activity.toggles / activity.cycles
    slew = timing.slew.mean(axis=1)
    found = {
        name: np.zeros(len(netlist.names)) for name in ("switching", "internal", "clock", "leakage")
    }
    for k, m in enumerate(netlist.members):
        found["switching"][m.gates] = nets[m.outputs].sum(axis=1)
        inputs = _inputs(m, slew, activity.pins[k]) / activity.cycles
        if m.kind.clock >= 0:
            found["clock"][m.gates] = inputs[:, m.kind.clock]
            inputs[:, m.kind.clock] = 0
        outputs = _outputs(m, slew, netlist.load, activity.causes[k]) / activity.cycles
        found["internal"][m.gates] = inputs.sum(axis=1) + outputs
        found["leakage"][m.gates] = activity.times[k] @ leakages(m.kind)
    ports = [bits for output, bits in netlist.ports.values() if not output]
    driven = np.unique(np.concatenate(ports)) if ports else np.zeros(0, int)
    clock = float(2 * charge[netlist.clock]) if netlist.clock >= 0 else 0.0
    return GatePower(**found, ports=float(nets[driven].sum()), clock_net=clock)


def _inputs(m: Members, slew: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """pJ (n, inputs) of the inputs' own tables."""
    energy = np.zeros(counts.shape[:2])
    for i, name in enumerate(m.kind.inputs):
        powers = m.kind.cell.pins[name].powers
        rising = m.kind.rising(i)
        slews = slew[m.inputs[:, i]]
        for power, share in zip(powers, shares(m.kind, powers), strict=True):
            rises = counts[:, i] @ (share * rising)
            falls = counts[:, i] @ (share * ~rising)
            energy[:, i] += rises * power.rise.at(slews, 0) + falls * power.fall.at(slews, 0)
    return energy


def _outputs(m: Members, slew: np.ndarray, load: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """pJ (n,) of the tables of outputs, by the input that caused their change."""
    energy = np.zeros(len(m.gates))
    for o, name in enumerate(m.kind.outputs):
        rising = m.kind.values[o].astype(bool)
        for i, related in enumerate(m.kind.inputs):
            powers = [p for p in m.kind.cell.pins[name].powers if p.related in (related, "")]
            at = slew[m.inputs[:, i]], load[m.outputs[:, o]]
            for power, share in zip(powers, shares(m.kind, powers), strict=True):
                rises = counts[:, o, i] @ (share * rising)
                falls = counts[:, o, i] @ (share * ~rising)
                energy += rises * power.rise.at(*at) + falls * power.fall.at(*at)
    return energy


def shares(kind: Kind, powers: Sequence[Power]) -> list[np.ndarray]:
    """How much of each table holds in each state: those whose `when` is true, in equal shares;
    where none is, those without one."""
    named = [kind.where(p.when).astype(float) if p.when else np.zeros(kind.states) for p in powers]
    total = np.sum(named, axis=0) if named else np.zeros(kind.states)
    plain = sum(not p.when for p in powers)
    return [
        (share / np.maximum(total, 1)) if p.when else (total == 0) / plain
        for p, share in zip(powers, named, strict=True)
    ]


def leakages(kind: Kind) -> np.ndarray:
    """nW in each state."""
    values = np.full(kind.states, kind.cell.leakage)
    for when, value in kind.cell.leakages:
        values[kind.where(when)] = value
    return values
