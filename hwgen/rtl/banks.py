"""Memories of two banks: one is written while the other is read."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.memory import Memory

from hwgen.rtl.counter import counter


@dataclass(frozen=True)
class Banks:
    """Who may use the two banks, and where they begin.

    `ready`: there is room to write; `there`: a bank may be read, from the cycle behind its last
    write. `write`, `read`: the first address of the bank in use.
    """

    ready: Signal
    there: Signal
    write: Signal
    read: Signal


def banks(m: Module, depth: int, filled, used, free) -> Banks:
    """Two banks of `depth` words. Strobes: `filled` writes the last word of a bank, `used` asks for
    the last word of the other and `free` reads it: then it may be written in the same cycle, for
    the memory gives the old word."""
    room, full = Signal(range(3), init=2, name="room"), Signal(range(3), name="full")
    write, read = Signal(range(2 * depth), name="write"), Signal(range(2 * depth), name="read")
    ready, there = Signal(name="bank_ready"), Signal(name="bank_there")
    m.d.comb += [ready.eq((room != 0) | free), there.eq(full != 0)]
    m.d.sync += [room.eq(room - filled + free), full.eq(full + filled - used)]
    with m.If(filled):
        m.d.sync += write.eq(Mux(write == 0, depth, 0))
    with m.If(used):
        m.d.sync += read.eq(Mux(read == 0, depth, 0))
    return Banks(ready, there, write, read)


def stored(m: Module, source, depth: int, used, free) -> tuple[Memory, Banks]:
    """A memory that takes the words of a stream, `depth` for a bank."""
    take, filled = Signal(), Signal()
    written, last = counter(m, depth, take, "written")
    turns = banks(m, depth, filled, used, free)
    m.submodules.memory = memory = Memory(shape=source.payload.shape(), depth=2 * depth, init=[])
    write = memory.write_port()
    m.d.comb += [
        source.ready.eq(turns.ready),
        take.eq(source.valid & turns.ready),
        filled.eq(take & last),
        write.addr.eq(turns.write + written),
        write.data.eq(source.payload),
        write.en.eq(take),
    ]
    return memory, turns
