"""Figures of a design at all levels that are asked for, and why some are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hwgen.cost.figures import Figures
from hwgen.design import Design
from hwgen.errors import ConfigError, ToolError
from hwgen.synth import GATES, Progress, quiet
from hwgen.synth.library import find_liberty
from hwgen.synth.targets import target_named

STEPS = ("model", "synthesis", "activity")  # each with those before it
SIMULATED = 4  # samples, for energy


def check_level(level: str) -> None:
    """Raise `ConfigError` unless a level is one of STEPS."""
    if level not in STEPS:
        raise ConfigError(f"level must be one of {', '.join(STEPS)}, not {level!r}")


def check_targets(targets: Iterable[str], level: str, liberty: str | Path | None) -> None:
    """Raise `ConfigError` for what is wrong with targets or the library of gates."""
    for target in targets:
        if target != GATES:
            target_named(target)
        elif level != STEPS[0]:
            find_liberty(liberty).check(power=level == STEPS[-1])


def measure(
    design: Design,
    targets: Iterable[str],
    level: str = STEPS[-1],
    inputs: dict[str, np.ndarray] | None = None,
    liberty: str | Path | None = None,
    progress: Progress = quiet,
) -> tuple[list[Figures], list[str]]:
    """Figures of the levels up to `level`, for each target; and remarks on those that can't be had:
    a target without a model, a tool that is missing, energy without `inputs`. `liberty`: the cell
    library of the target asic."""
    check_level(level)
    found, remarks = [], []
    steps: Sequence[str] = STEPS[: STEPS.index(level) + 1]
    for target in targets:
        library = liberty if target == GATES else None
        for step in steps:
            try:
                if step == "model":
                    found.append(design.estimate(target))
                elif step == "synthesis":
                    found.append(design.synthesize(target, liberty=library, progress=progress))
                elif inputs is not None:
                    few = {name: array[:SIMULATED] for name, array in inputs.items()}
                    found.append(design.energy(few, target, library, progress=progress))
            except (ConfigError, ToolError) as error:
                remarks.append(f"{step}, {target}: {error}")
    if "activity" in steps and inputs is None:
        remarks.append("activity: energy is simulated on inputs, and none were given")
    return found, remarks
