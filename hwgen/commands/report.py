"""`hwgen report`."""

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
    Liberty,
    Macs,
    Sets,
    Shapes,
    Source,
    Stream,
    design_of,
)


def report(
    source: Source,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="report.html", help="The page to write.")
    ],
    inputs: Annotated[
        Path | None, typer.Option(metavar="X.npz", help="Arrays by input name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Samples to use.")] = 64,
    target: Annotated[
        list[str] | None, typer.Option(help="A target; may be given several times.")
    ] = None,
    liberty: Liberty = None,
    level: Annotated[str, typer.Option(help="Up to model, synthesis or activity.")] = "activity",
    config: ConfigFile = None,
    cycles: Cycles = None,
    macs: Macs = None,
    set_: Sets = None,
    shape: Shapes = None,
    arith: Arith = None,
    calibrate: Calibrate = None,
    stream: Stream = False,
) -> None:
    """Write one page about a design or an exploration: no network, no other file."""
    from hwgen.emit.save import check_file, write_file
    from hwgen.report import (
        check_level,
        check_targets,
        exploration_data,
        is_exploration,
        is_page,
        page,
    )

    check_file(output)
    if output.is_file() and not is_page(output.read_bytes()):
        raise ConfigError(f"{output} is a file that is no page; choose another name")
    check_level(level)
    options = (config, cycles, macs, set_, shape, arith, calibrate, stream)
    if is_exploration(source):
        if any(option not in (None, False, []) for option in (inputs, target, liberty, *options)):
            raise ConfigError(f"{source} is an exploration: its page takes no options")
        data = exploration_data(source)
    else:
        targets = list(target or ["ecp5"])
        targets += ["asic"] if liberty and "asic" not in targets else []
        check_targets(targets, level, liberty)
        data = _design(design_of(source, *options), inputs, limit, targets, liberty, level)
    write_file(output, page(data).encode())
    print(f"{output}: {data['kind']} {data['title']}")
    if "points" in data:
        best = sum(point["pareto"] for point in data["points"])
        print(f"{len(data['points'])} points, {best} on the front")
    for remark in data.get("remarks", ()):
        print(remark)


def _design(design, path: Path | None, limit: int, targets, liberty, level: str) -> dict:
    """What the page shows of a design."""
    from hwgen.errors import HwgenError
    from hwgen.report import design_data, measure
    from hwgen.samples import accuracy, read_arrays
    from hwgen.terminal import progress
    from hwgen.trace import trace

    arrays = found = share = None
    remarks = []
    if path is not None:
        arrays, labels = read_arrays(path, [port.name for port in design.graph.inputs], limit)
        if labels is not None:
            share = accuracy(next(iter(design.golden(arrays).values())), labels)
        try:
            found = trace(design, arrays)
        except HwgenError as error:
            remarks.append(f"errors and ranges: {error}")
    with progress() as report:
        figures, missing = measure(design, targets, level, arrays, liberty, report)
    samples = None if arrays is None else len(next(iter(arrays.values())))
    return design_data(design, figures, found, share, samples, [*remarks, *missing])
