"""`hwgen trace`."""

from __future__ import annotations

import json as text
from pathlib import Path
from typing import Annotated

import typer

from hwgen.options import (
    Arith,
    Calibrate,
    ConfigFile,
    Cycles,
    Inputs,
    Macs,
    Sets,
    Shapes,
    Source,
    design_of,
)


def trace(
    source: Source,
    inputs: Inputs,
    limit: Annotated[int, typer.Option(min=1, help="Samples to use.")] = 16,
    threshold: Annotated[
        float, typer.Option(min=0, help="Relative error from which a layer is pointed out.")
    ] = 0.01,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="Y.npz", help="All layers.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    config: ConfigFile = None,
    cycles: Cycles = None,
    macs: Macs = None,
    set_: Sets = None,
    shape: Shapes = None,
    arith: Arith = None,
    calibrate: Calibrate = None,
) -> None:
    """Show layer by layer where golden departs from the ONNX model and from its float model."""
    from hwgen.emit.save import check_file, npz, write_file
    from hwgen.samples import read_arrays
    from hwgen.terminal import console, trace_table
    from hwgen.trace import trace as follow

    if output is not None:
        check_file(output)
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, False)
    arrays, _ = read_arrays(inputs, [port.name for port in design.graph.inputs], limit)
    found = follow(design, arrays)
    if output is not None:
        write_file(output, npz(found.arrays()))
    if json:
        print(text.dumps(found.as_dict(threshold)))
        return
    console().print(trace_table(found))
    print(f"{found.samples} samples; the model by {found.reference}")
    sides = [("the model", False)]
    if found.real:
        sides.append(("the float model (the model without quantizers)", True))
    for against, real in sides:
        first = found.first(threshold, real)
        where = "nowhere" if first is None else f"first in {first.node} ({first.tensor})"
        print(f"relative error above {threshold:g} against {against}: {where}")
