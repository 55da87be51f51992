"""Number formats: frozen descriptions of what the bits of one element mean."""

from hwgen.formats.integer import Int, int_holding, parse

__all__ = ["Int", "int_holding", "parse"]
