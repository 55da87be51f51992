"""Short names of formats and arithmetics, both ways, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwgen.errors import ConfigError
from hwgen.formats import (
    NAMES,
    ROUND,
    Approximate,
    Arithmetic,
    Block,
    Fixed,
    Float,
    Int,
    parse,
    parse_arithmetic,
)
from hwgen.formats.arithmetic import GRAMMAR, MULTIPLIERS
from hwgen.formats.codec import WHOLE
from tests.formats.test_wide import floats

ALIASES = {"mxfp8-e4m3": "mxfp8", "mxfp6-e2m3": "mxfp6"}
INTEGERS = [f"{u}int{bits}" for u in ("", "u") for bits in range(1, 33)]
OTHERS = ["fixed<16,8>", "ufixed<8,-3>", "fixed<1,64>", "float<3,4,3,ieee>", "float<1,1,-5,none>"]
BLOCKS = ["block<e2m1,16>", "block<int4,8>", "block<float<3,1,3,none>,7>", "block<e4m3fnuz,1>"]


@pytest.mark.parametrize("name", [*NAMES, *INTEGERS, *OTHERS, *BLOCKS])
def test_names_parse_and_print(name: str) -> None:
    fmt = parse(name)
    assert str(fmt) == ALIASES.get(name, name)
    assert parse(str(fmt)) == fmt
    assert hash(parse(str(fmt))) == hash(fmt)
    for field in dataclasses.fields(fmt):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fmt, field.name, 1)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    floats()
    | st.builds(Int, st.integers(1, 64), st.booleans())
    | st.builds(Fixed, st.integers(1, 32), st.integers(-64, 64), st.booleans())
    | st.builds(Block, st.builds(Int, st.integers(2, 16)), st.integers(1, 1 << 16))
)
def test_any_format_parses_and_prints(fmt) -> None:
    assert parse(str(fmt)) == fmt


def test_a_known_format_prints_its_name() -> None:
    assert str(Float(4, 3, 7, "fn")) == "e4m3fn"
    assert str(parse("float<8,7,127,ieee>")) == "bf16"
    assert parse("float<3,2>") == parse("e3m2")
    assert str(Block(parse("e2m1"), 32)) == "mxfp4"


def test_modes_have_the_same_names_and_meaning_for_numbers_and_arrays() -> None:
    assert list(ROUND) == list(WHOLE)
    values = np.arange(-20, 21) / 4
    for mode, whole in WHOLE.items():
        np.testing.assert_array_equal(whole(values), [ROUND[mode](float(v)) for v in values])


def test_properties() -> None:
    """Against the OCP specifications' tables."""
    e4m3, e5m2, e2m1 = parse("e4m3fn"), parse("e5m2"), parse("e2m1")
    assert (e4m3.emin, e4m3.emax, e4m3.unit, e4m3.largest_code, e4m3.nan) == (-6, 8, -9, 126, 127)
    assert (e5m2.emin, e5m2.emax, e5m2.unit, e5m2.infinity) == (-14, 15, -16, 124)
    assert (e2m1.emax, e2m1.unit, e2m1.nan, e2m1.infinity) == (2, -1, None, None)
    assert [f.span for f in (e4m3, e5m2, e2m1)] == [18, 32, 4]
    assert parse("e4m3fnuz").nan == parse("e4m3fnuz").sign == 128


ARITHMETICS = [
    "int8", "uint8", "int8xint4", "int8xternary", "uint4xbipolar", "fixed<8,4>", "fixed<8,4>xint4",
    "e4m3fn", "e4m3fn:lmul", "e4m3fn:lmul-raw", "bf16:pam", "bf16:pam-c", "bf16+an-1-2", "fp32",
    "e4m3fn+fp32", "e4m3fn+bf16", "bf16+bf16", "e4m3fn:lmul+an-1-2", "bf16+an-2-2-20", "fp16+fp16",
    "e4m3fnxe5m2", "mxfp4", "mxfp8xmxfp4", "mxint8", "block<e2m1,16>xblock<e2m3,16>",
    "float<3,2,4,none>xe2m1", "uint8xuint8",
]  # fmt: skip


@pytest.mark.parametrize("text", ARITHMETICS)
def test_arithmetics_parse_and_print(text: str) -> None:
    arithmetic = parse_arithmetic(text)
    assert str(arithmetic) == text
    assert hash(parse_arithmetic(str(arithmetic))) == hash(arithmetic)


def test_defaults_of_an_arithmetic() -> None:
    assert parse_arithmetic("ternary") == parse_arithmetic("int8xternary")
    assert parse_arithmetic("uint8") == Arithmetic(Int(8, False), Int(8), "exact", "int")
    assert parse_arithmetic("e4m3fn").accumulator == "exact"
    assert parse_arithmetic("e4m3fn+exact") == parse_arithmetic("e4m3fn")
    assert parse_arithmetic("bf16").accumulator == parse("fp32")
    assert parse_arithmetic("bf16+an-1-2").accumulator == Approximate(1, 2, 16)
    assert set(MULTIPLIERS) == {"exact", "lmul", "lmul-raw", "pam", "pam-c"}


