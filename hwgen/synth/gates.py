"""Verilog to gates of a cell library."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hwgen.cost.gates import Netlist
from hwgen.cost.liberty import Library
from hwgen.synth.library import DELAY, SIZING
from hwgen.synth.yosys import run_yosys


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
