"""Partial sums with approximate normalization."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from hwgen.formats import Approximate, Float
from hwgen.golden.add import flushed, round_to

BIAS = 256  # of the exponents of partial sums; see `ApproximateSum`
INFINITE = 960  # the exponent of what was infinity or NaN


@dataclass(frozen=True)
class State:
    """Partial sums: `sign` (0 or 1), `exp` and `sig`, int64 of one shape."""

    sign: np.ndarray
    exp: np.ndarray
    sig: np.ndarray


@dataclass(frozen=True)
class ApproximateSum:
    """Sums of an-k-λ (arXiv 2408.11997): sign and magnitude, truncated, never rounded.

    A state is (-1)**sign * sig * 2**(exp + lsb), sig of `psum.bits` bits, not normalized, exp of 10
    bits; zero has exp 0. A product of floats enters with the product of its operands' significands
    (a subnormal's begins with 0), its most significant bits at those of sig, cut off at W bits, and
    exp the sum of their exponent fields + BIAS. Infinity enters as the largest significand and
    INFINITE, NaN as that of +.

    `x`, `w`: formats of a product's operands; w None: the sums are of numbers of `x`. Exponents are
    counted so for other numbers too. `flush`: subnormal operands count as zeros. `exact`: normalize
    by the leading zeros' exact number, what an-k-λ is to be compared with.
    """

    psum: Approximate
    x: Float
    w: Float | None = None
    flush: bool = False
    exact: bool = False

    @property
    def lsb(self) -> int:
        """Exponent of sig's least significant bit where exp is 0."""
        factors = [fmt for fmt in (self.x, self.w) if fmt is not None]
        bits = sum(fmt.man + 1 for fmt in factors)
        return sum(fmt.unit - 1 for fmt in factors) + bits - self.psum.bits - BIAS

    def products(self, a, b) -> State:
        """Products a * b of numbers of `x` and `w` (float64) as partial sums."""
        return self._enter((self.x, a), (self.w, b))

    def numbers(self, fmt: Float, a) -> State:
        """Numbers of a float (float64) as partial sums."""
        return self._enter((fmt, a))

    def _enter(self, *factors: tuple[Float, np.ndarray]) -> State:
        values = [np.asarray(v, np.float64) for _, v in factors]
        if self.flush:
            values = [flushed(fmt, v) for (fmt, _), v in zip(factors, values, strict=True)]
        with np.errstate(invalid="ignore"):
            value = reduce(np.multiply, values)
        parts = [_parts(fmt, v) for (fmt, _), v in zip(factors, values, strict=True)]
        sig = reduce(np.multiply, [significand for significand, _ in parts])
        shift = self.psum.bits - sum(fmt.man + 1 for fmt, _ in factors)
        origin = self.psum.bits + self.lsb - sum(fmt.unit + fmt.man for fmt, _ in factors)
        exp = np.where(sig == 0, 0, reduce(np.add, [field for _, field in parts]) - origin)
        sig = sig << shift if shift >= 0 else sig >> -shift
        finite, most = np.isfinite(value), (1 << self.psum.bits) - 1
        sign = (np.signbit(value) & ~np.isnan(value)).astype(np.int64)
        return State(sign, np.where(finite, exp, INFINITE), np.where(finite, sig, most))

    def add(self, a: State, b: State) -> State:
        """a + b: the operand of the lesser exponent (b of equals) is shifted right, what leaves is
        cut off; then the sum of magnitudes or their difference is normalized."""
        swap = b.exp > a.exp
        big = [np.where(swap, v, u) for u, v in _pairs(a, b)]
        small = [np.where(swap, u, v) for u, v in _pairs(a, b)]
        aligned = small[2] >> np.minimum(big[1] - small[1], 63)
        difference = big[2] - aligned
        total = np.where(big[0] == small[0], big[2] + aligned, np.abs(difference))
        sign = np.where((big[0] != small[0]) & (difference < 0), small[0], big[0])
        return self._normalize(sign, big[1], total)

    def _normalize(self, sign: np.ndarray, exp: np.ndarray, total: np.ndarray) -> State:
        bits, k, step = self.psum.bits, self.psum.k, self.psum.shift
        if self.exact:
            left = bits - np.frexp(total.astype(np.float64))[1]
        else:
            near, next_ = total >> (bits - k) != 0, total >> (bits - k - step) != 0
            left = np.where(near, 0, np.where(next_, k, k + step))
            left = np.where(total >> bits != 0, -1, left)
        sig = np.where(left < 0, total >> 1, total << np.maximum(left, 0))
        return State(sign, np.where(total == 0, 0, exp - left), sig)

    def finish(self, state: State) -> np.ndarray:
        """The numbers of `psum.result`, float64: below the least normal number +-0, beyond the
        largest infinity; zero is +0. Only sums of more than 24 bits are rounded, to the nearest."""
        sign = np.where(state.sig == 0, 0, state.sign)
        values = np.ldexp(state.sig.astype(np.float64), state.exp + self.lsb)
        return round_to(self.psum.result, np.where(sign, -values, values), flush=True)


def _pairs(a: State, b: State) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(a.sign, b.sign), (a.exp, b.exp), (a.sig, b.sig)]


def _parts(fmt: Float, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Significands and exponent fields of finite numbers; a subnormal's field counts as 1."""
    finite = np.where(np.isfinite(values), np.abs(values), 0.0)
    exponent = np.maximum(np.frexp(finite)[1] - 1, fmt.emin)
    exponent = np.where(finite == 0, fmt.emin, exponent).astype(np.int64)
    return np.ldexp(finite, fmt.man - exponent).astype(np.int64), exponent - fmt.emin + 1