def test_width_of_exact_products() -> None:
    """The bound 2 * (2**E - 2) + 2 * M + 2 without infinity, 2 * (2**E - 3) + 2 * M + 2 with."""
    for name, without in (("e4m3fn", True), ("e5m2", False), ("e2m1", True), ("fp16", False)):
        fmt = parse(name)
        wanted = 2 * (2**fmt.exp - (2 if without else 3)) + 2 * fmt.man + 2
        assert parse_arithmetic(f"{name}+exact").exact_bits == wanted + 1


BAD_FORMATS = [
    ("e4m3f", "'e4m3f' is not a number format; did you mean e4m3fn"),
    ("posit8", "'posit8' is not a number format; `hwgen formats` lists them"),
    ("int0", "'int0' is not a number format"),
    ("", "'' is not a number format"),
    ("float<5,30>", "a float must have 3 to 32 bits"),
    ("float<1,0>", "a float must have 3 to 32 bits"),
    ("float<4,3,7,nan>", "specials must be one of ieee, fn, fnuz, none, not 'nan'"),
    ("float<1,3,0,ieee>", "must have 2 exponent bits and 1 mantissa bit"),
    ("float<20,3>", r"numbers must lie within 2\*\*-1074 and 2\*\*1024; with 20 exponent bits"),
    ("float<4,3,2000>", r"bias 2000 they are 2\*\*-2002 to 2\*\*-1984"),
    ("fixed<33,0>", "bits must be 1 to 32, not 33"),
    ("fixed<8,65>", "frac must be within -64 ... 64, not 65"),
    ("block<e2m1,0>", "size of a block must be 1 to 65536, not 0"),
    ("block<bf16,32>", "elements must have at most 8 bits, not bf16"),
    ("block<uint8,32>", "elements must be int2 to int16, not uint8"),
    ("block<mxfp4,32>", "elements must be floats or integers, not mxfp4"),
    (f"fixed<{'9' * 5000},1>", "is not a number format"),
    ("int٨", "is not a number format"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FORMATS, ids=[t[:20] for t, _ in BAD_FORMATS])
def test_refused_formats(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


UNREADABLE = [
    ("e4m3f:lmul", "'e4m3f' is not a number format; did you mean e4m3fn"),
    ("int8xint", "'int' is not a number format"),
    ("int8xfloat<9,40>", "a float must have 3 to 32 bits"),
    ("e4m3fn:mul", "'mul' is not a multiplier: exact, lmul, lmul-raw, pam, pam-c"),
    ("e4m3fn:", "'' is not a multiplier"),
    ("e4m3fn+", "'' is not an accumulator"),
    ("e4m3fn+an-1", "'an-1' is not an accumulator: int, exact, fp32, bf16, fp16 or an-k-λ"),
    ("e4m3fn+fp32+fp32", r"'fp32\+fp32' is not an accumulator"),
]
SENSELESS = [
    ("bf16+exact", "bf16.exact: exact sums need 523 bits and more, 160 are the most; .*fp32"),
    ("fp32+exact", "exact sums need 555 bits"),
    ("int8+fp32", "sums of int8 must be int"),
    ("e4m3fn+int", "sums of e4m3fn must be exact, fp32, bf16, fp16 or an-k-λ"),
    ("mxfp4xblock<e2m1,16>", "blocks must have one size, not 32 and 16"),
    ("mxfp4+fp32", "sums of blocks must be exact"),
    ("int8:lmul", "lmul multiplies floats of one format"),
    ("e4m3fnxe5m2:pam", "pam multiplies floats of one format"),
    ("int8xe4m3fn", "both be integers, both floats or both blocks"),
    ("e4m3fnxmxfp4", "both be integers, both floats or both blocks"),
    ("ternaryxint8", "ternary and bipolar are formats of weights"),
    ("e8m0", "e8m0 is the format of a block's scale"),
    ("bf16+an-0-2", "k and λ must be positive"),
    ("bf16+an-9-9", "together less than the bits of a sum"),
]


@pytest.mark.parametrize(("text", "says"), UNREADABLE)
def test_unreadable_arithmetics(text: str, says: str) -> None:
    """The message names the part, and how an arithmetic is written."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse_arithmetic(text)
    assert GRAMMAR in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("text", "says"), SENSELESS)
def test_senseless_arithmetics(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_arithmetic(text)


def test_an_unknown_multiplier() -> None:
    with pytest.raises(ConfigError, match=r"multiplier must be one of .*, not 'mul'"):
        Arithmetic(parse("e4m3fn"), parse("e4m3fn"), "mul")
