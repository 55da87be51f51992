"""Attention against the length of a sequence and the window, and wide units beside SWAT's: part of
`make bench`, alone `python -m benchmarks attention`; writes docs/attention_scaling.svg.

One head of 64 elements. Seconds are those of processors.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hwgen import engines, golden
from hwgen.cost.schedule import interval
from hwgen.design import bundle_of
from hwgen.emit.verilog import unit_sources, verilog
from hwgen.engines import fast
from hwgen.formats import Float, encode
from hwgen.ir import Attention, Graph
from hwgen.rtl.build import build
from hwgen.synth import TARGETS
from hwgen.synth.yosys import Flow, whole
from tests.rtl.attention_graphs import sliding
from tests.verilog import lines, memory_bits

DEPTH = 64  # elements of the head
LANES = 16  # keys at once, where sizes are compared
# Not flat: a lane is synthesized once.
FLOW = Flow(("synth_xilinx -family xcup -noiopad -noclkbuf -top TOP",))
LENGTHS = [128 << k for k in range(8)]
WINDOWS = [16 << k for k in range(6)]
SIMULATED = 1024  # longer sequences are not simulated
PICTURE = Path(__file__).parent.parent / "docs" / "attention_scaling.svg"


def one(graph: Graph) -> dict[str, str]:
    """The sources of the graph's attention, whose module is `attention`."""
    node = next(n for n in graph.nodes if isinstance(n, Attention))
    return unit_sources(build(node, graph), "attention")


def simulated(graph: Graph) -> int:
    """Cycles per sequence of normal random numbers in simulation, whose results are those of the
    golden model."""
    rng = np.random.default_rng(0)
    codes = {}
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        x = np.clip(rng.normal(0, 1, (2, tensor.elements)), -3.9, 3.9)
        floats = isinstance(tensor.fmt, Float)
        step = 4.0 / (tensor.fmt.max + 1)
        codes[port.name] = encode(tensor.fmt, x) if floats else np.rint(x / step).astype(np.int64)
    result = engines.run(bundle_of(graph), codes, watchdog=4 * interval(graph) + 1000)
    for name, expected in golden.run(graph, codes).items():
        np.testing.assert_array_equal(result.codes[name], expected)
    return int(result.interval)


def cells(sources: dict[str, str]) -> dict[str, int]:
    """What Yosys makes of a unit for a Xilinx UltraScale+."""
    found, _ = whole(sources, "attention", FLOW)
    return TARGETS["xcup"].counts(found.cells)


# --- scaling -------------------------------------------------------------------------------------

SCALING = ["rows", "window", "cycles", "simulated", "memory bits", "with queues", "LUT", "BRAM"]
SCALING += ["naive: cycles", "memory bits"]


def naive(rows: int) -> tuple[int, int]:
    """Cycles and memory bits of a design that stores all scores: both matrix products take N**2 * d
    products each, by as many multipliers; N**2 scores and 2 * N * d keys and values of a byte."""
    return 2 * rows * rows * DEPTH // (2 * LANES), 8 * (rows * rows + 2 * rows * DEPTH)


def scaling() -> Iterator[list[int]]:
    """Rows of SCALING; 0 where nothing was simulated."""
    for rows, window in [(n, 64) for n in LENGTHS] + [(4096, w) for w in WINDOWS]:
        graph = sliding(rows, window, DEPTH, LANES)
        sources = one(graph)
        found = cells(sources)
        yield [
            *(rows, window, interval(graph)),
            simulated(graph) if rows <= SIMULATED else 0,
            memory_bits(sources, "attention"),
            memory_bits(verilog(graph), graph.name),
            *(found["lut"], found["bram"], *naive(rows)),
        ]


