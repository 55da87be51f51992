"""Widths, lengths and words of an attention unit."""

from __future__ import annotations

from functools import cached_property

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from hwgen.errors import ModelError
from hwgen.formats import Int, int_holding
from hwgen.ir import Attention, Tensor
from hwgen.rtl.arith.dot import Dot


class Plan:
    """What the stages of one unit share.

    `depth`, `width`: words of a head of keys and of values; `steps`: cycles of a visit; `ahead`:
    key rows that come before the first query; `units`: scores and weights computed at once.
    """

    def __init__(self, node: Attention, q: Tensor, k: Tensor, v: Tensor) -> None:
        self.node, self.q, self.k, self.v = node, q, k, v
        self.lanes, self.simd = node.lanes, node.simd
        depth, width = q.channels // node.heads, v.channels // node.groups
        if depth % node.simd or width % node.simd or node.heads % node.groups:
            raise ModelError(
                f"{node.name}: simd {node.simd} must divide heads of {depth} and {width} elements, "
                f"and {node.groups} groups {node.heads} heads"
            )
        if node.right > k.rows - 1 and not node.stateful:
            raise ModelError(f"{node.name}: reads {node.right} keys ahead of {k.rows}")
        self.depth, self.width = depth // node.simd, width // node.simd
        self.steps = max(self.depth, self.width)
        self.ahead = node.right
        self.rows = 1 if node.stateful else max(q.rows + self.ahead, k.rows)
        self.units = -(-self.lanes // self.steps)
        self.parts_of_bank = -(-self.lanes // self.units)
        ring = node.slots - node.leading
        self.expires = node.mask is None and (node.stateful or node.left < q.rows - 1)
        if self.expires and ring != node.left + node.right + 1:
            raise ModelError(f"{node.name}: {ring} slots do not hold its window")

    @property
    def key_words(self) -> int:
        """Words of keys in a lane."""
        return self.node.chunks * self.node.groups * self.depth

    @property
    def value_words(self) -> int:
        """Words of values in a lane."""
        return self.node.chunks * self.node.groups * self.width

    @property
    def query_fmt(self):
        """The format of queries, their zero point subtracted."""
        fmt = self.q.fmt
        if self.node.arithmetic is not None or not self.node.zero:
            return fmt
        return int_holding(fmt.min - self.node.zero, fmt.max - self.node.zero)

    @property
    def weight_fmt(self):
        """The format of weights."""
        if self.node.arithmetic is not None:
            return self.node.arithmetic.x
        return Int(self.node.weight_bits, signed=False)

    @cached_property
    def dot_shapes(self) -> tuple[Shape, Shape]:
        """Shapes of the products of a word with a query, summed, and of a weight with a value."""
        node = self.node
        return (
            Dot.sum_shape(self.query_fmt, self.k.fmt, self.simd, node.arithmetic, node.score_grid),
            Dot.sum_shape(self.weight_fmt, self.v.fmt, 1, node.arithmetic, node.value_grid),
        )

    @cached_property
    def _scores(self) -> tuple[int, int]:
        """The least and the largest s there can be."""
        node, fmt = self.node, self.q.fmt
        if node.arithmetic is not None:
            return _many(self.depth, self.dot_shapes[0])
        return _products((fmt.min - node.zero, fmt.max - node.zero), self.k, self.depth * self.simd)

    @property
    def score_shape(self) -> Shape:
        """Of s."""
        return _signed(*self._scores)

    @property
    def t_shape(self) -> Shape:
        """Of t."""
        node, mask = self.node, self.node.mask
        low, high = sorted(s * node.multiplier + (1 << node.shift - 1) for s in self._scores)
        low, high = low >> node.shift, high >> node.shift
        if mask is not None and mask.bias is not None:
            low, high = low + int(mask.bias.min()), high + int(mask.bias.max())
        return signed(max(_signed(low, high).width, node.fraction + 1))

    @property
    def bias_bits(self) -> int:
        """Bits of the bias, 0 where there is none."""
        mask = self.node.mask
        if mask is None or mask.bias is None:
            return 0
        return 1 + max(int(mask.bias.max()), -int(mask.bias.min())).bit_length()

    @property
    def top_shape(self) -> Shape:
        """Of n and the running exponent."""
        return signed(self.t_shape.width - self.node.fraction)

    @property
    def levels(self) -> int:
        """Of a tree that joins what the units compute at once."""
        return (self.units - 1).bit_length()

    @property
    def sum_bits(self) -> int:
        """Bits of l; weights of floats reach 1."""
        most = (1 << self.node.weight_bits) - (self.node.arithmetic is None)
        return (self.node.slots * most).bit_length()

    @property
    def output_shape(self) -> Shape:
        """Of o."""
        node = self.node
        if node.arithmetic is not None:
            return _signed(*_many(node.slots, self.dot_shapes[1]))
        return _signed(*_products((0, self.weight_fmt.max), self.v, node.slots))

    @property
    def down_bits(self) -> int:
        """Bits of a shift that may leave nothing of any sum."""
        return max(self.sum_bits, self.output_shape.width).bit_length()

    @cached_property
    def control(self) -> data.StructLayout:
        """What is known of a visit: the first or last of its row and head; whether a row of values
        is loaded with it, and to where; whether it computes."""
        chunks = range(max(2, self.node.chunks))
        return data.StructLayout(
            {
                "first": 1,
                "last": 1,
                "load": 1,
                "compute": 1,
                "chunk": chunks,
                "group": range(max(2, self.node.groups)),
                "slot_chunk": chunks,
                "slot_lane": range(max(2, self.lanes)),
            }
        )

    @cached_property
    def score_bank(self) -> data.StructLayout:
        """From scores to exponents. Banks hold the numbers of lanes as bits, lowest lane first."""
        fields = {
            "control": self.control,
            "scores": self.score_shape.width * self.lanes,
            "allowed": self.lanes,
        }
        if self.bias_bits:
            fields["bias"] = self.bias_bits * self.lanes
        return data.StructLayout(fields)

    @cached_property
    def exponent_bank(self) -> data.StructLayout:
        """From exponents to weights."""
        return data.StructLayout(
            {
                "control": self.control,
                "t": self.t_shape.width * self.lanes,
                "allowed": self.lanes,
                "top": self.top_shape,
                "down": unsigned(self.down_bits),
            }
        )

    @cached_property
    def weight_bank(self) -> data.StructLayout:
        """From weights to weighted sums."""
        return data.StructLayout(
            {
                "control": self.control,
                "weights": self.weight_fmt.bits * self.lanes,
                "sum": self.sum_bits,
                "down": unsigned(self.down_bits),
            }
        )


def _signed(low: int, high: int) -> Shape:
    """The signed shape of all integers of [low, high]."""
    return signed(1 + max((low if low >= 0 else ~low).bit_length(), high.bit_length()))


def _products(x: tuple[int, int], y: Tensor, count: int) -> tuple[int, int]:
    """The least and the largest sum of so many products."""
    ends = [count * a * b for a in x for b in (y.fmt.min, y.fmt.max)]
    return min(ends), max(ends)


def _many(count: int, shape: Shape) -> tuple[int, int]:
    """The least and the largest sum of so many integers of a signed shape."""
    return -count << shape.width - 1, count * ((1 << shape.width - 1) - 1)
