"""`hwgen formats`: the list, one format, one arithmetic, and what is neither."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hwgen.formats import NAMES
from hwgen.formats.describe import COLUMNS, describe
from tests.command import fails, succeeds
from tests.formats.oracles import ML_DTYPES


def facts(name: str) -> dict[str, str]:
    return dict(describe(name).facts)


def test_the_list() -> None:
    out = succeeds("formats")
    first = [line.split()[0] for line in out.splitlines() if line.split()]
    assert [name for name in first if name in NAMES] == list(NAMES)
    for text in ("fixed<16,8>", "float<4,3,7,fn>", "block<e2m1,16>", "FORMAT[xWEIGHTFORMAT]"):
        assert text in out


def test_one_format() -> None:
    out = succeeds("formats", "e4m3fn")
    for pattern in (
        "bias 7",
        "-448 to 448",
        r"smallest subnormal +2\*\*-9 = 0.001953125",
        "NaN; no infinity",
        "code of NaN +0x7f",
        r"\+0 .* \+7",
        "0x78 +256 +288 +320 +352 +384 +416 +448 +NaN",
    ):
        assert re.search(pattern, out), pattern


@pytest.mark.parametrize("name", [n for n in ML_DTYPES if n not in ("fp16", "bf16", "e8m0")])
def test_facts_of_ml_dtypes(name: str) -> None:
    info, found = ml_dtypes.finfo(ML_DTYPES[name]), facts(name)
    assert found["range"] == f"{float(info.min):.10g} to {float(info.max):.10g}"
    assert found["smallest subnormal"].endswith(f" = {float(info.smallest_subnormal):.10g}")
    assert found["smallest normal"].endswith(f" = {float(info.smallest_normal):.10g}")


@pytest.mark.parametrize("name", [n for n in ML_DTYPES if n not in ("fp16", "bf16")])
def test_all_values_of_ml_dtypes(name: str) -> None:
    """Every code but those that differ from another in the sign alone."""
    rows = describe(name).values
    assert [int(row[0], 16) for row in rows] == list(range(0, len(rows) * COLUMNS, COLUMNS))
    shown = [float(text) for row in rows for text in row[1:]]
    info = ml_dtypes.finfo(ML_DTYPES[name])
    assert len(shown) == 1 << (info.bits - (name != "e8m0"))
    wanted = np.arange(len(shown), dtype=np.uint8).view(ML_DTYPES[name]).astype(np.float64)
    np.testing.assert_allclose(shown, wanted, rtol=6e-4)


@pytest.mark.parametrize("name", ["e5m2", "e8m0", "mxint8", "fixed<8,4>", "e4m3fn:lmul+an-1-2"])
def test_it_fits_a_terminal(name: str) -> None:
    out = succeeds("formats", name)
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("int8", ["two's complement", "-128 to 127", "0x80 +-128 +-127"]),
        ("uint4", ["unsigned", "0 to 15"]),
        ("ufixed<6,2>", ["unsigned integer times 2..-2", "0 to 15.75"]),
        ("ternary", ["-1, 0, 1"]),
        ("bipolar", ["-1 to 1"]),
        ("int64", ["bits +64"]),
        ("bf16", ["bits of an exact product +523", "code of infinity +0x7f80"]),
        ("mxfp4", ["bits per number +4.25", r"magnitude\) \+ 125", "element: range +-6 to 6"]),
        ("mxint8", ["element: range +-2 to 1.984375"]),
        ("block<int4,16>", ["16 x int4", "element: layout +signed integer times 2..-2"]),
        ("float<3,0,3,fn>", ["smallest subnormal +none"]),
    ],
)
def test_other_formats(name: str, says: list[str]) -> None:
    out = succeeds("formats", name)
    for pattern in says:
        assert re.search(pattern, out), f"{pattern} is not in {out}"
    assert ("+0" in out) is (name not in ("ternary", "bipolar", "int64", "bf16"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "e4m3fn:lmul+an-1-2",
            ["L-Mul, .* guarded", "16 bits of significand", "left by 0, 1 or 3 bits"],
        ),
        ("e4m3fn+exact", ["exact: fixed point, 37 bits"]),
        ("bf16:pam+bf16", ["piecewise affine", "bf16: every sum rounded"]),
        ("int8xternary", ["activations +int8", "weights +ternary", "range analysis"]),
        ("mxfp4xmxfp8", ["products +exact, times the blocks' scales", "exact: .* 23 bits"]),
    ],
)
def test_arithmetics(text: str, says: list[str]) -> None:
    out = succeeds("formats", text)
    for pattern in says:
        assert re.search(pattern, out), f"{pattern} is not in {out}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("e4m3f", ["'e4m3f' is not a number format; did you mean e4m3fn", "FORMAT.xWEIGHT"]),
        ("e4m3fn:mul", ["'e4m3fn:mul': 'mul' is not a multiplier", "FORMAT.xWEIGHTFORMAT"]),
        ("bf16+exact", ["exact sums need 523 bits", "fp32"]),
        ("float<5,30>", ["3 to 32 bits"]),
    ],
)
def test_refusals(text: str, says: list[str], tmp_path: Path) -> None:
    fails(tmp_path, "formats", text, says=says)
