"""Kinds of arithmetic units: the component, and what its golden model makes of test vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from amaranth.lib import wiring

from hwgen.errors import ConfigError
from hwgen.formats import (
    Approximate,
    Arithmetic,
    Block,
    Float,
    Format,
    Int,
    decode,
    encode,
    random_codes,
)
from hwgen.golden.add import multiply_add
from hwgen.golden.dot import running_sums, word_sum
from hwgen.golden.multiply import multiplied
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.fma import Fma
from hwgen.rtl.arith.mac import Mac
from hwgen.rtl.arith.multiply import Multiplier, fixed_unit
from hwgen.rtl.arith.rounding_tree import RoundingTree

PAIRS = 1 << 16  # operands of at most so many pairs are all tried
RANDOM = 4096  # pairs of wider ones, besides corners


@dataclass(frozen=True)
class Unit:
    """A component with ports `o`, operands, and `i_ce` where it has a latency; what goes into it
    (codes by port, in order) and what must come out; `formats` of the numbers by port."""

    component: wiring.Component
    latency: int
    operands: Mapping[str, np.ndarray]
    expected: np.ndarray
    formats: Mapping[str, str]


def multiplier(arith: Arithmetic, stages: int, _lanes: int) -> Unit:
    """o = i_x * i_w."""
    x, w = _pairs(arith.x, arith.w)  # refuses before there is a component
    result = str(arith.x) if isinstance(arith.x, Float) else _sum(arith)
    formats = {"i_x": str(arith.x), "i_w": str(arith.w), "o": result}
    expected = multiplied(arith, x, w)
    return Unit(Multiplier(arith, stages), stages, {"i_x": x, "i_w": w}, expected, formats)


def accumulator(arith: Arithmetic, stages: int, _lanes: int) -> Unit:
    """o = the sum of i_a * i_b since `i_clear`; `stages`: 1 with a register behind the product."""
    if stages > 1:
        raise ConfigError(f"a mac has 0 or 1 stages between product and sum, not {stages}")
    rng = np.random.default_rng(0)
    a, b = (_numbers(f, rng, (RANDOM,)) for f in (arith.x, arith.w))
    clear = rng.random(RANDOM) < 1 / 32
    clear[0] = True
    bits = max(
        32, 0 if isinstance(arith.accumulator, Float | Approximate) else arith.exact_bits + 8
    )
    component = Mac(arith, bits, registered=bool(stages))
    operands = {"i_clear": clear.astype(np.int64), "i_a": a, "i_b": b}
    expected = running_sums(arith, a, b, clear)
    formats = {"i_a": str(arith.x), "i_b": str(arith.w), "o": _sum(arith)}
    return Unit(component, component.latency, operands, expected, formats)


def fused(arith: Arithmetic, stages: int, _lanes: int) -> Unit:
    """o = i_a * i_b + i_c in the accumulator's format, rounded once."""
    fmt, x, w = arith.accumulator, arith.x, arith.w
    if not isinstance(fmt, Float) or arith.multiplier != "exact":
        raise ConfigError(
            f"{arith}: an fma rounds exact products and sums of floats; add +fp32, +bf16 or +fp16, "
            "or take the kind mac"
        )
    a, b = _pairs(x, w)
    c = np.random.default_rng(1).permutation(np.resize(_pairs(fmt, fmt)[0], len(a)))
    numbers = multiply_add(fmt, x, w, decode(x, a), decode(w, b), decode(fmt, c))
    expected = encode(fmt, numbers, saturate=False)
    operands = {"i_a": a, "i_b": b, "i_c": c}
    formats = {"i_a": str(x), "i_b": str(w), "i_c": str(fmt), "o": str(fmt)}
    return Unit(Fma(fmt, x, w, stages), stages, operands, expected, formats)


