"""Read-only memories, small ones in the Verilog and large ones in a file beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib.memory import Memory

FILE_BITS = 1 << 15
# From here on a block RAM is cheaper than the lookup tables it saves.
BLOCK_BITS = 1 << 11


class Rom:
    """`words[k]` one cycle of `ce` after address k; `files` holds the text of its $readmemh file,
    if any. `memory`: "block" RAM or "logic", by its size unless given.

    The initial values of Verilog memories cost megabytes of text, so memories from FILE_BITS bits
    up are instances of rtl_templates/hwgen_rom.v, which reads a file.
    """

    def __init__(self, words: np.ndarray, bits: int, name: str, memory: str | None = None) -> None:
        """`words` are codes (depth, elements): element 0 lowest, `bits` two's complement bits
        each."""
        self.depth, elements = words.shape
        self.width = elements * bits
        self._packed = _pack(words, bits)
        self._name = name
        self.files: dict[str, str] = {}
        self._memory = memory
        if self.depth > 1 and self.depth * self.width >= FILE_BITS and memory != "logic":
            digits = -(-self.width // 4)
            self.files[f"{name}.hex"] = "".join(f"{word:0{digits}x}\n" for word in self._packed)

    def read(self, m: Module, address, ce) -> Signal | Const:
        """The word at `address`, registered."""
        if self.depth == 1:
            return Const(self._packed[0], self.width)
        if self.files:
            out = Signal(self.width, name=f"{self._name}_data")
            m.submodules[self._name] = Instance(
                "hwgen_rom",
                p_WIDTH=self.width,
                p_DEPTH=self.depth,
                p_ABITS=(self.depth - 1).bit_length(),
                p_FILE=next(iter(self.files)),
                i_clk=ClockSignal(),
                i_ce=ce,
                i_address=address,
                o_data=out,
            )
            return out
        large = "block" if self.depth * self.width >= BLOCK_BITS else None
        kind = self._memory or large
        style = {"rom_style": kind} if kind else {}
        m.submodules[self._name] = memory = Memory(
            shape=self.width, depth=self.depth, init=self._packed, attrs=style
        )
        port = memory.read_port()
        m.d.comb += [port.addr.eq(address), port.en.eq(ce)]
        return port.data


def _pack(words: np.ndarray, bits: int) -> Sequence[int]:
    """Rows of codes as integers, element 0 in the lowest bits."""
    if bits > 63:
        mask = (1 << bits) - 1
        return [sum((int(v) & mask) << k * bits for k, v in enumerate(row)) for row in words]
    codes = np.asarray(words, dtype=np.int64)
    planes = (codes[:, :, None] >> np.arange(bits)) & 1
    packed = np.packbits(planes.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]
