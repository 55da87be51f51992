"""Energy of a whole design in an FPGA: transitions counted by Verilator on real inputs, what
synthesis says of its resources, and their published energies."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hwgen.cost.classes import CLASSES, GLUE
from hwgen.cost.figures import Figures, total
from hwgen.cost.fpga import energies, source, spent
from hwgen.emit.top import instances
from hwgen.energy.compiled import Compiled
from hwgen.energy.saif import Nets, read_saif
from hwgen.errors import SimulationError
from hwgen.synth import Progress, quiet
from hwgen.synth.targets import target_named


def fpga_energy(
    design: Compiled,
    inputs,
    target: str = "ecp5",
    device: str | None = None,
    *,
    progress: Progress = quiet,
) -> Figures:
    """Energy per inference (of a stream: per row) in the FPGA family `target` on `inputs`, as for
    `Design.golden`, all of which are simulated.

    Classes of energy: cells and multipliers of layers are `mac`, block RAMs `weight memory` or
    `activation memory`, cells of buffers `activation memory` too, of other nodes `functions`, of
    plumbing `control`; `clock`: that of flip-flops; `glitch`: a published share of cells' energy,
    not simulated. Without static power, which is the chip's.

    Raises `ConfigError`, `InputError`, `ToolError`, and `SimulationError` where the Verilog differs
    from the golden model.
    """
    family = target_named(target).name
    codes = design._codes(inputs)
    samples = len(next(iter(codes.values())))
    used = design.synthesize(family, device, progress=progress)
    progress("simulation", 0, 0)
    counted = transitions(design, inputs)
    known = {node.name: (i, node) for i, node in instances(design.graph).items()}
    prices = energies(family)
    found = {}
    for name, figures in used.nodes.items():
        instance, node = known.get(name, ("" if name == GLUE else name, None))
        nets = counted.get(instance, Nets())
        energy = spent(node, figures, nets.mean / samples, used.cycles, prices)
        found[name] = replace(
            figures, level="activity", source="", energy_nj=sum(energy.values()), energy=energy
        )
    sums = total(found.values())
    return replace(
        used,
        level="activity",
        source=f"{samples} inferences in Verilator; {used.source}; {source(family)}",
        energy_nj=sums["energy_nj"],
        energy={name: sums["energy"][name] for name in CLASSES if name in sums["energy"]},
        nodes=found,
    )


def transitions(design: Compiled, inputs) -> dict[str, Nets]:
    """Of the nets of each instance, for all inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transitions.saif"
        mismatch = design.simulate(inputs, wave=path).mismatch
        if mismatch is not None:
            raise SimulationError(f"the Verilog differs from the golden model: {mismatch}")
        with path.open() as lines:
            return read_saif(lines)
