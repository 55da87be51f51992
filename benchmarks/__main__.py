"""Prints the tables of docs/figures.md: speed of building and simulating, area and clock.

Every figure is of one run on one machine; compare ratios. Models are the shipped ones and the QDQ
models of the folder $HWGEN_MODELS, if it is set.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

import hwgen
from benchmarks import attention, levels, points, softmax, units
from hwgen.design import bundle_of
from hwgen.engines import fast
from hwgen.engines import run as run_engine
from hwgen.golden.host import encode
from tests.conftest import SHIPPED, model_files

CYCLES = 400_000  # simulated, so that starting up does not count
REPEATS = 3  # in turns; the ratio is the median's


def table(title: str, header: list[str], rows: Iterable[list[str]]) -> None:
    """A Markdown table."""
    print(f"\n## {title}\n")
    for row in chain((header, ["-"] * len(header)), rows):  # each as soon as it is there
        print(f"| {' | '.join(row)} |", flush=True)


def build_times(path: Path) -> list[str]:
    """`hwgen build` as a process: seconds and peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "hwgen.cli", "build", str(path), "-o", f"{scratch}/design"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        lines = sum(len(f.read_text().splitlines()) for f in Path(scratch).glob("design/*.v"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return [f"{seconds:.1f} s", f"{lines:,}", f"{peak / 1024:.0f} MB"]


def simulation(path: Path) -> list[str]:
    """Simulator build, and cycles per second of the fast engine against a bare Verilator loop."""
    with np.load(path.with_suffix(".npz")) as data:
        inputs = data["inputs"]
    design = hwgen.compile(path)
    bundle = bundle_of(design.graph, design.sources)
    start = time.perf_counter()
    folder = fast.build(bundle)
    built = time.perf_counter() - start
    samples = -(-CYCLES // design.predicted.interval)
    codes = encode(design.graph, np.resize(inputs, (samples, *inputs.shape[1:])))
    library = ctypes.CDLL(str(folder / fast.LIBRARY))
    before = Path.cwd()
    words = (ctypes.c_int64 * len(bundle.inputs))(*(port.words for port in bundle.inputs))
    ours, bare = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = run_engine(bundle, codes, watchdog=1_000_000)
        ours.append(result.cycles / (time.perf_counter() - start))
        os.chdir(folder)  # where its memory files are
        start = time.perf_counter()
        library.hwgen_bare(ctypes.c_int64(result.cycles), words)
        bare.append(result.cycles / (time.perf_counter() - start))
        os.chdir(before)
    ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
    figures = [f"{design.predicted.interval:,}", f"{result.interval:,}", f"{built:.0f} s"]
    return [*figures, f"{max(ours):,.0f}", f"{max(bare):,.0f}", f"{ratio:.2f}"]


def area(path: Path, cycles: int, clock: bool) -> list[str]:
    """Cells of a folded design on both flows, and its clock on an ECP5-85F."""
    design = hwgen.compile(path, cycles=cycles)
    both = [
        design.synthesize("xcup", whole=True),
        design.synthesize("ecp5", whole=True, place=clock),
    ]
    found = [" / ".join(f"{n:,}" for n in (f.lut, f.ff, f.dsp, f.bram)) for f in both]
    megahertz = f"{both[1].fmax_mhz:.0f} MHz" if clock else "-"
    return [path.stem, f"{design.predicted.interval:,}", *found, megahertz]


def arithmetic() -> None:
    """Tables of arithmetic units."""
    table(
        "Arithmetic units: LUTs without DSP blocks",
        ["unit", "xcup", "goal", "public RTL", "ecp5"],
        units.sizes(),
    )
    if "HWGEN_LIBERTY" not in os.environ:
        print("\nHWGEN_LIBERTY names no cell library: no gates.")
        return
    table(
        "Approximate normalization in gates: area in um2, delay",
        ["unit", "zeros counted", "anticipated", "an-1-2", "area", "area times delay"],
        units.normalization(),
    )


def softmaxes() -> None:
    """Softmax against float64."""
    table("Softmax: of 200 rows", softmax.HEADER, softmax.rows())


def attentions() -> None:
    """Attention against length and window, and of 512 lanes."""
    rows = list(attention.scaling())
    text = [[f"{value:,}" if value else "-" for value in row] for row in rows]
    table("Attention: one head of 64 elements, 16 lanes", attention.SCALING, text)
    attention.draw(rows)
    table("Attention: 512 lanes, one head of 64 elements", attention.WIDE, attention.wide())


def design_points() -> None:
    """Speed of estimates."""
    table("Points of folding, estimated", points.HEADER, points.rows())


def side_by_side() -> None:
    """What is modelled, synthesized and simulated."""
    designs = list(levels.designs())
    for target in levels.COLUMNS:
        if target != "asic" or os.environ.get("HWGEN_LIBERTY"):
            table(
                f"Modelled / found: {target}", levels.header(target), levels.levels(target, designs)
            )


def other_tools() -> None:
    """The networks that other tools were measured with."""
    table("Handwritten digits in 8 bits", levels.PEERS, levels.peers())


ALONE = {
    "points": design_points,
    "levels": side_by_side,
    "peers": other_tools,
    "units": arithmetic,
    "softmax": softmaxes,
    "attention": attentions,
}


def main() -> None:
    """All tables, or those that an argument names."""
    if len(sys.argv) > 1:
        for name in sys.argv[1:]:
            ALONE[name]()
        return
    models = model_files()
    table(
        "Building",
        ["model", "`hwgen build`", "Verilog lines", "peak memory so far"],
        [[path.stem, *build_times(path)] for path in models],
    )
    table(
        "Simulating",
        [
            *("model", "cycles per inference, predicted", "simulated", "simulator build"),
            *("fast engine, cycles/s", "bare loop, cycles/s", "ratio (median of 3)"),
        ],
        [[path.stem, *simulation(path)] for path in models],
    )
    sizes = [("digits_mlp", 4096), ("digits_mlp", 2048), ("digits_mlp", 512)]
    sizes += [("digits_cnn", 18432), ("digits_cnn", 4608), ("digits_cnn", 1024)]
    table(
        "Area: LUT / FF / DSP / block RAM",
        ["model", "cycles per inference", "xcup", "ecp5", "ECP5-85F clock"],
        [area(SHIPPED / f"{name}.onnx", cycles, cycles > 2000) for name, cycles in sizes],
    )
    for part in ALONE.values():
        part()


if __name__ == "__main__":
    main()
