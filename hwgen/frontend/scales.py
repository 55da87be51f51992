"""Weights of any scales as integers, exactly: a unit for each output, and factors of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Block, Float
from hwgen.frontend.values import Numbers, Scaled, exact

# The golden model computes in int64, and adds and rounds sums of up to this many bits.
SUM_BITS = 62


@dataclass(frozen=True, eq=False)
class Whole:
    """Weights codes * factors * unit: int64 `codes` and `factors` (outputs, ...), and `unit`, one
    number or (outputs,). Codes of floats, in `fmt`, and numbers of blocks have no factors."""

    codes: np.ndarray
    factors: np.ndarray
    unit: Numbers
    fmt: Float | Block | None = None

    @property
    def products(self) -> np.ndarray:
        """codes * factors."""
        return self.codes * self.factors

    @property
    def block(self) -> int:
        """The most inputs of a matrix (outputs, inputs) so that every run of them has one factor
        per output."""
        changes = np.flatnonzero((self.factors[:, 1:] != self.factors[:, :-1]).any(axis=0)) + 1
        return int(np.gcd.reduce([*changes, self.codes.shape[1]]))

    def picked(self, inputs: np.ndarray) -> Whole:
        """A matrix's inputs in another order."""
        return replace(self, codes=self.codes[:, inputs], factors=self.factors[:, inputs])


def whole(w: Scaled) -> Whole:
    """Weights (outputs, ...) as integers; codes that share a unit have no common divisor left."""
    outputs = len(w.codes)
    factors = np.ones(w.codes.shape, dtype=np.int64)
    unit: Numbers
    if w.scale.size == 1:
        unit = w.scale.reshape(())
    elif w.scale.shape[0] == w.scale.size == outputs:
        unit = w.scale.ravel()
    elif w.fmt is not None:
        raise ModelError("its float weights must have one scale per output channel or in all")
    else:
        rows = np.broadcast_to(w.scale, w.codes.shape).reshape(outputs, -1)
        unit, factors = _common(rows)
        factors = factors.reshape(w.codes.shape)
    if w.fmt is not None:
        return Whole(w.codes, factors, unit, w.fmt)
    rows = w.codes.reshape(unit.size, -1)
    divisors = np.maximum(1, np.gcd.reduce(rows, axis=1, keepdims=True))
    codes = (rows // divisors).reshape(w.codes.shape)
    check_sums(codes.astype(np.float64) * factors)
    return Whole(codes, factors, np.asarray(unit * exact(divisors.reshape(unit.shape))))


def check_sums(values: np.ndarray) -> None:
    """Refuse sums over the last axis that may need more than SUM_BITS bits."""
    if np.abs(values).sum(axis=-1).max(initial=0) >= 2.0**SUM_BITS:
        raise ModelError(
            f"the scales of its weights are so far apart that exact sums need more than "
            f"{SUM_BITS} bits; quantize its weights with one scale per output channel, or with "
            f"powers of two"
        )


def _common(rows: Numbers) -> tuple[Numbers, np.ndarray]:
    """The greatest unit of each row of scales, and the scales in units."""
    units, factors = np.empty(len(rows), dtype=object), np.empty(rows.shape, dtype=np.int64)
    for k, row in enumerate(rows):
        distinct = set(row)
        below = math.lcm(*(v.denominator for v in distinct))
        counts = {v: v.numerator * (below // v.denominator) for v in distinct}
        shared = math.gcd(*counts.values())
        check_sums(np.array([float(max(counts.values()) // shared)]))
        units[k] = Fraction(shared, below)
        factors[k] = [counts[v] // shared for v in row]
    return units, factors
