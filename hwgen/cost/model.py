"""Area, energy and timing of a graph without synthesis: parts of units times what they cost.

What a part costs is fitted to synthesis by `make calibrate`, which writes coefficients.json; the
errors measured there, on models that were not used to fit, are in every result's source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from math import log2

from hwgen.cost import fpga
from hwgen.cost.classes import CLASSES, GLUE, class_of
from hwgen.cost.features import parts_of, ports_of
from hwgen.cost.figures import Figures, total
from hwgen.cost.parts import Parts
from hwgen.cost.technology import ALIASES, TECHNOLOGIES
from hwgen.cost.timing import timing
from hwgen.errors import ConfigError, hint
from hwgen.ir import Form, Graph, Linear, Node, Requantize, Thresholds, Window

UNCALIBRATED = tuple(family for family in fpga.FAMILIES if family not in TECHNOLOGIES)
FILE = "coefficients.json"
ROMS = ("rom", "rom_bits")
WEIGHTS = "weight memory"


@dataclass(frozen=True)
class Linearly:
    """A quantity as a sum of coefficients times parts: of each group of nodes, or of all where a
    group was not among those fitted."""

    groups: Mapping[str, Mapping[str, float]]
    pool: Mapping[str, float]

    def of(self, group: str, counts: Mapping[str, float]) -> float:
        """The sum for parts of a group of nodes."""
        coefficients = self.groups.get(group, self.pool)
        return sum(c * counts[part] for part, c in coefficients.items() if part in counts)


def estimate(graph: Graph, target: str = "ecp5") -> Figures:
    """Figures of a graph of hardware for `target`, "ecp5", "xcup" ("xilinx") or "asic", and of
    each node by name; GLUE is the ports.

    FPGAs: LUT, FF, DSP, BRAM. Gates (SG13G2): FF, area in um2, longest path in ps. Energy in nJ per
    inference, by class. Cycles are those of `Design.predicted`, which knows the latency too. Raises
    `ConfigError` for targets that aren't calibrated.
    """
    name = target_named(target)
    fitted = coefficients()
    if name not in fitted:
        raise ConfigError(f"{FILE} has no coefficients for {name}: make calibrate")
    technology = TECHNOLOGIES[name]
    nodes = [(node.name, group_of(node), parts_of(node, graph, technology)) for node in graph.nodes]
    nodes.append((GLUE, group_of(None), ports_of(graph, technology)))
    own = fitted[name]
    figures = {}
    for node, group, parts in nodes:
        figures[node] = (_gates if name == "asic" else _fabric)(own, name, group, parts)
    firings = {node.name: firings_of(node, graph) for node in graph.nodes}
    words = (graph.tensors[tensor].words for tensor in graph.port_tensors())
    cycles = max(*firings.values(), *words)
    known = {node.name: node for node in graph.nodes}
    if name == "asic":
        figures = _energies(own, known, nodes, figures, firings, cycles)
    elif own["activity"]:
        figures = _spent(own, name, known, figures, firings, cycles)
    figures = {n: replace(f, cycles=firings.get(n)) for n, f in figures.items()}
    sums = total(figures.values())
    return Figures("model", name, source(name), **sums, cycles=cycles, nodes=figures)


def firings_of(node: Node, graph: Graph) -> int:
    """Cycles a node works for a sample: its least interval."""
    return max(process.firings for process in timing(node, graph))


def target_named(target: str) -> str:
    """The name of a calibrated target; raises `ConfigError`."""
    name = ALIASES.get(target, target)
    if name in TECHNOLOGIES:
        return name
    known = [*TECHNOLOGIES, *ALIASES]
    if name in UNCALIBRATED:
        raise ConfigError(
            f"{name} is not calibrated: its figures come from synthesis only: hwgen synth; "
            f"estimates are for {', '.join(known)}"
        )
    raise ConfigError(f"unknown target {target!r}: {hint(name, known, 'estimates are for')}")


def group_of(node: Node | None) -> str:
    """What a node is fitted with: its kind, and how it is built; None: the ports."""
    if node is None:
        return "ports"
    kind = type(node).__name__
    match node:
        case Window() if node.wide:
            return f"{kind} wide"
        case Requantize() if isinstance(node.form, Thresholds):
            return f"{kind} thresholds"
        case Requantize(form=Form(radix_bits=int())):
            return f"{kind} serial"
        case Linear() if node.rounds:
            return f"{kind} rounding"
        case Linear() if node.blocks:
            return f"{kind} blocks"
        case Linear() if node.arithmetic is not None:
            return f"{kind} coded"
    return kind


def memory_of(kind: str) -> str:
    """How the read-only memories of a class of nodes are fitted: weights are read in every cycle,
    parameters once a word."""
    return WEIGHTS if kind in ("mac", WEIGHTS) else "parameters"


def split_counts(counts: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Parts of read-only memories, and the others."""
    roms = {part: n for part, n in counts.items() if part in ROMS}
    return roms, {part: n for part, n in counts.items() if part not in ROMS}


