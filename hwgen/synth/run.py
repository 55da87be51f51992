"""A design's figures by synthesis, node by node or flat, and after place and route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hwgen.cost.classes import GLUE
from hwgen.cost.figures import Figures, total
from hwgen.errors import ConfigError
from hwgen.synth import yosys
from hwgen.synth.library import DELAY, find_liberty, gate_counts, gate_flow
from hwgen.synth.modules import split
from hwgen.synth.place import DoesNotFitError, place, tool_version
from hwgen.synth.targets import GATES, Target, target_named
from hwgen.synth.yosys import Cells, Flow, Progress, quiet

# Picoseconds that ABC maps a unit's paths for, at most. Without, it spends lookup tables to make
# every path as short as can be; in a flat design only the slowest path is worth that.
RELAXED = "scratchpad -set abc9.D 10000"
# What folding changes, of the resources that nextpnr names.
KINDS = (
    ("dsp", ("MULT", "DSP", "PREADD", "REG18")),
    ("bram", ("DP16", "EBR", "RAM", "PDPW", "BSRAM")),
    ("ff", ("FF", "DFF")),
)


@dataclass(frozen=True)
class Plan:
    """How to synthesize for a target, flat and `apart`, and to count: arguments of `Figures` from
    cells."""

    target: str
    flow: Flow
    apart: Flow
    source: str
    count: Callable[[Cells], dict]

    def figures(self, found: Cells) -> Figures:
        """Of cells."""
        return Figures("synthesis", self.target, self.source, **self.count(found))


@dataclass(frozen=True)
class Options:
    """How to synthesize. `target`: a family, or GATES of the library `liberty`, sized for paths of
    `delay` ps. `device`: a chip of the family. `whole`: the design flat, without nodes. `place`:
    placed and routed too, in `limit` seconds. `jobs`: processes at once. `extra`: more options of
    Yosys' flow."""

    target: str
    device: str | None = None
    liberty: str | Path | None = None
    delay: int | None = None
    whole: bool = False
    place: bool = False
    limit: float | None = None
    jobs: int | None = None
    extra: str = ""

    def plan(self) -> Plan:
        """Flow and counts; raises `ConfigError` and `ToolError`."""
        if self.limit is not None and not self.place:
            raise ConfigError("a time limit is for place and route: give --place too")
        if self.target == GATES:
            return self._gates()
        family = target_named(self.target)
        if self.liberty is not None or self.delay is not None:
            raise ConfigError(
                f"a cell library and a delay are for the target {GATES}, not {self.target}"
            )
        if self.place:
            tool_version(family)
        _, chip = family.device(self.device)
        flow = " ".join(filter(None, (family.flow, chip and chip.flow, self.extra)))
        source = f"Yosys {yosys.version()}, {flow}"
        whole = f"{flow} -top TOP"
        flows = Flow((whole,)), Flow((RELAXED, whole))
        return Plan(family.name, *flows, source, lambda c: family.counts(c.cells))

    def _gates(self) -> Plan:
        if self.device is not None or self.place:
            raise ConfigError("gates can't be placed, and have no device")
        version, library = yosys.version(), find_liberty(self.liberty)
        aim = DELAY if self.delay is None else self.delay
        source = f"Yosys {version}, ABC aiming at {aim} ps, library {library.name}"
        flow = gate_flow(library, aim)
        return Plan(GATES, flow, flow, source, lambda c: gate_counts(c, library))


def run(
    sources: Mapping[str, str],
    top: str,
    options: Options,
    names: Mapping[str, str] | None = None,
    progress: Progress = quiet,
) -> Figures:
    """Figures of Verilog and memory files by name, whose top module is `top`.

    Each module that the top instantiates is synthesized on its own and kept in the cache; the
    design is the sum over its instances, or what the flat design gives where it is placed too.
    `names`: what to call the top's instances. Raises `ConfigError`, `ToolError`.
    """
    plan = options.plan()
    if options.whole and not options.place:
        return plan.figures(_whole(sources, top, plan, progress)[0])
    if options.whole:
        return _placed(sources, top, plan, options, {}, progress)
    apart = _apart(sources, top, plan, options.jobs, names or {}, progress)
    return _placed(sources, top, plan, options, apart.nodes, progress) if options.place else apart


def _whole(sources, top: str, plan: Plan, progress: Progress) -> tuple[Cells, Path]:
    progress("the whole design", 0, 0)
    return yosys.whole(sources, top, plan.flow)


def _apart(
    sources, top: str, plan: Plan, jobs: int | None, names: Mapping[str, str], progress: Progress
) -> Figures:
    """Node by node."""
    design = split(sources, top)
    called = {module: names.get(i, i) for i, module in design.instances.items()}
    units = {called[module]: unit for module, unit in design.units.items()}
    found = yosys.parts({**units, GLUE: design.glue}, plan.apart, jobs, progress)
    kinds = {name: plan.figures(cells) for name, cells in found.items()}
    order = sorted(design.instances, key=lambda i: [*names, i].index(i))
    nodes = {names.get(i, i): kinds[called[design.instances[i]]] for i in order}
    nodes[GLUE] = kinds[GLUE]
    source = f"{plan.source}; sum of nodes"
    return Figures("synthesis", plan.target, source, **total(nodes.values()), nodes=nodes)


def _placed(
    sources,
    top: str,
    plan: Plan,
    options: Options,
    nodes: Mapping[str, Figures],
    progress: Progress,
) -> Figures:
    """The flat design's, placed and routed."""
    family = target_named(options.target)
    cells, folder = _whole(sources, top, plan, progress)
    netlist, device = folder / yosys.NETLIST, options.device
    try:
        placed = place(netlist, top, family, device, options.limit, progress)
    except DoesNotFitError as error:
        message = f"{error}; {_advice(error.over, family, device, nodes)}"
        raise DoesNotFitError(error.device, error.over, message) from None
    name, _ = family.device(device)
    return replace(
        plan.figures(cells),
        level="placed",
        source=f"{plan.source}; {placed.tool}, {name}, out of context",
        fmax_mhz=placed.fmax,
        utilisation=placed.utilisation,
        nodes=nodes,
    )


def _advice(over, family: Target, device: str | None, nodes: Mapping[str, Figures]) -> str:
    """Which node holds most of what is short, and what to do about it."""
    resource = max(over, key=lambda name: over[name][0] / max(over[name][1], 1))
    kind = next((k for k, marks in KINDS if any(mark in resource for mark in marks)), "lut")
    counts = {name: getattr(figures, kind) for name, figures in nodes.items()}
    own = device or next(iter(family.devices))
    others = ", ".join(name for name in family.devices if name != own)
    devices = f"choose another device ({others})" if others else "choose another target"
    if not any(counts.values()):
        return f"fold it further, with --cycles or --macs, or {devices}"
    largest = max(counts, key=lambda name: counts[name])
    share = counts[largest] / sum(counts.values())
    return (
        f"{largest} holds {share:.0%} of the {kind.upper()}s: fold it further, with --cycles, "
        f"--macs or --set {largest}.pe=N, or {devices}"
    )
