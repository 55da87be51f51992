"""A design's project for a board: all sources, what its manifest says of the board, constraints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from hwgen.deploy.board import Board
from hwgen.deploy.clock import clock, plain_clock
from hwgen.deploy.constraints import constraints
from hwgen.design import MANIFEST, Design
from hwgen.emit.board import BlockTop, SerialTop, top_text
from hwgen.emit.names import identifier
from hwgen.errors import ConfigError
from hwgen.protocol import IDENTITY

TOP, CLOCK = "top.v", "clock.v"
LEAST_DIVISOR = 4  # cycles per bit
SIMULATED = 8  # cycles per bit in simulation
SLOWEST = 300  # baud
INACCURATE = 0.02  # of a baud rate, at most


@dataclass(frozen=True)
class Project:
    """A design on a board: `clock` in MHz, `divisor`: cycles per bit of a serial line."""

    design: Design
    board: Board
    clock: float
    baud: int
    divisor: int

    @property
    def name(self) -> str:
        """Of the design's own top."""
        return identifier(self.design.graph.name)

    @property
    def top(self) -> str:
        """The module around it."""
        return f"{self.name}_{'block' if self.board.link == 'dma' else 'board'}"

    @property
    def identity(self) -> str:
        """Of the design's Verilog, memories and ports, in hexadecimal."""
        digest = hashlib.sha256()
        for name, text in sorted(self.design.sources.items()):
            digest.update(f"{name}\0{len(text)}\0{text}".encode())
        return digest.digest()[:IDENTITY].hex()

    @property
    def bitstream(self) -> str:
        """The name of its file."""
        return f"{self.top}{SUFFIXES[self.board.toolchain]}"

    def sources(self, simulated: bool = False) -> dict[str, str]:
        """Verilog and memory files by name; `simulated`: with a fast line, without a PLL."""
        if self.board.link == "dma":
            return {**self.design.sources, TOP: self._top(self.divisor)}
        divisor = SIMULATED if simulated else self.divisor
        timing = plain_clock() if simulated else clock(self.board, self.clock)[0]
        return {**self.design.sources, TOP: self._top(divisor), CLOCK: timing}

    def _top(self, divisor: int) -> str:
        pins, khz = self.board.pins, round(1000 * self.clock)
        common = self.design.graph, self.name, bytes.fromhex(self.identity), khz
        leds = len(pins.get("leds", ()))
        if self.board.link == "dma":
            return top_text(BlockTop(*common, leds), self.top)
        high = len(pins.get("high", ()))
        return top_text(SerialTop(*common, divisor, leds, high, self.board.low), self.top)

    def constraints(self) -> tuple[str, str]:
        """The file of pins and clocks: its name and text."""
        return constraints(self.board)

    def manifest(self, files: Mapping[str, str | bytes], summary: Mapping) -> str:
        """The design's manifest with all about the board."""
        content = json.loads(files[MANIFEST])
        content["board"] = {
            "name": self.board.name,
            "top": self.top,
            "sources": sorted(self.sources()),
            "constraints": self.constraints()[0],
            "link": self.board.link,
            "clock_mhz": self.clock,
            "baud": self.baud,
            "identity": self.identity,
            "bitstream": self.bitstream,
            "program": self.board.program,
            "summary": dict(summary),
        }
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


SUFFIXES = {
    **{"nextpnr-ecp5": ".bit", "nextpnr-ice40": ".bin", "nextpnr-gowin": ".fs"},
    **{"vivado": ".bit", "quartus": ".sof"},
}


def project(
    design: Design, board: Board, mhz: float | None = None, baud: int | None = None
) -> Project:
    """A design at `mhz` on a board, its serial line at `baud`; raises `ConfigError`."""
    _, real = clock(board, board.clock.core if mhz is None else mhz)
    if baud is not None and board.link == "dma":
        raise ConfigError(f"{board.name} has no serial line: leave out --baud")
    baud = board.baud if baud is None else baud
    if board.link == "dma":
        return Project(design, board, real, 0, 0)
    if baud < SLOWEST:
        raise ConfigError(f"--baud must be at least {SLOWEST}, not {baud}")
    divisor = round(1e6 * real / baud)
    if divisor < LEAST_DIVISOR or abs(1e6 * real / divisor / baud - 1) > INACCURATE:
        raise ConfigError(
            f"{real:g} MHz can't be divided into {baud:,} baud (at least {LEAST_DIVISOR} cycles "
            f"per bit, within {INACCURATE:.0%}): choose another --baud"
        )
    return Project(design, board, real, baud, divisor)
