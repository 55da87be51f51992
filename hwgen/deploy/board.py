"""Boards: what the files in boards/ say of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from hwgen.errors import ConfigError, hint

OPEN = ("nextpnr-ecp5", "nextpnr-ice40", "nextpnr-gowin")  # toolchains that pip installs


@dataclass(frozen=True)
class Clock:
    """`pin` of the oscillator of `mhz`, none where a processor gives the clock; `core`: MHz that
    designs run at unless told otherwise."""

    mhz: float
    core: float
    pin: str | None = None


@dataclass(frozen=True)
class Board:
    """A board. `family` and `device` are those of `hwgen synth`.

    `link`: "uart", or "dma" where a `processor` is the host. `options`: of the placer; `pack`: of
    the packer. `pins`: by port, of which `low` are active low; `high` are tied to 1. `attributes`:
    of all pins. `resources`: `lut`, `ff`, `dsp`, `bram` as `hwgen synth` counts them.
    `program`: the command that loads a bitstream. `source`: where amaranth-boards has the pins.
    """

    name: str
    title: str
    part: str
    family: str
    toolchain: str
    link: str
    clock: Clock
    resources: Mapping[str, int]
    pins: Mapping[str, tuple[str, ...]]
    device: str | None = None
    options: tuple[str, ...] = ()
    pack: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    low: tuple[str, ...] = ()
    program: str = ""
    source: str = ""
    processor: str = ""
    baud: int = 0

    @property
    def open(self) -> bool:
        """Whether pip's tools make its bitstream."""
        return self.toolchain in OPEN

    @property
    def locations(self) -> dict[str, str]:
        """The pin of every port of the top that has one; bits of wide ports as `leds[0]`."""
        found = {"clk": self.clock.pin} if self.clock.pin else {}
        for port, pins in self.pins.items():
            many = port in WIDE and len(pins) > 1  # a single bit is no vector
            found |= {f"{port}[{k}]" if many else port: pin for k, pin in enumerate(pins)}
        return found


WIDE = ("leds", "high")


@cache
def boards() -> dict[str, Board]:
    """All boards by name."""
    folder = resources.files("hwgen.boards")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda f: f.name
    )
    return {name: _read(name, f.read_text()) for f in files for name in [f.name[: -len(".toml")]]}


def board_named(name: str) -> Board:
    """A board; raises `ConfigError` that names the nearest."""
    found = boards()
    if name not in found:
        near = hint(name.lower(), found, cutoff=0.3)
        raise ConfigError(f"unknown board {name!r}: {near} (hwgen boards lists them)")
    return found[name]


def _read(name: str, text: str) -> Board:
    content = tomllib.loads(text)
    for key in ("options", "pack", "low"):
        content[key] = tuple(content.get(key, ()))
    pins = {port: tuple(names) for port, names in content.pop("pins").items()}
    return Board(name=name, clock=Clock(**content.pop("clock")), pins=pins, **content)
