"""Fits the model of costs to synthesis and to energies in gates, and measures its errors on models
that it was not fitted to: writes hwgen/cost/coefficients.json. `make calibrate`.

Trained with the designs of benchmarks.training; held out are models of $HWGEN_MODELS at several
foldings, without which there are no such errors. Gates and energies need $HWGEN_LIBERTY; without,
what the file says of them stays. Runs of Yosys are kept in $HWGEN_CACHE by content: they take
hours at first, and minutes again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.training import ENERGIES, FPGA_ENERGIES, Case, held_out, samples, training
from hwgen.cost import model
from hwgen.cost.classes import CLASSES, class_of
from hwgen.cost.features import parts_of, ports_of
from hwgen.cost.figures import Figures, total
from hwgen.cost.technology import TECHNOLOGIES
from hwgen.emit.top import instances
from hwgen.energy.fpga import transitions
from hwgen.errors import HwgenError
from hwgen.ir import Graph
from hwgen.synth import GATES, yosys
from hwgen.synth.library import find_liberty

FILE = Path(model.__file__).with_name(model.FILE)
LUTS = (
    *("unit", "ff", "add", "compare", "choose", "shift", "count", "booth", "pick", "logic"),
    *("rom", "rom_bits", "ram", "ram_choose", "ram_bits", "bypass"),
)
AREA = (
    *("unit", "ff", "add", "compare", "choose", "shift", "count", "booth", "pick", "logic"),
    *("rom", "rom_bits", "ram_choose", "ram_bits"),
)
DELAY = ("unit", "add", "compare", "shift", "booth", "rom", "ram_choose", "count")
SAMPLES = 2  # inputs of energies
TOWARDS = 0.02  # how much a group's coefficients are drawn to those of all groups
SMALL = 20.0  # of nodes smaller than this, differences count as if they were this large
LARGE = 2_000_000  # characters of Verilog


@dataclass(frozen=True, eq=False)
class Row:
    """A node's parts and what it was found to cost."""

    design: str
    group: str
    counts: dict[str, float]
    found: Figures
    firings: int = 0
    cycles: int = 0


def rows_of(name: str, graph: Graph, figures: Figures, target: str) -> list[Row]:
    """A row for each node, and one for the ports and what joins the nodes."""
    technology = TECHNOLOGIES[target]
    own = [n for n in graph.nodes if n.name in figures.nodes]
    rows = [
        Row(name, model.group_of(n), parts_of(n, graph, technology).counts, figures.nodes[n.name])
        for n in own
    ]
    names = {n.name for n in own}
    rest = total(f for n, f in figures.nodes.items() if n not in names)
    ports = ports_of(graph, technology).counts
    return [*rows, Row(name, model.group_of(None), ports, Figures("", target, "", **rest))]


# --- fits ----------------------------------------------------------------------------------------


def nonnegative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least squares without negative coefficients, a coefficient at a time."""
    gram, right = a.T @ a, a.T @ b
    x = np.zeros(len(right))
    for _ in range(500):
        for k in range(len(x)):
            if gram[k, k] > 0:
                x[k] = max(0.0, x[k] + (right[k] - gram[k] @ x) / gram[k, k])
    return x


def fit(points: Sequence[tuple[str, dict, float]], parts: Sequence[str], small: float) -> dict:
    """Coefficients of each group, and of all, from (group, parts, value): relative errors count,
    and where a group says little it follows the others."""

    def system(chosen: Sequence[tuple[str, dict, float]]) -> tuple[np.ndarray, np.ndarray]:
        a = np.array([[counts.get(part, 0) for part in parts] for _, counts, _ in chosen])
        b = np.array([value for *_, value in chosen], dtype=float)
        weight = 1 / np.maximum(b, small) ** 0.75
        return a * weight[:, None], b * weight

    pool = nonnegative(*system(points))
    groups = {}
    for group in sorted({group for group, *_ in points}):
        a, b = system([point for point in points if point[0] == group])
        few = max(1.0, len(parts) / len(a))  # the fewer nodes than parts, the more
        towards = np.sqrt(TOWARDS * few * (a**2).sum(axis=0) + 1e-12)
        a, b = np.vstack([a, np.diag(towards)]), np.concatenate([b, towards * pool])
        groups[group] = _named(parts, nonnegative(a, b))
    return {"groups": groups, "pool": _named(parts, pool)}


def _named(parts: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {part: float(f"{v:.5g}") for part, v in zip(parts, values, strict=True) if v > 1e-9}


# --- errors --------------------------------------------------------------------------------------


def spread(errors: Iterable[float]) -> dict[str, float]:
    """The median and the worst of relative errors."""
    found = [abs(e) for e in errors]
    return {"median": round(statistics.median(found), 4), "worst": round(max(found), 4)}


def compare(pairs: Sequence[tuple[Figures, Figures]], fields: Sequence[str]) -> dict:
    """Errors of designs: (modelled, found)."""
    errors: dict = {"designs": len(pairs)}
    for name in fields:
        errors[name] = spread(getattr(a, name) / getattr(b, name) - 1 for a, b in pairs)
    return errors


def counts_off(rows: Sequence[Row], name: str) -> dict[str, float]:
    """The most that a node's DSP blocks or block RAMs are off."""
    return {"worst": max(abs(round(r.counts[name]) - getattr(r.found, name)) for r in rows)}


