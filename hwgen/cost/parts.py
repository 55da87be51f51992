"""What a unit consists of, in parts that cost functions count: registers, adders, memories,
multipliers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hwgen.cost.technology import Technology
from hwgen.formats import Bipolar, Exponent, Float, Int, Ternary, int_holding
from hwgen.ir import Tensor

# From here on a read-only memory asks for a block RAM (hwgen.rtl.rom).
BLOCK_BITS = 1 << 11
FEW = 6  # bits of two operands whose product is left to the synthesizer


@dataclass
class Parts:
    """Counts of one unit's parts for a technology.

    `counts`: by part, in bits unless said otherwise: `ff` registers; `add` and `compare` of carry
    chains; `choose` two-way choices; `shift` of shifters (width x levels); `booth` of multipliers
    in logic; `logic` other functions of a few bits; `rom` and `rom_bits` of read-only memories in
    logic (lookup tables; bits); `ram` lookup tables that are memory, `ram_choose` what chooses
    among them; `ram_bits` memories in flip-flops; `bypass` what keeps the order of reads and writes
    in block RAMs; `dsp`, `bram` in the target's units; `unit` 1.
    """

    technology: Technology
    counts: dict[str, float] = field(default_factory=lambda: defaultdict(float, {"unit": 1.0}))

    def add(self, part: str, amount: float, times: float = 1) -> None:
        """Count a part."""
        if amount > 0 and times > 0:
            self.counts[part] += amount * times

    def register(self, bits: float, times: float = 1) -> None:
        """Flip-flops."""
        self.add("ff", bits, times)

    def counter(self, period: int, times: int = 1) -> None:
        """A counter that wraps."""
        if period > 1:
            bits = bits_of(period)
            self.register(bits, times)
            self.add("add", bits, times)
            self.add("compare", bits, times)

    def handshake(self, latency: int, inputs: int = 1) -> None:
        """Stages that move together."""
        self.register(latency)
        self.add("logic", 1 + inputs)

    def tree(self, widths: list[float], grows: bool, times: float = 1, most: float = 1e9) -> float:
        """Operands joined two by two with a register behind each; the width of the last. `grows`:
        they are added."""
        while len(widths) > 1:
            pairs = [widths[k : k + 2] for k in range(0, len(widths), 2)]
            widths = []
            for pair in pairs:
                width = min(max(pair) + (grows and len(pair) > 1), most)
                if len(pair) > 1:
                    self.add("add" if grows else "compare", width, times)
                    self.add("choose", 0 if grows else width, times)
                self.register(width, times)
                widths.append(width)
        return widths[0]

    def multiply(
        self, a: tuple[int, bool], b: tuple[int, bool], times: int = 1, used: int | None = None
    ) -> None:
        """Products of operands (bits, signed), for DSP blocks where there are some; `used` bits of
        a product are read."""
        dsp, add = self.technology.multiplier(a, b, used)
        self.add("dsp", dsp, times)
        self.add("add", add, times)
        if not dsp:
            self._rows(a[0], b[0], times)
        self.add("product", a[0] * b[0], times)

    def constant_multiply(self, x: tuple[int, bool], factor: int, times: int = 1) -> None:
        """Products with a constant: of powers of two only wires."""
        if factor == 0:
            return
        odd = abs(factor) // (abs(factor) & -abs(factor))
        if odd == 1 and factor > 0:
            return
        signed = factor < 0 or x[1]
        self.multiply(x, (odd.bit_length() + signed, signed), times)

    def booth(self, a: int, b: int, times: int = 1) -> None:
        """Products that hwgen.rtl.arith.booth builds; of few bits the synthesizer does."""
        if a + b <= FEW:
            self.multiply((a, False), (b, False), times)
        else:
            self._rows(a, b, times)

    def _rows(self, a: int, b: int, times: float) -> None:
        if a > 0 and b > 0:
            size = min((b // 2 + 1) * (a + 1), (a // 2 + 1) * (b + 1)) if a + b > FEW else a + b
            self.add("booth", size, times)

    def rom(self, words: np.ndarray, bits: int, times: int = 1) -> None:
        """A registered read-only memory of codes (depth, elements)."""
        depth, width = words.shape[0], words.shape[1] * bits
        if depth == 1:
            return
        if width * depth >= BLOCK_BITS and self.technology.blocks:
            self.read_only(depth, width, times, changing_bits(words, bits))
        else:
            self.read_only(depth, width, times, distinct_bits(words, bits))

    def read_only(self, depth: int, width: int, times: int = 1, used: float | None = None) -> None:
        """The same of unknown contents; `used` bits of a word are not constant."""
        used = width if used is None else used
        blocks = 0
        if depth * width >= BLOCK_BITS:
            blocks = self.technology.rom_blocks(depth, int(used))
        self.add("bram", blocks, times)
        if blocks:
            return
        # Nothing is asked of words behind the last, yet most of a power of two is built.
        tables = max(1, (1 << bits_of(depth)) // self.technology.rom_depth)
        self.add("rom", used * tables if depth > 2 else used / 2, times)
        self.add("rom_bits", depth * width, times)
        self.register(used, times)

    def memory(self, depth: int, width: int, reads: int = 1, registered: bool = True) -> None:
        """A memory with a port to write and others to read, each with a register behind where
        `registered`."""
        found = self.technology.memory(depth, width, reads, registered)
        for part, amount in found.items():
            self.add(part, amount)

    def queue(self, depth: int, width: int) -> None:
        """A buffered queue of Amaranth's library."""
        inner = depth - 1
        self.memory(inner, width)
        self.counter(inner, 2)
        level = bits_of(inner + 1)
        self.register(level + 1)
        self.add("add", 2 * level)
        self.add("compare", 2 * level)
        self.add("logic", 6)

    def clamp(self, bits: int, result: int, low: bool = True, high: bool = True) -> None:
        """Comparisons with limits, and the choice."""
        self.add("compare", bits * (low + high))
        self.add("choose", result * (low + high))

    def around(self, depth: int, times: int = 1) -> None:
        """Sums of two addresses of a ring of `depth` words."""
        bits = bits_of(depth)
        self.add("add", bits, times)
        if depth & (depth - 1):
            for part in ("compare", "add", "choose"):
                self.add(part, bits, times)

    def shifter(self, width: float, places: int, times: float = 1) -> None:
        """A shifter by up to so many places."""
        self.add("shift", width * max(0, places).bit_length(), times)

    def merge(self, other: Parts, times: float = 1) -> None:
        """All parts of another, `times` over."""
        for part, amount in other.counts.items():
            if part != "unit":
                self.add(part, amount, times)

    def apart(self) -> Parts:
        """Parts of the same technology to count alone."""
        return Parts(self.technology, defaultdict(float))


