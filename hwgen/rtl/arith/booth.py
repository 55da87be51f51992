"""Integer products without a DSP block."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value


def booth(m: Module, x: Value, w: Value) -> Signal:
    """x * w, exact: one carry chain per two bits of the narrower way round. Combinational.

    Radix-4 Booth recoding (MacSorley, 1961): w = sum over i of d_i 4**i, with digits
    d_i = -2 w[2i+1] + w[2i] + w[2i-1] of {-2, -1, 0, 1, 2}. A row adds d_i x to the upper bits of
    the row before. A bit of that sum depends on three bits of w, two of x and one of the row
    before: one six-input LUT, whose carry the chain takes. What ~x lacks of -x is the chain's first
    carry, made by a bit below. Rows are slices of each other, which keeps Yosys from fusing
    them into one `$macc`, which would be larger.

    Tested: all pairs of up to 8 bits, every mixture of signs; a proof for int8 in Yosys' SAT.
    """
    if _size(w, x) < _size(x, w):
        x, w = w, x
    product = Signal(product_shape(x, w))
    if len(x) + len(w) <= 6:  # a LUT per bit
        m.d.comb += product.eq(x * w)
        return product
    bits = Cat(Const(0, 1), w, w[-1].replicate(2) if w.shape().signed else Const(0, 2))
    done: list[Value] = []
    above: Value = Const(0, Shape(1, signed=True))
    for i in range(_digits(w)):
        row = _row(m, above, x, bits[2 * i : 2 * i + 3], f"row{i}")
        done.append(row[:2])
        above = row[2:].as_signed()
    m.d.comb += product.eq(Cat(*done, above).as_signed())
    return product


def product_shape(x: Value, w: Value) -> Shape:
    """The shape of a product."""
    return Shape(len(x) + len(w), x.shape().signed or w.shape().signed)


def _digits(w: Value) -> int:
    return len(w) // 2 + 1 if not w.shape().signed else (len(w) + 1) // 2


def _size(x: Value, w: Value) -> int:
    """LUTs, about, with `w` recoded."""
    return _digits(w) * (len(x) + 1)


def _row(m: Module, above: Value, x: Value, digit: Value, name: str) -> Signal:
    """above + digit * x, as wide as it can become."""
    low, high, negative = digit[0], digit[1], digit[2]
    number = x if x.shape().signed else Cat(x, Const(0, 1)).as_signed()
    twice = Cat(Const(0, 1), number).as_signed()
    one, two = low ^ high, (low == high) & (low ^ negative)
    partial = Signal(twice.shape())
    flip = negative.replicate(len(partial))
    m.d.comb += partial.eq((Mux(one, number, 0) | Mux(two, twice, 0)) ^ flip)
    # The bit below the operands, the same in both, carries what it is.
    total = Cat(negative, above).as_signed() + Cat(negative, partial).as_signed()
    row = Signal(Shape(len(total) - 1, signed=True), name=name)
    m.d.comb += row.eq(total[1:])
    return row
