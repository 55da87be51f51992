"""The cheapest integer form of every requantization that is exact for every reachable input.

A node computes q(x) = clamp(round_half_even(x * M + B) + zero_point, low, high). q is monotone in
x, so it is given by its thresholds: T(v), the least x with q(x) >= v, for each level v in (low,
high]. The form u = x * m + b, q = u >> s is monotone too, so it is exact if and only if for each v

    T(v) * m + b >= v * 2**s    and    (T(v) - 1) * m + b < v * 2**s,

an interval for b per channel. Where no dyadic m will do (M = 1/6 has ties that go up before even
and down before odd levels) the odd levels get the bound v * 2**s + c instead: a correction c
common to all channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ConfigError, HwgenError
from hwgen.ir import Add, Form, Graph, Requantize, Tensor, Thresholds

MAX_SHIFT = 56
# Bits of m handled per cycle by a multiplier that takes several cycles, the smallest first.
RADICES = (1, 2, 4)
# Multipliers of FPGAs take at least 18 signed bits.
LIMB_BITS = 17
DSP_LUTS = 60


def forms(graph: Graph) -> None:
    """Give every Requantize and Add its form."""
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Requantize):
            graph.nodes[k] = replace(node, form=_form(node, graph.tensors[node.input]))
        elif isinstance(node, Add):
            a, b = (graph.tensors[t].fmt for t in node.inputs)
            graph.nodes[k] = replace(node, form=add_form(node, a, b))


def _form(node: Requantize, x: Tensor) -> Form | Thresholds:
    """The form with the fewest lookup tables."""
    limits = None if node.bits is not None else _limits(node)
    found = _approximate(node) if limits is None else requantize_form(node, limits)
    if found is not None:
        found = _spread(found, node.cycles)
        parts = limbs(x.fmt.bits + 1) * limbs(found.multiplier_bits + 1)
        found = replace(found, levels=parts.bit_length())
    if limits is None:
        return found
    thresholds = threshold_form(node, limits)
    if found is None or _threshold_luts(thresholds, node, x) < _multiply_luts(found, x):
        return thresholds
    return found


def _multiply_luts(form: Form, x: Tensor) -> int:
    """Lookup tables of one lane, roughly; a DSP block counts as DSP_LUTS."""
    bits = x.fmt.bits + form.multiplier_bits
    if form.radix_bits is not None:
        return 3 * bits
    if len(np.unique(form.multiplier)) == 1:
        return x.fmt.bits * max(int(v).bit_count() for v in np.abs(form.multiplier).ravel())
    blocks = limbs(x.fmt.bits + 1) * limbs(form.multiplier_bits + 1)
    return blocks * DSP_LUTS + 2 * bits


def _threshold_luts(form: Thresholds, node: Requantize, x: Tensor) -> int:
    """Lookup tables of one lane, roughly: comparators, registers of a pipeline, and memory of 64
    bits in each."""
    period = x.words if np.shape(node.scale) != (x.channels,) else x.words_per_row
    memory = period * ((1 << form.bits) - 1) * x.fmt.bits // 64
    return form.bits * (2 * x.fmt.bits + form.bits) + memory


def limbs(bits: int) -> int:
    """Parts of a signed operand of `bits` bits that suit 18-bit signed multipliers: 17 bits each
    but the last."""
    return max(1, -(-(bits - 1) // LIMB_BITS))


def _spread(form: Form, cycles: int) -> Form:
    """Use as few bits of the multiplier per cycle as `cycles` per word allow."""
    magnitudes = np.unique(np.abs(form.multiplier))
    constant = len(magnitudes) == 1 and int(magnitudes[0]).bit_count() <= 2
    if constant or form.multiplier.min() < 0:
        return form
    for bits in RADICES:
        serial = replace(form, radix_bits=bits)
        if serial.steps <= cycles:
            return serial
    return form


def requantize_form(node: Requantize, limits: Limits) -> Form | None:
    """The exact form with the least shift; None if there is none that 64-bit integers can prove."""
    exact = [limits.scale[k] for k in range(len(limits.scale))]
    some = np.linspace(0, len(exact) - 1, min(len(exact), 8)).astype(int)
    for shift in range(MAX_SHIFT):
        # A few channels rule out most shifts.
        if _solve(limits.pick(some), shift) is None:
            continue
        solution = _solve(limits, shift)
        if solution is not None:
            multiplier, offset, correction = solution
            back, shape = limits.back, np.shape(node.scale)
            return Form(
                multiplier=(multiplier * limits.sign)[back].reshape(shape),
                offset=offset[back].reshape(shape),
                shift=shift,
                correction=correction,
                flip=bool(node.zero_point % 2),
            )
    return None


def threshold_form(node: Requantize, limits: Limits) -> Thresholds:
    """The form by comparison, exact for any monotone function."""
    falls = limits.sign < 0
    never = max(int(np.max(np.abs(node.x_low))), int(np.max(np.abs(node.x_high)))) + 1
    values = np.where(limits.has_least, limits.at_least, never) - falls[:, None]
    shape = np.shape(node.scale)
    return Thresholds(
        values=values[limits.back].T.reshape(-1, *shape),
        falls=falls[limits.back].reshape(shape).astype(np.int64),
    )


def _approximate(node: Requantize) -> Form:
    """The form `Requantize.bits` defines: m = round(M * 2**s) of at most that many bits."""
    scales = [Fraction(v) for v in np.ravel(node.scale)]
    top = max(abs(v) for v in scales)
    shift = 0
    if top:
        shift = node.bits - (top.numerator.bit_length() - top.denominator.bit_length()) + 2
        while round(top * Fraction(2) ** shift) >= 1 << node.bits:
            shift -= 1
    power, up = Fraction(2) ** shift, max(0, -shift)
    half = Fraction(1, 2)
    multiplier = [round(v * power) << up for v in scales]
    zero = node.zero_point << max(0, shift)
    offset = [(round((Fraction(v) + half) * power) << up) + zero for v in np.ravel(node.offset)]
    shape = np.shape(node.scale)
    if max(map(abs, (*multiplier, *offset))) >= 1 << 62:
        raise ConfigError(
            f"{node.name}: its sums are so wide that requant_bits={node.bits} needs an offset of "
            f"more than 62 bits; use fewer"
        )
    return Form(
        multiplier=np.array(multiplier, dtype=np.int64).reshape(shape),
        offset=np.array(offset, dtype=np.int64).reshape(shape),
        shift=max(0, shift),
    )


@dataclass(frozen=True, eq=False)
class Limits:
    """Per distinct channel (rows), what u must satisfy for each level (columns), for scales made
    non-negative.

    u(at_least) >= level and u(below) < level, where the masks `has_least`, `has_below` say so.
    """

    scale: list[Fraction]
    sign: np.ndarray
    back: np.ndarray  # channel -> row
    levels: np.ndarray  # (rows, levels)
    odd: np.ndarray
    at_least: np.ndarray
    has_least: np.ndarray
    below: np.ndarray
    has_below: np.ndarray

    def pick(self, rows: np.ndarray) -> Limits:
        """Only some rows."""
        names = ("levels", "odd", "at_least", "has_least", "below", "has_below")
        scale = [self.scale[r] for r in rows]
        return replace(self, scale=scale, **{name: getattr(self, name)[rows] for name in names})


def _limits(node: Requantize) -> Limits:
    """Thresholds of every distinct channel."""
    columns = (node.scale, node.offset, node.low, node.high, node.x_low, node.x_high)
    channels = list(zip(*(np.ravel(c).tolist() for c in columns), strict=True))
    distinct = {key: k for k, key in enumerate(dict.fromkeys(channels))}
    back = np.array([distinct[key] for key in channels])
    count = max(high - low for _, _, low, high, _, _ in distinct)
    shape = (len(distinct), max(1, count))
    levels, least, below = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    has_least, has_below = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    scales, signs = [], []
    for row, (scale, offset, low, high, x_low, x_high) in enumerate(distinct):
        sign = -1 if scale < 0 else 1
        if sign < 0:
            x_low, x_high = -x_high, -x_low
        size = high - low
        level = np.arange(low + 1, high + 1)
        levels[row, :size] = level
        ends = Ends(x_low, x_high, node.rounding)
        start = _thresholds(abs(scale), offset, level - node.zero_point, ends)
        least[row, :size], has_least[row, :size] = np.maximum(start, x_low), start <= x_high
        below[row, :size], has_below[row, :size] = np.minimum(start - 1, x_high), start > x_low
        scales.append(abs(scale))
        signs.append(sign)
    odd = (levels - node.zero_point) % 2 == 1
    return Limits(scales, np.array(signs), back, levels, odd, least, has_least, below, has_below)


@dataclass(frozen=True)
class Ends:
    """The inputs a channel may see, and how it rounds."""

    low: int
    high: int
    rounding: str


def _boundary(value: int, mode: str) -> tuple[Fraction, bool]:
    """(b, inclusive): round(v) >= value where v > b, and where v = b if inclusive."""
    positive = value > 0
    half = Fraction(2 * value - 1, 2)
    return {
        "half_even": (half, value % 2 == 0),
        "half_up": (half, positive),
        "half_down": (half, not positive),
        "floor": (Fraction(value), True),
        "ceil": (Fraction(value - 1), False),
        "down": (Fraction(value), True) if positive else (Fraction(value - 1), False),
        "up": (Fraction(value - 1), False) if positive else (Fraction(value), True),
    }[mode]


def _thresholds(scale, offset, values: np.ndarray, ends: Ends) -> np.ndarray:
    """The least x with round(x * scale + offset) >= value, cut to [ends.low, ends.high + 1]."""
    scale, offset = Fraction(scale), Fraction(offset)
    found = []
    for value in values.tolist():
        bound, inclusive = _boundary(value, ends.rounding)
        if scale == 0:
            reached = offset > bound or (inclusive and offset == bound)
            first = ends.low if reached else ends.high + 1
        else:
            place = (bound - offset) / scale
            first = math.ceil(place) if inclusive else math.floor(place) + 1
        found.append(min(max(first, ends.low), ends.high + 1))
    return np.array(found, dtype=np.int64)


def _solve(limits: Limits, shift: int) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Multipliers, offsets and the correction for a shift, or None."""
    floors = np.array([(s.numerator << shift) // s.denominator for s in limits.scale], dtype=object)
    widest = max(int(abs(limits.at_least).max()), int(abs(limits.below).max()), 1)
    if (int(floors.max()) + 1) * widest >= 1 << 61 or shift >= 50:
        return None
    candidates = []
    for step in (0, 1):
        m = floors.astype(np.int64) + step
        bounds = [_bounds(limits, m, shift, limits.odd == parity) for parity in (False, True)]
        candidates.append((m, bounds))
    plain = [(m, *_meet(even, odd, 0)) for m, (even, odd) in candidates]
    if (solution := _choose(plain, 0)) is not None:
        return solution
    # c = b_even - b_odd must suit every channel: try the ends of each channel's range.
    ends = []
    for _, ((even_low, even_high), (odd_low, odd_high)) in candidates:
        ends += [even_low - odd_high, even_high - odd_low]
    tries = np.unique(np.concatenate(ends))
    for correction in tries[(tries > 0) & (tries < 1 << shift)][:64].tolist():
        corrected = [(m, *_meet(even, odd, correction)) for m, (even, odd) in candidates]
        if (solution := _choose(corrected, correction)) is not None:
            return solution
    return None


def _bounds(limits: Limits, m: np.ndarray, shift: int, which: np.ndarray):
    """The offsets [low, high] per row that suit the levels in `which`."""
    far = np.int64(1) << 61
    at = limits.levels << shift
    lower = np.where(which & limits.has_least, at - limits.at_least * m[:, None], -far).max(axis=1)
    upper = np.where(which & limits.has_below, at - 1 - limits.below * m[:, None], far).min(axis=1)
    return lower, upper


def _meet(even, odd, correction: int):
    return np.maximum(even[0], odd[0] + correction), np.minimum(even[1], odd[1] + correction)


def _choose(candidates, correction: int):
    """The first candidate multiplier of each row that leaves an offset; None if a row has none."""
    (m, low, high), (m2, low2, high2) = candidates
    first = low <= high
    if not (first | (low2 <= high2)).all():
        return None
    low, high = np.where(first, low, low2), np.where(first, high, high2)
    # A row without any level between its bounds may have any offset.
    offset = np.where(low > -(1 << 60), low, np.where(high < 1 << 60, high, 0))
    return np.where(first, m, m2), offset, correction


def add_form(node: Add, a, b) -> Form:
    """The form of an Add, exact for all pairs of codes."""
    levels, codes = _all_sums(node, a, b)
    order = np.argsort(levels, kind="stable")
    values, starts = np.unique(levels[order], return_index=True)
    level = np.arange(node.low + 1, node.high + 1)
    place = np.searchsorted(values, level)  # the first value >= level
    odd = (level - node.zero_point) % 2 == 1
    for shift in range(48):
        pairs = [
            [int(s * (1 << shift) // 1) + step for step in (0, 1)]
            for s in map(Fraction, node.scale)
        ]
        for m in ((p, q) for p in pairs[0] for q in pairs[1]):
            total = (codes[0] * m[0] + codes[1] * m[1])[order]
            least = np.minimum.accumulate(np.minimum.reduceat(total, starts)[::-1])[::-1]
            most = np.maximum.accumulate(np.maximum.reduceat(total, starts))
            low = np.where(
                place < len(values),
                (level << shift) - least[np.minimum(place, len(values) - 1)],
                -(1 << 61),
            )
            high = np.where(
                place > 0, (level << shift) - 1 - most[np.maximum(place - 1, 0)], 1 << 61
            )
            even_low, even_high = _ends(low, high, ~odd)
            odd_low, odd_high = _ends(low, high, odd)
            correction = max(0, even_low - odd_high)
            first, last = max(even_low, odd_low + correction), min(even_high, odd_high + correction)
            if first <= last and correction < 1 << shift:
                return Form(
                    multiplier=np.array(m),
                    offset=np.array(first if first > -(1 << 60) else min(last, 0)),
                    shift=shift,
                    correction=correction,
                    flip=bool(node.zero_point % 2),
                )
    raise HwgenError(f"{node.name}: no exact integer form with a shift below 48")


def _ends(low: np.ndarray, high: np.ndarray, which: np.ndarray) -> tuple[int, int]:
    far = 1 << 61
    return (
        int(low[which].max(initial=-far)),
        int(high[which].min(initial=far)),
    )


def _all_sums(node: Add, a, b) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The exact result of every pair of codes, and the codes."""
    ranges = np.arange(a.min, a.max + 1), np.arange(b.min, b.max + 1)
    first, second = (grid.ravel() for grid in np.meshgrid(*ranges, indexing="ij"))
    scales = [Fraction(s) for s in (*node.scale, node.offset)]
    common = int(np.lcm.reduce([np.array(s.denominator, dtype=object) for s in scales]))
    n0, n1, n2 = (int(s * common) for s in scales)
    exact = first.astype(object) * n0 + second.astype(object) * n1 + n2
    doubled = 2 * exact + common
    rounded = doubled // (2 * common)
    tie = doubled % (2 * common) == 0
    rounded = rounded - (tie & (rounded % 2 == 1))
    clamped = np.clip(rounded + node.zero_point, node.low, node.high).astype(np.int64)
    return clamped, (first, second)