def bits_of(count: int) -> int:
    """Bits of a register that holds 0 ... count - 1, as Amaranth's range."""
    return max(0, (count - 1).bit_length())


def word_bits(x: Tensor) -> int:
    """Bits of a word."""
    return x.lanes * x.fmt.bits


def signed_bits(low: int, high: int) -> int:
    """Bits of the signed format that holds both."""
    fmt = int_holding(min(low, high), max(low, high))
    return fmt.bits + (not fmt.signed)


def shape(fmt: Int | Float | Ternary | Bipolar | Exponent) -> tuple[int, bool]:
    """(bits, signed) of a format's code."""
    return fmt.bits, fmt.signed


def distinct_bits(words: np.ndarray, bits: int) -> int:
    """Bits of a word (depth, elements) that change from word to word and equal no other: the rest
    cost nothing."""
    depth = len(words)
    if depth * words.shape[1] * bits > 1 << 15 or words.dtype == object or bits > 62:
        return used_bits(words, bits)
    planes = (words.astype(np.int64)[:, :, None] >> np.arange(bits)) & 1
    packed = np.packbits(planes.reshape(depth, -1).astype(np.uint8), axis=0)
    ends = {bytes(len(packed)), np.packbits(np.ones(depth, np.uint8)).tobytes()}
    return len({column.tobytes() for column in packed.T} - ends)


def changing_bits(words: np.ndarray, bits: int) -> int:
    """Bits of a word (depth, elements) that are not the same in all words."""
    if words.dtype == object or bits > 62:
        return words.shape[1] * bits
    codes = words.astype(np.int64) & ((1 << bits) - 1)
    changing = np.bitwise_or.reduce(codes, axis=0) ^ np.bitwise_and.reduce(codes, axis=0)
    return sum(int(v).bit_count() for v in changing)


def used_bits(words: np.ndarray, bits: int) -> int:
    """The same but for those that equal bits of another element."""
    if words.dtype == object or bits > 62:
        low, high = words.min(axis=0), words.max(axis=0)
        return sum(_spread(int(a), int(b), bits) for a, b in zip(low, high, strict=True))
    low, high = words.min(axis=0), words.max(axis=0)
    return sum(_spread(a, b, bits) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def _spread(low: int, high: int, bits: int) -> int:
    if low == high:
        return 0
    if low >= 0 or high < 0:  # leading bits are alike
        return min(bits, (low ^ high).bit_length())
    return min(bits, 1 + max(high.bit_length(), (~low).bit_length()))


def spans(values: Iterable[int]) -> tuple[int, int]:
    """The least and the largest."""
    found = list(values)
    return min(found), max(found)
