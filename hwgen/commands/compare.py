"""`hwgen compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwgen.errors import ConfigError
from hwgen.options import Liberty


def compare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="A B ...", help="Designs, models or figures in JSON.")
    ],
    target: Annotated[
        list[str] | None, typer.Option(help="A target; may be given several times.")
    ] = None,
    liberty: Liberty = None,
    level: Annotated[str, typer.Option(help="Up to model, synthesis or activity.")] = "model",
    inputs: Annotated[
        Path | None, typer.Option(metavar="X.npz", help="Inputs, for energy by activity.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Lines of values instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON list instead.")] = False,
) -> None:
    """Show figures of several designs side by side."""
    from hwgen.report import as_csv, as_json, check_level, check_targets, measure
    from hwgen.terminal import comparison, console, progress

    check_level(level)
    if csv and json:
        raise ConfigError("--csv and --json exclude each other")
    if level == "activity" and inputs is None:
        raise ConfigError("energy by activity is simulated on inputs: give --inputs X.npz")
    targets = list(target or ([] if liberty else ["ecp5"]))
    targets += ["asic"] if liberty and "asic" not in targets else []
    check_targets(targets, level, liberty)
    found = [_read(source, inputs) for source in sources]  # all, before any takes long
    rows = []
    for source, (figures, design, arrays) in zip(sources, found, strict=True):
        if design is not None:
            with progress() as report:
                figures, missing = measure(design, targets, level, arrays, liberty, report)
            missing = [remark for remark in missing if not remark.startswith("activity: ")]
            if missing:
                raise ConfigError(f"{source}: {missing[0]}")
        rows += [(source.stem if design is None else source.name, f) for f in figures]
    if csv or json:
        print(as_csv(rows).rstrip() if csv else as_json(rows))
        return
    console().print(comparison(rows))
    for text in dict.fromkeys(f"{f.level} for {f.target}: {f.source}" for _, f in rows):
        print(text)


def _read(source: Path, inputs: Path | None) -> tuple:
    """(figures, None, None) of a file with figures, or ([], design, arrays to simulate)."""
    from hwgen.options import design_of
    from hwgen.report import saved
    from hwgen.report.measure import SIMULATED
    from hwgen.samples import read_arrays

    if source.suffix == ".json":
        return saved(source), None, None
    design = design_of(source, None, None, None, None, None, None, None, False)
    if inputs is None:
        return [], design, None
    arrays, _ = read_arrays(inputs, [port.name for port in design.graph.inputs], SIMULATED)
    design.golden({name: array[:1] for name, array in arrays.items()})
    return [], design, arrays
