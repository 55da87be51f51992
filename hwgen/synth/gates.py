"""Verilog to netlists of a cell library's gates: a module flat, or a design unit by unit."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

from hwgen.cache import cached
from hwgen.cost.classes import ROM
from hwgen.cost.gates import Netlist
from hwgen.cost.liberty import Library
from hwgen.synth.library import DELAY, SIZING
from hwgen.synth.modules import BOX, Part, Parts, split
from hwgen.synth.yosys import LIBRARY, NETLIST, Progress, quiet, run_yosys, version

# They keep a module of their own, so that their gates can be told from others.
APART = (
    "proc",
    "opt_expr",
    "opt_clean",
    "opt_dff",
    "memory -nomap",
    f"setattr -set submod {json.dumps(ROM)} t:$mem_v2 r:WR_PORTS=0 %i",
    "submod",
)


def gate_netlist(
    sources: Mapping[str, str], top: str, library: Library, delay: int = DELAY
) -> Netlist:
    """The gates of a module, from its Verilog and memory files by name; `delay` in ps is what ABC
    aims at. Kept in the cache. Raises `ToolError`."""
    return Netlist(library, _gates(sources, top, library, delay, apart=False))


def design_netlist(
    sources: Mapping[str, str],
    top: str,
    library: Library,
    delay: int = DELAY,
    progress: Progress = quiet,
) -> Netlist:
    """The gates of a whole design, each unit synthesized on its own and kept in the cache. The name
    of a gate is that of its unit's instance in the top ("" for what joins them), a slash, and its
    name there: `part_of` takes it apart."""
    design = split(sources, top)
    wanted = {**design.units, top: design.glue}
    modules: dict[str, dict] = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        runs = {
            name: pool.submit(_gates, _texts(part), name, library, delay, name != top)
            for name, part in wanted.items()
        }
        for name, run in runs.items():
            modules[name] = run.result()
            progress(name, len(modules), len(wanted))
    return Netlist(library, _link(modules, design, top), "aclk")


def part_of(gate: str) -> tuple[str, str]:
    """The unit's instance and the part of it that a gate of `design_netlist` belongs to: ROM, the
    name of a component, or "" for the unit's own logic."""
    instance, _, name = gate.partition("/")
    component, dot, _ = name.removeprefix("$flatten").lstrip("\\").partition(".")
    if not dot or component.startswith("$"):
        return instance, ""
    return instance, ROM if component.endswith(f"_{ROM}") else component


def _texts(part: Part) -> dict[str, str]:
    return {"part.v": "\n".join(part.modules), **part.files}


def _gates(sources: Mapping[str, str], top: str, library: Library, delay: int, apart: bool) -> dict:
    """A module of gates as Yosys writes it in JSON; `apart`: its components and memories are
    synthesized each on its own."""
    commands = [
        f"read_verilog {' '.join(name for name in sources if name.endswith('.v'))}",
        *((f"hierarchy -top {top}", *APART) if apart else ()),
        f"synth {'' if apart else '-flatten '}-top {top}",
        f"dfflibmap -liberty {LIBRARY}",
        f"abc -liberty {LIBRARY} -D {delay} -script +{SIZING}",
        "setundef -zero",
        *(["flatten"] if apart else ()),
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
    return json.loads((folder / NETLIST).read_text())["modules"][top]


def _link(modules: Mapping[str, dict], design: Parts, top: str) -> dict:
    """One module: the top's gates, and in the place of each instance its unit's."""
    outer = modules[top]
    numbers: dict[tuple[str, int], int] = {}
    same: dict[int | str, int | str] = {}  # nets of the top that a unit ties together, or to 0 or 1

    def net(where: str, bit: int | str) -> int | str:
        return bit if isinstance(bit, str) else numbers.setdefault((where, bit), len(numbers) + 2)

    cells: dict[str, dict] = {}
    for name, cell in outer["cells"].items():
        kind = cell["type"].removesuffix(BOX)
        joined = {pin: [net("", b) for b in bits] for pin, bits in cell["connections"].items()}
        if kind not in design.units:
            cells[f"/{name}"] = {"type": kind, "connections": joined}
            continue
        unit = modules[kind]
        known: dict[int | str, int | str] = {"0": "0", "1": "1", "x": "x"}
        ports = sorted(unit["ports"].items(), key=lambda item: item[1]["direction"])
        for port, bound in ports:  # inputs first
            for bit, outside in zip(bound["bits"], joined.get(port, []), strict=False):
                if known.setdefault(bit, outside) != outside:
                    same[outside] = known[bit]
        for inner, gate in unit["cells"].items():
            pins = {
                pin: [known[b] if b in known else net(name, b) for b in bits]
                for pin, bits in gate["connections"].items()
            }
            cells[f"{name}/{inner}"] = {"type": gate["type"], "connections": pins}

    def final(bit: int | str) -> int | str:
        while bit in same:
            bit = same[bit]
        return bit

    for cell in cells.values():
        cell["connections"] = {p: [final(b) for b in v] for p, v in cell["connections"].items()}
    ends = {
        name: {**port, "bits": [final(net("", b)) for b in port["bits"]]}
        for name, port in outer["ports"].items()
    }
    return {"ports": ends, "cells": cells}
