"""Blocks that share an exponent: rows of integers into them, and dot products of them."""

from __future__ import annotations

import numpy as np

from hwgen.formats import Block, decode, encode_block
from hwgen.ir import BlockQuantize

SMALL = 62  # bits of magnitudes that int64 holds


def block_quantize(node: BlockQuantize, x: np.ndarray) -> np.ndarray:
    """(N, rows, K) or (N, K) integers -> codes of a Lane, in blocks along the last axis."""
    block, element = node.block, node.block.element
    codes, scales = encode_block(block, x)
    exponents = np.maximum(scales - block.scale.bias + block.emax, 0)
    spread = np.repeat(exponents, block.size, axis=-1)[..., : x.shape[-1]]
    return spread << element.bits | codes & ((1 << element.bits) - 1)


def scaled(block: Block, codes: np.ndarray) -> np.ndarray:
    """The numbers of codes of a Lane in units of 2**block.unit: int64, or Python integers where
    that is too narrow."""
    element = block.element
    exponents, low = codes >> element.bits, codes & ((1 << element.bits) - 1)
    if element.signed:
        low = low - ((low >> (element.bits - 1)) << element.bits)
    whole = np.ldexp(decode(block.number, low), -block.unit).astype(np.int64)
    bits = int(np.abs(whole).max(initial=0)).bit_length() + int(exponents.max(initial=0))
    return whole << exponents if bits <= SMALL else whole.astype(object) << exponents
