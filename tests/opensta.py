"""OpenSTA's power of a netlist, at the activity of our simulation.

The tool gives what it finds in the library at its own slews and loads: the energies of all tables,
loads of outputs and leakages, from the log of `report_power`. They are put together as its
`report_power` does: the mean of rise and fall for each transition; an output's tables in
proportion to how often their input changes and matters; leakages in proportion to how long their
condition holds. That is not left to the tool because version 2.0.17, Debian's, takes activities of
ports alone and adds rise and fall for the clock's. Inputs' tables are weighed by how often their
condition holds when the input changes, not by how long: data comes while the clock is high.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwgen.cost.gates import INPUT_SLEW, Kind, Netlist
from hwgen.cost.power import LEAK, Activity, GatePower

NUMBER = r"([-+.\de]+)"
SECTION = re.compile(r"power: internal g(\d+)/(\S+) ")
CHARGE = re.compile(rf"power: switching \S+ activity = {NUMBER} volt = {NUMBER} {NUMBER}")
TABLE = re.compile(rf"power:  [\^v] energy = +{NUMBER}")
ARC = re.compile(r"power: +(\S+) -> +(\S+) (.*?) +[-\d.]+ +[-\d.]+ +[-\d.e+]+ +[-\d.e+]+ no pg_pin")
LEAKAGE = re.compile(rf"power: leakage (\S+) (.*?) *{NUMBER}(?: \* [\d.]+)?$")
PERIOD = 100.0  # ns, of the tool's clock


@dataclass
class Seen:
    """What the tool found for one gate: loads in pF, energies in pJ as (pin, related, when, mean of
    rise and fall), leakages in nW by condition."""

    loads: dict[str, float] = field(default_factory=dict)
    tables: list[tuple[str, str, str, float]] = field(default_factory=list)
    leakages: dict[str, float] = field(default_factory=dict)


def structure(netlist: Netlist) -> str:
    """The netlist as Verilog; gates are g0, g1..."""
    lines, names, wires = [], {0: "1'b0", 1: "1'b1"}, []
    joined = []
    for name, (output, bits) in netlist.ports.items():
        lines.append(f"  {'output' if output else 'input'} [{len(bits) - 1}:0] {name};")
        for k, net in enumerate(bits.tolist()):
            if not output:
                names[net] = f"{name}[{k}]"
    for name, (output, bits) in netlist.ports.items():
        for k, net in enumerate(bits.tolist()):
            if output:
                joined.append(f"  assign {name}[{k}] = {names.get(net, f'n{net}')};")
    for m in netlist.members:
        pins = [*m.kind.inputs, *m.kind.outputs]
        for gate, nets in zip(m.gates, np.concatenate([m.inputs, m.outputs], axis=1), strict=True):
            for net in nets.tolist():
                if net not in names:
                    names[net] = f"n{net}"
                    wires.append(f"  wire n{net};")
            ports = ", ".join(f".{p}({names[n]})" for p, n in zip(pins, nets, strict=True))
            lines.append(f"  {m.kind.cell.name} g{gate}({ports});")
    ports = ", ".join(netlist.ports)
    return "\n".join([f"module top({ports});", *wires, *lines, *joined, "endmodule", ""])


def look(netlist: Netlist, folder: Path) -> dict[int, Seen]:
    """What the tool finds, by gate."""
    clock = next((n for n, (_, b) in netlist.ports.items() if netlist.clock in b), None)
    ports = [n for n, (output, _) in netlist.ports.items() if not output and n != clock]
    commands = [
        f"read_liberty {netlist.library.path.absolute()}",
        "read_verilog netlist.v",
        "link_design top",
        f"create_clock -name clk -period {PERIOD} " + (f"[get_ports {clock}]" if clock else ""),
        f"set_input_transition {INPUT_SLEW} [all_inputs]",
        *([f"set_clock_transition {INPUT_SLEW} clk"] if clock else []),
        *(f"set_input_delay 0 -clock clk [get_ports {{{name}*}}]" for name in ports),
        "set_power_activity -input -activity 0.5 -duty 0.5",
        "sta::set_debug power 3",
        "report_power",
    ]
    (folder / "netlist.v").write_text(structure(netlist))
    (folder / "run.tcl").write_text("\n".join(commands) + "\n")
    done = subprocess.run(
        ["sta", "-exit", "-no_splash", "run.tcl"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return read(done.stdout + done.stderr)


def read(log: str) -> dict[int, Seen]:
    """The log of `report_power`."""
    found: dict[int, Seen] = {}
    gate, energies, load = Seen(), [], None
    for line in log.splitlines():
        if match := CHARGE.match(line):
            activity, volt, watts = map(float, match.groups())
            load = watts / (0.5 * volt**2 * activity) * 1e12 if activity else None
        elif match := SECTION.match(line):
            gate = found.setdefault(int(match[1]), Seen())
            if load is not None:
                gate.loads[match[2]] = load
            load, energies = None, []
        elif match := TABLE.match(line):
            energies.append(float(match[1]) * 1e12)
        elif match := ARC.match(line):
            gate.tables.append((match[2], match[1], match[3].strip(), float(np.mean(energies))))
            energies = []
        elif match := LEAKAGE.match(line):
            when = "" if match[1] == "cell" else match[2]
            gate.leakages[when] = float(match[3]) * 1e9
    return found


@dataclass
class Reference:
    """pJ per cycle."""

    switching: float = 0.0
    internal: float = 0.0
    leakage: float = 0.0

    @property
    def total(self) -> float:
        return self.switching + self.internal + self.leakage


def measured(power: GatePower, period: float) -> Reference:
    """Ours, without the nets that ports drive, which the tool does not count."""
    internal = float(power.internal.sum() + power.clock.sum())
    leakage = float(power.leakage.sum()) * period * LEAK
    return Reference(float(power.switching.sum()), internal, leakage)


def reference(
    netlist: Netlist,
    seen: Mapping[int, Seen],
    activity: Activity,
    period: float,
    defaults: bool = False,
) -> Reference:
    """The tool's power at our activity. `defaults`: tables without a condition are added to those
    whose condition holds, as the tool does; else they are for when none holds, as the format
    says."""
    density = activity.toggles / activity.cycles
    if netlist.clock >= 0:
        density[netlist.clock] = 2
    total = Reference()
    square = netlist.library.voltage**2
    for k, m in enumerate(netlist.members):
        for row, number in enumerate(m.gates):
            gate, times = seen[int(number)], activity.times[k][row]
            for name, net in zip(m.kind.outputs, m.outputs[row], strict=True):
                total.switching += 0.5 * gate.loads.get(name, 0.0) * square * density[net]
                total.internal += _output(m.kind, gate, name, times, density, m.inputs[row], net)
            for i, (name, net) in enumerate(zip(m.kind.inputs, m.inputs[row], strict=True)):
                tables = [(when, e) for pin, _, when, e in gate.tables if pin == name]
                changes = activity.pins[k][row, i]
                shares = changes / max(changes.sum(), 1)
                held = {when: _share(m.kind, when, shares) for when, _ in tables if when}
                rest = 1.0 if defaults else 1 - sum(held.values())
                total.internal += density[net] * sum(held.get(w, rest) * e for w, e in tables)
            whens = {w: v for w, v in gate.leakages.items() if w}
            values = [v * _share(m.kind, w, times) for w, v in whens.items()]
            leakage = sum(values) if whens else gate.leakages.get("", 0.0)
            total.leakage += leakage * period * LEAK
    return total


def _output(kind: Kind, gate: Seen, name: str, times, density, inputs, net) -> float:
    """pJ per cycle of an output's tables."""
    found = []
    for pin, related, when, energy in gate.tables:
        if pin != name:
            continue
        place = kind.inputs.index(related)
        if kind.clock < 0:
            values = kind.values[kind.outputs.index(name)]
            matters = values != values[np.arange(kind.states) ^ (1 << place)]
            share = float(times @ matters)
        else:
            share = _share(kind, when, times) if when else float(place == kind.clock)
        found.append((density[inputs[place]] * share, energy))
    weight = sum(w for w, _ in found)
    return density[net] * sum(w * e for w, e in found) / weight if weight else 0.0


def _share(kind: Kind, when: str, times: np.ndarray) -> float:
    return float(times @ kind.where(when))
