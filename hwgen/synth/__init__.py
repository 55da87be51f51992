"""Runs of Yosys and nextpnr, parsed into `Figures`."""

from hwgen.synth.place import DoesNotFitError
from hwgen.synth.run import place_and_route, synthesize
from hwgen.synth.targets import GATES, TARGETS

__all__ = ["GATES", "TARGETS", "DoesNotFitError", "place_and_route", "synthesize"]
