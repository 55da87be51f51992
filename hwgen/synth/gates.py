"""Verilog to gates of a cell library."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwgen.cost.gates import Netlist
from hwgen.cost.liberty import Library
from hwgen.errors import ToolError

DELAY = 8000  # ABC's target in picoseconds
# Yosys' own script for ABC picks no cells by their drive; this one resizes them for the delay.
SIZING = (
    "strash;&get,-n;&fraig,-x;&put;scorr;dc2;dch,-f;map,-B,0.9,{D};topo;buffer,-c;"
    "upsize,{D};dnsize,{D}"
)


def gate_netlist(
    sources: Mapping[str, str], top: str, library: Library, delay: int = DELAY
) -> Netlist:
    """The gates of a module, from its Verilog and memory files by name; `delay` in ps is what ABC
    aims at. Raises `ToolError`."""
    liberty = library.path.absolute()
    commands = [
        f"read_verilog {' '.join(name for name in sources if name.endswith('.v'))}",
        f"synth -flatten -top {top}",
        f"dfflibmap -liberty {liberty}",
        f"abc -liberty {liberty} -D {delay} -script +{SIZING}",
        "setundef -zero",
        "opt_clean -purge",
        "write_json netlist.json",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in sources.items():
            (folder / name).write_text(text)
        run_yosys(commands, folder)
        design = json.loads((folder / "netlist.json").read_text())
    return Netlist(library, design["modules"][top])


def run_yosys(commands: Sequence[str], folder: Path) -> str:
    """Yosys commands one after another, in their own process, which a failing Yosys ends; what
    they print."""
    script = "from pyosys import libyosys as ys\nd = ys.Design()\n"
    script += "".join(f"ys.run_pass({command!r}, d)\n" for command in commands)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    if "No module named 'pyosys'" in run.stderr:
        raise ToolError("Yosys is missing: pip install pyosys")
    if run.returncode:
        lines = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        wrong = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "")
        raise ToolError(f"Yosys failed: {wrong}")
    return run.stdout
