"""Number formats: frozen descriptions of what the bits of one element mean, and the arithmetics
that layers compute in."""

from hwgen.formats.arithmetic import (
    Approximate,
    Arithmetic,
    default_accumulator,
    parse_arithmetic,
)
from hwgen.formats.block import Block, Lane
from hwgen.formats.blocks import decode_block, encode_block, from_lanes, to_lanes
from hwgen.formats.codec import cast, decode, encode, random_codes
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import Exponent, Float
from hwgen.formats.integer import Int, int_holding
from hwgen.formats.names import NAMES, Format, parse
from hwgen.formats.rounding import ROUND
from hwgen.formats.ternary import Bipolar, Ternary

__all__ = [
    "NAMES",
    "ROUND",
    "Approximate",
    "Arithmetic",
    "Bipolar",
    "Block",
    "Exponent",
    "Fixed",
    "Float",
    "Format",
    "Int",
    "Lane",
    "Ternary",
    "cast",
    "decode",
    "decode_block",
    "default_accumulator",
    "encode",
    "encode_block",
    "from_lanes",
    "int_holding",
    "parse",
    "parse_arithmetic",
    "random_codes",
    "to_lanes",
]
