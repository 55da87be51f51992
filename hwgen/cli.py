"""The `hwgen` command. Exit codes: 0 done, 1 hardware and golden model differ, 2 the user's to
mend."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from hwgen.commands.boards import boards, deploy, run
from hwgen.commands.compare import compare
from hwgen.commands.energy import energy
from hwgen.commands.estimate import estimate
from hwgen.commands.explore import explore
from hwgen.commands.report import report
from hwgen.commands.trace import trace
from hwgen.errors import ConfigError, HwgenError, ModelError
from hwgen.options import (
    Arith,
    Calibrate,
    ConfigFile,
    Cycles,
    Inputs,
    Liberty,
    Macs,
    Model,
    Sets,
    Shapes,
    Source,
    Stream,
    calibration_of,
    compiled_of,
    design_of,
    shapes_of,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Quantized ONNX models to verified Verilog.",
)


@app.command()
def inspect(
    model: Model, shape: Shapes = None, arith: Arith = None, calibrate: Calibrate = None
) -> None:
    """Show every node: op, shapes, format, what it maps to; and every unsupported node."""
    from rich.markup import escape
    from rich.table import Table

    from hwgen.config import Config
    from hwgen.design import converted
    from hwgen.frontend import read, survey

    shapes = shapes_of(shape)
    config = Config().with_options(shapes=shapes, arith=arith)
    if calibrate and not arith:
        raise ConfigError("--calibrate is for a conversion: give an arithmetic with --arith too")
    rows = survey(converted(read(model), config, calibration_of(model, calibrate)), shapes)
    table = Table("node", "op", "shape", "format", "maps to")
    for row in rows:
        sizes = " ".join("x".join(map(str, s)) or "scalar" for s in row.shapes)
        outcome = escape(row.reason or row.maps_to or "not checked")
        outcome = f"[red]unsupported: {outcome}[/red]" if row.reason else outcome
        table.add_row(escape(row.name), escape(row.op), sizes, row.format, outcome)
    _console().print(table)
    if bad := sum(bool(row.reason) for row in rows):
        raise ModelError(f"{bad} of {len(rows)} nodes can't be mapped to hardware")


@app.command()
def build(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    config: ConfigFile = None,
    cycles: Cycles = None,
    macs: Macs = None,
    set_: Sets = None,
    shape: Shapes = None,
    arith: Arith = None,
    calibrate: Calibrate = None,
    stream: Stream = False,
) -> None:
    """Write Verilog, manifest and testbench of a model."""
    from hwgen.emit.save import check_folder

    check_folder(output)
    design = compiled_of(model, config, cycles, macs, set_, shape, arith, calibrate, stream)
    design.save(output)
    predicted = design.predicted
    print(f"{output}: {len(design.verilog().splitlines())} lines of Verilog in {_files(design)}")
    print(
        f"predicted: {predicted.interval} cycles per {design.sample}, latency {predicted.latency} "
        "cycles"
    )
    print(f"multipliers: {design.multipliers}")
    for name, (differing, total) in design.approximated().items():
        print(f"{name}: {differing} of {total} codes differ from exact requantization")
    for name, note in design.graph.notes.items():
        print(f"{name}: {note}")
    if design.graph.islands:
        print("tensors left in float, in fixed point:")
    for island in design.graph.islands.values():
        print(
            f"  {island.tensor}: {island.fmt} for {island.low:.4g} ... {island.high:.4g}, headroom "
            f"{island.headroom:.1f} bits, error {island.error:.2g}"
            + (", saturates" if island.headroom < 0 else "")
        )


@app.command()
def simulate(
    source: Source,
    inputs: Inputs,
    engine: Annotated[str, typer.Option(help="fast or cocotb.")] = "fast",
    limit: Annotated[int | None, typer.Option(min=1, help="Samples to use.")] = None,
    stall: Annotated[
        int | None, typer.Option(min=0, metavar="SEED", help="Random gaps on all streams.")
    ] = None,
    wave: Annotated[Path | None, typer.Option(metavar="W.fst", help="Waveforms (FST).")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="Y.npz", help="Outputs.")
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
    """Simulate the Verilog on real inputs and compare it with the golden model."""
    from hwgen.emit.save import check_file, npz, write_file
    from hwgen.samples import accuracy, read_arrays

    if output is not None:
        check_file(output)
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, stream)
    arrays, labels = read_arrays(inputs, [port.name for port in design.graph.inputs], limit)
    result = design.simulate(arrays, engine=engine, stall=stall, wave=wave)
    samples = len(next(iter(result.outputs.values())))
    if output is not None:
        write_file(output, npz(result.outputs))
    print(f"{'sequences' if design.graph.ends else 'samples'}: {samples}")
    if labels is not None:
        print(f"accuracy: {accuracy(next(iter(result.outputs.values())), labels):.4f}")
    if result.interval is not None:
        predicted = design.predicted.interval
        print(f"cycles per {design.sample}: {result.interval} (predicted {predicted})")
    print(f"latency: {result.latency} cycles (predicted {design.predicted.latency})")
    if result.mismatch is not None:
        print(f"hardware and golden model differ: {result.mismatch}")
        raise typer.Exit(1)
    print("hardware equals the golden model")


@app.command()
def synth(
    source: Source,
    target: Annotated[
        str | None,
        typer.Option(
            help="ecp5, ice40, gowin, nexus, xc7, xcup (or xilinx), cyclonev, or asic: gates."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="A chip of the target.")] = None,
    liberty: Liberty = None,
    delay: Annotated[
        int | None, typer.Option(metavar="PS", help="Longest path to size gates for.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The design flat, not by nodes.")] = False,
    place: Annotated[bool, typer.Option("--place", help="Place and route too.")] = False,
    limit: Annotated[
        float | None, typer.Option(min=1, metavar="S", help="Seconds for place and route.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once.")] = None,
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
    """Synthesize a design node by node: what it takes of an FPGA, or in gates."""
    from hwgen.synth import GATES, Options
    from hwgen.terminal import progress, show

    target = target or (GATES if liberty else "ecp5")
    how = (target, device, liberty, delay, whole, place, limit, jobs)
    Options(*how).plan()  # what is wrong with these is said at once
    design = design_of(source, config, cycles, macs, set_, shape, arith, calibrate, stream)
    with progress() as report:
        figures = design.synthesize(*how, progress=report)
    show(figures, json)


for command in (estimate, energy, trace, explore, report, compare, boards, deploy, run):
    app.command()(command)


@app.command()
def formats(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A format or an arithmetic.")
    ] = None,
) -> None:
    """List the number formats, or show one, or the parts of an arithmetic."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from hwgen.formats.arithmetic import GRAMMAR
    from hwgen.formats.describe import COLUMNS, FAMILIES, catalogue, describe

    def show(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], right: bool = False) -> None:
        table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
        for k, head in enumerate(header):
            table.add_column(head, justify="right" if right and k else "left")
        for row in rows:
            table.add_row(*map(escape, row))
        _console().print(table)

    if name is None:
        show(("format", "bits", "layout", "largest", "least > 0", "special values"), catalogue())
        show(("also", "parameters", "meaning"), FAMILIES)
        print(f"arithmetics: {GRAMMAR}")
        return
    found = describe(name)
    show((found.title, ""), found.facts)
    if found.values:
        show(("code", *(f"+{k}" for k in range(COLUMNS))), found.values, right=True)


