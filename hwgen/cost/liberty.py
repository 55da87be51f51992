"""Cell libraries in the liberty format: areas, pins, functions, delays and power tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwgen.cost.boolean import truth
from hwgen.cost.groups import Group, parse
from hwgen.cost.tables import Table
from hwgen.errors import ConfigError

PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}
UNIT = re.compile(r"([\d.eE+-]*?)\s*([fpnumk]?)(s|v|w|f|ff)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Power:
    """Energy of a transition, in pJ: of an input pin, or of an output that `related` caused."""

    related: str
    when: str
    rise: Table
    fall: Table


@dataclass(frozen=True, eq=False)
class Arc:
    """Delay and slew of an output, in ns, by what the pin `related` does. `sense`: 1 where both
    rise together, -1 where one falls, 0 where either may be."""

    related: str
    sense: int
    rise: Table
    fall: Table
    rise_slew: Table
    fall_slew: Table


@dataclass(frozen=True, eq=False)
class Pin:
    """One pin; `capacitance` in pF, `function` of an output."""

    name: str
    output: bool
    capacitance: float
    clock: bool
    function: str
    powers: tuple[Power, ...]
    arcs: tuple[Arc, ...]


@dataclass(frozen=True)
class Flop:
    """A flip-flop's group: names of its state and of the inverse, and functions."""

    state: str
    inverse: str
    clocked_on: str
    next_state: str
    clear: str
    preset: str


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell; `leakages` in nW by state, `leakage` without one. `refused`: why it can't be
    simulated, if it can't."""

    name: str
    area: float
    pins: dict[str, Pin]
    leakages: tuple[tuple[str, float], ...]
    leakage: float
    flop: Flop | None
    refused: str

    @property
    def inputs(self) -> list[str]:
        """Input pins, in the file's order sorted by name."""
        return sorted(name for name, pin in self.pins.items() if not pin.output)

    @property
    def outputs(self) -> list[str]:
        """Output pins."""
        return sorted(name for name, pin in self.pins.items() if pin.output)


@dataclass(frozen=True, eq=False)
class WireLoad:
    """pF of a wire by the number of pins it goes to: `lengths` at `fanouts`, linear between them,
    `slope` for each pin more."""

    capacitance: float
    fanouts: np.ndarray
    lengths: np.ndarray
    slope: float

    def at(self, fanout: np.ndarray) -> np.ndarray:
        """pF; none without a pin."""
        length = np.interp(fanout, self.fanouts, self.lengths)
        length += self.slope * np.maximum(fanout - self.fanouts[-1], 0)
        return np.where(fanout > 0, self.capacitance * length, 0.0)


@dataclass(frozen=True, eq=False)
class Library:
    """A library: the voltage, the cells by name, the wires it takes unless told otherwise, and the
    greatest slew in ns that a net may have."""

    name: str
    path: Path
    date: str
    voltage: float
    cells: dict[str, Cell]
    wires: WireLoad | None
    max_slew: float

    def check(self, power: bool = True) -> None:
        """Raise `ConfigError` where it lacks a kind of cell that synthesis needs, or (with
        `power`) power tables."""
        kinds = {
            "an inverter": [c for c in self.cells.values() if _is(c, 1, (1, 0))],
            "a NAND or NOR gate of two inputs": [
                c for c in self.cells.values() if _is(c, 2, (1, 1, 1, 0)) or _is(c, 2, (1, 0, 0, 0))
            ],
            "a flip-flop": [c for c in self.cells.values() if c.flop and not c.refused],
        }
        for kind, found in kinds.items():
            if not found:
                raise ConfigError(f"{self.path}: the library has no cell that is {kind}")
            for cell in found if power else ():
                if not any(pin.powers for pin in cell.pins.values()):
                    raise ConfigError(
                        f"{self.path}: cell {cell.name} has no internal_power tables; energy needs "
                        "a library that was characterized for power"
                    )


def _is(cell: Cell, inputs: int, values: tuple[int, ...]) -> bool:
    """Whether a cell has one output with this truth table."""
    names, outputs = cell.inputs, cell.outputs
    if cell.flop or cell.refused or len(names) != inputs or len(outputs) != 1:
        return False
    return truth(cell.pins[outputs[0]].function, names).tolist() == list(values)


def read_liberty(path: str | Path) -> Library:
    """The library of a file; raises `ConfigError`."""
    path = Path(path)
    try:
        group = parse(path.read_text(errors="replace"))
        return _Reader(path, group).library()
    except OSError as error:
        raise ConfigError(f"can't read the cell library {path}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path} is no liberty file, or it is damaged: {error}") from error


