"""A netlist of library cells: what drives what, loads, slews and delays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwgen.cost.boolean import evaluate, states
from hwgen.cost.liberty import Cell, Library
from hwgen.errors import ConfigError

INPUT_SLEW = 0.05  # ns, of ports


class Kind:
    """What the gates of one cell share. A gate's state is a number: bit k is input k's value, and
    of a flip-flop the highest bit what it holds.

    `values`: (outputs, states) of outputs; `next`: (states,) what a flip-flop will hold.
    """

    def __init__(self, library: Library, cell: Cell) -> None:
        self.cell, self.inputs, self.outputs = cell, cell.inputs, cell.outputs
        where = f"{library.path}: cell {cell.name}"
        if cell.refused:
            raise ConfigError(f"{where} can't be simulated: {cell.refused}")
        flop = cell.flop
        names = [*self.inputs, *([flop.state] if flop else [])]
        self.bits, self.states = len(names), 1 << len(names)
        self._at = states(names)
        try:
            if flop and flop.inverse:
                self._at[flop.inverse] = ~self._at[flop.state]
            for name in self.outputs:
                self._at.setdefault(name, self.where(cell.pins[name].function))
            self.values = np.array([self._at[name] for name in self.outputs], dtype=np.uint8)
            self.next = self.where(flop.next_state) if flop else np.zeros(self.states, bool)
            self.clock = self._clock(where) if flop else -1
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error

    def where(self, function: str) -> np.ndarray:
        """In which states a function of pins holds."""
        return evaluate(function, self._at, self.states)

    def rising(self, pin: int) -> np.ndarray:
        """In which states input `pin` has just risen, if it is what has changed."""
        return self._at[self.inputs[pin]]

    @cached_property
    def idle(self) -> np.ndarray:
        """In which states no asynchronous input of a flip-flop acts."""
        flop = self.cell.flop
        acting = [self.where(f) for f in (flop.clear, flop.preset) if f] if flop else []
        return ~np.any([np.zeros(self.states, bool), *acting], axis=0)

    def _clock(self, where: str) -> int:
        clocked = self.cell.flop.clocked_on.strip("() ")
        if clocked not in self.inputs:
            raise ConfigError(f"{where} can't be simulated: it is clocked on {clocked!r}")
        return self.inputs.index(clocked)


@dataclass(frozen=True, eq=False)
class Members:
    """The gates of one kind: their numbers (n,), nets of inputs (n, inputs) and outputs."""

    kind: Kind
    gates: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray


class Netlist:
    """A module of gates, from a netlist that Yosys wrote as JSON.

    Nets 0 and 1 are the constants. `ports`: (is output, nets) by name; `clock`: the net of port
    `clk`, or -1. `load`: pF of each net: the pins on it, and its wire by the library's default wire
    load, where there is one.
    """

    def __init__(self, library: Library, module: Mapping, clock: str = "clk") -> None:
        self.library = library
        numbers: dict[int | str, int] = {"0": 0, "1": 1, "x": 0, "z": 0}

        def nets(bits: list) -> list[int]:
            return [numbers.setdefault(bit, len(numbers) - 2) for bit in bits]

        self.ports = {
            name: (port["direction"] == "output", np.array(nets(port["bits"]), dtype=np.int64))
            for name, port in module["ports"].items()
        }
        names: dict[str, list[str]] = {}
        for name, cell in module["cells"].items():
            names.setdefault(cell["type"], []).append(name)
        unknown = sorted(kind for kind in names if kind not in library.cells)
        if unknown:
            raise ConfigError(f"{library.path}: the library has no cell {', '.join(unknown)}")
        self.names: list[str] = [name for group in names.values() for name in group]
        self.members, start = [], 0
        for type_name, group in names.items():
            kind = Kind(library, library.cells[type_name])
            cells = [module["cells"][name]["connections"] for name in group]
            pins = [
                np.array([nets([c[pin][0] for pin in side]) for c in cells], dtype=np.int64)
                for side in (kind.inputs, kind.outputs)
            ]
            self.members.append(Members(kind, np.arange(start, start + len(group)), *pins))
            start += len(group)
        self.nets = max(len(numbers) - 2, 2)
        self.clock = int(self.ports[clock][1][0]) if clock in self.ports else -1
        self._check()
        self.load = self._loads()

    def _loads(self) -> np.ndarray:
        load, fanout = np.zeros(self.nets), np.zeros(self.nets, dtype=np.int64)
        for m in self.members:
            pins = [m.kind.cell.pins[name].capacitance for name in m.kind.inputs]
            np.add.at(load, m.inputs, np.broadcast_to(pins, m.inputs.shape))
            np.add.at(fanout, m.inputs, 1)
        for output, nets in self.ports.values():
            np.add.at(fanout, nets, int(output))
        if self.library.wires:
            load += self.library.wires.at(fanout)
        load[:2] = 0  # constants
        return load

    def _check(self) -> None:
        for m in self.members:
            if not m.kind.cell.flop:
                continue
            if (m.inputs[:, m.kind.clock] != self.clock).any():
                raise ConfigError("a flip-flop is not clocked by the port clk itself")
            asynchronous = [
                k for k in range(len(m.kind.inputs)) if _matters(m.kind.idle, k, m.kind.states)
            ]
            tied = m.inputs[:, asynchronous]
            state = (tied << np.array(asynchronous, dtype=np.int64)).sum(axis=1)
            if (tied > 1).any() or not m.kind.idle[state].all():
                raise ConfigError("an asynchronous set or reset is used; hwgen's are synchronous")

    @property
    def area(self) -> float:
        """In the library's unit."""
        return sum(len(m.gates) * m.kind.cell.area for m in self.members)

    @property
    def flops(self) -> int:
        """Flip-flops."""
        return sum(len(m.gates) for m in self.members if m.kind.cell.flop)

    @cached_property
    def ranks(self) -> np.ndarray:
        """For each gate one more than the greatest of what drives it; of flip-flops 0."""
        gates = len(self.names)
        ranks, net_ranks = np.full(gates, -1), np.zeros(self.nets, dtype=np.int64)
        combinational = [m for m in self.members if not m.kind.cell.flop]
        for m in self.members:
            ranks[m.gates] = 0 if m.kind.cell.flop else -1
        for m in combinational:
            net_ranks[m.outputs] = gates  # not known yet
        while True:
            known = 0
            for m in combinational:
                ready = net_ranks[m.inputs].max(axis=1, initial=0)
                new = (ranks[m.gates] < 0) & (ready < gates)
                known += int(new.sum())
                ranks[m.gates[new]] = ready[new] + 1
            if not known:
                break
            for m in combinational:
                found = ranks[m.gates] > 0
                net_ranks[m.outputs[found]] = ranks[m.gates[found], None]
        if (ranks < 0).any():
            name = self.names[int(np.argmax(ranks < 0))]
            raise ConfigError(f"the netlist has a combinational loop through {name}")
        return ranks