@app.command()
def unit(
    spec: Annotated[str, typer.Argument(metavar="ARITHMETIC", help="Such as e4m3fn:lmul.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    kind: Annotated[
        str,
        typer.Option(
            help="mul: multiplier; mac: multiply and accumulate; fma: fused multiply-add; dot: dot "
            "product."
        ),
    ] = "mul",
    lanes: Annotated[int, typer.Option(min=1, max=256, help="Products of a dot product.")] = 4,
    stages: Annotated[int, typer.Option(min=0, help="Registers; 0 is combinational.")] = 0,
) -> None:
    """Write Verilog of one arithmetic unit and a testbench with golden vectors."""
    from hwgen.emit.save import check_folder, save
    from hwgen.emit.unit import unit_files

    check_folder(output)
    files, made = unit_files(spec, kind, stages, lanes)
    save(output, files)
    verilog = next(name for name in files if name.endswith(".v"))
    print(f"{output}: {verilog}, latency {made.latency} cycles, {len(made.expected)} test vectors")
    print(f"to check it: make -C {output}")


@app.command()
def doctor() -> None:
    """Say which tools were found, their versions, and how to mend what is missing."""
    from rich.table import Table

    from hwgen.doctor import findings

    found = findings()
    table = Table("tool", "found", "needed for", "to mend it")
    for row in found:
        colour = "green" if row.version else "red" if row.required else "yellow"
        table.add_row(
            row.name, f"[{colour}]{row.version or 'missing'}[/{colour}]", row.purpose, row.remedy
        )
    _console().print(table)
    if any(row.required and not row.version for row in found):
        raise ConfigError("something that hwgen needs is missing")


def _files(design) -> str:
    """The design's sources in words."""
    verilog = [name for name in sorted(design.sources) if name.endswith(".v")]
    memories = len(design.sources) - len(verilog)
    return ", ".join(verilog) + (f", {memories} memory files" if memories else "")


def _console():
    from hwgen.terminal import console

    return console()


def main() -> None:
    """Entry point: errors of the user become one message."""
    try:
        app()
    except HwgenError as error:
        print(f"hwgen: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
