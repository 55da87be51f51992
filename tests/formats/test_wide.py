"""Wide formats against NumPy's floats; any float against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwgen.errors import ConfigError
from hwgen.formats import ROUND, Fixed, Float, Int, cast, decode, encode, parse
from hwgen.formats.float import SPECIALS

DETERMINED = settings(derandomize=True, max_examples=300, deadline=None)


@st.composite
def floats(draw) -> Float:
    """Any format of 3 to 32 bits."""
    bits = draw(st.integers(3, 32))
    exp = draw(st.integers(1, min(11, bits - 1)))
    specials = draw(st.sampled_from(list(SPECIALS)))
    bias = draw(st.integers(-40, 60) | st.just((1 << (exp - 1)) - 1))
    try:
        return Float(exp, bits - 1 - exp, bias, specials)
    except ConfigError:
        assume(False)
        raise


def exact(fmt: Float, code: int) -> Fraction | None:
    """The number of a code by the definition, in fractions; None for infinity and NaN."""
    field, mantissa = code >> fmt.man & ((1 << fmt.exp) - 1), code & ((1 << fmt.man) - 1)
    negative = code >> (fmt.bits - 1)
    full = (1 << fmt.exp) - 1
    ones = (1 << fmt.man) - 1
    if {
        "ieee": field == full,
        "fn": field == full and mantissa == ones,
        "fnuz": negative and not field and not mantissa,
        "none": False,
    }[fmt.specials]:
        return None
    scale = Fraction(2) ** (max(field, 1) - fmt.bias - fmt.man)
    size = (mantissa + (bool(field) << fmt.man)) * scale
    return -size if negative else size


@DETERMINED
@given(floats(), st.data())
def test_codes_of_any_float(fmt: Float, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, fmt.max), min_size=1, max_size=20))
    numbers = decode(fmt, codes)
    for code, number in zip(codes, numbers, strict=True):
        wanted = exact(fmt, code)
        assert np.isfinite(number) == (wanted is not None)
        if wanted is not None:
            assert Fraction(float(number)) == wanted
    finite = np.isfinite(numbers)
    for mode in ROUND:
        again = encode(fmt, numbers[finite], mode, saturate=False)
        np.testing.assert_array_equal(again, np.array(codes)[finite])


@DETERMINED
@given(floats(), st.sampled_from(list(ROUND)), st.data())
def test_rounding_of_any_float(fmt: Float, mode: str, data: st.DataObject) -> None:
    """The neighbours of a number, and which of them the mode takes, in exact arithmetic."""
    low = data.draw(st.integers(0, fmt.largest_code - 1))
    below, above = exact(fmt, low), exact(fmt, low + 1)
    share = Fraction(data.draw(st.integers(1, 7)), 8)
    sign = data.draw(st.sampled_from([1, -1]))
    value = sign * (below + share * (above - below))
    assume(Fraction(float(value)) == value)
    # Counted from the lower neighbour's mantissa, whose parity decides ties; without a mantissa
    # the larger neighbour is the even one, but for the least numbers 0 and 1.
    count = (low & 1) if fmt.man else int(low > 0)
    wanted = abs(ROUND[mode](sign * (count + share))) - count + low
    got = int(encode(fmt, float(value), mode))
    negative = sign < 0 and not (fmt.specials == "fnuz" and wanted == 0)
    assert got == wanted + negative * fmt.sign


@DETERMINED
@given(floats())
def test_what_lies_beyond(fmt: Float) -> None:
    largest = float(decode(fmt, fmt.largest_code))
    for value in (np.inf, 1.7e308):
        assume(value > 2 * largest)
        code = encode(fmt, [value, -value])
        assert code.tolist() == [fmt.largest_code, fmt.largest_code | fmt.sign]
        numbers = decode(fmt, encode(fmt, [value, -value], saturate=False))
        if fmt.infinity is not None:
            assert numbers.tolist() == [np.inf, -np.inf]
        elif fmt.nan is not None:
            assert np.isnan(numbers).all()
        else:
            assert numbers.tolist() == [largest, -largest]


def test_as_many_exponents_as_float64() -> None:
    """The codes of infinity and NaN would overflow as numbers."""
    fmt = parse("float<11,20,1023,ieee>")
    codes = [fmt.infinity, fmt.infinity | fmt.sign, fmt.nan, fmt.max, fmt.largest_code, 1]
    numbers = decode(fmt, codes)
    wanted = [np.inf, -np.inf, np.nan, np.nan, (2 - 2.0**-20) * 2.0**1023, 2.0**-1042]
    np.testing.assert_array_equal(numbers, wanted)
    np.testing.assert_array_equal(encode(fmt, numbers[-2:]), codes[-2:])
    assert encode(fmt, np.nextafter(np.inf, 0), saturate=False) == fmt.infinity


@DETERMINED
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=100))
def test_fp32(codes: list[int]) -> None:
    numbers = np.array(codes, np.uint32).view(np.float32)
    fp32 = parse("fp32")
    real = ~np.isnan(numbers)
    np.testing.assert_array_equal(decode(fp32, codes)[real], numbers[real])
    assert np.isnan(decode(fp32, codes)[~real]).all()
    np.testing.assert_array_equal(
        encode(fp32, numbers, saturate=False)[real], np.array(codes)[real]
    )


@DETERMINED
@given(st.lists(st.floats(width=64), min_size=1, max_size=100))
def test_doubles_to_fp32_and_fp16(values: list[float]) -> None:
    for name, kind, codes in (("fp32", np.float32, np.uint32), ("fp16", np.float16, np.uint16)):
        with np.errstate(over="ignore", under="ignore"):
            wanted = np.array(values).astype(kind)
        got = encode(parse(name), values, saturate=False)
        real = ~np.isnan(wanted)
        np.testing.assert_array_equal(got[real], wanted.view(codes)[real])
        assert np.isnan(decode(parse(name), got)[~real]).all()


@DETERMINED
@given(st.integers(1, 32), st.booleans(), st.integers(-64, 64), st.data())
def test_fixed_and_integers(bits: int, signed: bool, frac: int, data: st.DataObject) -> None:
    fixed, integer = Fixed(bits, frac, signed), Int(bits, signed)
    codes = data.draw(st.lists(st.integers(fixed.min, fixed.max), min_size=1, max_size=20))
    codes += [fixed.min, fixed.max]
    numbers = decode(fixed, codes)
    assert [Fraction(float(v)) for v in numbers] == [
        Fraction(c) / Fraction(2) ** frac for c in codes
    ]
    for mode in ROUND:
        np.testing.assert_array_equal(encode(fixed, numbers, mode), codes)
        values = np.array(codes) / 8
        wanted = [ROUND[mode](Fraction(c, 8)) for c in codes]
        np.testing.assert_array_equal(encode(integer, values, mode), wanted)


@pytest.mark.parametrize("source", ["fp32", "int8", "fixed<16,8>", "ternary", "e4m3fn", "e8m0"])
@pytest.mark.parametrize("target", ["fp32", "bf16", "uint8", "fixed<12,3>", "e5m2fnuz", "bipolar"])
def test_cast_is_decode_and_encode(source: str, target: str) -> None:
    fmt = parse(source)
    codes = np.random.default_rng(6).integers(fmt.min, fmt.max + 1, 500)
    got = cast(codes, fmt, parse(target), rounding="down", saturate=False)
    wanted = encode(parse(target), decode(fmt, codes), "down", saturate=False)
    np.testing.assert_array_equal(got, wanted)


def test_casts_that_widen_lose_nothing() -> None:
    for name in ("e4m3fn", "e5m2fnuz", "e2m1", "int8", "bf16", "fp16"):
        fmt = parse(name)
        codes = np.arange(fmt.min, fmt.max + 1)
        codes = codes[np.isfinite(decode(fmt, codes))]
        wide = cast(codes, fmt, parse("fp32"))
        np.testing.assert_array_equal(cast(wide, parse("fp32"), fmt), codes)


REFUSED = [
    (lambda: encode(parse("int8"), 1, "nearest"), "rounding must be one of half_even, .*, stoch"),
    (lambda: encode(parse("bipolar"), 1, "nearest"), "rounding must be one of"),
    (lambda: encode(parse("int8"), 1, "stochastic"), "needs rng, a numpy.random.Generator"),
    (lambda: encode(parse("mxfp4"), 1), "mxfp4 has two codes per number; use encode_block"),
    (lambda: decode(parse("mxfp4"), 1), "mxfp4 has two codes per number; use decode_block"),
    (lambda: decode(parse("e4m3fn"), [0, 256]), "codes of e4m3fn must be 0 to 255, not 0 to 256"),
    (lambda: decode(parse("int8"), [200]), "codes of int8 must be -128 to 127, not 200 to 200"),
    (lambda: decode(parse("ternary"), [-2]), "codes of ternary must be -1 to 1"),
    (lambda: decode(parse("int8"), [0.5]), "codes must be integers, not float64"),
    (lambda: decode(Int(60), 0), "int60 is wider than the 53 bits that float64 holds exactly"),
]


@pytest.mark.parametrize(("action", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_refusals(action, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        action()
