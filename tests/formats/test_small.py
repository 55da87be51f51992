"""Every code and every 16-bit input against ml_dtypes; rounding modes against gfloat."""

from __future__ import annotations

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat import RoundMode, formats

from hwgen.formats import Fixed, Int, cast, decode, encode, parse
from tests.formats.oracles import ML_DTYPES, SMALL, every_code, same_numbers, wide_inputs

MODES = {
    "half_even": RoundMode.TiesToEven,
    "half_up": RoundMode.TiesToAway,
    "floor": RoundMode.TowardNegative,
    "ceil": RoundMode.TowardPositive,
    "down": RoundMode.TowardZero,
}
GFLOAT = {
    "e5m2": formats.format_info_ocp_e5m2,
    "e4m3fn": formats.format_info_ocp_e4m3,
    "e2m3": formats.format_info_ocp_e2m3,
    "e3m2": formats.format_info_ocp_e3m2,
    "e2m1": formats.format_info_ocp_e2m1,
    "fp16": formats.format_info_binary16,
    "bf16": formats.format_info_bfloat16,
}


@pytest.mark.parametrize("name", ML_DTYPES)
def test_every_code(name: str) -> None:
    fmt = parse(name)
    codes = every_code(fmt)
    numbers = codes.astype(np.uint8 if fmt.bits <= 8 else np.uint16).view(ML_DTYPES[name])
    assert len(codes) == 1 << fmt.bits
    same_numbers(fmt, codes, numbers)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        real = ~np.isnan(numbers.astype(np.float64))
    got = encode(fmt, numbers, saturate=False)
    np.testing.assert_array_equal(got[real], codes[real])


@pytest.mark.parametrize("source", ["fp16", "bf16"])
@pytest.mark.parametrize("name", SMALL)
def test_every_half_precision_number(name: str, source: str) -> None:
    """ml_dtypes does not saturate; where a format lacks NaN it chooses -0, this codec 0.

    Between e8m0's least two numbers, which are float32's subnormals, it rounds all up; the nearest
    is gfloat's.
    """
    fmt, values = parse(name), wide_inputs(source)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = values.astype(ML_DTYPES[name]).astype(np.float64)
    if fmt.bits < 8:
        wanted[np.isnan(values)] = 0.0
    if name == "e8m0":
        low = (values > 2.0**-127) & (values < 1.5 * 2.0**-127)
        assert low.sum() == (31 if source == "bf16" else 0)
        info = formats.format_info_ocp_e8m0
        wanted[low] = [gfloat.round_float(info, float(v), sat=True) for v in values[low]]
    same_numbers(fmt, encode(fmt, values, saturate=False), wanted)
    same_numbers(fmt, cast(np.arange(1 << 16), parse(source), fmt, saturate=False), wanted)


@pytest.mark.parametrize("kind", ["int2", "int4", "uint2", "uint4"])
def test_small_integers(kind: str) -> None:
    fmt = parse(kind)
    codes = every_code(fmt)
    np.testing.assert_array_equal(codes.astype(getattr(ml_dtypes, kind)).astype(int), codes)
    np.testing.assert_array_equal(decode(fmt, codes), codes)
    values = wide_inputs("bf16")
    wanted = np.clip(np.rint(np.nan_to_num(values, nan=0.0)), fmt.min, fmt.max)
    np.testing.assert_array_equal(encode(fmt, values), wanted)


@pytest.mark.parametrize("saturate", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GFLOAT)
def test_rounding_modes(name: str, mode: str, saturate: bool) -> None:
    """Floats around every number of a small format, and the ends of float32's range."""
    fmt, info = parse(name), GFLOAT[name]
    values = wide_inputs("fp16").astype(np.float64)
    values = values[np.isfinite(values)]
    ends = [np.inf, -np.inf, 1e300, -1e300, 1e-300, -1e-40]
    values = np.concatenate([values, np.nextafter(values, np.inf), ends])
    if fmt.nan is None and not saturate:
        values = values[np.abs(values) < 2.0**fmt.emax]  # gfloat refuses the others
    wanted = gfloat.round_ndarray(info, values, MODES[mode], saturate)
    same_numbers(fmt, encode(fmt, values, mode, saturate), wanted)


