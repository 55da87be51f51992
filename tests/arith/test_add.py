"""Float sums and multiply-adds: golden against outside oracles, hardware against golden."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwgen.formats import Float, decode, encode, parse
from hwgen.golden.add import add, flushed, multiply_add
from hwgen.rtl.arith.float_add import FloatAdd
from hwgen.rtl.arith.fma import Fma
from tests.arith.units import simulate

SMALL = "e4m3fn e5m2 e4m3 e4m3fnuz e5m2fnuz e3m2 e2m3 e2m1 float<3,4> float<5,2,15,fn>".split()
FUSED = "e4m3fn e5m2 e4m3fnuz e3m2 e2m3".split()
WIDE = "bf16 fp16 fp32".split()
TYPES = {
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3": ml_dtypes.float8_e4m3,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
    "fp32": np.float32,
}
A, B = (v.reshape(-1) for v in np.mgrid[:256, :256])  # all pairs


def codes(fmt: Float, values: np.ndarray) -> np.ndarray:
    return encode(fmt, values, saturate=False)


def added(fmt: Float, a: np.ndarray, b: np.ndarray, flush: bool = False) -> np.ndarray:
    """The golden's codes."""
    x, y = decode(fmt, a), decode(fmt, b)
    if flush:
        x, y = flushed(fmt, x), flushed(fmt, y)
    return codes(fmt, add(fmt, x, y, flush))


def fused(fmt: Float, x: Float, w: Float, a, b, c, flush: bool = False) -> np.ndarray:
    """The golden's codes."""
    operands = (decode(f, v) for f, v in ((x, a), (w, b), (fmt, c)))
    return codes(fmt, multiply_add(fmt, x, w, *operands, flush))


def nearest(fmt: Float, value: Fraction, sign: bool, flush: bool = False) -> float:
    """The number of `fmt` nearest an exact one, from the definition; `sign`: of a zero."""
    if value:
        exponent = Fraction(abs(value)).numerator.bit_length() - value.denominator.bit_length()
        exponent -= abs(value) < Fraction(2) ** exponent
        ulp = Fraction(2) ** ((exponent if flush else max(exponent, fmt.emin)) - fmt.man)
        value, sign = round(value / ulp) * ulp, value < 0
    if flush and abs(value) < Fraction(2) ** fmt.emin:
        value = Fraction(0)
    size = abs(value)
    if size > Fraction(float(decode(fmt, fmt.largest_code))):
        size = {"ieee": np.inf, "none": decode(fmt, fmt.largest_code)}.get(fmt.specials, np.nan)
    return float(np.copysign(float(size), -1.0 if sign else 1.0))


def corners(fmt: Float, rng: np.random.Generator, count: int) -> np.ndarray:
    """Codes around zero, the least normal, one, the largest, infinity and NaN, or any."""
    places = [0, 1 << fmt.man, fmt.bias << fmt.man, fmt.largest_code]
    near = rng.choice(places, count) + rng.integers(-3, 4, count)
    near = np.where(rng.random(count) < 0.5, near, near ^ fmt.sign) & fmt.max
    return np.where(rng.random(count) < 0.3, near, rng.integers(0, fmt.max + 1, count))


def triples(fmt: Float, x: Float, w: Float, count: int, seed: int) -> tuple[np.ndarray, ...]:
    """Operands of a multiply-add: corners, sums near cancellation and near ties among them."""
    rng = np.random.default_rng(seed)
    a, b, c = (corners(f, rng, count) for f in (x, w, fmt))
    with np.errstate(all="ignore"):
        product = decode(x, a) * decode(w, b)
    opposite = codes(fmt, np.where(np.isnan(product), 1.0, -product)) + rng.integers(-2, 3, count)
    scale = 2.0 ** rng.integers(-2 * fmt.man - 4, 2 * fmt.man + 5, count)
    scaled = codes(fmt, np.where(np.isfinite(product), product * scale, 1.0))
    choice = rng.integers(0, 3, count)
    return a, b, np.choose(choice, [c, opposite & fmt.max, scaled ^ (rng.integers(2) * fmt.sign)])


@pytest.mark.parametrize("name", [n for n in SMALL if n in TYPES])
def test_golden_of_all_pairs(name: str) -> None:
    """Sums of 8-bit formats are those of ml_dtypes."""
    x, y = (v.astype(np.uint8).view(TYPES[name]) for v in (A, B))
    with np.errstate(all="ignore"):
        expected = (x + y).astype(np.float64)
    fmt = parse(name)
    found = add(fmt, decode(fmt, A), decode(fmt, B))
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("name", WIDE)
def test_golden_of_wide(name: str) -> None:
    """Sums are those of the machine, or of ml_dtypes."""
    fmt, kind = parse(name), np.uint32 if name == "fp32" else np.uint16
    a, _, b = triples(fmt, fmt, fmt, 100_000, 1)
    x, y = (v.astype(kind).view(TYPES[name]) for v in (a, b))
    with np.errstate(all="ignore"):
        expected = (x + y).astype(np.float64)
    np.testing.assert_array_equal(add(fmt, decode(fmt, a), decode(fmt, b)), expected)


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("name", ["fp32", "bf16", "e4m3fn", "e3m2"])
def test_golden_is_the_nearest(name: str, flush: bool) -> None:
    """Multiply-adds, and sums, are the exact results rounded once."""
    fmt = parse(name)
    a, b, c = triples(fmt, fmt, fmt, 4000, 2)
    x, y, z = (decode(fmt, v) for v in (a, b, c))
    found = multiply_add(fmt, fmt, fmt, x, y, z, flush)
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    assert finite.sum() > 2000
    if flush:
        x, y, z = (flushed(fmt, v) for v in (x, y, z))
    for got, *operands in zip(found[finite], x[finite], y[finite], z[finite], strict=True):
        p, q, r = map(Fraction, map(float, operands))
        negative = [np.signbit(v) for v in operands]
        both = (negative[0] ^ negative[1]) & negative[2]
        expected = nearest(fmt, p * q + r, bool(both), flush)
        assert np.array_equal(got, expected, equal_nan=True), operands
        assert np.isnan(got) or np.signbit(got) == np.signbit(expected) or fmt.specials == "fnuz"


