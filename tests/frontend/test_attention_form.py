"""Integers of attention: bands, masks, grids and multipliers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from hwgen.errors import ModelError
from hwgen.formats import Float, parse, parse_arithmetic
from hwgen.frontend.attention_form import Operand, attention_form, band, mask_of, sight, weight_bits


def operand(name: str, reach: float = 4.0, scale: float = 1 / 32, zero: int = 0) -> Operand:
    fmt = parse(name)
    least, most = (-reach, reach) if isinstance(fmt, Float) else (fmt.min, fmt.max)
    return Operand(fmt=fmt, scale=Fraction(scale), zero=zero, least=least, most=most)


def banded(queries: int, keys: int, left: int, right: int, leading: int) -> np.ndarray:
    ahead = np.arange(keys) - np.arange(queries)[:, None]
    return ((np.arange(keys) < leading) | (ahead >= -left)) & (ahead <= right)


@pytest.mark.parametrize("queries, keys", [(9, 9), (5, 9), (9, 5), (1, 1)])
def test_every_band_is_recognized(queries: int, keys: int) -> None:
    for left in range(queries):
        for right in range(keys):
            for leading in range(keys + 1):
                allowed = banded(queries, keys, left, right, leading)
                found = band(allowed)
                assert found is not None
                assert np.array_equal(banded(queries, keys, *found), allowed)
                assert found[1] <= right


def test_what_is_no_band() -> None:
    allowed = banded(8, 8, 2, 0, 0)
    for row, key in ((5, 5), (5, 4), (7, 0), (3, 7)):
        changed = allowed.copy()
        changed[row, key] ^= True
        assert band(changed) is None
    whole = banded(8, 8, 2, 0, 0) | (np.arange(8) < 2)  # leading keys before they have come
    assert band(whole) is None
    assert sight(whole[None], None)["mask"].allowed is not None


def test_sight() -> None:
    assert sight(banded(9, 9, 2, 1, 1)[None], None) == {
        "left": 2,
        "right": 1,
        "leading": 1,
        "slots": 5,
    }
    assert sight(np.ones((1, 4, 6), bool), None) == {
        "left": 3,
        "right": 5,
        "leading": 0,
        "slots": 6,
    }
    bias = np.zeros((2, 9, 9), np.int64)
    found = sight(np.stack([banded(9, 9, 2, 1, 0), banded(9, 9, 0, 3, 0)]), bias)
    assert (found["right"], found["slots"]) == (3, 9)
    assert found["mask"].bias is bias


@pytest.mark.parametrize("hidden", [-np.inf, -1e4, -65504, float(np.finfo(np.float32).min)])
def test_masks(hidden: float) -> None:
    allowed = banded(6, 6, 1, 1, 0)
    slope = -0.25 * np.abs(np.arange(6) - np.arange(6)[:, None])
    found, bias = mask_of("a", np.where(allowed, 0, hidden), 10.0, 8)
    assert np.array_equal(found, allowed[None]) and bias is None
    found, bias = mask_of(
        "a", np.stack([np.where(allowed, s * slope + 7, hidden) for s in (1, 2)]), 10.0, 8
    )
    assert np.array_equal(found, np.stack([allowed] * 2))
    np.testing.assert_allclose(bias, np.where(allowed, np.stack([slope, 2 * slope]), 0), atol=1e-6)
    found, bias = mask_of("a", np.stack([np.where(allowed, slope, hidden)] * 2), 10.0, 8)
    assert found.shape == bias.shape == (1, 6, 6)


def test_far_keys_are_not_attended() -> None:
    """exp(spread - distance) < 2**-bits: never seen in a sum of weights."""
    distance = np.array([[0.0, 15.5, 15.6]])
    found, _ = mask_of("a", -distance, 10.0, 8)
    assert math.exp(10 - 15.5) > 2**-8 > math.exp(10 - 15.6)
    assert found.tolist() == [[[True, True, False]]]


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_rows_without_keys(bad: float) -> None:
    bias = np.zeros((2, 3, 4))
    bias[1, 2] = bad
    with pytest.raises(ModelError, match=r"encoder: row 2 of its mask \(head 1\) leaves no key"):
        mask_of("encoder", bias, 10.0, 8)


def test_weight_bits() -> None:
    assert [weight_bits(8, n) for n in (1, 32, 33, 64, 65, 512)] == [8, 8, 9, 9, 10, 12]
    assert weight_bits(4, 9) == 8 and weight_bits(9, 9) == weight_bits(16, 999) == 16


@pytest.mark.parametrize("name", ["int8", "uint8", "int4", "int16"])
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 0.125, -0.125, 1, 30])
def test_scores(name: str, factor: float) -> None:
    """Differences of scores that matter are a quarter of a unit wrong at most."""
    x = operand(name, zero=3)
    depth = 16
    fields = attention_form("a", x, x, x, factor=Fraction(factor), depth=depth, keys=28).fields
    unit = 2.0 ** fields["fraction"]
    exact = float(x.scale**2) * factor / math.log(2) * unit
    differ = min(2 * x.reach**2 * depth, (fields["weight_bits"] + 1) * unit / abs(exact))
    given = fields["multiplier"] / 2 ** fields["shift"]
    assert fields["shift"] >= 1 and fields["zero"] == 3
    assert abs(given - exact) * differ <= 0.25
    assert abs(fields["multiplier"]).bit_length() <= fields["fraction"] + 8


FORMS = ["int8", "int16", "e4m3fn", "e4m3fn:lmul", "e5m2", "fp16", "bf16", "bf16:pam"]


@pytest.mark.parametrize("keys", [1, 28, 512])
@pytest.mark.parametrize("name", FORMS)
def test_ranges(name: str, keys: int) -> None:
    arithmetic = parse_arithmetic(name) if name[:3] != "int" else None
    x = operand(name.partition(":")[0])
    f = attention_form(
        "a", x, x, x, factor=Fraction(1, 4), depth=16, keys=keys, arithmetic=arithmetic
    ).fields
    e = f["exponential"](np.arange(1 << f["fraction"]))
    ends = (1 << f["weight_bits"] - 1, (1 << f["weight_bits"]) - 1)
    if arithmetic is not None:
        ends = 0, 1 << arithmetic.x.man
    assert ends[0] <= e.min() and e.max() <= ends[1]
    assert f["exponential"].bits == f["fraction"]
    assert f["weight_bits"] - 1 + f["up"] >= 1
    for grid in ("score_grid", "value_grid"):
        assert (grid in f) == (arithmetic is not None and arithmetic.exact_bits > 48)
        if grid in f:  # nothing that can come saturates
            reach = x.reach * (x.reach if grid == "score_grid" else 1)
            assert 2.0 ** (f[grid].bits - 1) * 2.0 ** f[grid].exponent >= reach


def test_bias_and_offset() -> None:
    x = operand("uint8", zero=128)
    bias = np.array([[0, -math.log(2), -np.inf]])
    form = attention_form("a", x, x, x, factor=Fraction(1), depth=4, keys=3, bias=bias)
    assert form.fields["bias"].tolist() == [[0, -256, 0]]
    assert form.scale == x.scale / 16 and form.offset == -128 * x.scale
    assert (form.fields["low"], form.fields["high"]) == (0, 255 * 16)


def test_scores_beyond_reason() -> None:
    x = operand("int8", scale=1e6)
    with pytest.raises(ModelError, match=r"enc: a step of its scores is .* check the scales"):
        attention_form("enc", x, x, x, factor=Fraction(1), depth=4, keys=3)
