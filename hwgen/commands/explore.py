"""`hwgen explore`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwgen.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from hwgen.explore import Exploration

# Figures that verification adds beside an objective's value: title, field of Figures.
CHECKED = {"luts": "lut", "ffs": "ff", "dsps": "dsp", "brams": "bram", "area": "area_um2"}
CHECKED |= {"energy": "energy_nj"}


def explore(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx")],
    data: Annotated[Path, typer.Option(metavar="X.npz", help="Inputs by name, and their labels.")],
    space: Annotated[
        Path, typer.Option(metavar="space.toml", help="Choices by key of the configuration.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder of the results."),
    ] = None,
    objectives: Annotated[
        str, typer.Option(help="accuracy, energy, luts, ffs, dsps, brams, area, interval, latency.")
    ] = "accuracy,energy,luts,interval",
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C", help="accuracy>=0.9, luts<=5000, rate>=10000@100MHz or fits=DEVICE."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="ecp5, xcup (or xilinx), or asic: gates.")] = "ecp5",
    trials: Annotated[int, typer.Option(min=1, help="Points to evaluate.")] = 100,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="S", help="Seconds to begin points for.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Of outputs and labels: the accuracy."),
    ] = None,
    verify: Annotated[
        int, typer.Option(min=0, help="Points of the front to simulate and synthesize.")
    ] = 5,
    samples: Annotated[int, typer.Option(min=1, help="Inputs to simulate each on.")] = 4,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster to evaluate points on.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Inputs to use.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="design.toml", help="What all points have in common."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="X.npz", help="Inputs for scales, instead of the data."),
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Cell library, to verify gates with.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="All points, as CSV, instead.")] = False,
) -> None:
    """Try many design points, and verify the best: accuracy, energy, area and cycles."""
    from hwgen.config import Config
    from hwgen.explore import explore as run
    from hwgen.frontend import read
    from hwgen.frontend.convert import input_names
    from hwgen.samples import read_arrays
    from hwgen.terminal import progress

    if as_json and csv:
        raise ConfigError("give --json or --csv, not both")
    names = input_names(read(model))
    arrays, labels = read_arrays(data, names, limit)
    folder = output or Path(f"{model.stem}.explored")
    with _kept(folder), progress() as report:
        found = run(
            model,
            arrays,
            space,
            folder,
            labels=labels,
            objectives=objectives,
            constraints=constraint or [],
            target=target,
            trials=trials,
            budget=budget,
            metric=metric,
            jobs=jobs,
            ray=ray,
            verify=verify,
            samples=samples,
            config=Config.of(config),
            calibrate=None if calibrate is None else read_arrays(calibrate, names)[0],
            liberty=liberty,
            seed=seed,
            source=str(data),
            progress=report,
        )
    if as_json:
        print(json.dumps({**found.about, "points": len(found.records), "front": found.front}))
    elif csv:
        _print_csv(found)
    else:
        _print_table(found)
    if bad := found.mismatched:
        for record in bad:
            print(f"hardware and golden model differ: {record['verified']['mismatch']}")
        raise typer.Exit(1)


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Interrupted, the command says that its points are kept."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted: the same command goes on with {folder}", file=sys.stderr)
        raise typer.Exit(130) from None


def _print_table(found: Exploration) -> None:
    from hwgen.terminal import console

    feasible = sum(record["feasible"] for record in found.records)
    failed = sum(record["figures"] is None for record in found.records)
    fixed, table = _table(found)
    console().print(table)
    if fixed:
        print(f"of all these: {', '.join(f'{name} = {value}' for name, value in fixed.items())}")
    print(
        f"{len(found.records)} points: {len(found.front)} on the front, {feasible} feasible, "
        f"{failed} that can't be built"
    )
    checked = sum(record["verified"] is not None for record in found.front)
    print(f"modelled for {found.about['target']}: {found.about['source']}")
    if checked:
        source = next(r["verified"]["figures"]["source"] for r in found.front if r["verified"])
        print(
            f"verified: {checked} points, simulated and equal to the golden model but where it "
            f"says otherwise; in parentheses synthesized: {source}"
        )
    print(f"{found.folder}: points.jsonl, exploration.json, pareto/N.toml for `hwgen build`")


def _table(found: Exploration) -> tuple[dict, Table]:
    """What all points of the front have in common, and the rest as a table."""
    from rich.markup import escape
    from rich.table import Table

    points = [record["point"] for record in found.front]
    fixed = {k: v for k, v in points[0].items() if all(p[k] == v for p in points)}
    varied = [name for name in points[0] if name not in fixed]
    table = Table("", *map(escape, varied))
    for name in found.about["objectives"]:
        table.add_column(name, justify="right")
    verdicts = [_verdict(record) for record in found.front]
    if any(verdicts):
        table.add_column("verified")
    for number, (record, verdict) in enumerate(zip(found.front, verdicts, strict=True), 1):
        cells = [escape(str(record["point"][name])) for name in varied]
        cells += [_cell(record, name) for name in found.about["objectives"]]
        table.add_row(str(number), *cells, *[verdict] * any(verdicts))
    return fixed if len(points) > 1 else {}, table if len(points) > 1 else _single(found)


def _single(found: Exploration) -> Table:
    """A front of one point: a row for each of its values."""
    from rich.markup import escape
    from rich.table import Table

    record = found.front[0]
    table = Table("", "1")
    for name, value in record["point"].items():
        table.add_row(escape(name), escape(str(value)))
    for name in found.about["objectives"]:
        table.add_row(name, _cell(record, name))
    if verdict := _verdict(record):
        table.add_row("verified", verdict)
    return table


def _cell(record: Mapping, name: str) -> str:
    """An objective; in parentheses what synthesis or simulation found."""
    shown = _number(record["objectives"][name])
    checked = record["verified"]
    if checked is None:
        return shown
    if name in ("interval", "latency"):
        real = checked[name]
    else:
        real = checked["figures"][CHECKED[name]] if name in CHECKED else None
    return shown if real is None else f"{shown} ({_number(real)})"


def _verdict(record: Mapping) -> str:
    if record["verified"] is None:
        return ""
    return "bit-exact" if record["verified"]["matched"] else "[red]DIFFERS[/red]"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _print_csv(found: Exploration) -> None:
    """A line for each point, in the order of their evaluation."""
    import csv

    rows = list(_rows(found))
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _rows(found: Exploration) -> Iterator[dict]:
    front = [id(record) for record in found.front]
    for record in found.records:
        checked = record["verified"] or {}
        figures = checked.get("figures") or {}
        yield {
            **record["point"],
            **{name: record["objectives"][name] for name in found.about["objectives"]},
            "feasible": record["feasible"],
            "front": id(record) in front,
            "matched": checked.get("matched"),
            **{f"synthesized_{field}": figures.get(field) for field in CHECKED.values()},
            "error": record.get("error"),
        }
