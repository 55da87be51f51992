"""Blocks in the golden model against gfloat, and sums of them against exact numbers."""

from __future__ import annotations

from fractions import Fraction

import gfloat
import numpy as np
import pytest

from hwgen.formats import Arithmetic, Block, Int, decode, decode_block, parse
from hwgen.golden.blocks import block_quantize, scaled
from hwgen.golden.evaluate import EVAL
from hwgen.ir import BlockQuantize, Linear
from tests.formats.test_blocks import GFLOAT
from tests.rtl.block_graphs import FORMATS

NAMES = [name for name in FORMATS if "xblock" not in name]


def quantize(block: Block) -> BlockQuantize:
    return BlockQuantize(name="q", inputs=("x",), outputs=("y",), block=block)


def rows(rng: np.random.Generator, *size: int) -> np.ndarray:
    """int16 of all magnitudes, the ends among them."""
    values = rng.integers(-(1 << 15), 1 << 15, size) >> rng.integers(0, 16, (*size[:-1], 1))
    values[0, :2] = -(1 << 15), (1 << 15) - 1
    values[1] = 0
    values[2, :3] = -1, 1, 0
    return values


@pytest.mark.parametrize("name", GFLOAT)
def test_elements_are_those_of_gfloat(name: str) -> None:
    block, info = parse(name), GFLOAT[name]
    x = rows(np.random.default_rng(2), 60, block.size)
    codes = block_quantize(quantize(block), x)
    bits = block.element.bits
    for row, got in zip(x.astype(np.float64), codes, strict=True):
        scale = gfloat.compute_scale_amax(info.etype.emax, row)
        _, *wanted = gfloat.encode_block(info, scale, row / scale)
        assert ((got & ((1 << bits) - 1)) == np.array(wanted) & 0xFF).all()
        exponent = 0 if not row.any() else int(np.log2(scale)) + block.emax
        assert (got >> bits == exponent).all()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_short_blocks(name: str) -> None:
    """A Lane's code says the number that the format's own two codes say."""
    block = parse(name)
    x = rows(np.random.default_rng(3), 7, 77)
    codes = block_quantize(quantize(block), x)
    bits = block.element.bits
    exponents = (codes >> bits)[:, :: block.size]
    low = codes & ((1 << bits) - 1)
    if isinstance(block.element, Int):
        low = np.where(low > block.element.max, low - (1 << bits), low)
    numbers = decode_block(block, low, exponents + block.scale.bias - block.emax)
    np.testing.assert_array_equal(
        np.ldexp(scaled(block, codes).astype(float), block.unit - block.emax), numbers
    )
    assert np.abs(numbers).max() <= 1 << 15


def test_sums_wider_than_any_machine_word() -> None:
    block, rng = parse("mxfp8-e5m2"), np.random.default_rng(4)
    size = rng.integers(0, 123, (2, 3, 40))
    exponents = rng.integers(0, 60, (2, 3, 2)).repeat([32, 8], axis=-1)
    x, w = (exponents << 8) | size
    x = x & 0xFFF  # the exponents of activations have 4 bits
    node = Linear(
        name="l", inputs=("x",), outputs=("y",), weight=w[None, :, None],
        arithmetic=Arithmetic(block, block), pe=3, simd=40,
    )  # fmt: skip
    got = EVAL[Linear](node, x[None])[0]
    for row, sums in zip(x, got, strict=True):
        for weights, total in zip(w, sums, strict=True):
            exact = sum(
                _number(block, a) * _number(block, b) for a, b in zip(row, weights, strict=True)
            )
            assert total == exact / Fraction(2) ** (2 * block.unit)
    assert max(int(v).bit_length() for v in got.ravel()) > 64


def _number(block: Block, code: int) -> Fraction:
    return Fraction(float(decode(block.element, code & 0xFF))) * 2 ** int(code >> 8)