def modelled(rows: Sequence[Row], fits: dict[str, model.Linearly]) -> dict[str, Figures]:
    """What fits say of each design."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        own = found.setdefault(row.design, dict.fromkeys((*fits, "ff"), 0.0))
        own["ff"] += row.counts["ff"]
        for name, fitted in fits.items():
            if name == "delay_ps":
                own[name] = max(own[name], fitted.of(row.group, model.depths(row.counts)))
            else:
                own[name] += fitted.of(row.group, row.counts)
    return {name: Figures("model", "", "", **own) for name, own in found.items()}


def by_group(rows: Sequence[Row], fitted: model.Linearly, name: str) -> dict[str, dict]:
    """Of each group of the fit: nodes, and relative errors of those above SMALL."""
    found: dict[str, dict] = {}
    for group in sorted({row.group for row in rows}):
        own = [row for row in rows if row.group == group]
        pairs = [(fitted.of(group, row.counts), getattr(row.found, name)) for row in own]
        errors = [a / b - 1 for a, b in pairs if b > SMALL]
        found[group] = {"nodes": len(own), **(spread(errors) if errors else {})}
    return found


# --- targets -------------------------------------------------------------------------------------


def gather(
    cases: Iterable[Case], target: str, report: Callable[[str], None]
) -> tuple[list[Row], dict[str, Figures]]:
    """Rows and figures of synthesized designs."""
    rows: list[Row] = []
    designs = {}
    for case in cases:
        liberty = {"liberty": os.environ["HWGEN_LIBERTY"]} if target == GATES else {}
        try:
            design = case.design()
            if sum(map(len, design.sources.values())) > LARGE:
                continue
            figures = design.synthesize(target, **liberty)
        except HwgenError as error:
            report(f"{case.name}: {str(error).splitlines()[0]}")
            continue
        rows += rows_of(case.name, design.graph, figures, target)
        designs[case.name] = figures
        report(f"{target} {case.name}: {figures.lut or figures.area_um2}, {figures.ff} FF")
    return rows, designs


def fabric(rows: list[Row], held: list[Row], designs: dict[str, Figures]) -> dict:
    """The section of an FPGA's family."""
    fits = {"lut": fit([(r.group, r.counts, r.found.lut) for r in rows], LUTS, SMALL)}
    linearly = {name: model.Linearly(**found) for name, found in fits.items()}
    errors: dict[str, dict] = {}
    for which, own in (("training", rows), ("held out", held)):
        pairs = [(f, designs[name]) for name, f in modelled(own, linearly).items()]
        errors[which] = {}
        if own:
            errors[which] = {
                **compare(pairs, ("lut", "ff")),
                "dsp": counts_off(own, "dsp"),
                "bram": counts_off(own, "bram"),
            }
    return {
        "designs": len({row.design for row in rows}),
        "nodes": len(rows),
        "fits": fits,
        "errors": errors,
        "groups": by_group(rows, linearly["lut"], "lut"),
        "held out": sorted({row.design for row in held}),
    }


def gates(rows: list[Row], held: list[Row], designs: dict[str, Figures]) -> dict:
    """The section of gates, without energies."""
    fits = {
        "area": fit([(r.group, r.counts, r.found.area_um2) for r in rows], AREA, 50 * SMALL),
        "delay": fit(
            [(r.group, model.depths(r.counts), r.found.delay_ps) for r in rows], DELAY, 300.0
        ),
    }
    linearly = {
        "area_um2": model.Linearly(**fits["area"]),
        "delay_ps": model.Linearly(**fits["delay"]),
    }
    errors: dict[str, dict] = {}
    for which, own in (("training", rows), ("held out", held)):
        pairs = [(f, designs[name]) for name, f in modelled(own, linearly).items()]
        errors[which] = compare(pairs, ("area_um2", "delay_ps", "ff")) if own else {}
    return {
        "library": find_liberty(os.environ["HWGEN_LIBERTY"]).name,
        "designs": len({row.design for row in rows}),
        "nodes": len(rows),
        "fits": fits,
        "errors": errors,
        "groups": by_group(rows, linearly["area_um2"], "area_um2"),
        "held out": sorted({row.design for row in held}),
    }


# --- energies ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Measured:
    """A design's energy at the activity level."""

    name: str
    graph: Graph
    figures: Figures


def measure(cases: Iterable[Case], target: str, report: Callable[[str], None]) -> list[Measured]:
    """Energies of designs, on their first inputs."""
    found = []
    for case in cases:
        design = case.design()
        inputs = samples(case.model())[:SAMPLES]
        liberty = os.environ["HWGEN_LIBERTY"] if target == GATES else None
        figures = design.energy(inputs, target, liberty)
        found.append(Measured(case.name, design.graph, figures))
        report(f"energy {target} {case.name}: {figures.energy_nj:,.1f} nJ")
    return found


