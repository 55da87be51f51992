"""The whole top of a board in simulation, behind a pseudo-terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from hwgen.engines.tools import cached, check_compiler, run
from hwgen.errors import ToolError

PROGRAM, SOURCE = "board", "board.cpp"
OPTIONS = (
    *("-cc", "--exe", "--prefix", "Vboard", "-Mdir", "objects", "-O3", "--no-timing"),
    *("-fno-inline", "--output-groups", "2", "-Wno-fatal", "-Wno-lint"),
    *("--x-assign", "fast", "--x-initial", "fast", "-o", f"../{PROGRAM}"),
    *("-MAKEFLAGS", "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1", "--build", "-j", "2"),
)


def build(sources: Mapping[str, str], top: str) -> Path:
    """The folder of the compiled simulation of Verilog and memory files by name; `top` has ports
    clk, rx and tx."""
    texts = {**sources, SOURCE: (resources.files("hwgen.sim") / SOURCE).read_text()}
    verilog = [name for name in sources if name.endswith(".v")]

    def make(folder: Path) -> None:
        check_compiler()
        for name, text in texts.items():
            (folder / name).write_text(text)
        run(["verilator", *OPTIONS, "--top-module", top, *verilog, SOURCE], folder)
        for path in sorted((folder / "objects").iterdir()):
            path.unlink()
        (folder / "objects").rmdir()

    return cached({**texts, "top": top, "options": " ".join(OPTIONS)}, make)


@contextmanager
def running(
    sources: Mapping[str, str], top: str, divisor: int, seed: int = 0, faults: int = 0
) -> Iterator[str]:
    """A running board; yields its terminal's name. `divisor`: cycles per bit; `faults`: per million
    bytes on the line, of random kinds by `seed`."""
    folder = build(sources, top)
    process = subprocess.Popen(
        [folder / PROGRAM, str(divisor), str(seed), str(faults)],
        cwd=folder,  # where $readmemh finds its files
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        name = process.stdout.readline().strip()
        if not name:
            raise ToolError(f"the simulated board did not start: status {process.wait()}")
        yield name
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
