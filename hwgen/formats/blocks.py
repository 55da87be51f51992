"""Arrays to blocks of codes with a scale each, and back: OCP MX's conversion, of any block size."""

from __future__ import annotations

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats.block import Block
from hwgen.formats.codec import decode, encode


def encode_block(fmt: Block, values, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the elements (int64, the shape of `values`) and of the scales (int64; along `axis`
    one per block of `fmt.size`, the last of which may be short).

    A scale's exponent is floor(log2 of the block's largest magnitude) - fmt.emax, clamped to
    e8m0's -127 ... 127 (OCP MX v1.0, 6.3). Elements are divided by it, rounded half_even and
    saturated; of mxint8 to -128 ... 127, with -128 used, which the specification leaves open.
    A block of zeros has scale code 0 (2**-127), gfloat's choice, so that a small scale code finds
    it. A block with NaN or infinity has the scale NaN and zero elements.

    Raises `ConfigError` for an axis that the array does not have.
    """
    values = np.asarray(values, dtype=np.float64)
    _check_axis(values, axis)
    values = np.moveaxis(values, axis, -1)
    length = values.shape[-1]
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -length % fmt.size)]
    blocks = np.pad(values, padding).reshape(*values.shape[:-1], -1, fmt.size)
    largest = np.abs(blocks).max(-1)
    finite = np.isfinite(largest)
    exponent = np.frexp(np.where(finite, largest, 0.0))[1].astype(np.int64) - 1 - fmt.emax
    scales = np.clip(exponent + fmt.scale.bias, fmt.scale.min, fmt.scale.nan - 1)
    scales = np.where(largest == 0, 0, np.where(finite, scales, fmt.scale.nan))
    blocks = np.where(finite[..., None], blocks, 0.0)
    codes = encode(fmt.number, np.ldexp(blocks, fmt.scale.bias - scales[..., None]))
    codes = codes.reshape(*values.shape[:-1], -1)[..., :length]
    return np.moveaxis(codes, -1, axis), np.moveaxis(scales, -1, axis)


def decode_block(fmt: Block, codes, scales, axis: int = -1) -> np.ndarray:
    """The numbers (float64, the shape of `codes`) of what `encode_block` returns.

    Raises `ConfigError` where the scales do not fit the codes.
    """
    codes, scales = np.asarray(codes), np.asarray(scales)
    _check_axis(codes, axis)
    wanted = list(codes.shape)
    wanted[axis] = -(-codes.shape[axis] // fmt.size)
    if list(scales.shape) != wanted:
        raise ConfigError(
            f"scales of {codes.shape} codes of {fmt} along axis {axis} must have shape "
            f"{tuple(wanted)}, not {scales.shape}"
        )
    spread = np.repeat(decode(fmt.scale, scales), fmt.size, axis)
    spread = spread.take(range(codes.shape[axis]), axis)
    return decode(fmt.number, codes) * spread


def to_lanes(fmt: Block, codes: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Codes of a Lane from those of elements (..., K) and their blocks' exponents (..., blocks)."""
    bits = fmt.element.bits
    spread = np.repeat(exponents, fmt.size, axis=-1)[..., : codes.shape[-1]]
    return spread << bits | codes & ((1 << bits) - 1)


def from_lanes(fmt: Block, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole multiples of 2**fmt.unit, exponents) of codes of a Lane; int64, of their shape."""
    bits = fmt.element.bits
    low = codes & ((1 << bits) - 1)
    if fmt.element.signed:
        low = low - (low >> (bits - 1) << bits)
    return np.ldexp(decode(fmt.number, low), -fmt.unit).astype(np.int64), codes >> bits


def _check_axis(array: np.ndarray, axis: int) -> None:
    if not -array.ndim <= axis < array.ndim:
        raise ConfigError(f"axis must be one of an array of shape {array.shape}, not {axis}")
