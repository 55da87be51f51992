"""Energy of a design by its target: gates of a cell library, or an FPGA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwgen.cost.figures import Figures
from hwgen.cost.fpga import FAMILIES
from hwgen.energy.compiled import Compiled
from hwgen.energy.design import design_energy
from hwgen.energy.fpga import fpga_energy
from hwgen.errors import ConfigError
from hwgen.synth import GATES, Progress, quiet
from hwgen.synth.library import DELAY, find_liberty
from hwgen.synth.targets import target_named


@dataclass(frozen=True)
class How:
    """`target`: a family of FPGAs and its `device`, or GATES of the cell library `liberty`, sized
    for paths of `delay` ps, with a clock of `period` ns."""

    target: str
    device: str | None = None
    liberty: str | Path | None = None
    delay: int | None = None
    period: float | None = None

    def check(self) -> None:
        """Raise `ConfigError` for what is wrong before anything is simulated."""
        if self.target == GATES:
            if self.device is not None:
                raise ConfigError("gates have no device")
            if self.delay is not None and self.delay < 1:
                raise ConfigError(
                    f"delay must be a number of picoseconds above 0, not {self.delay}"
                )
            if self.period is not None and not self.period > 0:
                raise ConfigError(
                    f"period must be a number of nanoseconds above 0, not {self.period}"
                )
            find_liberty(self.liberty).check()
            return
        family = target_named(self.target)
        family.device(self.device)
        if family.name not in FAMILIES:
            raise ConfigError(f"no energies are known of {family.name}: {', '.join(FAMILIES)}")
        if (self.liberty, self.delay, self.period) != (None, None, None):
            raise ConfigError(
                f"a cell library, a delay and a period are for the target {GATES}, "
                f"not {self.target}"
            )


def measure(design: Compiled, inputs, how: How, progress: Progress = quiet) -> Figures:
    """Energy per inference on inputs; see `Design.energy`."""
    how.check()
    design._codes(inputs)  # wrong ones are refused before anything is synthesized
    if how.target == GATES:
        delay = DELAY if how.delay is None else how.delay
        return design_energy(
            design, inputs, how.liberty, delay=delay, period=how.period, progress=progress
        )
    return fpga_energy(design, inputs, how.target, how.device, progress=progress)
