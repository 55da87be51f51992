"""Place and route with nextpnr: the clock a netlist reaches, and what it takes of a device."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hwgen.cache import cached
from hwgen.errors import ConfigError, ToolError
from hwgen.synth.targets import TARGETS, Target
from hwgen.synth.yosys import Progress, quiet

LIMIT = 1800  # seconds
FREQUENCY = 100  # MHz, what the router aims at
USED = re.compile(r"^Info:\s+(\w+): +(\d+)/ *(\d+) +\d+%", re.MULTILINE)
PLACELESS = {"DUMMY_CELL"}  # Gowin's, of which there is none
STEP = re.compile(r"Info: (Pack|Plac|Running|Routing|Creating|Setting|.*[Rr]outer)")
REPORT, LOG = "report.json", "nextpnr.log"


class DoesNotFitError(ToolError):
    """A design that is larger than the device. `over`: (used, there are) by resource."""

    def __init__(self, device: str, over: Mapping[str, tuple[int, int]], message: str) -> None:
        super().__init__(message)
        self.device, self.over = device, dict(over)


@dataclass(frozen=True)
class Placed:
    """`fmax`: MHz after routing. `utilisation`: (used, there are) by resource. `tool`: nextpnr's
    name and version."""

    fmax: float
    utilisation: dict[str, tuple[int, int]]
    tool: str


def tool_version(target: Target) -> str:
    """Of the target's nextpnr; raises `ConfigError` where there is none, `ToolError` where it is
    missing."""
    if not target.tool:
        able = ", ".join(t.name for t in TARGETS.values() if t.tool)
        raise ConfigError(f"{target.name} can't be placed with open tools; those that can: {able}")
    if importlib.util.find_spec(target.tool.replace("-", "_")) is None:
        raise ToolError(
            f"{target.tool} is missing: pip install {target.tool}, or pip install 'hwgen[synth]'"
        )
    return metadata.version(target.tool)


def place(
    netlist: Path,
    top: str,
    target: Target,
    device: str | None = None,
    limit: float | None = None,
    progress: Progress = quiet,
) -> Placed:
    """Place and route a netlist in JSON without pins, in at most `limit` seconds.

    Raises `DoesNotFitError`, `ToolError`.
    """
    version = tool_version(target)
    name, chip = target.device(device)
    assert chip is not None
    text = json.dumps(without_pins(json.loads(netlist.read_text()), top), separators=(",", ":"))
    command = [*chip.options, "--json", "design.json", "--report", REPORT]
    command += ["--freq", str(FREQUENCY), "--timing-allow-fail"]

    def make(folder: Path) -> None:
        (folder / "design.json").write_text(text)
        log = _run(target, command, folder, LIMIT if limit is None else limit, progress)
        (folder / LOG).write_text(log)
        (folder / "design.json").unlink()

    try:
        folder = cached({"netlist": text, "options": " ".join(command), target.tool: version}, make)
    except _FailedError as failed:
        raise _explain(failed.log, f"{target.name} {name}") from None
    return _placed(folder, target, version)


def route(
    netlist: Path,
    target: Target,
    options: Sequence[str],
    files: Mapping[str, str],
    device: str,
    limit: float | None = None,
    progress: Progress = quiet,
) -> tuple[Placed, Path]:
    """Place and route a netlist with its pins; the folder with what nextpnr wrote.

    `options` name the chip, `files` (constraints, by name) and results; `device` is what messages
    call it. Raises `DoesNotFitError`, `ToolError`.
    """
    version = tool_version(target)
    text = netlist.read_text()
    command = [*options, "--json", "design.json", "--report", REPORT, "--timing-allow-fail"]

    def make(folder: Path) -> None:
        for name, content in {**files, "design.json": text}.items():
            (folder / name).write_text(content)
        log = _run(target, command, folder, LIMIT if limit is None else limit, progress)
        (folder / LOG).write_text(log)
        (folder / "design.json").unlink()

    key = {**files, "netlist": text, "options": " ".join(command), target.tool: version}
    try:
        folder = cached(key, make)
    except _FailedError as failed:
        raise _explain(failed.log, device) from None
    return _placed(folder, target, version), folder


def _placed(folder: Path, target: Target, version: str) -> Placed:
    report = json.loads((folder / REPORT).read_text())
    kinds = report["utilization"].items()
    used = {
        kind: (u["used"], u["available"]) for kind, u in kinds if u["used"] and u["available"] > 1
    }
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    if not clocks:
        raise ToolError(f"{target.tool} found no path between registers to time")
    return Placed(min(clocks), used, f"{target.tool} {version}")


def without_pins(design: dict, top: str) -> dict:
    """The netlist as a block inside a larger design: without ports nextpnr adds no pads.

    Nexus' carry chains begin with a constant, which nextpnr wants open.
    """
    module = design["modules"][top]
    module["ports"] = {}
    cells = module["cells"].values()
    fixed = {"0", "1", "x"}
    fixed |= {c["connections"]["Z"][0] for c in cells if c["type"] in ("VLO", "VHI")}
    for cell in cells:
        if cell["type"] == "CCU2" and cell["connections"].get("CIN", [None])[0] in fixed:
            del cell["connections"]["CIN"], cell["port_directions"]["CIN"]
    return {**design, "modules": {top: module}}


class _FailedError(Exception):
    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log


def _run(target: Target, command: list[str], folder: Path, limit: float, progress: Progress) -> str:
    """What nextpnr printed; it sees no folder but the one it runs in."""
    package = target.tool.replace("-", "_")
    entry = package.removeprefix("yowasp_")
    code = f"import sys, {package}; sys.exit({package}.run_{entry}(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(limit, stop)
    timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if not line.strip() and _over("".join(lines)):
                process.kill()  # it would try for long
            if STEP.match(line):
                progress(line.removeprefix("Info: ").strip().rstrip(".:"), 0, 0)
        status = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
    if late.is_set():
        raise ToolError(
            f"{target.tool} took longer than {limit:g} s: give more time with --limit (in Python "
            "limit=), or fold the design further"
        )
    if status:
        raise _FailedError("".join(lines))
    return "".join(lines)


def _over(log: str) -> dict[str, tuple[int, int]]:
    """What a log says there is too little of: (used, there are)."""
    found = {kind: (int(used), int(there)) for kind, used, there in USED.findall(log)}
    return {k: (used, n) for k, (used, n) in found.items() if used > n and k not in PLACELESS}


def _explain(log: str, device: str) -> ToolError:
    """What a failed run's log says: too large, or something else."""
    if over := _over(log):
        excess = (f"{kind} {u:,} of {n:,}, {u - n:,} too many" for kind, (u, n) in over.items())
        message = f"the design does not fit {device}: {'; '.join(excess)}"
        return DoesNotFitError(device, over, message)
    lines = log.splitlines() or ["no message"]
    wrong = next((line for line in lines if line.startswith("ERROR")), lines[-1])
    return ToolError(f"nextpnr failed: {wrong.removeprefix('ERROR: ')}")
