"""Runs of Yosys and nextpnr, parsed into `Figures`."""

from hwgen.synth.place import DoesNotFitError
from hwgen.synth.run import Options, run
from hwgen.synth.targets import GATES, TARGETS
from hwgen.synth.yosys import Progress, quiet

__all__ = ["GATES", "TARGETS", "DoesNotFitError", "Options", "Progress", "quiet", "run"]
