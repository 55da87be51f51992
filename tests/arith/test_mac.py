"""Multiply-accumulate units of every kind of accumulator, against the golden."""

from __future__ import annotations

import numpy as np

from hwgen.formats import Approximate, Float, decode, encode, parse_arithmetic
from hwgen.golden.add import add
from hwgen.golden.approximate import ApproximateSum, State
from hwgen.golden.multiply import product
from hwgen.rtl.arith.mac import Mac
from tests.arith.test_add import check
from tests.arith.units import simulate

COUNT = 4000


def sums(text: str, a: np.ndarray, b: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Codes of running sums, products taken one after another."""
    arithmetic = parse_arithmetic(text)
    products, accumulator = product(arithmetic, a, b), arithmetic.accumulator
    if isinstance(accumulator, Float):
        values, total = [], -0.0
        for term, new in zip(products, clear, strict=True):
            total = add(accumulator, -0.0 if new else total, term)
            values.append(total)
        return encode(accumulator, np.array(values), saturate=False)
    if isinstance(accumulator, Approximate):
        golden, states = ApproximateSum(accumulator, arithmetic.x, arithmetic.w), []
        terms = golden.products(decode(arithmetic.x, a), decode(arithmetic.w, b))
        nothing = state = State(*np.zeros((3, 1), np.int64))
        for n, new in enumerate(clear):
            term = State(terms.sign[n : n + 1], terms.exp[n : n + 1], terms.sig[n : n + 1])
            state = golden.add(nothing if new else state, term)
            states.append(state)
        every = State(*(np.concatenate([getattr(s, f) for s in states]) for f in FIELDS))
        return encode(accumulator.result, golden.finish(every), saturate=False)
    units = arithmetic.x.unit + arithmetic.w.unit if isinstance(arithmetic.x, Float) else 0
    whole, total = np.ldexp(products, -units).astype(np.int64), 0
    values = []
    for term, new in zip(whole, clear, strict=True):
        total = term if new else total + term
        values.append(total)
    return np.array(values)


FIELDS = ("sign", "exp", "sig")


def test_sums() -> None:
    """Finite operands, sums of some dozens of products; registers behind the product or not."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 1 << 16, COUNT) & 0xBFFF for _ in range(2))
    a, b = a & ~np.int64(0x40) | 0x20, b & ~np.int64(0x40)  # finite as 8-bit codes too
    clear = rng.random(COUNT) < 0.03
    clear[0] = True
    units, expected = {}, {}
    for text in ("int8", "e4m3fn", "bf16", "bf16+bf16", "bf16+an-1-2", "e4m3fn+an-2-2-12"):
        arithmetic = parse_arithmetic(text)
        mask = (1 << arithmetic.x.bits) - 1
        u, v = a & mask, b & mask
        if text == "int8":
            u, v = (np.where(o > 127, o - 256, o) for o in (u, v))
        for registered in (False, True):
            units[f"{text} {registered}"] = Mac(arithmetic, 40, registered)
            expected[f"{text} {registered}"] = sums(text, u, v, clear)
    check(simulate(units, {"i_a": a, "i_b": b, "i_clear": clear}), expected)
