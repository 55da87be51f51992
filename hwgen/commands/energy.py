"""`hwgen energy`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwgen.options import (
    Arith,
    Calibrate,
    ConfigFile,
    Cycles,
    Inputs,
    Liberty,
    Macs,
    Sets,
    Shapes,
    Source,
    Stream,
    design_of,
)


def energy(
    source: Source,
    inputs: Inputs,
    limit: Annotated[int, typer.Option(min=1, help="Samples to simulate.")] = 4,
    target: Annotated[
        str | None,
        typer.Option(help="ecp5, ice40, gowin, nexus, xc7, xcup (or xilinx), or asic: gates."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="A chip of the target.")] = None,
    liberty: Liberty = None,
    delay: Annotated[
        int | None, typer.Option(metavar="PS", help="Longest path to size gates for.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    config: ConfigFile = None,
    cycles: Cycles = None,
    macs: Macs = None,
    set_: Sets = None,
    shape: Shapes = None,
    arith: Arith = None,
    calibrate: Calibrate = None,
    stream: Stream = False,
) -> None:
    """Energy per inference by node and class, simulated on real inputs."""
    from hwgen.energy import How
    from hwgen.samples import read_arrays
    from hwgen.synth import GATES
    from hwgen.terminal import energy_table, progress, show

    target = target or (GATES if liberty else "ecp5")
    How(target, device, liberty, delay).check()  # what is wrong with these is said at once
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, stream)
    arrays, _ = read_arrays(inputs, [port.name for port in design.graph.inputs], limit)
    with progress() as report:
        figures = design.energy(arrays, target, liberty, delay, device, progress=report)
    show(figures, json, energy_table, f"energy: {figures.energy_nj:,.4g} nJ per {design.sample}")
