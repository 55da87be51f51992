"""What a design takes of a board, and the folding that fills it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from hwgen.cost.classes import GLUE
from hwgen.deploy.board import Board
from hwgen.deploy.project import Project, project
from hwgen.design import Design, compile
from hwgen.errors import ConfigError
from hwgen.points import Points
from hwgen.synth import DoesNotFitError, Options, Progress, quiet, yosys
from hwgen.synth.modules import split

KINDS = ("lut", "ff", "dsp", "bram")
# Of a board's resources that a search fills: the router needs room.
FILLED = {"lut": 0.8, "ff": 0.9, "dsp": 1.0, "bram": 1.0}
CLOSE = 1.15  # where a search ends: the ratio of cycles that fit to those that do not
UNSURE = ("lut", "ff")  # of which the cost model may be off by ERROR
ERROR = 0.25
SUMMED = 0.1  # by which nodes together may be larger than the design as a whole
NEAR = 1.05  # where a search by the cost model ends
SLOWEST = 1 << 40  # cycles that any design keeps


def uses(work: Project, progress: Progress = quiet) -> dict[str, int]:
    """LUTs, registers, DSP blocks and block RAMs by synthesis, node by node: of the design, and of
    what lies around it on the board."""
    board = work.board
    own = work.design.synthesize(board.family, board.device, progress=progress)
    plan = Options(board.family, board.device).plan()
    around = split(work.sources(), work.top)
    units = {name: unit for name, unit in around.units.items() if name != work.name}
    cells = yosys.parts({**units, GLUE: around.glue}, plan.apart, progress=progress)
    parts = [own, *(plan.figures(found) for found in cells.values())]
    return {kind: sum(getattr(part, kind) for part in parts) for kind in KINDS}


def excess(
    used: Mapping[str, int], board: Board, filled: Mapping[str, float] | None = None
) -> dict[str, tuple[int, int]]:
    """(used, there are) of what there is too little of."""
    share = filled or {}
    return {
        kind.upper(): (used[kind], there)
        for kind, there in board.resources.items()
        if used[kind] > there * share.get(kind, 1.0)
    }


def too_large(board: Board, over: Mapping[str, tuple[int, int]], advice: str) -> DoesNotFitError:
    """The error that says by how much."""
    parts = (f"{kind} {used:,} of {n:,}, {used - n:,} too many" for kind, (used, n) in over.items())
    return DoesNotFitError(
        board.name, over, f"the design does not fit {board.name}: {'; '.join(parts)}; {advice}"
    )


def refuse(work: Project, progress: Progress = quiet) -> None:
    """Raise `DoesNotFitError` for a design that is far too large for its board: as the cost model
    says, of families that it doesn't know synthesis node by node. Placing it would take longer."""
    board = work.board
    try:
        figures = work.design.estimate(board.family)
        used, unsure = {kind: round(getattr(figures, kind)) for kind in KINDS}, 1 + ERROR
    except ConfigError:
        used, unsure = uses(work, progress), 1 + SUMMED
    room = dict.fromkeys(UNSURE, unsure)
    if over := excess(used, board, room):
        raise too_large(board, over, advice(work.design, board))


def advice(design: Design, board: Board) -> str:
    """What to do about a design that is too large for a board."""
    try:
        smallest = refolded(design, SLOWEST)
        model = smallest.estimate(board.family)
    except ConfigError:
        return "fold it further with --cycles or --macs, let --fit choose, or choose a larger board"
    used = {kind: round(getattr(model, kind)) for kind in KINDS}
    least = smallest.predicted.interval
    if excess(used, board, FILLED):
        return (
            f"its smallest folding, {least:,} cycles per {design.sample}, is too large too, or "
            "nearly so, by the cost model: choose a larger board, or narrower formats with --arith"
        )
    cycles = min(least, _between(smallest, board, used)[0])
    return (
        f"by the cost model --cycles {cycles} fits; or let --fit choose, or choose a larger board"
    )


def refolded(design: Design, cycles: int) -> Design:
    """The same model with another number of cycles."""
    return compile(design.model, replace(design.config, cycles=cycles, macs=None))


def fill(
    design: Design,
    board: Board,
    mhz: float | None = None,
    baud: int | None = None,
    progress: Progress = quiet,
) -> Design:
    """The fastest folding of a model that fits a board, by synthesis of some of them; of families
    that the cost model knows, near where it says so.

    Raises `DoesNotFitError` where even the smallest is too large.
    """
    best = refolded(design, SLOWEST)
    used = uses(project(best, board, mhz, baud), progress)
    slow = best.predicted.interval
    if over := excess(used, board):
        raise too_large(
            board,
            over,
            f"the smallest folding was tried, {slow:,} cycles per {best.sample}: choose a larger "
            "board, or narrower formats with --arith",
        )
    first, fast = _between(best, board, used)
    while slow > fast * CLOSE:
        middle = max(math.isqrt(slow * fast), fast + 1)
        if fast < first < slow:
            first, middle = 0, first
        progress(f"{middle:,} cycles", 0, 0)
        try:
            trial = refolded(design, middle)
        except ConfigError:  # there is none so fast
            fast = middle
            continue
        if trial.predicted.interval >= slow:
            fast = middle
            continue
        if excess(uses(project(trial, board, mhz, baud), progress), board, FILLED):
            fast = middle
        else:
            best, slow = trial, trial.predicted.interval
    return best


def _between(smallest: Design, board: Board, used: Mapping[str, int]) -> tuple[int, int]:
    """By the cost model, cycles at which a design should fit a board, and those at which it should
    not, each with room for the model's error; `used`: what the smallest takes. Without a model
    nothing is known: (0, 1)."""
    try:
        model = smallest.estimate(board.family)
    except ConfigError:
        return 0, 1
    beside = {kind: used[kind] - getattr(model, kind) for kind in KINDS}
    points = Points(smallest.model, replace(smallest.config, cycles=None, macs=None))

    def fits(cycles: int, room: float) -> bool:
        try:
            figures = points.design(cycles).estimate(board.family)
        except ConfigError:  # there is none so fast
            return False
        found = {kind: round(beside[kind] + getattr(figures, kind)) for kind in KINDS}
        share = {kind: n * room if kind in UNSURE else n for kind, n in FILLED.items()}
        return not excess(found, board, share)

    def fewest(room: float) -> int:
        fast, slow = 0, smallest.predicted.interval
        while slow > fast + 1 and slow > fast * NEAR:
            middle = max(math.isqrt(slow * fast), fast + 1)
            fast, slow = (fast, middle) if fits(middle, room) else (middle, slow)
        return slow if room < 1 else max(1, fast)

    return fewest(1 - ERROR), fewest(1 + ERROR)
