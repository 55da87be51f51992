"""Verilog to gates of a cell library."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hwgen.cache import cached
from hwgen.cost.gates import Netlist
from hwgen.cost.liberty import Library
from hwgen.synth.library import DELAY, SIZING
from hwgen.synth.yosys import LIBRARY, NETLIST, run_yosys, version


def gate_netlist(
    sources: Mapping[str, str], top: str, library: Library, delay: int = DELAY
) -> Netlist:
    """The gates of a module, from its Verilog and memory files by name; `delay` in ps is what ABC
    aims at. Kept in the cache. Raises `ToolError`."""
    commands = [
        f"read_verilog {' '.join(name for name in sources if name.endswith('.v'))}",
        f"synth -flatten -top {top}",
        f"dfflibmap -liberty {LIBRARY}",
        f"abc -liberty {LIBRARY} -D {delay} -script +{SIZING}",
        "setundef -zero",
        "opt_clean -purge",
        f"write_json {NETLIST}",
    ]

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            for name, text in sources.items():
                (work / name).write_text(text)
            run_yosys(commands, work, library.path)
            (folder / NETLIST).write_bytes((work / NETLIST).read_bytes())

    own = {"commands": "\n".join(commands), "yosys": version()}
    digest = hashlib.sha256(library.path.read_bytes()).hexdigest()
    folder = cached({**sources, **own, "library": digest}, make)
    return Netlist(library, json.loads((folder / NETLIST).read_text())["modules"][top])
