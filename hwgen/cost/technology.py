"""What the parts of units become in a technology: the rules by which Yosys maps multipliers and
memories.

Sources: Yosys 0.70's mul2dsp.v, memory_libmap and its libraries of memories for ECP5 (lattice) and
UltraScale+ (xilinx): what a memory costs there decides which kind it becomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

REGISTER = 2  # what it counts for a register behind a memory of lookup tables
CHOICE = 0.5  # what memory_libmap counts for a bit chosen among memories


@dataclass(frozen=True)
class Blocks:
    """A kind of block RAM: its bits, the widths it can have, what one counts as, its cost."""

    bits: int
    widths: tuple[int, ...]
    count: int
    cost: int

    def needed(self, depth: int, width: int) -> int:
        """Blocks for a memory of one port to write and one to read, at the best width."""
        return min(-(-width // w) * -(-depth // (self.bits // _whole(w))) for w in self.widths)


def _whole(width: int) -> int:
    """Data bits without parity: 9 count as 8."""
    return width // 9 * 8 if width >= 9 else width


@dataclass(frozen=True)
class Distributed:
    """Memories of lookup tables: words and bits of one, what reads it shares, tables it takes, its
    cost; `scaled`: the cost goes by the bits used."""

    depth: int
    width: int
    reads: int
    tables: int
    cost: float
    scaled: bool

    def needed(self, depth: int, width: int, reads: int) -> tuple[float, float]:
        """(cost, tables)."""
        rows, copies = -(-depth // self.depth), -(-reads // self.reads)
        cells = -(-width // self.width)
        share = width / self.width if self.scaled else cells
        choice = CHOICE * (rows - 1) * width * reads + (CHOICE * rows if rows > 1 else 0)
        return self.cost * rows * copies * share + choice, self.tables * rows * copies * cells


@dataclass(frozen=True)
class Technology:
    """A target of the model. `dsp`: widths of the multiplier's operands and of a part of a wider
    one, whether it is signed alone, and the least product; without, multipliers are logic.
    `rom_depth`: words of a read-only memory that a lookup table holds a bit of. `order`: what
    keeping the order of a read and a write in a block RAM costs."""

    name: str
    dsp: tuple[int, int, int, bool, int] | None
    blocks: tuple[Blocks, ...]
    distributed: tuple[Distributed, ...]
    rom_depth: int
    order: int = 0

    def multiplier(
        self, a: tuple[int, bool], b: tuple[int, bool], used: int | None = None
    ) -> tuple[int, int]:
        """(DSP blocks, adder bits) of a product of operands (bits, signed), of which `used` bits
        are read."""
        if self.dsp is None or (used is not None and used < self.dsp[-1]):
            return 0, 0
        return _multiplier(self.dsp, a, b)

    def rom_blocks(self, depth: int, width: int) -> int:
        """Block RAMs of a read-only memory, 0 where there are none."""
        if not self.blocks:
            return 0
        return min(
            (b.needed(depth, width) * b.cost, b.needed(depth, width) * b.count) for b in self.blocks
        )[1]

    def memory(self, depth: int, width: int, reads: int, registered: bool) -> dict[str, float]:
        """Parts of a memory with one port to write and others to read."""
        return _memory(self, depth, width, reads, registered)


@cache
def _multiplier(
    rule: tuple[int, int, int, bool, int], a: tuple[int, bool], b: tuple[int, bool]
) -> tuple[int, int]:
    wide, narrow, part, signed_only, least = rule
    if a[0] + b[0] < least:
        return 0, 0
    if a[1] != b[1]:  # Amaranth makes both signed
        a, b = ((n + (not s), True) for n, s in (a, b))
    if a[0] < b[0]:
        a, b = b, a
    if min(a[0], b[0]) < 2:
        return 0, 0
    if signed_only and not a[1]:
        a, b = (a[0] + 1, True), (b[0] + 1, True)
    return _split(a[0], b[0], wide, narrow, part, int(signed_only))


def _split(a: int, b: int, wide: int, narrow: int, part: int, headroom: int) -> tuple[int, int]:
    """As mul2dsp.v: slices of the first operand, then of the second."""
    if a < 2 or b < 2:
        return 0, a + b
    if a > wide:
        step = part - headroom
        count = -(-(a - wide) // step)
        inner = _split(part, b, wide, narrow, part, headroom)
        last = _split(a - count * step, b, wide, narrow, part, headroom)
        return count * inner[0] + last[0], count * (inner[1] + a + b) + last[1]
    if b > narrow:
        step = narrow - headroom
        count = -(-(b - narrow) // step)
        inner = _split(a, narrow, wide, narrow, part, headroom)
        last = _split(a, b - count * step, wide, narrow, part, headroom)
        return count * inner[0] + last[0], count * (inner[1] + a + b) + last[1]
    return 1, 0


@cache
def _memory(
    technology: Technology, depth: int, width: int, reads: int, registered: bool
) -> dict[str, float]:
    bits = depth * width
    best: tuple[float, dict[str, float]] = (
        bits * (1 + CHOICE * reads),
        {"ram_bits": bits, "ff": bits},
    )
    best[1]["ram_choose"] = reads * width * max(0, depth - 1)
    best[1]["logic"] = depth
    register = reads * width if registered else 0
    for kind in technology.distributed:
        cost, tables = kind.needed(depth, width, reads)
        cost += REGISTER * reads * registered
        if cost < best[0]:
            rows = -(-depth // kind.depth)
            best = cost, {"ram": tables, "ram_choose": reads * width * (rows - 1)}
            best[1]["logic"] = rows if rows > 1 else 0
    best[1]["ff"] = best[1].get("ff", 0) + register
    if registered:
        for block in technology.blocks:
            count = reads * block.needed(depth, width)
            cost = count * block.cost + technology.order * reads
            if cost < best[0]:
                best = cost, {"bram": count * block.count}
                # A read gives what was there before a write of the same cycle: words held beside.
                best[1]["bypass"] = reads * width
                best[1]["ff"] = 2 * width + 3
                best[1]["compare"] = reads * (depth - 1).bit_length()
    return best[1]


WIDTHS = (1, 2, 4, 9, 18)
ECP5 = Technology(
    "ecp5",
    (18, 18, 18, False, 0),
    (Blocks(1 << 14, (*WIDTHS, 36), 1, 128),),
    (Distributed(16, 4, 1, 4, 4, False),),
    16,
    14,
)
XCUP = Technology(
    "xcup",
    (27, 18, 18, True, 9),
    (
        Blocks(1 << 14, (*WIDTHS, 36), 1, 129),
        Blocks(1 << 15, (*WIDTHS, 36, 72), 2, 257),
    ),
    (
        Distributed(32, 14, 1, 8, 16, True),
        Distributed(64, 7, 1, 8, 16, True),
        Distributed(32, 4, 3, 8, 16, True),
        Distributed(64, 2, 3, 8, 16, True),
        Distributed(32, 2, 7, 8, 16, True),
        Distributed(64, 1, 7, 8, 16, True),
    ),
    64,
    2,
)
ASIC = Technology("asic", None, (), (), 4)
TECHNOLOGIES = {t.name: t for t in (ECP5, XCUP, ASIC)}
ALIASES = {"xilinx": "xcup"}  # other names of targets