def draw(rows: list[list[int]]) -> None:
    """Cycles and memory bits against length and window, as docs/attention_scaling.svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    mpl.rcParams |= {"svg.hashsalt": "hwgen", "svg.fonttype": "none"}  # always the same, and small
    figure = Figure((9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    sides = (
        (0, rows[: len(LENGTHS)], "rows of the sequence (a window of 64 keys)"),
        (1, rows[len(LENGTHS) :], "keys of the window (4,096 rows)"),
    )
    for line, (own, other, title) in enumerate(((2, 8, "cycles"), (4, 9, "bits of memory"))):
        for column, (place, points, label) in enumerate(sides):
            ax = axes[line, column]
            x = [point[place] for point in points]
            ax.plot(x, [p[other] for p in points], "s--", color="#b44", label="all scores stored")
            ax.plot(x, [p[own] for p in points], "o-", color="#26a", label="generated unit")
            ax.set_xscale("log", base=2)
            ax.set_yscale("log", base=10)
            ax.set_xticks(x, [f"{n:,}" for n in x])
            ax.yaxis.set_major_formatter(FuncFormatter(_short))
            ax.grid(alpha=0.3)
            if line:
                ax.set_xlabel(label)
        axes[line, 0].set_ylabel(title)
    axes[0, 0].legend()
    figure.savefig(PICTURE, metadata={"Date": None})


def _short(value: float, _place: int) -> str:
    """1,000,000 as 1 M."""
    scales = ((9, "G"), (6, "M"), (3, "k"))
    power, prefix = next((s for s in scales if value >= 10 ** s[0]), (0, ""))
    return f"{value / 10**power:g} {prefix}"


# --- wide units ----------------------------------------------------------------------------------

ROWS = 1024
KINDS = ("window int8", "window int16", "window fp16", "leading int8", "random int8")
WIDE = ["keys of a row", "cycles of a row", "of 1,024 rows, predicted", "simulated"]
WIDE += ["LUT / FF / DSP / BRAM", "memory bits", "Verilog lines"]
WIDE += ["generated", "simulator built", "synthesized"]


def random_keys() -> np.ndarray:
    """What each row attends to: 192 keys around it, the first 128 and 192 random others."""
    rng = np.random.default_rng(0)
    ahead = np.arange(ROWS) - np.arange(ROWS)[:, None]
    allowed = (ahead >= -96) & (ahead < 96) | (np.arange(ROWS) < 128)
    for row in allowed:
        row[rng.choice(np.flatnonzero(~row), 192, replace=False)] = True
    return allowed


def graph_of(kind: str, rows: int = ROWS) -> Graph:
    """512 lanes: a window of 512, one of 384 and the first 128 keys, or `random_keys`."""
    sight, arithmetic = kind.split()
    allowed = random_keys() if sight == "random" else None
    leading = 128 if sight == "leading" else 0
    return sliding(rows, 512 - leading, DEPTH, 512, arithmetic, leading, allowed)


def wide() -> Iterator[list[str]]:
    """Rows of WIDE."""
    for kind in KINDS:
        sources, *generated = measured(_sources, kind)
        cycles = interval(graph_of(kind))
        node = next(n for n in graph_of(kind).nodes if isinstance(n, Attention))
        steady = len(node.visits(ROWS - 1, 0, ROWS)) * DEPTH
        with tempfile.TemporaryDirectory() as cache:
            _, *built = measured(_simulator, kind, cache)
            ran, *_ = measured(_simulation, kind, cache)
            found, *synthesized = measured(_cells, sources, cache)
        yield [
            kind,
            *(f"{n:,}" for n in (steady, cycles, ran)),
            " / ".join(f"{n:,}" for n in found.values()),
            f"{memory_bits(sources, 'attention'):,}",
            f"{lines(sources):,}",
            *(f"{s:.0f} s, {mb:.0f} MB" for s, mb in (generated, built, synthesized)),
        ]


def _sources(kind: str) -> dict[str, str]:
    return one(graph_of(kind))


def _simulator(kind: str, cache: str) -> None:
    os.environ["HWGEN_CACHE"] = cache
    fast.build(bundle_of(graph_of(kind)))


def _simulation(kind: str, cache: str) -> int:
    os.environ["HWGEN_CACHE"] = cache
    return simulated(graph_of(kind))


def _cells(sources: dict[str, str], cache: str) -> dict[str, int]:
    os.environ["HWGEN_CACHE"] = cache
    return cells(sources)


def measured(work: Callable, *arguments) -> tuple:
    """What a function gives in a process of its own; seconds of processors and the most memory that
    this process or one of its children takes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work, arguments).result()


def _measured(work: Callable, arguments: tuple) -> tuple:
    made = work(*arguments)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(u.ru_utime + u.ru_stime for u in used)
    return made, seconds, max(u.ru_maxrss for u in used) / 1024
