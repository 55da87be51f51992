"""Number formats: frozen descriptions of what the bits of one element mean."""

from hwgen.formats.integer import Int, int_holding, parse
from hwgen.formats.rounding import ROUND

__all__ = ["ROUND", "Int", "int_holding", "parse"]
