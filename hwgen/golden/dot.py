"""Dot products in any arithmetic: exact sums, and sums that round in a stated order."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwgen.formats import Approximate, Arithmetic, Float, decode, encode
from hwgen.golden.add import add
from hwgen.golden.approximate import ApproximateSum, State
from hwgen.golden.blocks import scaled
from hwgen.golden.multiply import product
from hwgen.ir import ADDER_STAGES, Linear

# Products held at once: 4 MiB of float64, beside some arrays of their size.
CHUNK = 1 << 19
FIELDS = ("sign", "exp", "sig")
LIMB = 20  # bits: the sum of 4,096 products of two limbs and more is exact in float64


def products_sum(node: Linear, x: np.ndarray, weight: np.ndarray, bias) -> np.ndarray:
    """Sums (rows, outputs) of one group: codes x (rows, K), weight (outputs, K), bias (outputs,).

    Integers in units of the least product where the accumulator is exact (int64, or Python integers
    where 62 bits don't hold them); elsewhere codes of the accumulator's float, and bias too.
    """
    if node.rounds:
        return _by_chunks(lambda part: _rounded(node, part, weight, bias), x, weight.size)
    arithmetic = node.arithmetic
    if node.blocks:
        return exact_sums(*(scaled(f, c) for f, c in zip(node.blocks, (x, weight), strict=True)))
    if arithmetic.multiplier == "exact":
        return exact_sums(*(whole(f, c) for f, c in ((arithmetic.x, x), (arithmetic.w, weight))))
    unit = 2.0**arithmetic.x.unit

    def sums(part: np.ndarray) -> np.ndarray:
        products = product(arithmetic, part[:, None], weight) / unit
        return products.astype(np.int64).sum(axis=2)

    return _by_chunks(sums, x, weight.size)


def _by_chunks(function, x: np.ndarray, size: int) -> np.ndarray:
    step = max(1, CHUNK // size)
    return np.concatenate([function(x[k : k + step]) for k in range(0, len(x), step)])


def whole(fmt, codes: np.ndarray) -> np.ndarray:
    """Numbers in units of the format's least (int64)."""
    return np.ldexp(decode(fmt, codes), -fmt.unit).astype(np.int64)


def exact_sums(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ w.T of integers (..., K), exactly; w.T of the last two axes."""
    # Exact below 2**53, and near enough above it.
    sums = np.abs(w).sum(axis=-1, dtype=np.float64)
    bound = int(np.abs(x).max(initial=0)) * int(sums.max(initial=0))
    transposed = w.swapaxes(-1, -2)
    if bound < 1 << 53:
        return (x.astype(np.float64) @ transposed.astype(np.float64)).astype(np.int64)
    kind = np.int64 if bound < 1 << 62 else object
    total = np.zeros((*x.shape[:-1], w.shape[-2]), dtype=kind)
    for j, a in _limbs(x):
        for k, b in _limbs(transposed):
            total += (a @ b).astype(np.int64).astype(kind) * (1 << j + k)
    return total


def _limbs(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(place, part) whose sum of part * 2**place the values are; parts as float64."""
    bits = int(np.abs(values).max(initial=0)).bit_length()
    sign, size = np.sign(values), np.abs(values)
    return [
        (j, (sign * ((size >> j) & ((1 << LIMB) - 1))).astype(np.float64))
        for j in range(0, bits, LIMB)
    ]


def _rounded(node: Linear, x: np.ndarray, weight: np.ndarray, bias) -> np.ndarray:
    """As `Linear` defines."""
    sums = _sums(node.arithmetic)
    fill = ((0, 0), (0, node.words * node.simd - x.shape[1]))
    x, weight = np.pad(x, fill), np.pad(weight, fill)
    size = (len(x), len(weight), node.words, node.simd)
    terms = sums.each(lambda a: a.reshape(size), sums.products(x[:, None], weight))
    terms = _tree(sums, terms, node.simd)
    nothing = sums.each(lambda a: np.full(size[:2], a), sums.nothing)
    partial = [nothing] * ADDER_STAGES
    if bias is not None:
        partial[0] = sums.each(lambda a: np.broadcast_to(a, size[:2]), sums.begin(bias))
    for t in range(node.words):
        word = sums.each(lambda a, t=t: a[..., t], terms)
        partial[t % ADDER_STAGES] = sums.add(partial[t % ADDER_STAGES], word)
    count = min(node.words, ADDER_STAGES)
    last = [partial[t % ADDER_STAGES] for t in range(node.words - count, node.words)]
    last = [nothing] * ((1 << node.merges) - count) + last
    while len(last) > 1:
        last = [sums.add(a, b) for a, b in zip(last[::2], last[1::2], strict=True)]
    return encode(node.accumulator, sums.finish(last[0]), saturate=False)


def _tree(sums: Any, terms, lanes: int):
    """Products (..., lanes) added in a tree of neighbours, each rounded first if they are
    several."""
    if lanes > 1:
        terms = sums.add(sums.nothing, terms)
    while lanes > 1:
        if lanes % 2:
            terms = sums.each(_behind, terms, sums.nothing)
        pairs = (sums.each(lambda a, k=k: a[..., k::2], terms) for k in (0, 1))
        terms, lanes = sums.add(*pairs), -(-lanes // 2)
    return sums.each(lambda a: a[..., 0], terms)


def word_sum(arithmetic: Arithmetic, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The sums of words (N, lanes) of codes, as `Linear` adds those of one word: (N,).

    Exact ones are integers in units of the least product, rounded ones codes.
    """
    if isinstance(arithmetic.accumulator, str):
        return units(arithmetic, x, w).sum(axis=1)
    sums = _sums(arithmetic)
    terms = sums.products(x, w)
    if x.shape[1] == 1:  # nothing else would round it
        terms = sums.add(sums.nothing, terms)
    total = _tree(sums, terms, x.shape[1])
    return encode(_result(arithmetic), sums.finish(total), saturate=False)


def running_sums(arithmetic: Arithmetic, x, w: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of products of codes (N,) one after another, where `first` begin anew: (N,).

    Exact ones are integers in units of the least product, rounded ones codes.
    """
    if isinstance(arithmetic.accumulator, str):
        total = np.cumsum(units(arithmetic, x, w))
        before = np.concatenate([[0], total[:-1]])
        return total - before[np.maximum.accumulate(np.where(first, np.arange(len(x)), 0))]
    sums = _sums(arithmetic)
    terms, found = sums.products(x, w), []
    nothing = total = sums.each(lambda a: np.full(1, a), sums.nothing)
    for k, new in enumerate(first):
        term = sums.each(lambda a, k=k: a[k : k + 1], terms)
        total = sums.add(nothing if new else total, term)
        found.append(total)
    every = sums.each(lambda *parts: np.concatenate(parts), *found)
    return encode(_result(arithmetic), sums.finish(every), saturate=False)


def units(arithmetic: Arithmetic, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Products as integers in units of the least: int64, or Python integers where they are
    wider."""
    values = product(arithmetic, x, w)
    if not isinstance(arithmetic.x, Float):
        return values.astype(np.int64)
    both = arithmetic.multiplier == "exact"
    steps = np.ldexp(values, -(arithmetic.x.unit + both * arithmetic.w.unit))
    if arithmetic.exact_bits <= 48:
        return steps.astype(np.int64)
    return np.array([int(v) for v in steps.ravel()], dtype=object).reshape(steps.shape)


def _sums(arithmetic: Arithmetic) -> Any:
    approximate = isinstance(arithmetic.accumulator, Approximate)
    return (_Approximate if approximate else _Floats)(arithmetic)


def _result(arithmetic: Arithmetic) -> Float:
    """The format of rounded sums."""
    accumulator = arithmetic.accumulator
    return accumulator.result if isinstance(accumulator, Approximate) else accumulator


def _behind(a: np.ndarray, b) -> np.ndarray:
    """`a` with one element `b` more along the last axis."""
    return np.concatenate([a, np.full((*a.shape[:-1], 1), b, dtype=a.dtype)], axis=-1)


class _Floats:
    """Partial sums that are numbers of a float format, as float64."""

    nothing = np.float64(-0.0)

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic, self._fmt = arithmetic, arithmetic.accumulator

    def products(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Products of codes, not rounded."""
        return product(self._arithmetic, x, w)

    def begin(self, codes: np.ndarray) -> np.ndarray:
        """Codes of the result as sums."""
        return decode(self._fmt, codes)

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Rounded sums."""
        return add(self._fmt, a, b)

    def each(self, function, *sums: np.ndarray) -> np.ndarray:
        """A function of arrays for sums."""
        return function(*sums)

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """The numbers of sums."""
        return sums


class _Approximate:
    """Partial sums with approximate normalization."""

    nothing = State(np.array(0), np.array(0), np.array(0))

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        exact = arithmetic.multiplier == "exact"
        self._sums = ApproximateSum(
            arithmetic.accumulator, arithmetic.x, arithmetic.w if exact else None
        )

    def products(self, x: np.ndarray, w: np.ndarray) -> State:
        """Products of codes as partial sums."""
        arithmetic = self._arithmetic
        if arithmetic.multiplier == "exact":
            return self._sums.products(decode(arithmetic.x, x), decode(arithmetic.w, w))
        return self._sums.numbers(arithmetic.x, product(arithmetic, x, w))

    def begin(self, codes: np.ndarray) -> State:
        """Codes of the result as partial sums."""
        result = self._arithmetic.accumulator.result
        return self._sums.numbers(result, decode(result, codes))

    def add(self, a: State, b: State) -> State:
        """Sums, normalized approximately."""
        return self._sums.add(a, b)

    def each(self, function, *sums: State) -> State:
        """A function of arrays for sign, exponent and significand."""
        return State(*(function(*(getattr(s, name) for s in sums)) for name in FIELDS))

    def finish(self, sums: State) -> np.ndarray:
        """The numbers of sums."""
        return self._sums.finish(sums)
