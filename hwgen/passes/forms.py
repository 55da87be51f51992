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

from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ConfigError
from hwgen.ir import Add, Convert, Form, Graph, Requantize, Tensor, Thresholds
from hwgen.passes.add_form import add_form
from hwgen.passes.convert_form import convert_form
from hwgen.passes.limits import MANY, Limits, limits
from hwgen.passes.remember import remembered

MAX_SHIFT = 96
# Bits of m handled per cycle by a multiplier that takes several cycles, the smallest first.
RADICES = (1, 2, 4)
# Multipliers of FPGAs take at least 18 signed bits.
LIMB_BITS = 17
DSP_LUTS = 60
# Stands for no bound; products below it fit 64-bit integers.
FAR = 1 << 61


def forms(graph: Graph) -> None:
    """Give every Requantize, Add and Convert its form."""
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Requantize):
            graph.nodes[k] = replace(node, form=_form(node, graph.tensors[node.input]))
        elif isinstance(node, Convert):
            graph.nodes[k] = replace(
                node,
                form=remembered(convert_form, node, replace(graph.tensors[node.input], lanes=1)),
            )
        elif isinstance(node, Add):
            a, b = (graph.tensors[t].fmt for t in node.inputs)
            graph.nodes[k] = replace(node, form=remembered(add_form, node, a, b))


def _form(node: Requantize, x: Tensor) -> Form | Thresholds:
    """The form with the fewest lookup tables."""
    node = _one_sided(node)
    needs, found = (None, _approximate(node)) if node.bits else remembered(_exact, node)
    if found is not None:
        found = _spread(found, node.cycles)
        parts = limbs(x.fmt.bits + 1) * limbs(found.multiplier_bits + 1)
        found = replace(found, levels=parts.bit_length())
    if needs is None or (found is not None and not needs.whole):
        return found
    if not needs.whole:
        raise ConfigError(
            f"{node.name}: rounding {node.rounding!r} to more than {MANY} levels of both signs has "
            "no exact integer form; round to the nearest, or by floor or ceil"
        )
    thresholds = remembered(threshold_form, node, needs)
    if found is None or _threshold_luts(thresholds, node, x) < _multiply_luts(found, x):
        return thresholds
    return found


def _exact(node: Requantize) -> tuple[Limits, Form | None]:
    """What a form must satisfy, and the exact one."""
    needs = limits(node)
    return needs, requantize_form(node, needs)


def _one_sided(node: Requantize) -> Requantize:
    """Rounding towards zero or away from it as floor or ceil, where only one sign is left."""
    if node.rounding not in ("up", "down"):
        return node
    if (node.low >= node.zero_point).all():
        return replace(node, rounding="floor" if node.rounding == "down" else "ceil")
    if (node.high <= node.zero_point).all():
        return replace(node, rounding="ceil" if node.rounding == "down" else "floor")
    return node


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
    """The exact form with the least shift; None if there is none below MAX_SHIFT, or where the
    function bends at zero."""
    if node.rounding in ("up", "down"):
        return None
    rows = len(limits.scale)
    some = np.linspace(0, rows - 1, min(rows, 8)).astype(int)
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


def _solve(limits: Limits, shift: int) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Multipliers, offsets and the correction for a shift, or None. In 64-bit integers where they
    hold every number."""
    floors = np.array([(s.numerator << shift) // s.denominator for s in limits.scale], dtype=object)
    widest = max(int(abs(limits.at_least).max()), int(abs(limits.below).max()), 1)
    top = max((int(floors.max()) + 1) * widest, int(abs(limits.levels).max()) + 1 << shift)
    kind = np.int64 if 2 * top < FAR else object
    candidates = []
    for step in (0, 1):
        m = (floors + step).astype(kind)
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
    far = FAR if m.dtype == np.int64 else FAR * FAR
    at = limits.levels.astype(m.dtype) << shift
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
    far = FAR // 2 if low.dtype == np.int64 else FAR * FAR // 2
    offset = np.where(low > -far, low, np.where(high < far, high, 0))
    return np.where(first, m, m2), offset, correction