@pytest.mark.parametrize("name", ["e4m3fn", "e2m1", "fixed<8,4>"])
def test_ties_toward_zero_and_all_away(name: str) -> None:
    """The modes gfloat lacks, by its others: a tie goes to `down`, no tie to the nearest."""
    fmt = parse(name)
    values = wide_inputs("fp16").astype(np.float64)
    values = values[np.isfinite(values)]
    down, up = (decode(fmt, encode(fmt, values, mode)) for mode in ("down", "up"))
    same_numbers(
        fmt, encode(fmt, np.abs(values), "up"), decode(fmt, encode(fmt, abs(values), "ceil"))
    )
    tie = np.abs(values - down) == np.abs(up - values)
    nearest = decode(fmt, encode(fmt, values))
    wanted = np.where(tie, down, nearest)
    np.testing.assert_array_equal(decode(fmt, encode(fmt, values, "half_down")), wanted)
    assert tie.sum() > 100


def test_ties_of_integers_are_exact() -> None:
    below = np.nextafter(0.5, 0.0)
    odd = float((1 << 52) + 1)
    values = np.array([0.5, -0.5, below, -below, 1.5, 2.5, odd, -odd])
    wide = Int(54)
    for mode, wanted in {
        "half_even": [0, 0, 0, 0, 2, 2, odd, -odd],
        "half_up": [1, -1, 0, 0, 2, 3, odd, -odd],
        "half_down": [0, 0, 0, 0, 1, 2, odd, -odd],
    }.items():
        np.testing.assert_array_equal(encode(wide, values, mode), wanted)


@pytest.mark.parametrize("mode", ["half_even", "half_up", "half_down", "floor", "ceil", "up"])
@pytest.mark.parametrize("fmt", [Int(32), Int(32, False), Int(54), Fixed(32, 64), Fixed(8, -64)])
def test_far_beyond_an_integer(fmt: Int | Fixed, mode: str) -> None:
    values = np.array([1e300, -1e300, np.inf, -np.inf, np.nan])
    wanted = [fmt.max, fmt.min, fmt.max, fmt.min, 0]
    np.testing.assert_array_equal(encode(fmt, values, mode), wanted)


@pytest.mark.parametrize("name", ["int8", "e4m3fn", "e2m1", "fp32"])
def test_stochastic(name: str) -> None:
    """Numbers of the format stay; others go to a neighbour, in the mean to themselves."""
    fmt, rng = parse(name), np.random.default_rng(1)
    codes = np.random.default_rng(2).integers(fmt.min, fmt.max + 1, 10000)
    numbers = decode(fmt, codes)
    numbers = numbers[np.isfinite(numbers)]
    got = encode(fmt, numbers, "stochastic", rng=rng)
    np.testing.assert_array_equal(decode(fmt, got), numbers)
    step = 2.0**-21 if name == "fp32" else 1.0
    value = 4 + step / 16 if name == "fp32" else 2.25
    rounded = decode(fmt, encode(fmt, np.full(40000, value), "stochastic", rng=rng))
    neighbours = [decode(fmt, encode(fmt, value, mode)) for mode in ("floor", "ceil")]
    assert set(rounded) == {float(v) for v in neighbours}
    assert abs(rounded.mean() - value) < 0.01 * (neighbours[1] - neighbours[0]) + 1e-12


def test_negative_zero() -> None:
    for name in ("fp32", "e5m2", "e4m3fn", "e2m1"):
        fmt = parse(name)
        np.testing.assert_array_equal(encode(fmt, [0.0, -0.0, -1e-300]), [0, fmt.sign, fmt.sign])
    for name in ("e4m3fnuz", "e5m2fnuz", "int8", "fixed<8,4>"):
        np.testing.assert_array_equal(encode(parse(name), [0.0, -0.0, -1e-300]), [0, 0, 0])


def test_ternary_and_bipolar() -> None:
    values = [-3.0, -0.6, -0.4, 0.0, 0.4, 0.6, np.inf]
    np.testing.assert_array_equal(encode(parse("ternary"), values), [-1, -1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(encode(parse("bipolar"), values), [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(decode(parse("ternary"), [-1, 0, 1]), [-1, 0, 1])
    np.testing.assert_array_equal(decode(parse("bipolar"), [0, 1]), [1, -1])


def test_shapes_are_kept() -> None:
    for shape in [(), (0,), (2, 0, 3), (2, 3)]:
        for name in ("e4m3fn", "int8", "e8m0", "bipolar", "fixed<8,4>"):
            codes = encode(parse(name), np.ones(shape))
            assert codes.shape == shape
            assert codes.dtype == np.int64
            assert decode(parse(name), codes).shape == shape