def activities(cases: Iterable[Case], report: Callable[[str], None]) -> dict[str, float]:
    """Transitions of a net a firing, the mean of each group's nodes and of all."""
    found: dict[str, list[float]] = {}
    for case in cases:
        design = case.design()
        inputs = samples(case.model())[:SAMPLES]
        counted, known = transitions(design, inputs), instances(design.graph)
        for instance in set(counted) - set(known) - {""}:
            own = counted[instance].mean / SAMPLES / design.predicted.interval
            found.setdefault(model.group_of(None), []).append(own)
        for instance, node in known.items():
            mean = counted[instance].mean if instance in counted else 0.0
            own = mean / SAMPLES / model.firings_of(node, design.graph)
            found.setdefault(model.group_of(node), []).append(own)
        report(f"activity {case.name}")
    return mean_of(found)


def mean_of(found: dict[str, list[float]]) -> dict[str, float]:
    """Of each group, and of all as `pool`."""
    every = [v for values in found.values() for v in values]
    return {
        **{group: float(f"{np.mean(values):.4g}") for group, values in sorted(found.items())},
        "pool": float(f"{np.mean(every):.4g}"),
    }


def energies(measured: list[Measured]) -> dict:
    """Coefficients of energies in gates: pJ of a part and firing, of a flip-flop and cycle, of um2
    and cycle; glitches as shares of a class."""
    points, clock, leakage, glitch = [], [], [], []
    for design in measured:
        cycles = design.figures.cycles or 1
        known = {node.name: node for node in design.graph.nodes}
        for name, found in design.figures.nodes.items():
            node = known.get(name)
            parts = parts_of(node, design.graph, TECHNOLOGIES[GATES]) if node else None
            counts = (parts or ports_of(design.graph, TECHNOLOGIES[GATES])).counts
            busy = model.firings_of(node, design.graph) if node else cycles
            given = dict(found.energy or {})
            roms, others = model.split_counts(counts)
            kind = class_of(node, "")
            points.append((kind, others, given[kind] / busy * 1e3))
            if any(roms.values()) and kind != model.WEIGHTS:
                points.append((model.memory_of(kind), roms, given[model.WEIGHTS] / busy * 1e3))
            clock.append(((found.ff or 0) * cycles, given["clock"] * 1e3))
            leakage.append(((found.area_um2 or 0.0) * cycles, given["leakage"] * 1e3))
            glitch.append([*(given[c] for c in CLASSES[:-3]), given["glitch"]])
    table = np.array(glitch)
    weight = 1 / np.maximum(table[:, -1], 1e-3) ** 0.5
    shares = nonnegative(table[:, :-1] * weight[:, None], table[:, -1] * weight)
    return {
        "energy": fit(points, AREA, 0.05),
        "clock": float(f"{_slope(clock):.5g}"),
        "leakage": float(f"{_slope(leakage):.5g}"),
        "glitch": {c: round(float(v), 4) for c, v in zip(CLASSES[:-3], shares, strict=True)},
    }


def _slope(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(b for _, b in pairs) / sum(a for a, _ in pairs)


def energy_errors(target: str, measured: list[Measured]) -> dict[str, float]:
    """Of what the file says now."""
    model.coefficients.cache_clear()
    pairs = [(model.estimate(m.graph, target), m.figures) for m in measured]
    return spread((a.energy_nj or 0.0) / (b.energy_nj or 1.0) - 1 for a, b in pairs)


def measured_of(cases: Iterable[Case], target: str) -> list[Case]:
    """Those whose energies are measured."""
    names = ENERGIES if target == GATES else FPGA_ENERGIES
    return [case for case in cases if case.name in names]


def write(data: dict) -> None:
    """The file, with date and versions."""
    data["source"] = {
        "date": datetime.date.today().isoformat(),
        "hwgen": metadata.version("hwgen"),
        "yosys": yosys.version(),
    }
    FILE.write_text(json.dumps(data, indent=1) + "\n")


def main() -> None:
    """Writes the file, target by target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", help="training designs with this in their name")
    parser.add_argument("--target", action="append", help="these alone; others stay as they are")
    options = parser.parse_args()
    data = json.loads(FILE.read_text()) if FILE.is_file() else {"targets": {}}
    data["activity"] = activities(measured_of(training(), "ecp5"), print)
    for target in options.target or [*TECHNOLOGIES]:
        if target == GATES and "HWGEN_LIBERTY" not in os.environ:
            print("no HWGEN_LIBERTY: gates stay as they are")
            continue
        chosen = [case for case in training(target) if options.only in case.name]
        rows, designs = gather(chosen, target, print)
        others, more = gather(held_out(target), target, print)
        section = (gates if target == GATES else fabric)(rows, others, designs | more)
        if target == GATES:
            found = energies(measure(measured_of(training(), target), target, print))
            section["fits"]["energy"] = found.pop("energy")
            section |= found
        data["targets"][target] = section
        write(data)
        for which, cases in (("training", training()), ("held out", held_out())):
            if chosen := measured_of(cases, target):
                errors = energy_errors(target, measure(chosen, target, print))
                section["errors"][which]["energy"] = errors
        write(data)


if __name__ == "__main__":
    main()
