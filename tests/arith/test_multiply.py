# amaranth: UnusedElaboratable=no
"""Multipliers: golden against outside oracles and definitions, hardware against golden."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from hwgen.errors import ConfigError
from hwgen.formats import Arithmetic, Float, decode, parse, parse_arithmetic
from hwgen.golden.multiply import lmul, multiplied, multiply, pam, product, product_code
from hwgen.rtl.arith.booth import booth
from hwgen.rtl.arith.float_multiply import float_product, product_parts
from hwgen.rtl.arith.multiply import Multiplier, element, fixed_product, fixed_unit
from tests.arith.units import simulate

NAMED = {
    "e4m3fn": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3": ml_dtypes.float8_e4m3,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
    "fp32": np.float32,
}
SMALL = [n for n in NAMED if parse(n).bits <= 8]
ODD = ["float<3,4,3,ieee>", "float<2,2,-3>", "float<4,3,12,fn>", "float<1,3,0>", "float<5,0,15,fn>"]
WIDE = ["bf16", "fp16", "fp32", "float<6,5,31,fn>", "float<4,9,3>"]
MIXED = ["e4m3fnxe5m2", "e5m2xe4m3fn", "e2m1xe2m3", "e4m3fnxe2m1"]
APPROXIMATE = ["lmul", "lmul-raw", "pam", "pam-c"]
WHOLE = ["int8", "uint8xint8", "uint8xuint8", "int8xint4", "int3xint8", "fixed<8,3>xufixed<7,9>"]
X, W = (v.reshape(-1) for v in np.mgrid[:256, :256])  # all pairs


def codes(fmt, values: np.ndarray) -> np.ndarray:
    """Codes of the format from the lowest bits."""
    fmt = element(fmt)
    values = values & ((1 << fmt.bits) - 1)
    return values - ((values >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else values


def both(arith: Arithmetic, x=X, w=W) -> tuple[np.ndarray, np.ndarray]:
    """Operands' codes."""
    return codes(arith.x, x), codes(arith.w, w)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        wrong = np.flatnonzero(found[name] != values)
        where = wrong[:4]
        assert not len(wrong), (name, len(wrong), where, found[name][where], values[where])


def corners(fmt: Float) -> list[int]:
    """Zeros, subnormals, the least and largest normal numbers, near 1, infinity, NaN."""
    one = fmt.bias << fmt.man if 0 < fmt.bias < 1 << fmt.exp else 1 << fmt.man
    edges = [0, 1, (1 << fmt.man) - 1, 1 << fmt.man, fmt.largest_code, fmt.largest_code + 1, one]
    near = [max(0, min(e + d, fmt.sign - 1)) for e in edges for d in (-1, 0, 1)]
    return sorted({c | s for c in near for s in (0, fmt.sign)})


@pytest.mark.parametrize("name", NAMED)
def test_rounded_against_another_library(name: str) -> None:
    """Products by ml_dtypes and NumPy of all pairs, of wide formats of corners and random ones."""
    fmt, dtype = parse(name), NAMED[name]
    if fmt.bits <= 8:
        a, b = both(Arithmetic(fmt, fmt))
    else:
        a, b = random_pairs(fmt, 20_000)
    raw = {8: np.uint8, 16: np.uint16, 32: np.uint32}[max(8, fmt.bits)]
    x, y = (v.astype(raw).view(dtype) for v in (a, b))
    with np.errstate(all="ignore"):
        expected = (x * y).view(raw).astype(np.int64)
    found = multiply(fmt, a, b, saturate=fmt.specials == "none")
    nan = np.isnan(decode(fmt, expected))
    assert (np.isnan(decode(fmt, found)) == nan).all()
    assert (found == expected)[~nan].all()
    if fmt.specials != "none":  # saturated where the operands were finite
        largest = multiply(fmt, a, b)
        finite = np.isfinite(decode(fmt, a)) & np.isfinite(decode(fmt, b))
        over = finite & ~np.isfinite(decode(fmt, found))
        assert (np.abs(decode(fmt, largest[over])) == decode(fmt, fmt.largest_code)).all()
        assert (largest == found)[~over].all()


