"""How the hardware scales before it rounds: the fewest bits that decide as the exact number does.

A Convert rounds v = x * M + B. The hardware computes u = x * m + b, where m and b are M * 2**s and
B * 2**s to the nearest, and w = floor((u + 2**(c - 1)) / 2**c), or w = u where c = 0. The numbers T
half way between the target's codes decide: w * 2**(c - s) must be on the same side of each as v, or
on it where v is. w never falls with x (or never rises), so the x next to each T show it. With c = 0
a v that is T must be met exactly, which only dyadic M and B do. With 2**(c - 1) no less than the
largest error of u, w is exact for every v * 2**s that is a multiple of 2**c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats import Float, Int, decode
from hwgen.ir import Convert, ConvertForm, Tensor

MOST_LISTED = 10  # bits of a target whose codes are tried one by one
MOST_BITS = 128  # of a multiplier


def convert_form(node: Convert, x: Tensor) -> ConvertForm:
    """The form of the fewest bits that is exact for every input; raises `ConfigError` if there is
    none."""
    pairs = list(zip(np.ravel(node.scale), np.ravel(node.offset), strict=True))
    distinct = {pair: k for k, pair in enumerate(dict.fromkeys(pairs))}
    source = node.source
    if isinstance(source, Float):
        if any(b for _, b in distinct):
            raise ConfigError(f"{node.name}: adds a constant to rounded sums; round them first")
        ends = -(1 << source.man + 1), 1 << source.man + 1
    else:
        ends = x.fmt.min, x.fmt.max
    scaling = Scaling([(Fraction(a), Fraction(b)) for a, b in distinct], ends)
    target = node.target
    shift = scaling.exact
    if shift is None:
        shift = scaling.safe(target.man if isinstance(target, Float) else None)
    if isinstance(source, Int) and target.bits <= MOST_LISTED and (points := _deciding(node)):
        multiplier, offset, drop, shift = scaling.least(shift, points)
    else:
        multiplier, offset, drop = scaling.parameters(shift, scaling.largest)
    if max(abs(v) for v in multiplier).bit_length() > MOST_BITS:
        raise ConfigError(
            f"{node.name}: its scales need a multiplier of more than {MOST_BITS} bits; use scales "
            "that are powers of two"
        )
    back = [distinct[pair] for pair in pairs]

    def spread(values: list[int]) -> np.ndarray:
        return np.array(values, dtype=object)[back].reshape(np.shape(node.scale))

    return ConvertForm(
        multiplier=spread(multiplier), offset=spread(offset), drop=drop, exponent=drop - shift
    )


def _deciding(node: Convert) -> list[Fraction]:
    """The numbers half way between codes."""
    target = node.target
    if isinstance(target, Int):
        return [Fraction(2 * v + 1, 2) - node.zero_point for v in range(node.low, node.high)]
    values = decode(target, np.arange(1 << target.bits))
    low, high = decode(target, [node.low, node.high])
    inside = np.unique(values[np.isfinite(values) & (values >= low) & (values <= high)])
    exact = [Fraction(float(v)) for v in inside]
    return [(a + b) / 2 for a, b in pairwise(exact)]


@dataclass(frozen=True)
class Scaling:
    """The distinct (M, B) of a Convert, and the least and the greatest x."""

    channels: list[tuple[Fraction, Fraction]]
    ends: tuple[int, int]

    @property
    def numbers(self) -> list[Fraction]:
        """Every M and B that is not 0."""
        return [v for channel in self.channels for v in channel if v]

    @property
    def exact(self) -> int | None:
        """The least shift with which nothing is rounded; None if there is none."""
        if not self.numbers:
            return 0
        if any(v.denominator & (v.denominator - 1) for v in self.numbers):
            return None
        return max(v.denominator.bit_length() - _twos(v.numerator) - 1 for v in self.numbers)

    def safe(self, man: int | None) -> int:
        """A shift that is enough for a target of `man` mantissa bits (None: for whole numbers).

        v is a multiple of 1 / D. T near it has man + 2 bits, so it is a multiple of 2**-places.
        """
        common = math.lcm(*(v.denominator for v in self.numbers))
        places = 1 if man is None else common.bit_length() + man + 3
        odd, twos = common >> _twos(common), _twos(common)
        return self.largest.bit_length() + 2 + odd.bit_length() + max(twos, places)

    @property
    def largest(self) -> int:
        """The largest magnitude of x."""
        return max(map(abs, self.ends))

    def parameters(self, shift: int, largest: int) -> tuple[list[int], list[int], int]:
        """(every m, every b with the half of what is dropped, bits dropped) that are exact for
        magnitudes up to `largest`; 0: nothing is dropped."""
        scaled = [(m * Fraction(2) ** shift, b * Fraction(2) ** shift) for m, b in self.channels]
        errors = [abs(m - round(m)) * largest + abs(b - round(b)) for m, b in scaled]
        drop = math.ceil(max(errors)).bit_length() + 1 if largest and any(errors) else 0
        half = 1 << drop >> 1
        return [round(m) for m, _ in scaled], [round(b) + half for _, b in scaled], drop

    def least(self, enough: int, points: list[Fraction]) -> tuple[list[int], list[int], int, int]:
        """The parameters of the least shift, found by bisection, that decides every comparison with
        a point; and the shift."""
        cases = Cases.of(self, points)
        for largest in (0, int(np.abs(cases.x).max())):
            below, above = min(enough, 0) - 1, enough
            while above - below > 1:
                middle = (below + above) // 2
                if cases.decided(middle, *self.parameters(middle, largest)):
                    above = middle
                else:
                    below = middle
            found = self.parameters(above, largest)
            if cases.decided(above, *found):
                break
        return *found, above


@dataclass(frozen=True, eq=False)
class Cases:
    """Inputs next to points: for each channel (rows) and point (columns) the x around it (planes),
    and whether v is below, on or above the point. Arrays of Python integers."""

    x: np.ndarray
    side: np.ndarray
    points: np.ndarray  # in units of 2**-places
    places: int

    @classmethod
    def of(cls, scaling: Scaling, points: list[Fraction]) -> Cases:
        """The x whose v are next to each point."""
        places = max(p.denominator.bit_length() - 1 for p in points)
        whole = [int(p * (1 << places)) for p in points]
        x, side = [], []
        for m, b in scaling.channels:
            common = math.lcm(m.denominator, b.denominator)
            mn, bn = int(m * common), int(b * common)
            at = [((p * common - (bn << places)) // (mn << places)) if mn else 0 for p in whole]
            near = np.array(at, dtype=object) + np.array([[-1], [0], [1]], dtype=object)
            near = np.minimum(np.maximum(near, scaling.ends[0]), scaling.ends[1])
            x.append(near)
            scaled = np.array(whole, dtype=object) * common
            side.append(_sign(((near * mn + bn) << places) - scaled))
        return cls(np.array(x), np.array(side), np.array(whole, dtype=object), places)

    def decided(self, shift: int, multiplier: list, offset: list, drop: int) -> bool:
        """Whether the parameters put every x on the right side."""
        m, b = (np.array(v, dtype=object)[:, None, None] for v in (multiplier, offset))
        value = ((self.x * m + b) >> drop) << drop + self.places + max(0, -shift)
        return bool((_sign(value - (self.points << max(0, shift))) == self.side).all())


def _sign(values: np.ndarray) -> np.ndarray:
    return (values > 0).astype(np.int8) - (values < 0).astype(np.int8)


def _twos(number: int) -> int:
    """How often 2 divides a number."""
    return (number & -number).bit_length() - 1
