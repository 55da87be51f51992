"""Tables and progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hwgen.cost.figures import Figures

WHAT = "{task.description}"
EVERY = 300  # seconds from a line of progress to the next, where that is no terminal
WIDTH = 10_000  # where the output is no terminal: nothing is cut
# Columns of a table of figures: title, field, decimals.
COLUMNS = (
    ("LUT", "lut", 0),
    ("FF", "ff", 0),
    ("DSP", "dsp", 0),
    ("BRAM", "bram", 0),
    ("area um2", "area_um2", 0),
    ("delay ps", "delay_ps", 0),
    ("energy nJ", "energy_nj", 3),
)


def console() -> Console:
    """For standard output."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def figures_table(figures: Figures) -> Table:
    """A row for each node, and the design below; of the columns that anything is known in."""
    rows = {**figures.nodes, "design": figures}
    known = [c for c in COLUMNS if any(getattr(f, c[1]) is not None for f in rows.values())]
    table = Table("node")
    for title, _, _ in known:
        table.add_column(title, justify="right")
    for name, row in rows.items():
        if row is figures and figures.nodes:
            table.add_section()
        table.add_row(escape(name), *(_cell(getattr(row, c[1]), c[2]) for c in known))
    return table


def _cell(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def comparison(rows: Sequence[tuple[str, Figures]]) -> Table:
    """Figures of several designs by name, of the columns that anything is known in."""
    more = (("cycles", "cycles", 0), ("latency", "latency", 0), ("clock MHz", "fmax_mhz", 1))
    known = [c for c in (*more, *COLUMNS) if any(getattr(f, c[1]) is not None for _, f in rows)]
    table = Table("design", "target", "level")
    for title, _, _ in known:
        table.add_column(title, justify="right")
    for name, row in rows:
        cells = (_cell(getattr(row, c[1]), c[2]) for c in known)
        table.add_row(escape(name), escape(row.target), row.level, *cells)
    return table


def energy_table(figures: Figures) -> Table:
    """Energy in nJ by class: a row for each node, and the design below."""
    rows = {**figures.nodes, "design": figures}
    classes = list(figures.energy)
    table = Table("node, nJ")
    for name in (*classes, "all"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        if row is figures:
            table.add_section()
        parts = (row.energy.get(c) for c in classes)
        table.add_row(escape(name), *(_cell(v, 3) for v in (*parts, row.energy_nj)))
    return table


def trace_table(trace) -> Table:
    """Errors of a `hwgen.trace.Trace`, a row for each value of the model."""
    table = Table("node", "op", "tensor")
    for title in ("max error", "mean error", "relative", "against float", "seen"):
        table.add_column(title, justify="right")
    for layer in trace.layers:
        real = "" if layer.float_error is None else f"{layer.float_error:.2g}"
        errors = (f"{v:.2g}" for v in (layer.max_error, layer.mean_error, layer.error))
        seen = f"{layer.low:.4g} ... {layer.high:.4g}"
        names = (layer.node, layer.op, layer.tensor)
        table.add_row(*map(escape, names), *errors, real, seen)
    return table


def facts(figures: Figures) -> Iterator[str]:
    """What of a design no table shows, in lines."""
    if figures.cycles is not None:
        yield f"cycles: {figures.cycles:,}, latency {figures.latency:,}"
    if figures.fmax_mhz is not None:
        yield f"clock: {figures.fmax_mhz:.1f} MHz"
    if figures.utilisation:
        used = (f"{k} {u:,} of {n:,}" for k, (u, n) in figures.utilisation.items())
        yield f"utilisation: {', '.join(used)}"
    yield f"{figures.level} for {figures.target}: {figures.source}"


def show(figures: Figures, as_json: bool, table: Callable = figures_table, *lines: str) -> None:
    """What a command found: a JSON object, or a table, lines of its own, and the facts."""
    if as_json:
        print(figures.to_json())
        return
    console().print(table(figures))
    for line in (*lines, *facts(figures)):
        print(line)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error while something long runs, or where that is no terminal a line now
    and then; yields what reports (what, done, of); of 0 is a step of unknown length."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    shown = Console(stderr=True)
    said = monotonic()
    bar = Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
    with bar:
        task = bar.add_task("")

        def report(what: str, done: int, total: int) -> None:
            nonlocal said
            text = what if len(what) < 60 else f"{what[:57]}..."
            bar.update(task, description=escape(text), completed=done, total=total or None)
            if not shown.is_terminal and monotonic() - said > EVERY:
                said = monotonic()
                print(f"{text} ({done:,} of {total:,})" if total else text, file=sys.stderr)

        yield report
