"""Integer forms against exact rationals, for all inputs they may see."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hwgen.formats import ROUND, Int
from hwgen.ir import Add, Form, Requantize
from hwgen.passes.add_form import add_form
from hwgen.passes.forms import requantize_form
from hwgen.passes.limits import limits

REACH = 40_000


def evaluate(form: Form, total: np.ndarray) -> np.ndarray:
    """What the hardware makes of x * multiplier + offset."""
    result = total >> form.shift
    if form.correction:
        odd = (result % 2 == 1) ^ form.flip
        result = result - (odd & (total % (1 << form.shift) < form.correction))
    return result


@pytest.mark.parametrize("rounding", ROUND)
@pytest.mark.parametrize("scale", ["1/6", "3/4096", "-7/3001", "2/3", "13/65536", "0"])
@pytest.mark.parametrize("bits", [4, 16])
def test_requantize(rounding: str, scale: str, bits: int) -> None:
    check(rounding, scale, bits, REACH)


@pytest.mark.parametrize("rounding", ROUND)
@pytest.mark.parametrize(
    ("scale", "reach"), [("1/2", REACH), ("13/16", REACH), ("-5/4", REACH), ("97/3", 300)]
)
def test_requantize_levels(rounding: str, scale: str, reach: int) -> None:
    """Many levels, of which few can decide: scales of small numbers, few inputs."""
    check(rounding, scale, 16, reach)


def check(rounding: str, scale: str, bits: int, reach: int) -> None:
    factor, offset, zero = Fraction(scale), Fraction(5, 7), 3
    low, high = Int(bits).min, Int(bits).max
    node = Requantize(
        name="n", inputs=("x",), outputs=("y",), scale=np.array([factor]),
        offset=np.array([offset]), zero_point=zero, low=np.array([low]), high=np.array([high]),
        x_low=np.array([-reach]), x_high=np.array([reach]), rounding=rounding,
    )  # fmt: skip
    x = np.arange(-reach, reach + 1)
    expected = [ROUND[rounding](v * factor + offset) + zero for v in x.tolist()]
    form = requantize_form(node, limits(node))
    if form is None:
        assert rounding in ("up", "down")  # a line that bends at zero
        return
    got = evaluate(form, x.astype(object) * int(form.multiplier[0]) + int(form.offset[0]))
    np.testing.assert_array_equal(np.clip(got, low, high), np.clip(expected, low, high))


@pytest.mark.parametrize(
    "scales", [("1/2", "3/2", "0"), ("7/13", "-1/3", "1/5"), ("1/6", "5", "1")]
)
@pytest.mark.parametrize("zero", [0, 7])
def test_add(scales: tuple[str, str, str], zero: int) -> None:
    """16-bit codes, of which all pairs are too many: random ones, and many ties."""
    a, b, c = map(Fraction, scales)
    node = Add(
        name="n", inputs=("a", "b"), outputs=("y",), scale=(a, b), offset=c,
        zero_point=zero, low=-(1 << 15), high=(1 << 15) - 1,
    )  # fmt: skip
    form = add_form(node, Int(16), Int(16))
    x = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (2, 20_000)).astype(object)
    expected = [round(v * a + w * b + c) + zero for v, w in x.T.tolist()]
    total = x[0] * int(form.multiplier[0]) + x[1] * int(form.multiplier[1]) + int(form.offset)
    np.testing.assert_array_equal(evaluate(form, total), expected)
