"""`hwgen estimate`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwgen.options import (
    Arith,
    Calibrate,
    ConfigFile,
    Cycles,
    Macs,
    Sets,
    Shapes,
    Source,
    Stream,
    design_of,
)


def estimate(
    source: Source,
    target: Annotated[str, typer.Option(help="ecp5, xcup (or xilinx), or asic: gates.")] = "ecp5",
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
    """Area, cycles and energy by node without synthesis, and how far they may be off."""
    from hwgen.cost.model import target_named
    from hwgen.terminal import show

    target_named(target)  # what is wrong with it is said at once
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, stream)
    show(design.estimate(target), json)
