"""Blocks against gfloat, and what it does not say."""

from __future__ import annotations

import gfloat
import numpy as np
import pytest
from gfloat import formats

from hwgen.errors import ConfigError
from hwgen.formats import Block, decode_block, encode_block, parse

GFLOAT = {
    "mxfp8": formats.format_info_mxfp8_e4m3,
    "mxfp8-e5m2": formats.format_info_mxfp8_e5m2,
    "mxfp6": formats.format_info_mxfp6_e2m3,
    "mxfp6-e3m2": formats.format_info_mxfp6_e3m2,
    "mxfp4": formats.format_info_mxfp4_e2m1,
    "mxint8": formats.format_info_mxint8,
}


def by_gfloat(info: gfloat.BlockFormatInfo, block: np.ndarray) -> tuple[list[int], int]:
    scale = gfloat.compute_scale_amax(info.etype.emax, block)
    first, *codes = gfloat.encode_block(info, scale, block / scale)
    return codes, first


def cases() -> np.ndarray:
    """Blocks of 32 of ordinary numbers, of all magnitudes, of fp16's bits, and special ones."""
    rng = np.random.default_rng(5)
    ordinary = rng.normal(size=(20, 32))
    scaled = rng.normal(size=(40, 32)) * 2.0 ** np.linspace(-140, 140, 40)[:, None]
    bits = rng.integers(0, 1 << 16, (40, 32), dtype=np.uint16) & 0xBFFF  # finite numbers
    mixed = rng.normal(size=(20, 32)) * 2.0 ** rng.integers(-20, 20, (20, 32))
    corners = np.zeros((4, 32))
    corners[1, :2] = 1.0, -1.999
    corners[2, 3] = -(2.0**-133)
    corners[3] = np.linspace(-8, 8, 32)
    halves = bits.view(np.float16).astype(np.float64)
    return np.concatenate([ordinary, scaled, halves, mixed, corners])


@pytest.mark.parametrize("name", GFLOAT)
def test_blocks_of_gfloat(name: str) -> None:
    fmt, info, values = parse(name), GFLOAT[name], cases()
    codes, scales = encode_block(fmt, values)
    assert codes.shape == values.shape
    assert scales.shape == (len(values), 1)
    numbers = decode_block(fmt, codes, scales)
    for k, block in enumerate(values):
        wanted, scale = by_gfloat(info, block)
        assert scales[k, 0] == scale
        np.testing.assert_array_equal(codes[k] & 0xFF, np.array(wanted) & 0xFF)
        decoded = list(gfloat.decode_block(info, [scale, *wanted]))
        np.testing.assert_array_equal(numbers[k], decoded)


def test_a_block_of_zeros_has_the_least_scale() -> None:
    codes, scales = encode_block(parse("mxfp4"), np.zeros(32))
    assert not codes.any()
    assert scales.tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_with_nan_is_nan(bad: float) -> None:
    values = np.ones(64)
    values[3] = bad
    numbers = decode_block(parse("mxfp4"), *encode_block(parse("mxfp4"), values))
    assert np.isnan(numbers[:32]).all()
    assert (numbers[32:] == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", ["mxfp4", "block<e2m1,5>", "block<int4,3>", "block<e4m3,1>"])
def test_any_axis_and_a_short_last_block(name: str, axis: int) -> None:
    """Each block alone, without what others hold, gives the same."""
    fmt = parse(name)
    assert isinstance(fmt, Block)
    values = np.random.default_rng(3).normal(size=(7, 8, 9))
    codes, scales = encode_block(fmt, values, axis)
    numbers = decode_block(fmt, codes, scales, axis)
    assert codes.shape == numbers.shape == values.shape
    lines, got = (np.moveaxis(a, axis, -1).reshape(-1, values.shape[axis]) for a in (values, codes))
    for line, line_codes in zip(lines, got, strict=True):
        for start in range(0, len(line), fmt.size):
            alone, _ = encode_block(fmt, line[start : start + fmt.size])
            np.testing.assert_array_equal(line_codes[start : start + fmt.size], alone)
    again = decode_block(fmt, *encode_block(fmt, numbers, axis), axis)
    if not name.startswith("block<int"):  # -2.0 of an integer element asks for the next scale
        np.testing.assert_array_equal(again, numbers)


def test_error_is_bounded() -> None:
    """OCP's scale: half a step of the largest binade, but for what saturates."""
    values = np.random.default_rng(4).uniform(-1, 1, (100, 32))
    numbers = decode_block(parse("mxint8"), *encode_block(parse("mxint8"), values))
    largest = np.abs(values).max(-1, keepdims=True)
    assert (np.abs(numbers - values) <= 2.0 ** np.floor(np.log2(largest)) / 64).all()


def test_no_elements() -> None:
    codes, scales = encode_block(parse("mxfp4"), np.zeros((3, 0)))
    assert codes.shape == scales.shape == (3, 0)
    assert decode_block(parse("mxfp4"), codes, scales).shape == (3, 0)


def test_refusals() -> None:
    fmt = parse("mxfp4")
    with pytest.raises(ConfigError, match=r"axis must be one of an array of shape \(2,\), not 1"):
        encode_block(fmt, np.zeros(2), axis=1)
    with pytest.raises(ConfigError, match="axis must be one"):
        encode_block(fmt, 1.0)
    with pytest.raises(ConfigError, match=r"must have shape \(2,\), not \(1,\)"):
        decode_block(fmt, np.zeros(33, int), np.zeros(1, int))
    with pytest.raises(ConfigError, match=r"codes of e8m0 must be 0 to 255, not -1 to -1"):
        decode_block(fmt, np.zeros(32, int), np.full(1, -1))
