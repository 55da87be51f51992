"""The board of a project in simulation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwgen.deploy.board import board_named
from hwgen.deploy.project import SIMULATED, project
from hwgen.design import Design
from hwgen.engines.board import running
from hwgen.errors import ConfigError
from hwgen.host.tensors import read_manifest


@contextmanager
def simulated(folder: Path, seed: int = 0, faults: int = 0) -> Iterator[str]:
    """The whole top of a project that `hwgen deploy` wrote, its serial line included, running in
    Verilator behind a pseudo-terminal, whose name it yields.

    Its line has 8 cycles per bit, and there is no PLL. `faults`: per million bytes, by `seed`.
    """
    board = read_manifest(folder)["board"]
    if board["link"] != "uart":
        raise ConfigError(f"{board['name']} has no serial line to simulate")
    work = project(
        Design.load(folder), board_named(board["name"]), board["clock_mhz"], board["baud"]
    )
    for name, text in work.sources().items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            raise ConfigError(
                f"{path} is missing, or not as hwgen deploy wrote it: what is simulated would be "
                "something else; deploy again"
            )
    with running(work.sources(simulated=True), work.top, SIMULATED, seed, faults) as name:
        yield name
