"""Gates of a cell library: the flow, and what it gives."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from hwgen.cost.liberty import Library, read_liberty
from hwgen.errors import ConfigError
from hwgen.synth.yosys import LIBRARY, Cells, Flow

DELAY = 8000  # ABC's target in picoseconds
# Yosys' own script for ABC picks no cells by their drive; this one resizes them for the delay.
SIZING = (
    "strash;&get,-n;&fraig,-x;&put;scorr;dc2;dch,-f;map,-B,0.9,{D};topo;buffer,-c;"
    "upsize,{D};dnsize,{D}"
)
# Debian's package of an open 180 nm library.
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
PACKAGE = "qflow-tech-osu018"


def find_liberty(given: str | Path | None) -> Library:
    """The library of a file, or Debian's where none is given; raises `ConfigError`."""
    if given is None and not OSU018.is_file():
        raise ConfigError(
            f"gates need a cell library: give one with --liberty FILE (in Python liberty=), or on "
            f"Debian: apt install {PACKAGE}"
        )
    library = read_liberty(given or OSU018)
    library.check(power=False)
    return library


def fast_flow(library: Library) -> Flow:
    """Combinational Verilog to gates of the least delay that can be had, by Yosys' own script for
    ABC, which needs a driver of the inputs and a load of the outputs."""
    buffers = [name for name in library.cells if "buf" in name.lower()]
    if not buffers:
        raise ConfigError(f"{library.path}: no cell is named like a buffer")
    driver = next((name for name in buffers if name.endswith("_2")), buffers[0])
    flow = gate_flow(library)
    constraints = ("abc.constr", f"set_driving_cell {driver}\nset_load 10.0\n")
    fast = f"abc -liberty {LIBRARY} -constr abc.constr -D 1 MODULE"
    return replace(flow, commands=flow.commands[:1], each=fast, files=(constraints,))


def gate_flow(library: Library, delay: int = DELAY) -> Flow:
    """Verilog to gates; memories become flip-flops and gates."""
    if delay < 1:
        raise ConfigError(f"delay must be a number of picoseconds above 0, not {delay}")
    return Flow(
        ("synth -flatten -top TOP", f"dfflibmap -liberty {LIBRARY}"),
        f"abc -liberty {LIBRARY} -D {delay} -script +{SIZING};stime,-p MODULE",
        f"-json -liberty {LIBRARY}",
        library=library.path.absolute(),
        digest=hashlib.sha256(library.path.read_bytes()).hexdigest(),
    )


def gate_counts(found: Cells, library: Library) -> dict:
    """Flip-flops, area and the longest path between registers, without their own delays."""
    flops = {name for name, cell in library.cells.items() if cell.flop}
    delays = re.findall(r"Delay = *([\d.]+) ps", found.log)
    return {
        "ff": sum(n for cell, n in found.cells.items() if cell in flops),
        "area_um2": round(found.area or 0.0, 4),
        "delay_ps": float(delays[-1]) if delays else 0.0,
    }
