"""Energy of an FPGA's resources, from publications.

Nobody publishes energies of one transition for the families of today, so figures of others are
scaled by feature size and supply voltage squared, as capacitances and their energy are. Real chips
lie within a factor of about two of that; nodes and designs compare better than their absolute
figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.cost.classes import STORES, class_of
from hwgen.cost.figures import Figures
from hwgen.ir import Embed, Linear, Multiply, Node, Positions

CONSTANT = (Linear, Multiply, Embed, Positions)  # their block RAMs hold weights


@dataclass(frozen=True)
class Published:
    """An energy in pJ of a process: feature size in nm and supply voltage."""

    energy: float
    size: float
    volts: float

    def at(self, size: float, volts: float) -> float:
        """In another process."""
        return self.energy * size / self.size * (volts / self.volts) ** 2


# L. Shang, A. Kaviani, K. Bathala, "Dynamic power consumption in Virtex-II FPGA family", FPGA 2002
# (150 nm, 1.5 V): a logic block (8 lookup tables, 8 flip-flops) takes 5.9 pJ a cycle in typical
# designs; 60 % of it in routing, 16 % in logic, 14 % in clocking. Typical is 0.125 transitions a
# cycle (AMD, Power Estimator User Guide UG440, logic sheet: the average of customers' designs).
BLOCK, OUTPUTS, TYPICAL = 5.9, 16, 0.125
CELL = Published(BLOCK * (0.60 + 0.16) / (OUTPUTS * TYPICAL), 150, 1.5)
CLOCK = Published(BLOCK * 0.14 / 8, 150, 1.5)
# Verilog-to-Routing, vtr_flow/arch/power/k6_N10_I40_Fi6_L4_frac0_ff1_45nm.xml (45 nm; 0.9 V by
# vtr_flow/tech/PTM_45nm/45nm.xml): an 18x18 multiplier takes 1.09 pJ for a transition of an input,
# a memory of 32 Kib 9.0 pJ for each edge of the clock of a port. Beside it AMD's Power Estimator
# for Virtex-5 (65 nm, 1.0 V; DS512, table 41): 7.7 to 35 pJ for an access to 18 Kib, of 2.25 to 36
# bits.
DSP = Published(1.09, 45, 0.9)
BRAM = Published(2 * 9.0, 45, 0.9)
# W. Shum, J. Anderson, "FPGA glitch power analysis and reduction", ISLPED 2011 (Stratix III, 65
# nm): what saves 13.7 % of the glitches' power saves 4.0 % of all dynamic power in the core.
GLITCHES = 0.040 / 0.137


@dataclass(frozen=True)
class Energies:
    """pJ: `cell` for each transition of a lookup table's or flip-flop's output with its routing,
    `clock` for each flip-flop and cycle, `dsp` for each transition of a multiplier's inputs, of
    which there are `pins`, `bram` for each access to a block RAM. `glitches`: what delays add to
    the energy of cells, as a share of it."""

    cell: float
    clock: float
    dsp: float
    bram: float
    pins: int
    glitches: float = GLITCHES / (1 - GLITCHES)


# Feature size in nm and core voltage by the families' data sheets; inputs of a multiplier.
FAMILIES = {
    "ecp5": (40, 1.1, 18 + 18),
    "ice40": (40, 1.2, 16 + 16),
    "gowin": (55, 1.0, 18 + 18),
    "nexus": (28, 1.0, 18 + 18),
    "xc7": (28, 1.0, 25 + 18),
    "xcup": (16, 0.85, 27 + 18),
    "cyclonev": (28, 1.1, 18 + 18),
}
SOURCE = (
    "energies of Shang FPGA'02, VTR 45 nm and Shum ISLPED'11 scaled to {size} nm, {volts} V; "
    "without static power"
)


def energies(target: str) -> Energies:
    """Of a family's resources, one of FAMILIES."""
    size, volts, pins = FAMILIES[target]
    cell, clock, dsp, bram = (p.at(size, volts) for p in (CELL, CLOCK, DSP, BRAM))
    return Energies(cell, clock, dsp, bram, pins)


def source(target: str) -> str:
    """Where the energies of a family come from."""
    size, volts, _ = FAMILIES[target]
    return SOURCE.format(size=size, volts=volts)


def spent(
    node: Node | None, figures: Figures, transitions: float, cycles: int, prices: Energies
) -> dict[str, float]:
    """nJ by class of a node whose nets make so many transitions each in an inference of `cycles`
    cycles. Its cells' outputs and multipliers' inputs move as its nets do in the mean; its block
    RAMs are read each time that it fires, those of buffers written too."""
    own = class_of(node, "")
    cells = transitions * (figures.lut + figures.ff) * prices.cell
    energy = {
        own: cells + transitions * figures.dsp * prices.pins * prices.dsp,
        "clock": figures.ff * cycles * prices.clock,
        "glitch": cells * prices.glitches,
    }
    if figures.bram:
        accesses = min(figures.cycles or cycles, cycles) * (2 if isinstance(node, STORES) else 1)
        memory = "weight memory" if isinstance(node, CONSTANT) else "activation memory"
        energy[memory] = energy.get(memory, 0.0) + accesses * figures.bram * prices.bram
    return {name: 1e-3 * value for name, value in energy.items()}
