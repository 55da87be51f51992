"""Short names of formats."""

from __future__ import annotations

import difflib
import re

from hwgen.errors import ConfigError
from hwgen.formats.block import BLOCK_ALIASES, BLOCKS, Block
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import MOST_BITS, NAMED, Exponent, Float
from hwgen.formats.integer import Int
from hwgen.formats.ternary import Bipolar, Ternary

N = "[0-9]{1,6}"
Format = Int | Ternary | Bipolar | Fixed | Float | Exponent | Block
NAMES: dict[str, Format] = {
    **NAMED,
    "e8m0": Exponent(),
    **BLOCKS,
    **BLOCK_ALIASES,
    "ternary": Ternary(),
    "bipolar": Bipolar(),
}


def parse(text: str) -> Format:
    """The format of a short name: `int8`, `fixed<16,8>`, `e4m3fn`, `float<4,3,7,fn>`, `mxfp4`,
    `block<e2m1,16>`...; raises `ConfigError` for any other text."""
    if text in NAMES:
        return NAMES[text]
    if match := re.fullmatch(r"(u?)int([1-9][0-9]?)", text):
        return Int(int(match[2]), signed=not match[1])
    if match := re.fullmatch(rf"(u?)fixed<({N}),(-?{N})>", text):
        return Fixed(int(match[2]), int(match[3]), signed=not match[1])
    if match := re.fullmatch(rf"float<({N}),({N})(?:,(-?{N}))?(?:,(\w+))?>", text):
        exp, man = int(match[1]), int(match[2])
        bias = (1 << min(exp, MOST_BITS) >> 1) - 1 if match[3] is None else int(match[3])
        return Float(exp, man, bias, match[4] or "none")
    if match := re.fullmatch(rf"block<(.+),({N})>", text):
        element = parse(match[1])
        if not isinstance(element, Float | Int):
            raise ConfigError(f"a block's elements must be floats or integers, not {element}")
        return Block(element, int(match[2]))
    near = difflib.get_close_matches(text, NAMES, 1)
    hint = f"did you mean {near[0]}?" if near else "`hwgen formats` lists them"
    raise ConfigError(f"{text!r} is not a number format; {hint}")
