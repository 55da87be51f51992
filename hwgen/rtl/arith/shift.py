"""Shifters and counters that floating-point units share."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


def leading_zeros(m: Module, value: Value) -> tuple[Value, Value]:
    """How many zeros stand above the highest 1, and whether there is a 1; without one the count is
    what it would be with a 1 somewhere below the least significant bit."""
    width = 1 << (len(value) - 1).bit_length()
    level = [(Const(0, 0), bit) for bit in [*Const(0, width - len(value)), *value]]
    while len(level) > 1:  # a node: the count within it, whether it has a 1
        level = [
            # The count of a single bit has no bits: tools don't take wires without.
            (Cat(Mux(high, count, below) if len(count) else (), ~high), high | low)
            for (below, low), (count, high) in zip(level[::2], level[1::2], strict=True)
        ]
        level = [(_named(m, count), _named(m, found)) for count, found in level]
    return level[0]


def normalize(m: Module, value: Value) -> tuple[Value, Value]:
    """value shifted left until its top bit is 1, and by how much: steps of halving length, each
    made where so many zeros are on top. Smaller than counting first, and as fast in gates."""
    zeros: list[Value] = []
    width = len(value)
    step = 1 << (width - 1).bit_length() >> 1
    while step:
        empty = _named(m, ~value[width - step :].any())
        zeros.insert(0, empty)
        moved = Cat(Const(0, step), value)[:width]
        value = _named(m, Mux(empty, moved, value))
        step >>= 1
    return value, Cat(*zeros)


def magnitude(m: Module, a: Value, b: Value, sub: Value) -> tuple[Value, Value]:
    """a + b with the carry on top, or |a - b| where `sub`, and whether b is then the greater.

    A prefix adder (Brent and Kung 1982) whose carry out of a - b goes round to its carry in: small
    and fast in gates, where an adder and a negation behind it are slower.
    """
    width = len(a)
    b = _named(m, b ^ sub.replicate(width))
    half = _named(m, a ^ b)
    both = _named(m, a & b)
    generate, propagate = list(both), list(half)

    def join(high: int, low: int) -> None:
        carry = generate[high] | (propagate[high] & generate[low])
        generate[high] = _named(m, carry)
        propagate[high] = _named(m, propagate[high] & propagate[low])

    steps = [1 << k for k in range((width - 1).bit_length())]
    for step in steps:
        for high in range(2 * step - 1, width, 2 * step):
            join(high, high - step)
    for step in reversed(steps):
        for high in range(3 * step - 1, width, 2 * step):
            join(high, high - step)
    carry = _named(m, sub & generate[-1])  # a > b: what ~b lacks of -b
    negative = _named(m, sub & ~generate[-1])  # or 0, as all ones
    carries = [g | (p & carry) for g, p in zip(generate[:-1], propagate[:-1], strict=True)]
    total = half ^ Cat(carry, *carries) ^ negative.replicate(width)
    return _named(m, Cat(total, ~sub & generate[-1])), negative & ~propagate[-1]


def shift_left(m: Module, value: Value, amount: Value) -> Value:
    """value << amount in value's width, the largest steps first: bits that cannot come into the
    result's top then need no multiplexers."""
    width = len(value)
    for k in reversed(range(len(amount))):
        step = 1 << k
        moved = Cat(Const(0, min(step, width)), value)[:width]
        value = _named(m, Mux(amount[k], moved, value))
    return value


def shift_right(m: Module, value: Value, amount: Value, width: int) -> tuple[Value, Value]:
    """(value << (width - len(value))) >> amount, and whether any 1 was shifted out."""
    lost = []
    for k in range(len(amount)):
        step = 1 << k
        room = min(len(value) + step, width)
        padded = Cat(Const(0, room - len(value)), value)
        moved = padded[step:] if step < room else Const(0, 1)
        out = padded[:step].any() if step < room else padded.any()
        lost.append(amount[k] & out)
        value = _named(m, Mux(amount[k], Cat(moved, Const(0, room - len(moved)))[:room], padded))
    padded = Cat(Const(0, width - len(value)), value)
    return _named(m, padded), _named(m, Cat(*lost).any())


def _named(m: Module, value: Value) -> Signal:
    """A signal of its own, so that an expression used often is written once."""
    signal = Signal(value.shape())
    m.d.comb += signal.eq(value)
    return signal
