"""The cocotb engine: the testbench that also ships with every design."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from hwgen.engines.bundle import Bundle, Port, Result
from hwgen.engines.tools import cached, check_compiler, environment, shared_python
from hwgen.errors import SimulationError, ToolError

FILES = {
    "run_bench.py": "run_bench.py",
    "stream_bench.py": "stream_bench.py",
    "bench.mk": "Makefile",
    "lint.vlt": "lint.vlt",
    "store/lz4.h": "store/lz4.h",
    "store/zlib.h": "store/zlib.h",
}


def bench_files() -> dict[str, str]:
    """The testbench as it lies in a design's folder."""
    folder = resources.files("hwgen.sim")
    return {name: folder.joinpath(source).read_text() for source, name in FILES.items()}


def simulate(
    bundle: Bundle,
    codes: Mapping[str, np.ndarray],
    ends: np.ndarray,
    stall: int | None,
    wave: Path | None,
    watchdog: int,
) -> Result:
    """Stream a batch through the design; see `hwgen.engines.run`."""
    manifest = {
        "top": bundle.top,
        "files": sorted(bundle.files),
        "inputs": [_port(p) for p in bundle.inputs],
        "outputs": [_port(p) for p in bundle.outputs],
    }
    files = {**bundle.files, **bench_files(), "manifest.json": json.dumps(manifest)}
    waves = [] if wave is None else ["--waves", str(Path(wave).absolute())]

    def make(folder: Path) -> None:
        check_compiler()
        shared_python()
        (folder / "store").mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        status, output = _python(folder, ["build", *waves], {})
        if status:
            lines = [line for line in output.splitlines() if "rror" in line] or ["no message"]
            raise ToolError(f"building the cocotb simulation failed: {lines[0]}")
        for header in folder.glob("sim_build*/*.gch"):  # 150 MB
            header.unlink()

    folder = cached({**files, "waves": str(bool(waves))}, make)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        arrays = {f"in_{k}": codes[p.name] for k, p in enumerate(bundle.inputs)}
        np.savez(work / "vectors.npz", allow_pickle=False, ends=ends, **arrays)
        (work / "manifest.json").write_text(files["manifest.json"])
        variables = {"RECORD": str(work / "record.npz"), "WATCHDOG": str(watchdog)}
        variables["STALL"] = "" if stall is None else str(stall)
        status, output = _python(folder, ["test", "--folder", scratch, *waves], variables)
        if status or not (work / "record.npz").exists():
            raise SimulationError(_reason(output))
        with np.load(work / "record.npz") as record:
            found = {p.name: record[f"out_{k}"] for k, p in enumerate(bundle.outputs)}
            return Result(found, record["first_in"], record["last_out"], int(record["cycles"]))


def _python(folder: Path, arguments: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Run the bench's script in its own process; returns its exit status and output."""
    run = subprocess.run(
        [sys.executable, "run_bench.py", *arguments],
        cwd=folder,
        env={**environment(), **variables, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def _reason(output: str) -> str:
    """The line of the log that says what failed."""
    for line in output.splitlines():
        if "AssertionError:" in line:
            return line.split("AssertionError:", 1)[1].strip()
    lines = [line for line in output.splitlines() if line.strip()]
    return f"the cocotb testbench failed: {lines[-1] if lines else 'no output'}"


def _port(port: Port) -> dict:
    return {
        "name": port.name,
        "prefix": port.prefix,
        "bits": port.fmt.bits,
        "signed": port.fmt.signed,
        "lanes": port.lanes,
        "channels": port.channels,
        "elements": port.elements,
        "words": port.words,
    }
