"""A design's Verilog in parts that are synthesized one by one: the units, and what joins them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hwgen.errors import ToolError

MODULE = re.compile(r"^module +\\?([^\s(;]+).*?^endmodule$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"[\w$.]+")  # names of parts of units have dots
INSTANCE = re.compile(r"^  ([A-Za-z_]\w*) \\?([\w$]+) +\($", re.MULTILINE)  # of a unit
FILE = re.compile(r'"([^"\s]+\.hex)"')
# Yosys counts these through all modules: one more would change the text of all that follow.
COUNTER = re.compile(r"(verilog_backend\.cc:)\d+(:dump_module\$)\d+")
BOX = "_box"
PORT = re.compile(r"^\s*(?:input|output) .*;$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A module with all it needs: the Verilog of each module, and memory files by name."""

    module: str
    modules: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def size(self) -> int:
        """Characters of Verilog."""
        return sum(map(len, self.modules))


@dataclass(frozen=True)
class Parts:
    """`units`: parts by module; `instances`: the module of each instance in the top; `glue`: the
    top itself, with black boxes for its units."""

    units: dict[str, Part]
    instances: dict[str, str]
    glue: Part


def split(sources: Mapping[str, str], top: str) -> Parts:
    """The parts of a design's sources."""
    text = "\n".join(content for name, content in sources.items() if name.endswith(".v"))
    text = COUNTER.sub(r"\1\2", text)
    modules = {match[1]: match[0] for match in MODULE.finditer(text)}
    if top not in modules:
        raise ToolError(f"the Verilog has no module {top}")
    memories = {name: content for name, content in sources.items() if not name.endswith(".v")}
    instances = {}
    for match in INSTANCE.finditer(modules[top]):
        if match[1] in modules:
            instances[match[2]] = match[1]
    units = {name: part(name, modules, memories) for name in dict.fromkeys(instances.values())}
    return Parts(units, instances, _glue(top, modules, units))


def part(module: str, modules: Mapping[str, str], memories: Mapping[str, str]) -> Part:
    """A module with those that it instantiates, each once."""
    needed, found = [module], {}
    while needed:
        name = needed.pop()
        if name not in found:
            found[name] = modules[name]
            needed += [word for word in set(WORD.findall(modules[name])) if word in modules]
    texts = tuple(found[name] for name in sorted(found))
    named = {name for text in texts for name in FILE.findall(text)}
    return Part(module, texts, {name: memories[name] for name in sorted(named & {*memories})})


def _glue(top: str, modules: Mapping[str, str], units: Mapping[str, Part]) -> Part:
    """The top, whose units are boxes of other names: they may be read beside the units."""
    text, boxes = modules[top], []
    for name in units:
        unit = modules[name]
        header = unit[: unit.index(";") + 1]
        ports = PORT.findall(unit[len(header) :])
        box = ["(* blackbox *)", header.replace(name, f"{name}{BOX}", 1), *ports, "endmodule"]
        boxes.append("\n".join(box))
        text = re.sub(rf"^  {name} ", f"  {name}{BOX} ", text, flags=re.MULTILINE)
    return Part(top, (text, *boxes), {})
