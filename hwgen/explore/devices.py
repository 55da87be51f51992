"""What FPGAs hold, in the units of `hwgen.synth.targets`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from hwgen.deploy.board import boards
from hwgen.errors import ConfigError
from hwgen.synth.targets import target_named


@dataclass(frozen=True)
class Device:
    """A chip of the family `target`: lookup tables, flip-flops, DSP blocks, block RAMs, and where
    that is said."""

    target: str
    lut: int
    ff: int
    dsp: int
    bram: int
    source: str


ECP5 = "Lattice FPGA-DS-02012, table 1.1; lookup tables as nextpnr counts them"
ICE40 = "Lattice FPGA-DS-02008 and FPGA-DS-02029, table 1.1"
GOWIN = "Gowin DS100 and DS226, product resources"
NEXUS = "Lattice FPGA-DS-02049, table 1.1; lookup tables as nextpnr counts them"
XC7 = "AMD DS180, tables 4 and 6"
ZYNQ = "AMD DS190, table 1"
XCUP = "AMD DS890, table 11, and DS891, table 1"
K26 = "AMD DS987, table 1"
# The names are those of `hwgen synth --device`, and parts where nothing can be placed.
DEVICES = {
    "85k": Device("ecp5", 83640, 83640, 156, 208, ECP5),
    "45k": Device("ecp5", 43848, 43848, 72, 108, ECP5),
    "25k": Device("ecp5", 24288, 24288, 28, 56, ECP5),
    "12k": Device("ecp5", 12000, 12000, 28, 32, ECP5),
    "up5k": Device("ice40", 5280, 5280, 8, 30, ICE40),
    "hx8k": Device("ice40", 7680, 7680, 0, 32, ICE40),
    "gw2a-18": Device("gowin", 20736, 15552, 48, 46, GOWIN),
    "gw1n-9": Device("gowin", 8640, 6480, 20, 26, GOWIN),
    "lifcl-40": Device("nexus", 32256, 32256, 56, 84, NEXUS),
    "lifcl-17": Device("nexus", 13824, 13824, 24, 24, NEXUS),
    "xc7a35t": Device("xc7", 20800, 41600, 90, 100, XC7),
    "xc7a100t": Device("xc7", 63400, 126800, 240, 270, XC7),
    "xc7z010": Device("xc7", 17600, 35200, 80, 120, ZYNQ),
    "xc7z020": Device("xc7", 53200, 106400, 220, 280, ZYNQ),
    "xczu3eg": Device("xcup", 70560, 141120, 360, 432, XCUP),
    "xcku5p": Device("xcup", 216960, 433920, 1824, 960, XCUP),
    "xck26": Device("xcup", 117120, 234240, 1248, 288, K26),
}


def device_named(name: str, target: str) -> Device:
    """The chip, or that of a board, of a target's family; raises `ConfigError`."""
    of_boards = {
        board.name: Device(board.family, **board.resources, source=f"boards/{board.name}.toml")
        for board in boards().values()
    }
    known = {**DEVICES, **of_boards}
    family = target_named(target).name
    there = [n for n, d in known.items() if d.target == family]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"of {family} there are {', '.join(there)}"
        raise ConfigError(f"unknown device or board {name!r}: {hint}")
    if known[name].target != family:
        raise ConfigError(
            f"{name} is of the target {known[name].target}, not {family}; of that there are "
            f"{', '.join(there)}"
        )
    return known[name]
