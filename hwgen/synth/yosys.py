"""Runs of Yosys: modules to cells, several in one process, each counted on its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from os import cpu_count
from pathlib import Path

from hwgen.cache import cached, place
from hwgen.errors import ToolError
from hwgen.synth.modules import Part

Progress = Callable[[str, int, int], None]  # what, done, of
BATCH = "hwgen_batch"
LIBRARY = "library.lib"
CELLS, NETLIST = "cells.json", "netlist.json"
TOGETHER = 10  # modules in one process at most: reading a family's cells takes as long as a few


def quiet(_what: str, _done: int, _total: int) -> None:
    """No progress."""


@dataclass(frozen=True)
class Flow:
    """Yosys commands from Verilog to cells: `commands` with TOP in them, then `each` with MODULE
    for every module, its output kept in a log; `stat`: options that count the cells. `files`: what
    the commands read, name and text; `library`: a file that they call LIBRARY, `digest` of its
    content."""

    commands: tuple[str, ...]
    each: str = ""
    stat: str = "-json"
    files: tuple[tuple[str, str], ...] = ()
    library: Path | None = None
    digest: str = ""


@dataclass(frozen=True)
class Cells:
    """What a module became: cells by type, their area where cells have one, and the log."""

    cells: dict[str, int]
    area: float | None
    log: str


@cache
def version() -> str:
    """Of Yosys; raises `ToolError`."""
    if importlib.util.find_spec("pyosys") is None:
        raise ToolError("Yosys is missing: pip install pyosys, or pip install 'hwgen[synth]'")
    return metadata.version("pyosys")


def run_yosys(commands: Sequence[str], folder: Path, library: Path | None = None) -> str:
    """Yosys commands one after another, in their own process, which a failing Yosys ends; what they
    print. `library` is LIBRARY in the folder. Raises `ToolError`."""
    version()
    if library is not None:
        (folder / LIBRARY).symlink_to(library.absolute())
    script = "from pyosys import libyosys as ys\nd = ys.Design()\n"
    script += "".join(f"ys.run_pass({command!r}, d)\n" for command in commands)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    if run.returncode:
        logs = [path.read_text() for path in sorted(folder.glob("*.log"))]
        lines = [x for x in "\n".join([run.stdout, run.stderr, *logs]).splitlines() if x.strip()]
        wrong = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "killed")
        raise ToolError(f"Yosys failed: {wrong.removeprefix('ERROR: ')}")
    return run.stdout


def whole(sources: Mapping[str, str], top: str, flow: Flow) -> tuple[Cells, Path]:
    """A design made flat: its cells, and the folder with its netlist in JSON."""

    def make(folder: Path) -> None:
        files = _write({**sources, **dict(flow.files)}, folder)
        last = [f"tee -q -o stat.json stat {flow.stat}", f"write_json {NETLIST}"]
        run_yosys([*_commands(flow, files, top, [top]), *last], folder, flow.library)
        _keep(folder, folder, "design", 0)
        for path in folder.iterdir():
            if path.name not in (CELLS, NETLIST):
                path.unlink()

    folder = cached({**sources, "top": top, **_key(flow), "netlist": "1"}, make)
    return _read(folder), folder


def parts(
    wanted: Mapping[str, Part], flow: Flow, jobs: int | None = None, progress: Progress = quiet
) -> dict[str, Cells]:
    """The cells of each part. What is not in the cache is synthesized, `jobs` processes at once.

    Modules that share a process keep their hierarchy, so that each becomes what it would alone, but
    for a few lookup tables: some passes go by the order in which names came up.
    """
    version()
    keys = {name: _part_key(part, flow) for name, part in wanted.items()}
    missing = {name: part for name, part in wanted.items() if not place(keys[name]).is_dir()}
    jobs = jobs or cpu_count() or 1
    batches = _batches(missing)
    done = len(wanted) - len(missing)
    progress("", done, len(wanted))
    with ThreadPoolExecutor(jobs) as pool:
        runs = [(batch, pool.submit(_batch, batch, flow, keys)) for batch in batches]
        try:
            for batch, run in runs:
                run.result()
                done += len(batch)
                progress(", ".join(batch), done, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: _read(place(key)) for name, key in keys.items()}


def _batches(missing: Mapping[str, Part]) -> list[dict[str, Part]]:
    """Modules in groups of about the same length of text, the longest first; the same groups on
    any machine."""
    count = -(-len(missing) // TOGETHER)
    batches: list[dict[str, Part]] = [{} for _ in range(count)]
    sizes = [0] * count
    for name, part in sorted(missing.items(), key=lambda item: -item[1].size):
        least = min((k for k in range(count) if len(batches[k]) < TOGETHER), key=lambda k: sizes[k])
        batches[least][name] = part
        sizes[least] += part.size
    return batches


def _batch(batch: Mapping[str, Part], flow: Flow, keys: Mapping[str, Mapping[str, str]]) -> None:
    """Synthesize some modules in one process, and keep what each became."""
    names = [part.module for part in batch.values()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Modules may share others: each text once.
        texts = "\n".join(dict.fromkeys(text for p in batch.values() for text in p.modules))
        instances = "\n".join(f"  (* keep *) {name} u{k} ();" for k, name in enumerate(names))
        files = {name: text for p in batch.values() for name, text in p.files.items()}
        files |= dict(flow.files)
        files["batch.v"] = f"{texts}\nmodule {BATCH};\n{instances}\nendmodule\n"
        commands = _commands(flow, _write(files, folder), BATCH, names)
        run_yosys([*commands, f"tee -q -o stat.json stat {flow.stat}"], folder, flow.library)
        for k, (name, part) in enumerate(batch.items()):
            cached(keys[name], partial(_keep, folder, module=part.module, number=k))


def _commands(flow: Flow, files: str, top: str, modules: Sequence[str]) -> list[str]:
    keep = f"setattr -mod -set keep_hierarchy 1 {' '.join(modules)}"
    common = [
        f"read_verilog {files}",
        *([keep] if top == BATCH else []),
        *(command.replace("TOP", top) for command in flow.commands),
    ]
    return [
        *(f"tee -a yosys.log {command}" for command in common),
        *(
            f"tee -q -o {k}.log {flow.each.replace('MODULE', module)}"
            for k, module in enumerate(modules)
            if flow.each
        ),
    ]


def _write(sources: Mapping[str, str], folder: Path) -> str:
    for name, text in sources.items():
        (folder / name).write_text(text)
    return " ".join(name for name in sources if name.endswith(".v"))


def _keep(run: Path, to: Path, module: str, number: int) -> None:
    """Write a module's cells of a run; `design` is all of them."""
    stat = json.loads((run / "stat.json").read_text())
    found = stat["design"] if module == "design" else stat["modules"][f"\\{module}"]
    cells = {cell: n for cell, n in found["num_cells_by_type"].items() if cell != "$scopeinfo"}
    log = run / f"{number}.log"
    text = log.read_text() if log.is_file() else ""
    kept = {"cells": cells, "area": found.get("area"), "log": text}
    (to / CELLS).write_text(json.dumps(kept))


def _read(folder: Path) -> Cells:
    return Cells(**json.loads((folder / CELLS).read_text()))


def _key(flow: Flow) -> dict[str, str]:
    return {"flow": repr(replace(flow, library=None)), "yosys": version()}


def _part_key(part: Part, flow: Flow) -> dict[str, str]:
    own = {"module": part.module, "text": "\n".join(part.modules)}
    return {**part.files, **own, **_key(flow)}
