"""Energy of a whole design in gates, from simulation of all of them on real inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwgen import golden
from hwgen.cost.classes import CLASSES, GLUE, class_of
from hwgen.cost.figures import Figures, total
from hwgen.cost.gates import Netlist, timing
from hwgen.cost.power import LEAK, GatePower, gate_power
from hwgen.emit.names import identifier
from hwgen.emit.top import instances
from hwgen.energy.compiled import Compiled
from hwgen.energy.unit import clock_period
from hwgen.engines.beats import pack
from hwgen.engines.bundle import Bundle, Port, bundle_of
from hwgen.engines.gates import Result, simulate
from hwgen.errors import SimulationError
from hwgen.synth import GATES, Progress, quiet
from hwgen.synth.gates import design_netlist, part_of
from hwgen.synth.library import DELAY, find_liberty

RESET = 4  # cycles


def design_energy(
    design: Compiled,
    inputs,
    liberty: str | Path | None = None,
    *,
    delay: int = DELAY,
    period: float | None = None,
    progress: Progress = quiet,
) -> Figures:
    """Energy per inference (of a stream: per row) on `inputs`, as for `Design.golden`, all of which
    are simulated in gates: back to back, behind others that fill the pipeline.

    `liberty`: a cell library, or Debian's. `delay`: the longest path to size gates for, in ps.
    `period`: of the clock in ns, just over the slowest path unless given; it decides leakage alone.
    Classes of energy: what gates of multipliers and sums, of weights, of buffers, of other nodes
    and of plumbing take, without glitches; `glitch`: what they take more with delays; `clock`: the
    clock's net and pins; `leakage`.

    Raises `ConfigError`, `InputError`, `ToolError`, and `SimulationError` where gates differ from
    the golden model.
    """
    library = find_liberty(liberty)
    library.check()
    top = identifier(design.graph.name)
    netlist = design_netlist(design.sources, top, library, delay, progress)
    times = timing(netlist)
    period = period or clock_period(times)
    plan = _plan(design, inputs)
    progress("simulation", 0, 2)
    still = simulate(netlist, plan.vectors, None, period, plan.warm, plan.streams)
    plan.check(still)
    progress("simulation with delays", 1, 2)
    timed = simulate(netlist, plan.vectors, times, period, plan.warm, plan.streams)
    progress("simulation", 2, 2)
    nodes = _nodes(
        netlist,
        design,
        gate_power(netlist, times, still),
        gate_power(netlist, times, timed),
        period,
        still.cycles / plan.samples,
    )
    source = (
        f"{still.cycles} cycles of {len(netlist.names)} gates, {library.name} at "
        f"{library.voltage:g} V, {period:g} ns a cycle"
    )
    return Figures(
        "activity",
        GATES,
        source,
        **total(nodes.values()) | {"delay_ps": round(1000 * times.path, 1)},
        cycles=design.predicted.interval,
        latency=design.predicted.latency,
        nodes=nodes,
    )


def _nodes(
    netlist: Netlist,
    design: Compiled,
    still: GatePower,
    timed: GatePower,
    period: float,
    cycles: float,
) -> dict[str, Figures]:
    """Figures of each node, for so many cycles."""
    known = instances(design.graph)
    places = [part_of(gate) for gate in netlist.names]
    names = [known[i].name if i in known else GLUE for i, _ in places]
    classes = [class_of(known.get(i), part) for i, part in places]
    quiet = still.switching + still.internal
    flops, areas = np.zeros(len(places)), np.zeros(len(places))
    for m in netlist.members:
        flops[m.gates], areas[m.gates] = m.kind.cell.flop is not None, m.kind.cell.area
    parts = {
        **{name: quiet * [found == name for found in classes] for name in CLASSES},
        "clock": still.clock + still.clock_net * flops / max(flops.sum(), 1),
        "leakage": still.leakage * period * LEAK,
        "glitch": timed.switching + timed.internal - quiet,
    }
    found = {}
    for name in [*(node.name for node in design.graph.nodes), GLUE]:
        own = np.array([other == name for other in names])
        energy = {k: float(v[own].sum()) * cycles * 1e-3 for k, v in parts.items()}
        if name == GLUE:
            energy["control"] += still.ports * cycles * 1e-3
        found[name] = Figures(
            "activity",
            GATES,
            "",
            ff=int(flops[own].sum()),
            area_um2=round(float(areas[own].sum()), 4),
            energy_nj=sum(energy.values()),
            energy=energy,
        )
    return found


# --- what goes in, and must come out -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Plan:
    """Codes by port for every cycle, ports that wait for others, cycles before those that count,
    samples in these, and the beats that must come out, by port."""

    vectors: dict[str, np.ndarray]
    streams: dict[str, str]
    warm: int
    samples: int
    expected: dict[str, np.ndarray]

    def check(self, result: Result) -> None:
        """Raise `SimulationError` where beats differ, or too few come."""
        for prefix, beats in self.expected.items():
            valid = result.outputs[f"{prefix}tvalid"] == 1
            got = result.outputs[f"{prefix}tdata"][valid]
            if len(got) < len(beats) or (got[: len(beats)] != beats).any():
                raise SimulationError(
                    f"gates differ from the golden model: {prefix}tdata, {len(got)} beats"
                )


def _plan(design: Compiled, inputs) -> Plan:
    """All samples, counted while as many come out as go in."""
    graph, predicted = design.graph, design.predicted
    codes = design._codes(inputs)
    count = len(next(iter(codes.values())))
    if graph.ends:  # from the first row in to the last row out
        samples, warm = count, RESET
        cycles = predicted.latency + (count - 1) * predicted.interval
    else:
        samples = count + -(-predicted.latency // predicted.interval) + 1
        warm = RESET + predicted.latency
        cycles = count * predicted.interval
    order = np.arange(samples) % count
    codes = {name: values[order] for name, values in codes.items()}
    ends = codes[graph.ends].ravel() if graph.ends else np.ones(samples, dtype=np.int64)
    bundle = bundle_of(graph, design.sources)
    length = warm + cycles
    vectors: dict[str, np.ndarray] = {"aresetn": (np.arange(length) >= RESET).astype(np.int64)}
    streams = {}
    for port in bundle.inputs:
        data = _beats(codes[port.name], port)
        last = np.zeros((samples, port.words), dtype=np.int64)
        last[:, -1] = ends
        given = {"tdata": data, "tvalid": np.ones(len(data), np.int64), "tlast": last.ravel()}
        for name, values in given.items():
            row = np.zeros(length, dtype=values.dtype)
            row[RESET : RESET + len(values)] = values[: length - RESET]
            vectors[port.prefix + name] = row
            streams[port.prefix + name] = f"{port.prefix}tready"
    vectors |= {f"{p.prefix}tready": np.ones(length, dtype=np.int64) for p in bundle.outputs}
    return Plan(vectors, streams, warm, count, _expected(design, bundle, codes, count))


def _expected(design: Compiled, bundle: Bundle, codes: dict, count: int) -> dict[str, np.ndarray]:
    results = golden.run(design.graph, codes)
    return {p.prefix: _beats(results[p.name][:count], p) for p in bundle.outputs}


def _beats(codes: np.ndarray, port: Port) -> np.ndarray:
    """tdata as numbers, one a beat."""
    beats = pack(codes, port)
    if port.beat_bytes <= 7:
        return beats.astype(np.int64) @ (1 << 8 * np.arange(port.beat_bytes, dtype=np.int64))
    return np.array([int.from_bytes(row.tobytes(), "little") for row in beats], dtype=object)