def dot(arith: Arithmetic, stages: int, lanes: int) -> Unit:
    """o = the sum of i_x[k] * i_w[k]; `stages` of the whole, or of each adder where sums round."""
    if isinstance(arith.x, Block):
        raise ConfigError(f"{arith}: name the format of a block's elements")
    rng = np.random.default_rng(0)
    x, w = (_numbers(f, rng, (RANDOM, lanes)) for f in (arith.x, arith.w))
    if isinstance(arith.accumulator, Float | Approximate):
        component: wiring.Component = RoundingTree(arith, lanes, stages)
        latency = component.latency
    else:
        component, latency = Dot(arith.x, arith.w, lanes, arith, stages), stages
    operands = {"i_x": _packed(x, arith.x.bits), "i_w": _packed(w, arith.w.bits)}
    formats = {"i_x": str(arith.x), "i_w": str(arith.w), "o": _sum(arith)}
    return Unit(component, latency, operands, word_sum(arith, x, w), formats)


def _sum(arith: Arithmetic) -> str:
    """The format of a sum: a float's name, or an integer in units of the least product."""
    if isinstance(arith.accumulator, Approximate):
        return str(arith.accumulator.result)
    if isinstance(arith.accumulator, Float):
        return str(arith.accumulator)
    return f"integer * 2**{fixed_unit(arith)}"


# What makes a unit of an arithmetic, a number of stages and of lanes, by the name of its kind.
KINDS: dict[str, Callable[[Arithmetic, int, int], Unit]] = {
    "mul": multiplier,
    "mac": accumulator,
    "fma": fused,
    "dot": dot,
}


def _numbers(fmt: Format, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Codes of random finite numbers, of wide floats such that sums of some don't overflow."""
    low, high = _range(fmt)
    if not isinstance(fmt, Float):
        return rng.integers(low, high, size, endpoint=True)
    if fmt.bits <= 8:
        return random_codes(fmt, rng, size)
    spread = rng.normal(size=size) * 2.0 ** rng.integers(-4, 4, size)
    return encode(fmt, spread)


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Words (N, lanes) as integers (N,), lane 0 in the least significant bits."""
    mask = (1 << bits) - 1
    words = [sum((int(v) & mask) << bits * k for k, v in enumerate(row)) for row in codes]
    return np.array(words, dtype=object)


def _pairs(x: Format, w: Format) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all pairs where they are few; else pairs of corners and random ones."""
    sides = [_range(f) for f in (x, w)]
    if np.prod([float(high - low + 1) for low, high in sides]) <= PAIRS:
        grid = np.meshgrid(*(np.arange(low, high + 1) for low, high in sides), indexing="ij")
        return grid[0].reshape(-1), grid[1].reshape(-1)
    rng = np.random.default_rng(0)
    edges = np.meshgrid(*(_corners(f) for f in (x, w)))
    found = [
        np.concatenate([edge.reshape(-1), rng.integers(low, high, RANDOM, endpoint=True)])
        for edge, (low, high) in zip(edges, sides, strict=True)
    ]
    return found[0], found[1]


def _range(fmt: Format) -> tuple[int, int]:
    """The least and the greatest code."""
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt}: name the format of a block's elements")
    if fmt.bits > 32:
        raise ConfigError(f"operands of a unit have at most 32 bits, not {fmt}")
    if not hasattr(fmt, "max"):  # ternary, bipolar
        return (-1, 1) if fmt.signed else (0, 1)
    return cast(Int, fmt).min, cast(Int, fmt).max


def _corners(fmt: Format) -> np.ndarray:
    """Codes at the edges: extremes, zeros, subnormals, infinity, NaN, one."""
    low, high = _range(fmt)
    edges = [low, high, 0]
    if isinstance(fmt, Float):
        places = [0, 1 << fmt.man, fmt.largest_code, fmt.bias << fmt.man]
        edges = [place | sign for place in places for sign in (0, fmt.sign)]
    near = {edge + step for edge in edges for step in (-1, 0, 1)}
    return np.array(sorted(v for v in near if low <= v <= high))
