"""Sums with approximate normalization: hardware against golden, and how far from exact ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.formats import Approximate, Float, decode, encode, parse
from hwgen.golden.approximate import ApproximateSum, State
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.fma import ApproximateFma
from hwgen.rtl.arith.unrounded import Unrounded, fields
from tests.arith.test_add import check, corners
from tests.arith.units import simulate

KINDS = [(1, 2, 16), (2, 2, 16), (1, 1, 8), (2, 3, 12), (3, 4, 20), (1, 2, 24), (4, 5, 32)]
BF16 = parse("bf16")


def word(psum: Approximate, state: State) -> np.ndarray:
    """The bits of states."""
    return state.sig | state.exp << psum.bits | state.sign << (psum.bits + 10)


def states(psum: Approximate, count: int, seed: int) -> State:
    """Pairs of states, one after the other: of any exponents, near ones, equal ones that cancel."""
    rng = np.random.default_rng(seed)
    sig = rng.integers(0, 1 << psum.bits, (2, count)) >> (
        rng.integers(0, psum.bits + 1, (2, count)) * rng.integers(0, 2, (2, count))
    )
    exp = rng.integers(100, 900, (2, count))
    near = rng.random(count) < 0.7
    exp[1] = np.where(near, exp[0] + rng.integers(-psum.bits - 2, psum.bits + 3, count), exp[1])
    equal = rng.random(count) < 0.2
    exp[1] = np.where(equal, exp[0], exp[1])
    close = np.clip(sig[0] + rng.integers(-2, 3, count), 0, (1 << psum.bits) - 1)
    sig[1] = np.where(equal, close, sig[1])
    return State(rng.integers(0, 2, (2, count)), np.where(sig == 0, 0, exp), sig)


class Finish(wiring.Component):
    """The code of a partial sum."""

    def __init__(self, shape: PartialSum) -> None:
        self._shape = shape
        super().__init__({"i_a": In(shape.layout), "o": Out(shape.psum.result.bits)})

    def elaborate(self, _platform) -> Module:
        m = Module()
        m.d.comb += self.o.eq(self._shape.finish(m, self.i_a))
        return m


class Enter(wiring.Component):
    """A code of a float as a partial sum of products of another."""

    def __init__(self, shape: PartialSum, fmt: Float) -> None:
        self._shape, self._fmt = shape, fmt
        super().__init__({"i_a": In(fmt.bits), "o": Out(shape.layout)})

    def elaborate(self, _platform) -> Module:
        m = Module()
        number = fields(m, self._fmt, self.i_a)
        entered = self._shape.enter(m, Unrounded.fields_of(self._fmt), number)
        m.d.comb += self.o.eq(entered)
        return m


def test_adders() -> None:
    """Several k, λ and widths, normalized approximately and exactly, by all numbers of stages; and
    what comes out at the end and goes in at the start."""
    units, expected, operands = {}, {}, {}
    for n, (k, step, bits) in enumerate(KINDS):
        psum = Approximate(k, step, bits)
        for exact in (False, True):
            golden = ApproximateSum(psum, BF16, BF16, exact=exact)
            shape = PartialSum(psum, golden.lsb)
            pair = states(psum, 40_000, n)
            a, b = (State(pair.sign[i], pair.exp[i], pair.sig[i]) for i in range(2))
            key = f"{psum} {exact}"
            unit = ApproximateAdd(shape, (n + 3 * exact) % 6, exact, prefix=n % 2 == 0)
            operands[key] = {"i_a": word(psum, a), "i_b": word(psum, b)}
            units[key], expected[key] = unit, word(psum, golden.add(a, b))
        key = f"finish {psum}"
        units[key] = Finish(shape)
        operands[key] = operands[f"{psum} True"]
        expected[key] = encode(psum.result, golden.finish(a), saturate=False)
        key = f"enter {psum}"
        units[key], fmt = Enter(shape, psum.result), psum.result
        code = corners(fmt, np.random.default_rng(n), 40_000)
        operands[key] = {"i_a": code}
        expected[key] = word(psum, golden.numbers(fmt, decode(fmt, code)))
    check(each(units, operands), expected)


def each(units: dict, operands: dict) -> dict[str, np.ndarray]:
    """Results of units that have operands of their own: one simulation of all operands in a row."""
    ports = sorted({port for given in operands.values() for port in given})
    size = len(next(iter(operands.values()))["i_a"])
    row = {
        port: np.concatenate([operands[k].get(port, np.zeros(size, np.int64)) for k in units])
        for port in ports
    }
    found = simulate(units, row)
    return {k: found[k][n * size : (n + 1) * size] for n, k in enumerate(units)}


@pytest.mark.parametrize("name", ["e4m3fn", "bf16"])
def test_multiply_adds(name: str) -> None:
    """All pairs of 8-bit factors, or corners; partial sums near the product and any."""
    fmt = parse(name)
    rng = np.random.default_rng(1)
    a, b = (v.reshape(-1) for v in np.mgrid[:256, :256])
    if fmt.bits > 8:
        a, b = corners(fmt, rng, a.size), corners(fmt, rng, a.size)
    x, y = decode(fmt, a), decode(fmt, b)
    units, operands, expected = {}, {}, {}
    for n, kind in enumerate(KINDS[:4]):
        psum, flush = Approximate(*kind), n % 2 == 1
        golden = ApproximateSum(psum, fmt, fmt, flush)
        products = golden.products(x, y)
        sums = states(psum, a.size, n)
        sums = State(sums.sign[0], sums.exp[0], sums.sig[0])
        near = np.maximum(products.exp + rng.integers(-20, 21, a.size), 1)
        sums = State(sums.sign, np.where(sums.sig == 0, 0, near), sums.sig)
        near = (sums.exp > 40) & (sums.exp < 1000)
        sums = State(sums.sign, np.where(near, sums.exp, 0), np.where(near, sums.sig, 0))
        units[f"{psum}"] = unit = ApproximateFma(psum, fmt, fmt, n, flush, gates=n == 0)
        assert unit.shape.lsb == golden.lsb
        operands[f"{psum}"] = {"i_a": a, "i_b": b, "i_c": word(psum, sums)}
        expected[f"{psum}"] = word(psum, golden.add(sums, products))
    check(each(units, operands), expected)


def test_golden_is_the_definition() -> None:
    """States are what the definition says of single sums, in rationals."""
    for kind in KINDS:
        psum = Approximate(*kind)
        golden = ApproximateSum(psum, BF16, BF16)
        pair = states(psum, 500, 9)
        a, b = (State(pair.sign[i], pair.exp[i], pair.sig[i]) for i in range(2))
        found = golden.add(a, b)
        for n in range(500):
            got = found.sign[n], found.exp[n], found.sig[n]
            operands = [(int(s.sign[n]), int(s.exp[n]), int(s.sig[n])) for s in (a, b)]
            assert got == defined(psum, *operands)


def defined(psum: Approximate, a: tuple, b: tuple) -> tuple[int, int, int]:
    """One sum, written out."""
    (sign, exp, big), (other, low, small) = (a, b) if a[1] >= b[1] else (b, a)
    small = int(Fraction(small, 2 ** (exp - low)))
    total = big + small if sign == other else big - small
    if total < 0:
        sign, total = other, -total
    if total == 0:
        return sign, 0, 0
    top = f"{total:0{psum.bits + 1}b}"
    if top[0] == "1":
        return sign, exp + 1, total // 2
    for left, ones in ((0, top[1 : 1 + psum.k]), (psum.k, top[1 + psum.k :][: psum.shift])):
        if "1" in ones:
            return sign, exp - left, total << left
    left = psum.k + psum.shift
    return sign, exp - left, total << left


def dots(psum: Approximate, exact: bool, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Dot products of rows, added one after another."""
    golden = ApproximateSum(psum, BF16, BF16, exact=exact)
    total = golden.products(x[:, 0], w[:, 0])
    for k in range(1, x.shape[1]):
        total = golden.add(total, golden.products(x[:, k], w[:, k]))
    return golden.finish(total)


@pytest.mark.parametrize(("k", "step"), [(1, 2), (2, 2)])
def test_dot_products(k: int, step: int) -> None:
    """The rms error of 768 products with an-1-2 is at most 1.05 times that with exact
    normalization; with an-2-2 it is greater, but less than 1.5 times."""
    rng = np.random.default_rng(0)
    x, w = (decode(BF16, encode(BF16, rng.standard_normal((3000, 768)))) for _ in range(2))
    true = np.einsum("ij,ij->i", x, w)
    rms = [
        np.sqrt(np.mean((dots(Approximate(k, step), exact, x, w) - true) ** 2))
        for exact in (False, True)
    ]
    ratio = rms[0] / rms[1]
    assert ratio <= 1.05 if k == 1 else 1.05 < ratio < 1.5