def random_pairs(fmt: Float, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of corners, then random codes."""
    rng, edges = np.random.default_rng(seed), np.array(corners(fmt))
    pairs = np.stack([v.reshape(-1) for v in np.meshgrid(edges, edges)])
    others = rng.integers(0, fmt.max + 1, (2, count))
    # Half of them with a result that is not far from one.
    others[1, ::2] = (fmt.bias * 2 << fmt.man) - others[0, ::2] + rng.integers(-99, 99, count)[::2]
    return tuple(np.concatenate([pairs, others & fmt.max], axis=1))


def test_flushed() -> None:
    """Where nothing is subnormal flushing changes nothing; elsewhere zeros come and go."""
    fmt = parse("e4m3fn")
    found, whole = multiply(fmt, X, W, flush=True), multiply(fmt, X, W)
    least = 2.0**fmt.emin
    x, w = (np.abs(decode(fmt, c)) for c in (X, W))
    # From 31/32 on four bits round up to the least normal number.
    small = (x < least) | (w < least) | (x * w < least * 31 / 32)
    assert (found == whole)[~small].all()
    nan = np.isnan(decode(fmt, whole))
    assert (found == (X ^ W) & fmt.sign)[small & ~nan].all()
    assert multiply(fmt, 0x08, 0x37, flush=True) == 0  # 15/16 of the least: exponents have no end
    assert multiply(fmt, 0x0F, 0x37) == 0x0E


def test_approximate_by_definition() -> None:
    """Codes of examples worked out by hand, and the mean errors known of both."""
    fmt = parse("e4m3fn")
    assert lmul(fmt, 0x38, 0x38) == 0x39  # 1 * 1 = 1 + 2**-3
    assert pam(fmt, 0x3C, 0x3C) == 0x40  # 1.5 * 1.5 = 2
    assert lmul(fmt, 0x7E, 0x40) == 0x7E and lmul(fmt, 0xFE, 0x40) == 0xFE
    assert lmul(fmt, 0x7F, 0x00) == 0x7F and lmul(fmt, 0x07, 0x7E) == 0
    assert lmul(fmt, 0x88, 0x08) == 0x80
    assert lmul(parse("bf16"), 0x7F80, 0x0001) == 0x7FC0
    assert lmul(parse("bf16"), 0x7F80, 0xBF80) == 0xFF80
    assert pam(parse("bf16"), 0x3F80, 0x3F80, compensated=True) == 0x3F87
    for bits, mean_lmul, mean_pam, mean_compensated in (
        (3, 0.049, -0.038, -0.038),
        (4, 0.049, -0.038, 0.004),
        (7, 0.004, -0.039, -0.001),
    ):
        fmt = Float(6, bits, 31)
        a, b = (v.reshape(-1) + (31 << bits) for v in np.mgrid[: 1 << bits, : 1 << bits])
        exact = decode(fmt, a) * decode(fmt, b)
        products = (lmul(fmt, a, b), pam(fmt, a, b), pam(fmt, a, b, compensated=True))
        errors = [(decode(fmt, codes) / exact - 1).mean() for codes in products]
        assert errors == pytest.approx([mean_lmul, mean_pam, mean_compensated], abs=6e-4)


def test_every_pair() -> None:
    """Every unit of 8-bit operands, every pair: rounded, flushed, saturated or not, approximate,
    integers, and with registers."""
    units: dict[str, Multiplier] = {}
    expected = {}
    for name in [*SMALL, *ODD, *MIXED]:
        arith = parse_arithmetic(name)
        x, w = both(arith)
        for flush, saturate in ((False, False), (False, True), (True, False), (True, True)):
            key = f"{name} {flush} {saturate}"
            units[key] = Multiplier(arith, 0, flush, saturate)
            expected[key] = multiply(arith.x, x, w, flush, saturate, arith.w)
    for name in [*SMALL, *ODD]:
        for multiplier in APPROXIMATE:
            arith = parse_arithmetic(f"{name}:{multiplier}")
            x, w = both(arith)
            units[str(arith)] = Multiplier(arith)
            expected[str(arith)] = product_code(arith, x, w)
        units[f"{name} infinite"] = Multiplier(parse_arithmetic(f"{name}:pam"), saturate=False)
        expected[f"{name} infinite"] = pam(arith.x, x, w, saturate=False)
    for name in [*WHOLE, "int8xint2", "bipolar"]:
        arith = parse_arithmetic(name)
        for dsp in (False, True):
            units[f"{name} {dsp}"] = Multiplier(arith, dsp=dsp)
            numbers = np.ldexp(product(arith, *both(arith)), -fixed_unit(arith))
            expected[f"{name} {dsp}"] = numbers.astype(np.int64)
    for stages in (1, 2, 3, 4):
        for name in ("e4m3fn", "e4m3fn:lmul", "int8", "float<3,4,3,ieee>"):
            arith = parse_arithmetic(name)
            units[f"{name} {stages}"] = Multiplier(arith, stages)
            expected[f"{name} {stages}"] = multiplied(arith, *both(arith)).astype(np.int64)
    assert_equal(simulate(units, {"i_x": X, "i_w": W}), expected)


class Fixed(wiring.Component):
    """Bits of `fixed_product` from `low`: those of e5m2 are more than the simulator takes."""

    def __init__(self, arith: Arithmetic, low: int = 0, dsp: bool = False) -> None:
        x, w = (Shape(f.bits, f.signed) for f in (element(arith.x), element(arith.w)))
        self._arith, self._low, self._dsp = arith, low, dsp
        super().__init__({"i_x": In(x), "i_w": In(w), "o": Out(Shape(40, signed=True))})

    def elaborate(self, _platform) -> Module:
        m = Module()
        value = fixed_product(m, self._arith, self.i_x, self.i_w, self._dsp)
        m.d.comb += self.o.eq(value >> self._low)
        return m


def test_every_pair_in_fixed_point() -> None:
    """All pairs of 8-bit formats, elements of blocks and approximate products among them."""
    names = [*SMALL, *MIXED, *WHOLE, "int8xint2", "bipolar", "mxfp4", "mxfp6", "mxint8"]
    names += [f"{name}:{multiplier}" for name in ("e4m3fn", "e2m1") for multiplier in APPROXIMATE]
    units, expected, finite = {}, {}, {}
    for name in names:
        arith = parse_arithmetic(name)
        numbers = product(arith, *both(arith))
        finite = np.isfinite(numbers)
        whole = np.ldexp(np.where(finite, numbers, 0), -fixed_unit(arith))
        for low in (0, 32):
            for dsp in (False, True):
                key = f"{name} {low} {dsp}"
                units[key] = Fixed(arith, low, dsp)
                bits = (np.floor(np.ldexp(whole, -low)) % 2.0**40).astype(np.int64)
                expected[key] = (np.where(finite, (bits << 24) >> 24, 0), finite)
    found = simulate(units, {"i_x": X, "i_w": W})
    where = {key: np.where(finite, found[key], 0) for key, (_, finite) in expected.items()}
    assert_equal(where, {key: values for key, (values, _) in expected.items()})


class Exact(wiring.Component):
    """`float_product` as one word."""

    def __init__(self, arith: Arithmetic) -> None:
        self._arith = arith
        self.layout = product_parts(arith).layout
        ports = {"i_x": In(arith.x.bits), "i_w": In(arith.w.bits)}
        super().__init__({**ports, "o": Out(self.layout.size)})

    def elaborate(self, _platform) -> Module:
        m = Module()
        m.d.comb += self.o.eq(float_product(m, self._arith, self.i_x, self.i_w).as_value())
        return m

    def numbers(self, words: np.ndarray) -> np.ndarray:
        """What the words say."""
        parts = {}
        for name, field in self.layout:
            bits = (words >> field.offset) & ((1 << field.width) - 1)
            negative = name == "exp" and field.width
            parts[name] = bits - ((bits >> (field.width - 1)) << field.width) if negative else bits
        values = np.ldexp(parts["sig"].astype(float), parts["exp"])
        values = np.where(parts["inf"], np.inf, values)
        return np.where(parts["nan"], np.nan, np.where(parts["sign"], -values, values))


def test_exact_products() -> None:
    """Of all pairs of 8-bit floats and of wider ones' corners."""
    narrow = [*SMALL, *ODD, *MIXED, "e4m3fn:lmul", "e5m2:pam"]
    for names, pairs in ((narrow, None), (["bf16", "fp16"], 20_000)):
        units = {name: Exact(parse_arithmetic(name)) for name in names}
        x, w = random_pairs(parse("fp16"), pairs) if pairs else (X, W)
        for name, words in simulate(units, {"i_x": x, "i_w": w}).items():
            arith = parse_arithmetic(name)
            expected = product(arith, *both(arith, x, w))
            np.testing.assert_array_equal(units[name].numbers(words), expected, err_msg=name)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 30))
