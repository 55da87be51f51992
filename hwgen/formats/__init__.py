"""Number formats: frozen descriptions of what the bits of one element mean."""

from hwgen.formats.integer import Int, int_holding, parse
from hwgen.formats.rounding import ROUND
from hwgen.formats.ternary import Bipolar, Ternary

__all__ = ["ROUND", "Bipolar", "Int", "Ternary", "int_holding", "parse"]
