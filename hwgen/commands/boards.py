"""`hwgen boards`, `hwgen deploy`, `hwgen run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwgen.errors import ConfigError
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
    Stream,
    design_of,
)

SIMULATION = "simulation"  # the port of a board that is simulated


def boards() -> None:
    """List the boards: device, resources, clock, toolchain."""
    from rich.table import Table

    from hwgen.deploy import boards as known
    from hwgen.synth.targets import target_named
    from hwgen.terminal import console

    table = Table("board", "device", "LUT", "FF", "DSP", "BRAM", "clock MHz", "link", "toolchain")
    for board in known().values():
        kinds = [f"{board.resources[kind]:,}" for kind in ("lut", "ff", "dsp", "bram")]
        kinds[-1] += f" of {target_named(board.family).units[1].rpartition(' of ')[2]}"
        tools = f"{board.toolchain} (pip)" if board.open else board.toolchain
        table.add_row(board.name, board.part, *kinds, f"{board.clock.core:g}", board.link, tools)
    console().print(table)


def deploy(
    source: Source,
    board: Annotated[str, typer.Option("--board", metavar="B", help="hwgen boards lists them.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    clock: Annotated[float | None, typer.Option(metavar="MHZ", help="Clock of the design.")] = None,
    baud: Annotated[int | None, typer.Option(min=1, help="Of the serial line.")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="The folding that fills the board.")] = False,
    limit: Annotated[
        float | None, typer.Option(min=1, metavar="S", help="Seconds for place and route.")
    ] = None,
    config: ConfigFile = None,
    cycles: Cycles = None,
    macs: Macs = None,
    set_: Sets = None,
    shape: Shapes = None,
    arith: Arith = None,
    calibrate: Calibrate = None,
    stream: Stream = False,
) -> None:
    """Write a project for a board, and its bitstream where open tools make it."""
    from hwgen.deploy import board_named
    from hwgen.deploy.deploy import deploy as write
    from hwgen.emit.save import check_folder
    from hwgen.terminal import progress

    found = board_named(board)
    if fit and (cycles is not None or macs is not None):
        raise ConfigError("--fit chooses the folding: give neither --cycles nor --macs")
    check_folder(output)
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, stream)
    with progress() as report:
        summary, work = write(design, found, output, clock, baud, fit, limit, report)
    print(f"{output}: {work.name} on {found.title}")
    for line in summary.lines():
        print(line)
    if summary.bitstream:
        print(f"to load it: {found.program} {output / work.bitstream}")
    else:
        print(f"to make the bitstream: {output / 'build.tcl'} in {found.toolchain}")


def run(
    inputs: Inputs,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="What deploy wrote.")] = Path(),
    board: Annotated[str | None, typer.Option(metavar="B", help="What it should be for.")] = None,
    port: Annotated[
        str | None, typer.Option(metavar="P", help=f"Serial port, or {SIMULATION}.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples to use.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare with the golden model.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="Y.npz", help="Outputs.")
    ] = None,
) -> None:
    """Run inputs through a design on a board."""
    import numpy as np

    from hwgen.deploy import board_named
    from hwgen.emit.save import check_file, npz, write_file
    from hwgen.host import connect
    from hwgen.host.tensors import Tensors, read_manifest
    from hwgen.samples import accuracy, read_arrays
    from hwgen.terminal import progress

    manifest = read_manifest(folder)
    name = manifest["board"]["name"]
    if board is not None:
        board_named(board)
    if board not in (None, name):
        raise ConfigError(f"{folder} is for {name}, not {board}: deploy it for that board")
    if output is not None:
        check_file(output)
    arrays, labels = read_arrays(inputs, Tensors(manifest).names, limit)
    with _port(folder, manifest, port) as line, progress() as report:
        result = connect.run(manifest, folder, line, arrays, report)
    if output is not None:
        write_file(output, npz(result.outputs))
    print(f"{'sequences' if manifest['stream'] else 'samples'}: {result.tensors}")
    if labels is not None:
        print(f"accuracy: {accuracy(next(iter(result.outputs.values())), labels):.4f}")
    print(f"{result.cycles / result.tensors:,.0f} busy cycles each at {result.clock / 1e6:g} MHz")
    print(f"{result.tensors / result.seconds:,.0f} per second, with the line and this machine")
    if result.repeated or result.damaged:
        print(f"frames sent again: {result.repeated}, answers damaged: {result.damaged}")
    if check:
        from hwgen.design import Design

        golden = Design.load(folder).golden(arrays)
        wrong = [n for n, a in golden.items() if not np.array_equal(a, result.outputs[n])]
        if wrong:
            print(f"the board and the golden model differ: output {', '.join(wrong)}")
            raise typer.Exit(1)
        print("the board equals the golden model")


def _port(folder: Path, manifest: dict, port: str | None):
    """The port, or that of a simulated board."""
    from contextlib import nullcontext

    if port != SIMULATION:
        return nullcontext(port)
    from hwgen.deploy.simulate import simulated

    return simulated(folder)
