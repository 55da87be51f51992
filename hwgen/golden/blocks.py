"""Blocks that share an exponent: rows of integers into them, and dot products of them."""

from __future__ import annotations

import numpy as np

from hwgen.formats import Block, encode_block, from_lanes, to_lanes
from hwgen.ir import BlockQuantize

SMALL = 62  # bits of magnitudes that int64 holds


def block_quantize(node: BlockQuantize, x: np.ndarray) -> np.ndarray:
    """(N, ..., K) integers -> codes of a Lane, in blocks along the last axis."""
    block = node.block
    codes, scales = encode_block(block, x)
    return to_lanes(block, codes, np.maximum(scales - block.scale.bias + block.emax, 0))


def scaled(block: Block, codes: np.ndarray) -> np.ndarray:
    """The numbers of codes of a Lane in units of 2**block.unit: int64, or Python integers where
    that is too narrow."""
    whole, exponents = from_lanes(block, codes)
    bits = int(np.abs(whole).max(initial=0)).bit_length() + int(exponents.max(initial=0))
    return whole << exponents if bits <= SMALL else whole.astype(object) << exponents
