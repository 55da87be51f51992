"""Node kinds whose streams hold codes of floats, or of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwgen.formats import Block, Float, Int
from hwgen.ir.nodes import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvertForm:
    """How the hardware scales: w = (significand * multiplier + offset) >> drop, an integer in units
    of 2**exponent that rounds as the exact number does.

    The significand is the code of an integer, and of a float the integer its exponent scales.
    `multiplier` and `offset` (int, as objects) have the shape of the node's scale.
    """

    multiplier: np.ndarray
    offset: np.ndarray
    drop: int
    exponent: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Convert(Node):
    """out = encode(clamp(x * scale + offset, low, high)), elementwise: rounded once, to the nearest
    with ties to even.

    x is the number of a `source` code, out a code of `target`. `scale` and `offset` (object arrays
    of Fraction) have shape (C,) or the whole tensor's; `low` and `high` are codes of `target`, for
    an Int with its `zero_point`. Infinity becomes the limit, NaN the target's NaN, or else 0.
    """

    source: Int | Float
    target: Int | Float
    scale: np.ndarray
    offset: np.ndarray
    low: int
    high: int
    zero_point: int = 0
    form: ConvertForm | None = None  # how the hardware computes it


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatAdd(Node):
    """out = a + b, rounded to the nearest with ties to even: codes of `fmt`, two inputs of one
    shape."""

    fmt: Float


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockQuantize(Node):
    """Rows of integers as rows of `block`'s elements: (rows, K) -> (rows, K), codes of a Lane.

    A row's elements lie in blocks of `block.size`, the last of them short. A block's exponent is e
    = floor(log2 of its largest magnitude), 0 where all are 0; an element is x / 2**(e -
    block.emax), rounded to the nearest with ties to even and saturated. Words never cross the end
    of a block. Source: OCP MX v1.0, section 6.3.
    """

    block: Block
