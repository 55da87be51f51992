"""Node kinds. Each has a golden function, an Amaranth component and a cost, one per kind.

Every tensor is a stream of integers, row-major and channel last, without the sample axis. A node
reads `inputs` and writes `outputs` (names of tensors). The comment `fold` marks fields that only
say how much of the work is done at once: they never change the values of a whole network, and
passes set them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwgen.formats import Approximate, Arithmetic, Block, Float
from hwgen.ir.graph import Tensor

# Clock cycles of an adder that rounds, and so the partial sums that take turns in it.
ADDER_STAGES = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """What all kinds share. `name` is the name of the ONNX node it comes from."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def input(self) -> str:
        """The only (or first) input."""
        return self.inputs[0]

    @property
    def output(self) -> str:
        """The only (or first) output."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(Node):
    """Sliding windows: (H, W, C) -> (OH*OW*blocks*repeat, KH*KW*block), blocks = ceil(C / block).

    Output row (oy, ox, b) holds the window at that place of channels b*block ... (b+1)*block - 1,
    ordered (ky, kx, channel); positions outside the image hold `pad_code`, channels from C on hold
    0. Every row comes `repeat` times in a row. `image` is the (H, W, C) the input is seen as,
    whatever its own shape.
    """

    image: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    pad_code: int = 0
    block: int  # fold: channels
    repeat: int = 1  # fold
    taps: int = 1  # fold: kernel positions read at once
    rows: int = 0  # fold: image rows the buffer holds
    columns: int = 1  # fold: pixels in a word of the input; a divisor of W
    pixels: int = 1  # fold: windows in a word of the output; a divisor of OW

    @property
    def wide(self) -> bool:
        """Whether words hold several pixels or windows; then each holds whole windows."""
        return self.columns > 1 or self.pixels > 1

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns one window spans."""
        kh, kw = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return kh, kw

    @property
    def output_image(self) -> tuple[int, int]:
        """OH, OW."""
        sizes = zip(self.image, self.reach, self.stride, self.pads[:2], self.pads[2:], strict=False)
        rows, columns = ((size + a + b - k) // s + 1 for size, k, s, a, b in sizes)
        return rows, columns

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.image[2] // self.block)

    @property
    def positions(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def row_schedule(self) -> list[tuple[int, int]]:
        """For each output row: image rows that must be held before it, and how many of them are
        free after it."""
        schedule, freed = [], 0
        height, last = self.image[0], self.output_image[0] - 1
        for row in range(last + 1):
            top = row * self.stride[0] - self.pads[0]
            after = height if row == last else min(max(top + self.stride[0], 0), height)
            # Even a row of padding alone waits for its sample.
            written = max(min(max(top + self.reach[0], 1), height), after)
            schedule.append((written - freed, after - freed))
            freed = after
        return schedule


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Node):
    """Grouped matrix-vector products: rows of windows in, rows of accumulators out.

    `weight` is (groups, outputs per group, taps, inputs per group and tap), zero point already
    subtracted. The input is (P*ceil(groups/parallel)*repeat, taps*parallel*Cg): row (p, b) holds
    the groups b*parallel..., ordered (tap, group, channel) as `Window` with block = parallel*Cg
    makes it, each row `repeat` times. The output is (P, groups*Og), or (P*groups, Og) where groups
    have several inputs: out[p, g, o] = sum over taps t and channels c of in[p, g, t, c] *
    weight[g, o, t, c], exact integers.

    With an `arithmetic`, inputs and `weight` are codes of its formats and products are its
    multiplier's. Exact sums are integers in units of the least product. Codes of blocks are those
    of a Lane: a product is that of the elements times 2**(sum of both exponents); they ask for
    `parallel` 1, and for words that never cross the end of a block. Other accumulators begin
    with `bias` (groups, outputs per group; codes of the output) and round every sum, and their
    order is part of the definition: the products of a word (each rounded first where a word has
    several) are added in a tree of neighbours; word t goes to partial sum t mod `ADDER_STAGES`, the
    first of which begins with the bias; in the end the last partial sums are merged in a tree of
    neighbours, in the order in which their last words came. Where a tree lacks an operand (behind a
    word's products, before the partial sums) that is -0. The output then holds floats.
    """

    weight: np.ndarray
    arithmetic: Arithmetic | None = None
    bias: np.ndarray | None = None
    parallel: int = 1  # fold: groups at once
    pe: int = 1  # fold: outputs of a group at once
    simd: int = 1  # fold: inputs of a group at once
    repeat: int = 1  # fold: ceil(outputs per group / pe), the times each row comes
    pixels: int = 1  # fold: rows at once; more than one only where a row takes one word
    memory: str | None = None  # fold: weights in "block" RAM or in "logic"; None: by their size

    @property
    def rounds(self) -> bool:
        """Whether sums are rounded, or normalized approximately."""
        return self.arithmetic is not None and not isinstance(self.arithmetic.accumulator, str)

    @property
    def blocks(self) -> tuple[Block, Block] | None:
        """The formats of inputs and weights, where they lie in blocks."""
        if self.arithmetic is None:
            return None
        x, w = self.arithmetic.x, self.arithmetic.w
        return (x, w) if isinstance(x, Block) and isinstance(w, Block) else None

    @property
    def accumulator(self) -> Float:
        """The format of rounded sums."""
        accumulator = self.arithmetic.accumulator
        return accumulator.result if isinstance(accumulator, Approximate) else accumulator

    @property
    def words(self) -> int:
        """Words a row takes."""
        _, _, taps, channels = self.weight.shape
        if self.parallel == 1:
            return -(-taps * channels // self.simd)
        return -(-taps // (self.simd // channels))

    @property
    def merges(self) -> int:
        """Levels of the tree that merges partial sums."""
        return (min(self.words, ADDER_STAGES) - 1).bit_length()

    @property
    def multipliers(self) -> int:
        """Multipliers; none where all weights are -1, 0 or 1: such a product is a choice."""
        needed = self.arithmetic is not None or bool(np.abs(self.weight).max() > 1)
        return needed * self.pixels * self.parallel * self.pe * self.simd


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Node):
    """Maximum or sum over the taps of each window: (P*ceil(C/block), taps*block) -> (P, C)."""

    kind: str  # "max" or "sum"
    taps: int
    block: int  # channels in a row of the input; the fold: channels at once
    fmt: Float | None = None  # of the codes, where they are floats: for "max" alone
    simd: int = 1  # fold: taps at once
    pixels: int = 1  # fold: rows at once; more than one only where a row takes one word


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduce(Node):
    """Sum over all rows: (..., C) -> (C,)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Form:
    """An integer form of a requantization: u = x * multiplier + offset, q = u >> shift.

    Where (u mod 2**shift) < correction and q is odd (even, if `flip`), q is one less: it lies on a
    tie that goes to the even neighbour. Arrays have the shape of the node's scale; an Add has one
    multiplier per input. `radix_bits` of the multiplier are used per clock cycle; None: all at
    once, in a pipeline whose adder tree has `levels`.
    """

    multiplier: np.ndarray
    offset: np.ndarray
    shift: int
    correction: int = 0
    flip: bool = False
    radix_bits: int | None = None
    levels: int = 1

    @property
    def multiplier_bits(self) -> int:
        """Bits of the largest magnitude of a multiplier."""
        return max(1, int(np.abs(self.multiplier).max()).bit_length())

    @property
    def steps(self) -> int:
        """Clock cycles per word."""
        return 1 if self.radix_bits is None else -(-self.multiplier_bits // self.radix_bits) + 2

    @property
    def latency(self) -> int:
        """Clock cycles from taking a word to offering its result."""
        result = 2 if self.correction else 1
        return result + (2 + self.levels if self.radix_bits is None else self.steps)


@dataclass(frozen=True, eq=False, kw_only=True)
class Thresholds:
    """A function by comparison: out = low + the number of thresholds at or below x.

    `values` (levels, ...) are ascending along their first axis, the rest has the shape of the
    node's `low`; where `falls` the output falls with x, and ~x is compared. Found by bisection,
    a bit of the count in two cycles.
    """

    values: np.ndarray
    falls: np.ndarray

    @property
    def bits(self) -> int:
        """Bits of the count."""
        return len(self.values).bit_length()

    @property
    def steps(self) -> int:
        """Clock cycles per word."""
        return 1

    @property
    def latency(self) -> int:
        """Clock cycles from taking a word to offering its result."""
        return 2 * self.bits + 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Node):
    """out = clamp(round(x * scale + offset) + zero_point, low, high), elementwise, exact rationals.

    `rounding` is to the nearest with ties to even ("half_even"), away from or towards zero
    ("half_up", "half_down"), or always "floor", "ceil", towards zero ("down") or away ("up").
    `scale`, `offset` (object arrays of Fraction), `low`, `high`, `x_low` and `x_high` (int64) have
    shape (C,) or the whole tensor's; x is always within [x_low, x_high].
    """

    scale: np.ndarray
    offset: np.ndarray
    zero_point: int
    low: np.ndarray
    high: np.ndarray
    x_low: np.ndarray
    x_high: np.ndarray
    rounding: str = "half_even"
    bits: int | None = None  # multiplier bits of the approximate form; None: exact
    cycles: int = 1  # fold: the cycles a word may take
    form: Form | Thresholds | None = None  # how the hardware computes it


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Node):
    """out = clamp(round_half_even(a * scale[0] + b * scale[1] + offset) + zero_point, low, high).

    Two inputs of one shape; `scale`, `offset` are Fractions, `low` and `high` ints.
    """

    scale: tuple
    offset: object
    zero_point: int
    low: int
    high: int
    form: Form | None = None  # how the hardware computes it


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply(Node):
    """out = (a - zeros[0]) * (b - zeros[1]), elementwise: the exact integer product.

    Two inputs of one shape; `zeros` are their zero points.
    """

    zeros: tuple[int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Node):
    """out = table[x - first], elementwise: any function of few-bit codes; `first` is the least."""

    table: np.ndarray
    first: int


@dataclass(frozen=True, eq=False, kw_only=True)
class MultiThreshold(Node):
    """out = low + the number of thresholds at or below x (at or below ~x where the form `falls`):
    any monotone function of a sum.

    `low` (int64) has shape (C,) or the whole tensor's.
    """

    low: np.ndarray
    form: Thresholds


@dataclass(frozen=True, eq=False, kw_only=True)
class Reorder(Node):
    """out.flat[k] = x.flat[order[k]], or `fill` where order[k] is negative, in each of `blocks`
    parts of equal size of x and of the output.

    What no choice of layout could remove; elements may be left out, or come several times.
    """

    order: np.ndarray
    fill: int = 0
    blocks: int = 1

    def lanes(self, x: Tensor, y: Tensor) -> list[int]:
        """The lanes of words that always move as a whole."""
        most = math.gcd(x.channels, y.channels, x.elements // self.blocks, self.order.size)
        return [lanes for lanes in range(1, most + 1) if most % lanes == 0 and self._keeps(lanes)]

    def _keeps(self, lanes: int) -> bool:
        words = self.order.reshape(-1, lanes)
        whole = (words[:, :1] % lanes == 0) & (words == words[:, :1] + np.arange(lanes))
        return bool(np.where(words < 0, (words < 0).all(axis=1, keepdims=True), whole).all())


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Node):
    """The inputs one after another, in turns: turn k holds `turn[j]` elements of each input j."""

    turn: tuple[int, ...]

    def lanes(self, *tensors: Tensor) -> list[int]:
        """The lanes of words that come from one input, of its inputs and its output."""
        most = math.gcd(*self.turn, *(x.channels for x in tensors))
        return [lanes for lanes in range(1, most + 1) if most % lanes == 0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fork(Node):
    """The same stream to every output."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Queue(Node):
    """A first-in first-out buffer of `depth` words."""

    depth: int = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Resize(Node):
    """The same elements in words of another number of lanes."""
