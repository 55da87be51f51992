"""A design's figures by synthesis, node by node or flat, and after place and route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hwgen.cost.figures import Figures, total
from hwgen.errors import ConfigError
from hwgen.synth import yosys
from hwgen.synth.library import DELAY, find_liberty, gate_counts, gate_flow
from hwgen.synth.modules import split
from hwgen.synth.place import DoesNotFitError, place, tool_version
from hwgen.synth.targets import GATES, Target, target_named
from hwgen.synth.yosys import Cells, Flow, Progress, quiet

GLUE = "(glue)"  # what joins the units
# What folding changes, of the resources that nextpnr names.
KINDS = (
    ("dsp", ("MULT", "DSP", "PREADD", "REG18")),
    ("bram", ("DP16", "EBR", "RAM", "PDPW", "BSRAM")),
    ("ff", ("FF", "DFF")),
)


@dataclass(frozen=True)
class Plan:
    """How to synthesize for a target, and to count: arguments of `Figures` from cells."""

    target: str
    flow: Flow
    source: str
    count: Callable[[Cells], dict]

    def figures(self, found: Cells) -> Figures:
        """Of cells."""
        return Figures("synthesis", self.target, self.source, **self.count(found))


def plan(
    target: str,
    device: str | None = None,
    liberty: str | Path | None = None,
    delay: int | None = None,
) -> Plan:
    """How to synthesize; raises `ConfigError` and `ToolError`."""
    yosys_version = f"Yosys {yosys.version()}"
    if target == GATES:
        if device is not None:
            raise ConfigError("gates have no device: leave --device out")
        library = find_liberty(liberty)
        aim = DELAY if delay is None else delay
        source = f"{yosys_version}, ABC aiming at {aim} ps, library {library.name}"
        return Plan(GATES, gate_flow(library, aim), source, lambda c: gate_counts(c, library))
    family = target_named(target)
    if liberty is not None or delay is not None:
        raise ConfigError(f"a cell library and a delay are for the target {GATES}, not {target}")
    _, chip = family.device(device)
    flow = " ".join(filter(None, (family.flow, chip and chip.flow)))
    source = f"{yosys_version}, {flow}"
    return Plan(family.name, Flow((f"{flow} -top TOP",)), source, lambda c: family.counts(c.cells))


def synthesize(
    sources: Mapping[str, str],
    top: str,
    target: str,
    device: str | None = None,
    liberty: str | Path | None = None,
    delay: int | None = None,
    whole: bool = False,
    jobs: int | None = None,
    names: Mapping[str, str] | None = None,
    progress: Progress = quiet,
) -> Figures:
    """Figures of Verilog and memory files by name, whose top module is `top`.

    Each module that the top instantiates is synthesized on its own and kept in the cache; the
    design is the sum over its instances. `whole`: the design flat, without nodes. `names`: what to
    call the top's instances. `jobs`: processes at once.
    """
    chosen = plan(target, device, liberty, delay)
    if whole:
        progress("the whole design", 0, 1)
        return chosen.figures(yosys.whole(sources, top, chosen.flow)[0])
    design = split(sources, top)
    found = yosys.parts({**design.units, GLUE: design.glue}, chosen.flow, jobs, progress)
    kinds = {name: chosen.figures(cells) for name, cells in found.items()}
    names = names or {}
    nodes = {names.get(i, i): kinds[module] for i, module in design.instances.items()}
    nodes[GLUE] = kinds[GLUE]
    source = f"{chosen.source}; sum of {len(nodes)} nodes"
    return Figures("synthesis", chosen.target, source, **total(nodes.values()), nodes=nodes)


def place_and_route(
    sources: Mapping[str, str],
    top: str,
    target: str,
    device: str | None = None,
    limit: float | None = None,
    jobs: int | None = None,
    names: Mapping[str, str] | None = None,
    progress: Progress = quiet,
) -> Figures:
    """The same of the flat design after place and route, with its clock and utilisation; its nodes
    are those of `synthesize`."""
    family = target_named(target)
    tool_version(family)
    chosen = plan(target, device)
    apart = synthesize(sources, top, target, device, jobs=jobs, names=names, progress=progress)
    progress("the whole design", 0, 1)
    cells, folder = yosys.whole(sources, top, chosen.flow)
    try:
        placed = place(folder / yosys.NETLIST, top, family, device, limit, progress)
    except DoesNotFitError as error:
        message = f"{error}; {_advice(error.over, family, apart.nodes)}"
        raise DoesNotFitError(error.device, error.over, message) from None
    name, _ = family.device(device)
    return replace(
        chosen.figures(cells),
        level="placed",
        source=f"{chosen.source}; {placed.tool}, {name}, out of context",
        fmax_mhz=placed.fmax,
        utilisation=placed.utilisation,
        nodes=apart.nodes,
    )


def _advice(over, family: Target, nodes: Mapping[str, Figures]) -> str:
    """Which node holds most of what is short, and what to do about it."""
    resource = max(over, key=lambda name: over[name][0] / max(over[name][1], 1))
    kind = next((k for k, marks in KINDS if any(mark in resource for mark in marks)), "lut")
    if not any(getattr(figures, kind) for figures in nodes.values()):
        kind = "lut"
    largest = max(nodes, key=lambda name: getattr(nodes[name], kind))
    share = getattr(nodes[largest], kind) / sum(getattr(f, kind) for f in nodes.values())
    devices = ", ".join(family.devices)
    return (
        f"{largest} holds {share:.0%} of the {kind.upper()}s: fold it further (--cycles, or --set "
        f"{largest}.pe and .simd), or choose another device: {devices}"
    )
