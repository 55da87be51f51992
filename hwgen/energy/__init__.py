"""Energy from simulation: of whole designs, in gates or in FPGAs, and of units in gates."""

from hwgen.energy.design import design_energy
from hwgen.energy.fpga import fpga_energy
from hwgen.energy.measure import How, measure
from hwgen.energy.unit import Energy, UnitEnergy, netlist_energy, unit_energy

__all__ = [
    "Energy",
    "How",
    "UnitEnergy",
    "design_energy",
    "fpga_energy",
    "measure",
    "netlist_energy",
    "unit_energy",
]