class _Reader:
    """Turns groups into numbers in ns, pF, pJ and nW."""

    def __init__(self, path: Path, group: Group) -> None:
        self._path, self._group = path, group
        loads = group.lists.get("capacitive_load_unit", ("1", "pf"))
        volt = _unit(group.attributes.get("voltage_unit", "1V"))
        self._time = _unit(group.attributes.get("time_unit", "1ns")) / 1e-9
        self._load = float(loads[0]) * _unit(f"1{loads[1]}") / 1e-12
        self._volt = volt
        self._energy = self._load * volt**2
        self._leak = _unit(group.attributes.get("leakage_power_unit", "1nW")) / 1e-9
        self._templates = {
            template.arguments[0]: template
            for kind in ("lu_table_template", "power_lut_template")
            for template in group.all(kind)
        }

    def library(self) -> Library:
        """All cells."""
        group, path = self._group, self._path
        cells = {g.arguments[0]: self._cell(g) for g in group.all("cell")}
        if not cells:
            raise ConfigError(f"{path}: the library has no cells")
        conditions = group.attributes.get("default_operating_conditions")
        volts = group.number("nom_voltage", 0)
        for named in group.all("operating_conditions"):
            if named.arguments[:1] == (conditions,):
                volts = named.number("voltage", volts)
        if not volts:
            raise ConfigError(f"{path}: the library says no nom_voltage")
        date = group.attributes.get("date", "").strip("$ ").removeprefix("Date: ")
        name = group.arguments[0]
        volts *= self._volt
        return Library(name, path, date, volts, cells, self._wires(), self._max_slew(cells))

    def _max_slew(self, cells: dict[str, Cell]) -> float:
        """As the library says, or the greatest of its tables."""
        if said := self._group.number("default_max_transition"):
            return said * self._time
        arcs = (a for cell in cells.values() for pin in cell.pins.values() for a in pin.arcs)
        return max((float(arc.rise.slews[-1]) for arc in arcs), default=0.0) or math.inf

    def _wires(self) -> WireLoad | None:
        """The library's default wire load."""
        named = self._group.attributes.get("default_wire_load")
        for group in self._group.all("wire_load"):
            points = [line for line in group.repeated if line[0] == "fanout_length"]
            if group.arguments == (named,) and points:
                fanouts, lengths = np.array([line[1][:2] for line in points], dtype=float).T
                each = group.number("capacitance") * self._load
                return WireLoad(each, fanouts, lengths, group.number("slope"))
        return None

    def _cell(self, group: Group) -> Cell:
        whens, plain = [], group.attributes.get("cell_leakage_power")
        for leak in group.all("leakage_power"):
            if when := leak.attributes.get("when"):
                whens.append((when, leak.number("value") * self._leak))
            elif plain is None:
                plain = leak.attributes.get("value")
        default = self._group.attributes.get("default_cell_leakage_power", "0")
        leakage = float(default if plain is None else plain) * self._leak
        pins = {g.arguments[0]: self._pin(g) for g in group.all("pin")}
        flop = group.one("ff")
        refused = next(
            (
                f"it has a {kind} group"
                for kind in ("latch", "statetable", "ff_bank", "latch_bank", "test_cell", "bus")
                if group.one(kind)
            ),
            "",
        )
        for g in group.all("pin"):
            if "three_state" in g.attributes:
                refused = f"its pin {g.arguments[0]} is tri-state"
        return Cell(
            group.arguments[0],
            group.number("area"),
            {name: pin for name, pin in pins.items() if pin is not None},
            tuple(whens),
            leakage,
            _flop(flop) if flop else None,
            refused,
        )

    def _pin(self, group: Group) -> Pin | None:
        direction = group.attributes.get("direction", "input")
        if direction not in ("input", "output"):
            return None
        powers = [
            Power(
                related,
                power.attributes.get("when", ""),
                self._table(power, ("rise_power", "power"), self._energy),
                self._table(power, ("fall_power", "power"), self._energy),
            )
            for power in group.all("internal_power")
            for related in power.attributes.get("related_pin", "").split() or [""]
        ]
        arcs = [
            arc
            for timing in group.all("timing")
            for related in timing.attributes.get("related_pin", "").split()
            for arc in self._arcs(timing, related)
        ]
        return Pin(
            group.arguments[0],
            direction == "output",
            group.number("capacitance") * self._load,
            group.attributes.get("clock", "") == "true",
            group.attributes.get("function", ""),
            tuple(powers),
            tuple(arcs) if direction == "output" else (),
        )

    def _arcs(self, timing: Group, related: str) -> Iterator[Arc]:
        if timing.one("cell_rise") is None and timing.one("cell_fall") is None:
            return
        sense = timing.attributes.get("timing_sense", "non_unate")
        tables = [
            self._table(timing, (name,), self._time)
            for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
        ]
        yield Arc(related, {"positive_unate": 1, "negative_unate": -1}.get(sense, 0), *tables)

    def _table(self, group: Group, kinds: tuple[str, ...], scale: float) -> Table:
        """The table of the first of some kinds that is there, or zero."""
        found = next((t for kind in kinds if (t := group.one(kind)) is not None), None)
        if found is None:
            return Table.zero()
        values = np.array([_numbers(row) for row in found.lists["values"]], dtype=float) * scale
        template = self._templates.get(found.arguments[0] if found.arguments else "scalar")
        if template is None:
            return Table.zero() if not values.any() else Table.constant(float(values.ravel()[0]))
        axes: dict[str, np.ndarray] = {}
        for k in ("1", "2"):
            if variable := template.attributes.get(f"variable_{k}"):
                index = found.lists.get(f"index_{k}") or template.lists[f"index_{k}"]
                loads = "capacitance" in variable
                axes["load" if loads else "slew"] = np.array(_numbers(" ".join(index))) * (
                    self._load if loads else self._time
                )
        values = values.reshape([len(axis) for axis in axes.values()])
        if next(iter(axes)) == "load":
            values = values.T if values.ndim == 2 else values[None, :]
        elif values.ndim == 1:
            values = values[:, None]
        none = np.zeros(1)
        return Table(axes.get("slew", none), axes.get("load", none), values)


def _flop(group: Group) -> Flop:
    names = (*group.arguments, "", "")[:2]
    functions = ("clocked_on", "next_state", "clear", "preset")
    return Flop(*names, *(group.attributes.get(name, "") for name in functions))


def _numbers(text: str) -> list[float]:
    return [float(v) for v in text.replace(",", " ").split()]


def _unit(text: str) -> float:
    """`1ns` in seconds, `1pW` in watts, `1ff` in farads."""
    match = UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"unit {text!r} is not known")
    return float(match[1] or 1) * PREFIXES[match[2].lower()]
