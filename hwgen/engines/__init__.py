"""Two simulators behind one function: `fast` for whole batches, `cocotb` for protocol checks and
Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwgen.emit.save import check_file
from hwgen.engines import bench, fast
from hwgen.engines.bundle import Bundle, Port, Result
from hwgen.engines.session import Session
from hwgen.errors import ConfigError

__all__ = ["Bundle", "Port", "Result", "Session", "run"]

ENGINES = {"fast": fast.simulate, "cocotb": bench.simulate}


def run(
    bundle: Bundle,
    codes: Mapping[str, np.ndarray],
    *,
    ends: np.ndarray | None = None,
    engine: str = "fast",
    stall: int | None = None,
    wave: Path | None = None,
    watchdog: int = 100_000,
) -> Result:
    """Stream samples through a design, back to back.

    `codes`: (samples, elements) by input name, in stream order. `ends`: for each sample, whether
    tlast comes with it, in and out; with all unless given. `stall`: a seed for random gaps on
    both sides. `wave`: a file for waveforms. `watchdog`: cycles without any transfer after which
    the design counts as stuck. Raises `SimulationError` for a deadlock or a breach of the stream
    protocol, `ToolError` where a tool fails.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if wave is not None:
        check_file(Path(wave))
    if ends is None:
        ends = np.ones(len(next(iter(codes.values()))))
    return ENGINES[engine](bundle, codes, ends.astype(np.uint8).ravel(), stall, wave, watchdog)
