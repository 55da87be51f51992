"""Scales of tensors and weights."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.formats import Fixed, Float, Int, decode, encode, parse
from hwgen.frontend.convert.scaling import (
    Seen,
    activation,
    carrier,
    integer_weights,
    power_of_two,
    weight_scales,
)


def seen(*values: float) -> Seen:
    array = np.array(values, dtype=np.float64)
    return Seen(array, float(array.min()), float(array.max()))


def test_powers_of_two() -> None:
    """The least with which the largest magnitude is no larger than the format's."""
    assert power_of_two(448, 448) == 1
    assert power_of_two(449, 448) == 2
    assert power_of_two(0.99, 448) == 2.0**-8
    assert power_of_two(0, 448) == 1
    assert power_of_two(1e-300, 448) == np.float32(2.0**-126)


@pytest.mark.parametrize(
    ("fmt", "values", "scale", "zero"),
    [
        (Int(8), (0, 2.55), 0.01, -128),
        (Int(8), (-1, 1.55), 0.01, -28),
        (Int(8), (-2.55, -1), 0.01, 127),
        (Int(4, False), (-0.5, 1), 0.1, 5),
        (Int(8), (0, 0), 1, 0),
        (Fixed(8, 4), (-100, 100), 0.0625, 0),
        (parse("e4m3fn"), (-448, 100), 1, 0),
        (parse("bf16"), (-1e30, 100), 1, 0),
    ],
)
def test_activations(fmt, values: tuple, scale: float, zero: int) -> None:
    assert activation(fmt, seen(*values), "max") == (np.float32(scale), zero)


def test_carriers_have_a_power_of_two() -> None:
    assert carrier(Int(16), seen(-3, 2)) == (2.0**-13, 0)


@pytest.mark.parametrize("fmt", [Int(4), Int(3, False), parse("e2m1")])
def test_the_search_is_better(fmt) -> None:
    values = np.random.default_rng(1).standard_t(3, 5000)
    data = seen(*values)

    def error(mode) -> float:
        if isinstance(fmt, Float):
            scale, _ = activation(fmt, data, mode)
            rounded = decode(fmt, encode(fmt, values / scale)) * scale
        else:
            w = integer_weights(fmt, values, None, mode)
            rounded = (w.codes - w.zero) * w.scale
        return float(np.square(rounded - values).sum())

    assert error("mse") < 0.9 * error("max")


def test_weights_along_an_axis() -> None:
    w = np.array([[1.1, -2, 0], [10, 5.2, 0]])
    rows = integer_weights(Int(4), w, 0, "max")
    np.testing.assert_array_equal(rows.codes, [[4, -7, 0], [7, 4, 0]])
    np.testing.assert_array_equal(rows.scale, np.float32([2 / 7, 10 / 7]))
    columns = integer_weights(Int(4), w, 1, "max")
    np.testing.assert_array_equal(columns.codes, [[1, -3, 0], [7, 7, 0]])
    np.testing.assert_array_equal(columns.scale, np.float32([10 / 7, 5.2 / 7, 1]))
    np.testing.assert_array_equal(weight_scales(parse("e2m1"), w, 0, "max"), np.float32([0.5, 2]))


def test_weights_of_one_and_two_bits() -> None:
    w = np.array([[0.1, -1, 3, 0.2]])
    ternary = integer_weights(parse("ternary"), w, 0, "max")
    np.testing.assert_array_equal(ternary.codes, [[0, -1, 1, 0]])
    assert ternary.scale == [2]
    bipolar = integer_weights(parse("bipolar"), w, 0, "max")
    np.testing.assert_array_equal(bipolar.codes, [[1, -1, 1, 1]])
    assert bipolar.scale == np.float32(4.3 / 4)
    fixed = integer_weights(Fixed(4, 1), w, 0, "max")
    np.testing.assert_array_equal(fixed.codes, [[0, -2, 6, 0]])