def _matters(values: np.ndarray, bit: int, size: int) -> bool:
    """Whether a function of a state depends on a bit of it."""
    return bool((values != values[np.arange(size) ^ (1 << bit)]).any())


@dataclass(frozen=True, eq=False)
class Timing:
    """Static timing in ns. `slew`: (nets, 2) of rising and falling; `arrival`: (nets,);
    `delays`: for each kind of gate (n, outputs, inputs, 2) of rising and falling outputs."""

    slew: np.ndarray
    arrival: np.ndarray
    delays: list[np.ndarray]

    @property
    def path(self) -> float:
        """The slowest path, without setup times."""
        return float(self.arrival.max(initial=0))


def timing(netlist: Netlist, input_slew: float = INPUT_SLEW) -> Timing:
    """Slews, the greatest that an arc gives, and delays at each net's load; where several arcs
    join two pins the delay is their mean. Ports have `input_slew`, the clock too. No slew is
    greater than the library allows: synthesis leaves flip-flops without the buffers that layout
    adds."""
    slew = np.full((netlist.nets, 2), input_slew)
    arrival = np.zeros(netlist.nets)
    shapes = [(len(m.gates), len(m.kind.outputs), len(m.kind.inputs), 2) for m in netlist.members]
    delays = [np.zeros(shape) for shape in shapes]
    ranks = netlist.ranks
    order = [
        (rank, k, np.flatnonzero(ranks[m.gates] == rank))
        for k, m in enumerate(netlist.members)
        for rank in np.unique(ranks[m.gates])
    ]
    for _, k, rows in sorted(order, key=lambda entry: entry[0]):
        m = netlist.members[k]
        for o, name in enumerate(m.kind.outputs):
            out = m.outputs[rows, o]
            slews, late = np.zeros((len(rows), 2)), np.zeros(len(rows))
            for i, related in enumerate(m.kind.inputs):
                arcs = [a for a in m.kind.cell.pins[name].arcs if a.related == related]
                if not arcs:
                    continue
                given, load = slew[m.inputs[rows, i]], netlist.load[out]
                found = np.array([_through(arc, given, load) for arc in arcs])
                delays[k][rows, o, i] = found[:, 0].mean(axis=0)
                slews = np.maximum(slews, found[:, 1].max(axis=0))
                start = np.zeros(len(rows)) if m.kind.cell.flop else arrival[m.inputs[rows, i]]
                late = np.maximum(late, start + delays[k][rows, o, i].max(axis=1))
            slew[out] = np.minimum(slews, netlist.library.max_slew)
            arrival[out] = late
    return Timing(slew, arrival, delays)


def _through(arc, slew: np.ndarray, load: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Delay and slew (n, 2) of an output, rising and falling, at slews (n, 2) of the input."""
    if arc.sense:
        rise, fall = slew[:, :: arc.sense].T
    else:
        rise = fall = slew.max(axis=1)
    delay = np.stack([arc.rise.at(rise, load), arc.fall.at(fall, load)], axis=1)
    out = np.stack([arc.rise_slew.at(rise, load), arc.fall_slew.at(fall, load)], axis=1)
    return np.maximum(delay, 0), np.maximum(out, 0)