def depths(counts: Mapping[str, float]) -> dict[str, float]:
    """What a longest path goes by, from parts."""
    found = {part: log2(1 + n) for part, n in counts.items() if part not in ("unit", "ff")}
    return {"unit": 1.0, **found}


@cache
def coefficients() -> dict[str, dict]:
    """Fitted coefficients and errors by target; the functions `Linearly`."""
    text = (resources.files("hwgen.cost") / FILE).read_text()
    data = json.loads(text)
    found = {}
    for name, target in data["targets"].items():
        fits = {key: Linearly(fit["groups"], fit["pool"]) for key, fit in target["fits"].items()}
        found[name] = {**target, **fits, "source": data["source"]}
        found[name]["activity"] = data.get("activity", {})
    return found


def source(target: str) -> str:
    """How the model's figures were obtained, and how far they are off."""
    own = coefficients()[target]
    made = own["source"]
    text = f"model fitted {made['date']} to {own['designs']} designs, Yosys {made['yosys']}"
    if library := own.get("library"):
        text += f", {library}"
    which = "held out" if "designs" in own["errors"]["held out"] else "training"
    errors = own["errors"][which]
    parts = []
    for name, error in errors.items():
        if name == "designs":
            continue
        parts.append(
            f"{name} exact"
            if error["worst"] == 0
            else f"{name} median {error['median']:.1%}, worst {error['worst']:.1%}"
            if "median" in error
            else f"{name} within {error['worst']:g} a node"
        )
    text += f"; errors ({errors['designs']} designs {which}): {'; '.join(parts)}"
    return text if target == "asic" else f"{text}; {fpga.source(target)}"


def _fabric(own: dict, target: str, group: str, parts: Parts) -> Figures:
    counts = parts.counts
    return Figures(
        "model",
        target,
        "",
        lut=round(own["lut"].of(group, counts)),
        ff=round(counts["ff"]),
        dsp=round(counts["dsp"]),
        bram=round(counts["bram"]),
    )


def _gates(own: dict, target: str, group: str, parts: Parts) -> Figures:
    counts = parts.counts
    return Figures(
        "model",
        target,
        "",
        ff=round(counts["ff"]),
        area_um2=round(own["area"].of(group, counts), 1),
        delay_ps=round(own["delay"].of(group, depths(counts)), 1),
    )


def _spent(own: dict, target: str, known, figures, firings, cycles: int) -> dict[str, Figures]:
    """Energy of an FPGA's resources per inference in nJ, by class: nets make as many transitions a
    firing as those of their group do."""
    prices, found = fpga.energies(target), {}
    for name, figure in figures.items():
        node, busy = known.get(name), firings.get(name, cycles)
        group = group_of(node)
        activity = own["activity"].get(group, own["activity"]["pool"])
        figure = replace(figure, cycles=busy)
        energy = fpga.spent(node, figure, activity * busy, cycles, prices)
        found[name] = replace(figure, energy=energy, energy_nj=sum(energy.values()))
    return found


def _energies(own: dict, known, nodes, figures, firings, cycles: int) -> dict[str, Figures]:
    """Energy of gates per inference in nJ, by class."""
    found = {}
    for name, _, parts in nodes:
        counts, busy = parts.counts, firings.get(name, cycles)
        node = known.get(name)
        energy = dict.fromkeys(CLASSES, 0.0)
        roms, others = split_counts(counts)
        kind = class_of(node, "")
        energy[kind] += own["energy"].of(kind, others) * busy * 1e-3
        energy[WEIGHTS] += own["energy"].of(memory_of(kind), roms) * busy * 1e-3
        energy["clock"] = own["clock"] * counts["ff"] * cycles * 1e-3
        energy["leakage"] = own["leakage"] * figures[name].area_um2 * cycles * 1e-3
        glitches = own["glitch"]
        energy["glitch"] = sum(glitches.get(c, 0.0) * e for c, e in energy.items())
        found[name] = replace(figures[name], energy=energy, energy_nj=sum(energy.values()))
    return found
