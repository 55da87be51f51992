"""How long a design point takes: folded and estimated, with import and analysis behind it; part of
`make bench`, alone `python -m benchmarks points`. Models as for the other tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import hwgen
from hwgen.cost.model import estimate
from tests.conftest import model_files

FACTORS = (1, 2, 4, 8, 3, 6, 12, 16)


def seconds(path: Path) -> tuple[float, float, list[float]]:
    """Of import and the first point, and of each further point in processor time."""
    started = time.process_time()
    points = hwgen.Points(path)
    imported = time.process_time()
    interval = points.design().predicted.interval
    first = time.process_time()
    times = []
    for factor in FACTORS:
        before = time.process_time()
        estimate(points.design(cycles=factor * interval).graph, "ecp5")
        times.append(time.process_time() - before)
    return imported - started, first - imported, times


def rows() -> Iterator[list[str]]:
    """A row for each model, in milliseconds."""
    for path in model_files():
        imported, first, times = seconds(path)
        cells = imported, first, statistics.median(times), max(times)
        yield [path.stem, *(f"{1000 * cell:,.0f}" for cell in cells)]


HEADER = ["model", "import, ms", "first point", "further points, median", "worst"]
