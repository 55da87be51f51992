"""Chosen points as hardware: their Verilog simulated against the golden model, and synthesized."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwgen.design import Design
from hwgen.synth import Progress


def verified(
    design: Design,
    inputs: Mapping[str, np.ndarray],
    target: str,
    liberty: Path | None,
    jobs: int | None,
    progress: Progress,
) -> dict:
    """What a simulation on `inputs` and synthesis give: whether all codes `matched` the golden
    model, the cycles seen, and figures. Raises `ToolError` and `ConfigError`."""
    progress("simulation", 0, 0)
    result = design.simulate(dict(inputs))
    figures = design.synthesize(target, liberty=liberty, jobs=jobs, progress=progress)
    return {
        "matched": result.mismatch is None,
        "mismatch": None if result.mismatch is None else str(result.mismatch),
        "samples": len(next(iter(inputs.values()))),
        "interval": result.interval,
        "latency": result.latency,
        "figures": figures.as_dict(),
    }