def test_golden_rounds_once() -> None:
    """1 + 2**-8 is a tie of bf16, and a little more or less is none."""
    bf16, tie = parse("bf16"), 1 + 2.0**-8
    assert add(bf16, tie, 0.0) == 1
    assert add(bf16, tie, 2.0**-100) == 1 + 2.0**-7
    assert add(bf16, 1 + 3 * 2.0**-8, -(2.0**-100)) == 1 + 2.0**-7


def test_all_pairs() -> None:
    """Adders, and multiply-adds with a few addends, of 8-bit formats and less."""
    formats = {name: parse(name) for name in SMALL}
    rng = np.random.default_rng(3)
    c = rng.integers(0, 256, A.size * 4)
    a, b = np.tile(A, 4), np.tile(B, 4)
    units, expected = {}, {}
    for name, fmt in formats.items():
        for flush in (False, True):
            u, v, w = (o & fmt.max for o in (a, b, c))
            key, stages = f"{name} {flush}", len(units) % 7
            units[f"add {key}"] = FloatAdd(fmt, fmt, fmt, stages, flush)
            expected[f"add {key}"] = added(fmt, u, v, flush)
            if name in FUSED:
                units[f"fma {key}"] = Fma(fmt, fmt, fmt, stages, flush)
                expected[f"fma {key}"] = fused(fmt, fmt, fmt, u, v, w, flush)
    mixed = (parse("fp16"), formats["e4m3fn"], formats["e5m2"])
    units["mixed"] = Fma(*mixed, 2)
    expected["mixed"] = fused(*mixed, a, b, c)
    check(simulate(units, {"i_a": a, "i_b": b, "i_c": c}), expected)


def check(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        assert want.size and want.shape == found[name].shape
        wrong = np.nonzero(want != found[name])[0]
        assert not wrong.size, f"{name}: {wrong.size} wrong, the first at {wrong[0]}"


MIXED = {  # result and factors
    "bf16": ("bf16",) * 3,
    "fp16": ("fp16",) * 3,
    "fp32": ("fp32",) * 3,
    "bf16 in fp32": ("fp32", "bf16", "bf16"),
    "fp16 in fp32": ("fp32", "fp16", "fp16"),
    "e4m3fn in bf16": ("bf16", "e4m3fn", "e4m3fn"),
}


def drawn() -> np.ndarray:
    """Triples (3, N) of codes of fp32 from Hypothesis: special ones, few bits near one, any."""
    least, one, infinite = 1 << 23, 127 << 23, 255 << 23
    special = [0, 1, least - 1, least, one, one + 1, infinite - 1, infinite, infinite + 1]
    code = st.sampled_from([*special, *(v | 1 << 31 for v in special)])
    code |= st.integers(0, (1 << 32) - 1)
    code |= st.builds(lambda e, v: one + (e << 23) + (v << 14), st.integers(-9, 9), st.integers(0))
    found = []

    @settings(max_examples=2000, derandomize=True, database=None)
    @given(st.tuples(code, code, code))
    def collect(triple: tuple[int, int, int]) -> None:
        found.append([v & 0xFFFFFFFF for v in triple])

    collect()
    return np.array(found).T


def test_wide() -> None:
    """Adders and multiply-adds, of wide and mixed formats, by all numbers of stages."""
    formats = {key: tuple(map(parse, names)) for key, names in MIXED.items()}
    batches = [triples(*f, 30_000, k) for k, f in enumerate(formats.values())]
    examples = drawn()
    for key in WIDE:  # the upper bits of an fp32 are a bf16
        batches.append([v >> (32 - parse(key).bits) for v in examples])
    a, b, c = (np.concatenate(v) for v in zip(*batches, strict=True))
    units, expected = {}, {}
    for k, (key, (fmt, x, w)) in enumerate(formats.items()):
        u, v, z = a & x.max, b & w.max, c & fmt.max
        for flush, stages in ((False, k), (True, 7 - k)):
            units[f"fma {key} {flush}"] = Fma(fmt, x, w, stages, flush)
            expected[f"fma {key} {flush}"] = fused(fmt, x, w, u, v, z, flush)
            if x == w == fmt:
                units[f"add {key} {flush}"] = FloatAdd(fmt, fmt, fmt, stages, flush)
                expected[f"add {key} {flush}"] = added(fmt, u, v, flush)
    check(simulate(units, {"i_a": a, "i_b": b, "i_c": c}), expected)


def test_refusals() -> None:
    """An addend of exponents that the result lacks, and a negative number of registers."""
    fp16, fp32 = parse("fp16"), parse("fp32")
    with pytest.raises(ValueError, match="a must be a float whose exponents fp16 has, not fp32"):
        FloatAdd.validate(fp16, fp32, 0)
    with pytest.raises(ValueError, match="stages must be 0 or more, not -1"):
        FloatAdd.validate(fp16, fp16, -1)
