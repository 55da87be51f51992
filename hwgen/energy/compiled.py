"""What energy is measured of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hwgen.cost.figures import Figures
from hwgen.ir import Graph
from hwgen.synth import Progress, quiet


class Compiled(Protocol):
    """A `hwgen.design.Design`."""

    graph: Graph

    @property
    def sources(self) -> dict[str, str]:
        """Verilog and memory files by name."""

    @property
    def predicted(self) -> Any:
        """Cycles."""

    def _codes(self, inputs) -> dict[str, np.ndarray]: ...

    def simulate(self, inputs, engine: str = ..., stall: int | None = ..., wave: Path | None = ...):
        """The Verilog on inputs, beside the golden model."""

    def synthesize(
        self, target: str = ..., device: str | None = ..., *, progress: Progress = quiet
    ) -> Figures:
        """Resources of each node."""
