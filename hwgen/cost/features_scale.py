"""Parts of requantization, of sums of scaled tensors, and of thresholds."""

from __future__ import annotations

from typing import cast

import numpy as np

from hwgen.cost.parts import Parts, bits_of, distinct_bits, shape, signed_bits, spans
from hwgen.formats import int_holding
from hwgen.ir import Add, Form, MultiThreshold, Requantize, Tensor, Thresholds

LIMB_BITS = 17  # of an operand of a multiplier (hwgen.rtl.requantize)


def arrange(column: np.ndarray, x: Tensor) -> np.ndarray:
    """Values of the channels (or of all elements) as the words of a stream: (period, lanes)."""
    flat = np.ravel(column)
    whole = flat.size != x.channels
    row, lanes = x.channels, x.lanes
    rows = flat.reshape(-1, row)
    if lanes > row:
        flat = rows.ravel() if whole else np.tile(rows, (-(-lanes // row), 1)).ravel()
        flat = np.pad(flat, (0, -len(flat) % lanes), mode="edge")
    else:
        flat = np.pad(rows, ((0, 0), (0, -row % lanes)), mode="edge").ravel()
    return flat.reshape(-1, lanes)[: max(1, x.words if whole else x.words_per_row)]


def limbs(bits: int, signed: bool) -> list[tuple[int, int, bool]]:
    """(place, bits, signed) of the parts of an operand."""
    width = bits + (not signed)
    found = []
    for place in range(0, max(1, width - 1), LIMB_BITS):
        last = place + LIMB_BITS >= width - 1
        found.append((place, bits - place if last else LIMB_BITS, last and signed))
    return found


def alike(words: np.ndarray) -> bool:
    """Whether all words are the same."""
    return len(words) == 1 or bool((words == words[:1]).all())


def requantize(p: Parts, node: Requantize, x: Tensor, y: Tensor) -> None:
    """Operands, products, sum, result; or a multiplier bit by bit."""
    form = cast(Form, node.form)
    raw = [np.ravel(v) for v in (form.multiplier, form.offset, node.low, node.high)]
    words = [arrange(v, x) for v in raw]
    fixed = [alike(w) for w in words]
    bits = [signed_bits(*spans(v.tolist())) for v in raw]
    if not all(fixed):
        p.counter(len(words[0]))
    kept = []  # bits of all lanes that differ
    for column, width, same in zip(words, bits, fixed, strict=True):
        kept.append(0 if same else distinct_bits(column, width))
        if not same:
            p.rom(column, width)
    m, b = (v.astype(object) for v in raw[:2])
    ends = [v for e in (node.x_low, node.x_high) for v in (m * np.ravel(e).astype(object) + b)]
    total = int_holding(*spans(ends))
    least, most = total.min >> form.shift, total.max >> form.shift
    if form.radix_bits is None:
        _parallel(p, form, x, words[0], fixed, bits, total.bits, kept[1])
        stages = 1 + form.levels
    else:
        _serial(p, form, x, fixed, bits, total.bits)
        stages = 1
    limits = [not f for f in fixed[2:]]
    p.register(sum(kept[2:]) * (stages + bool(form.correction)))
    low, high = int(np.min(node.low)), int(np.max(node.high))
    clamps = limits[0] or least < low, limits[1] or most > high
    finish(p, form, (least, most), y.fmt.bits, clamps, x.lanes)


def _parallel(p: Parts, form: Form, x: Tensor, factors, fixed, bits, total, offsets) -> None:
    lanes = x.lanes
    p.handshake(form.latency)
    p.register(x.fmt.bits, lanes)
    for lane in range(lanes):
        terms: list[tuple[int, int]] = []  # lowest bit that is not 0, bits
        for i, width, signed in limbs(*shape(x.fmt)):
            if fixed[0]:
                factor = int(factors[0, lane])
                p.constant_multiply((width, signed), factor)
                zeros = (factor & -factor).bit_length() - 1 if factor else 0
                size = width + signed_bits(factor, factor) + i
                terms.append((i + zeros, min(size, total)))
                continue
            for j, other, sign in limbs(bits[0], True):
                p.multiply((width, signed), (other, sign), 1, total - i - j)
                terms.append((i + j, min(width + other + i + j, total)))
        p.register(sum(top - low for low, top in terms))
        terms.append((0, min(bits[1], total)))
        p.register(offsets / lanes)
        for _ in range(form.levels):
            done = len(terms) == 1
            pairs = [terms[k : k + 2] for k in range(0, len(terms), 2)]
            terms = []
            for pair in pairs:
                low, top = min(low for low, _ in pair), max(top for _, top in pair)
                if len(pair) > 1:
                    top = min(top + 1, total)
                    p.add("add", top - max(low for low, _ in pair))
                terms.append((low, top))
                if done:  # nothing is added any more: what is cut off is not kept
                    p.register(top - low - form.shift * (not form.correction))
                elif len(pair) > 1 or pair is not pairs[-1]:
                    p.register(top - low)
                else:  # the offset, of which few bits differ from lane to lane
                    p.register(offsets / lanes)


def _serial(p: Parts, form: Form, x: Tensor, fixed, bits, total: int) -> None:
    lanes, radix = x.lanes, form.radix_bits
    count, width = form.steps - 2, x.fmt.bits + (not x.fmt.signed)
    left = bits_of(count + 2)
    p.register(left + form.latency - form.steps + 1)
    p.add("add", left)
    p.add("logic", left + 6)
    high, rest = width + 1 + radix, count * radix
    p.register(width + high + rest + total, lanes)
    p.add("add", radix * (width + radix), lanes)
    p.add("choose", (rest if not fixed[0] else rest / 2) + high, lanes)
    p.add("add", total, lanes)


def finish(p: Parts, form: Form, ends, result: int, clamps, lanes: int) -> None:
    """Tie correction, limits, the output register."""
    p.counts["ff"] -= lanes * form.shift * (not form.correction)  # of the sum, what is cut off
    width = signed_bits(*ends)
    if form.correction:
        p.add("compare", form.shift, lanes)
        p.add("add", width, lanes)
        p.register(width, lanes)
    p.register(result, lanes)
    for there in clamps:
        p.add("compare", width * there, lanes)
        p.add("choose", result * there, lanes)


def add(p: Parts, node: Add, a: Tensor, b: Tensor, y: Tensor) -> None:
    """Two products with constants, their sum, the result."""
    form = cast(Form, node.form)
    p.handshake(form.latency, 2)
    multipliers = [int(v) for v in form.multiplier]
    ends = []
    for x, factor in zip((a, b), multipliers, strict=True):
        sides = [code * factor for code in (x.fmt.min, x.fmt.max)]
        ends.append((min(sides), max(sides)))
        zeros = (factor & -factor).bit_length() - 1
        p.register(2 * x.fmt.bits + signed_bits(factor, factor) - zeros, y.lanes)
        p.constant_multiply(shape(x.fmt), factor, y.lanes)
    low, high = (sum(e) + int(form.offset) for e in zip(*ends, strict=True))
    total = int_holding(low, high)
    p.add("add", 2 * total.bits, y.lanes)
    p.register(total.bits, y.lanes)
    inner = total.min >> form.shift, total.max >> form.shift
    clamps = inner[0] < node.low, inner[1] > node.high
    finish(p, form, inner, y.fmt.bits, clamps, y.lanes)


def thresholds(p: Parts, node: Requantize | MultiThreshold, x: Tensor, y: Tensor) -> None:
    """A bit of the count by a memory and a comparison."""
    form = cast(Thresholds, node.form)
    p.handshake(form.latency)
    levels = np.array([arrange(v, x) for v in form.values])
    low, falls = arrange(node.low, x), arrange(form.falls, x)
    period, lanes = levels.shape[1], levels.shape[2]
    missing = (1 << form.bits) - 1 - len(levels)
    never = max(int(levels.max()), x.fmt.max) + 1
    levels = np.pad(levels, ((0, missing), (0, 0), (0, 0)), constant_values=never)
    width = signed_bits(int(levels.min()), int(levels.max()))
    place, own = bits_of(period), x.fmt.bits + (not x.fmt.signed)
    p.counter(period)
    p.register(place)
    for column in (falls, low):
        if not alike(column):
            bits = signed_bits(int(column.min()), int(column.max()))
            p.rom(column, bits)
            p.register(bits * 2 * form.bits * (column is low), lanes)
    p.register(own, lanes)
    p.add("logic", own * bool(falls.any()), lanes)
    for bit in range(form.bits):
        step = 1 << (form.bits - bit)
        middle = levels[step // 2 - 1 :: step].transpose(1, 0, 2).reshape(-1, lanes)
        if len(middle) > 1:
            for lane in range(lanes):
                p.rom(middle[:, lane : lane + 1], width)
        p.add("compare", min(width, own), lanes)
        p.register(2 * own * (bit < form.bits - 1) + own * (bit == form.bits - 1), lanes)
        p.register(2 * bit + 1, lanes)
        p.register(2 * place * (bit < form.bits - 1))
    p.register(y.fmt.bits, lanes)
    p.add("add", y.fmt.bits * bool(low.any()), lanes)
