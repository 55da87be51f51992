"""A design onto a board: its project, its bitstream by open tools, and what to expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hwgen.deploy.bitstream import Built, build
from hwgen.deploy.board import Board
from hwgen.deploy.clock import nearest_below
from hwgen.deploy.fit import KINDS, advice, excess, fill, refolded, refuse, too_large, uses
from hwgen.deploy.project import Project, project
from hwgen.deploy.vendor import project_files
from hwgen.design import MANIFEST, Design
from hwgen.emit.save import check_folder, save
from hwgen.errors import ConfigError, ToolError
from hwgen.protocol import CHECK, HEADER, PAYLOAD
from hwgen.synth import DoesNotFitError, Progress, quiet
from hwgen.synth.targets import target_named

SLOWER = 1.3  # by which a folding that could not be placed is made smaller
REFITS = 4
MARGIN = 0.95  # of the clock reached that a slower one is chosen at


@dataclass(frozen=True)
class Summary:
    """What a design is on a board.

    `used`: (used, there are) by resource; `clock`, `reached`: MHz, the latter None where nothing
    was placed; `cycles` per inference; `line`: inferences per second that a serial line lets
    through; `energy`: modelled nJ per inference, None where the family has no model.
    """

    board: str
    bitstream: bool
    used: Mapping[str, tuple[int, int]]
    clock: float
    reached: float | None
    cycles: int
    sample: str
    line: float | None
    energy: float | None

    def lines(self) -> Iterator[str]:
        """As `hwgen deploy` prints it."""
        shares = (
            f"{kind.upper()} {n:,} of {of:,} ({n / of:.0%})" for kind, (n, of) in self.used.items()
        )
        yield f"fits: {', '.join(shares)}"
        reached = f", {self.reached:.1f} MHz reached" if self.reached else ", not yet placed"
        yield f"clock: {self.clock:g} MHz{reached}"
        rate = _rate(1e6 * self.clock / self.cycles)
        yield f"{self.cycles:,} cycles per {self.sample}: {rate} per second"
        if self.line is not None:
            yield f"over the serial line: at most {_rate(self.line)} per second"
        if self.energy is not None:
            yield f"energy: {self.energy:,.1f} nJ per {self.sample}, modelled"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def deploy(
    design: Design,
    board: Board,
    folder: str | Path,
    mhz: float | None = None,
    baud: int | None = None,
    fit: bool = False,
    limit: float | None = None,
    progress: Progress = quiet,
) -> tuple[Summary, Project]:
    """Write a project into `folder`, all of it or nothing.

    `mhz`: of the design; without it the board's usual clock, or a slower one that is reached.
    `baud`: of the serial line. `fit`: choose the folding that fills the board. `limit`: seconds
    that placing may take. Raises `DoesNotFitError`, `ConfigError`, `ToolError`.
    """
    folder = Path(folder)
    check_folder(folder)
    work = project(design, board, mhz, baud)
    if not fit and board.open:
        refuse(work, progress)
    if fit:
        work = project(fill(design, board, mhz, baud, progress), board, mhz, baud)
    built = None
    if board.open:
        work, built = _built(work, mhz, baud, fit, limit, progress)
        counts = target_named(board.family).counts(built.cells.cells)
        used = {kind: counts[kind] for kind in KINDS}
    else:
        used = uses(work, progress)
        if over := excess(used, board):
            raise too_large(board, over, advice(work.design, board))
    summary = _summary(work, used, built)
    files = work.design.files()
    files |= work.sources() | dict([work.constraints()]) | project_files(work)
    files |= {work.bitstream: built.bitstream} if built else {}
    save(folder, {**files, MANIFEST: work.manifest(files, asdict(summary))})
    return summary, work


def _built(
    work: Project, mhz: float | None, baud: int | None, fit: bool, limit, progress: Progress
) -> tuple[Project, Built]:
    """The bitstream, at a clock that is reached, of a folding that can be placed."""
    board, cycles = work.board, float(work.design.predicted.interval)
    for attempt in range(REFITS + 1):
        try:
            built = build(work, limit, progress)
            break
        except DoesNotFitError as error:
            if not fit or attempt == REFITS:
                raise too_large(board, error.over, advice(work.design, board)) from None
            cycles *= SLOWER
            work = project(refolded(work.design, round(cycles)), board, mhz, baud)
    if built.placed.fmax >= work.clock:
        return work, built
    if mhz is not None:
        raise ToolError(
            f"{board.name} reaches {built.placed.fmax:.1f} MHz with this design, not {mhz:g} MHz: "
            "give less with --clock"
        )
    slower_clock = nearest_below(board, MARGIN * built.placed.fmax)
    if slower_clock is None:
        raise ToolError(
            f"{board.name} reaches {built.placed.fmax:.1f} MHz with this design, less than any "
            "clock it can make: fold it in another way, with --cycles"
        )
    work = project(work.design, board, slower_clock, baud)
    built = build(work, limit, progress)
    if built.placed.fmax < work.clock:
        raise ToolError(
            f"{board.name} reaches {built.placed.fmax:.1f} MHz with this design, not "
            f"{work.clock:g} MHz: give less with --clock"
        )
    return work, built


def _summary(work: Project, used: Mapping[str, int], built: Built | None) -> Summary:
    design, board = work.design, work.board
    return Summary(
        board.title,
        built is not None,
        {kind: (n, board.resources[kind]) for kind, n in used.items()},
        work.clock,
        built.placed.fmax if built else None,
        design.predicted.interval,
        design.sample,
        _line_rate(work) if work.baud else None,
        _energy(design, board),
    )


def _line_rate(work: Project) -> float:
    """Inferences per second through a serial line, at most: their bytes and the frames'."""
    graph, bits = work.design.graph, 0
    frame = 1 + HEADER + CHECK
    for name in graph.port_tensors():
        tensor = graph.tensors[name]
        size = tensor.words * tensor.lanes * -(-tensor.fmt.bits // 8)
        bits += 10 * (size + 2 * frame * -(-size // PAYLOAD))
    return work.baud / bits


def _energy(design: Design, board: Board) -> float | None:
    """Modelled, where the family has a model."""
    try:
        return design.estimate(board.family).energy_nj
    except ConfigError:
        return None
