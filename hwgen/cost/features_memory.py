"""Parts of memories of two banks."""

from __future__ import annotations

from hwgen.cost.parts import Parts, bits_of


def banks(p: Parts, depth: int, width: int, reads: int) -> None:
    """A memory of two banks with its turns."""
    p.counter(depth)
    p.register(6)  # of the first addresses all bits that change are one
    p.add("logic", 4)
    p.add("add", 4 + bits_of(2 * depth))
    p.memory(2 * depth, width, reads)