def test_wide_formats(seed: int) -> None:
    """All pairs of corners, and random ones near them: exact, flushed and approximate."""
    for name in WIDE:
        fmt = parse(name)
        a, b = random_pairs(fmt, 20_000, seed)
        units = {f"{flush}": Multiplier(fmt, flush=flush) for flush in (False, True)}
        expected = {f"{flush}": multiply(fmt, a, b, flush) for flush in (False, True)}
        for multiplier in APPROXIMATE:
            arith = parse_arithmetic(f"{name}:{multiplier}")
            units[multiplier] = Multiplier(arith)
            expected[multiplier] = product_code(arith, a, b)
        assert_equal(simulate(units, {"i_x": a, "i_w": b}), expected)


class Product(wiring.Component):
    """`booth` of any two integers."""

    def __init__(self, x: Shape, w: Shape) -> None:
        shape = Shape(x.width + w.width, x.signed or w.signed)
        super().__init__({"i_x": In(x), "i_w": In(w), "o": Out(shape)})

    def elaborate(self, _platform) -> Module:
        m = Module()
        m.d.comb += self.o.eq(booth(m, self.i_x, self.i_w))
        return m


def test_booth_of_every_shape() -> None:
    """All pairs of up to 8 bits, every mixture of signs; corners and random ones of 16 x 24."""
    shapes = [Shape(n, signed) for n in (1, 2, 3, 5, 7, 8) for signed in (False, True)]
    units = {f"{x} {w}": Product(x, w) for x in shapes for w in shapes}
    expected = {f"{x} {w}": number(x, X) * number(w, W) for x in shapes for w in shapes}
    assert_equal(simulate(units, {"i_x": X, "i_w": W}), expected)
    wide = [Shape(n, signed) for n in (16, 24) for signed in (False, True)]
    edges = np.array([0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFF, 0x800000, 0xFFFFFF, 0xAAAAAA])
    x, w = np.random.default_rng(0).integers(0, 1 << 24, (2, 50_000))
    x[:100], w[:100] = (v.reshape(-1) for v in np.meshgrid(edges, edges))
    units = {f"{a} {b}": Product(a, b) for a in wide for b in wide}
    expected = {f"{a} {b}": number(a, x) * number(b, w) for a in wide for b in wide}
    assert_equal(simulate(units, {"i_x": x, "i_w": w}), expected)


def number(shape: Shape, bits: np.ndarray) -> np.ndarray:
    bits = bits & ((1 << shape.width) - 1)
    return bits - ((bits >> (shape.width - 1)) << shape.width) if shape.signed else bits


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="stages must be at least 0, not -1"):
        Multiplier(parse("int8"), -1)
    with pytest.raises(ConfigError, match="mxfp8: name the format of a block's elements"):
        Multiplier(parse("mxfp8"))
    with pytest.raises(ConfigError, match="beyond what a float64 holds"):
        multiply(parse("float<8,3,-512>"), 1, 1)
