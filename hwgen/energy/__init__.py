"""Energy in gates of a cell library, from simulated netlists: of units and of whole designs."""

from hwgen.energy.design import design_energy
from hwgen.energy.unit import Energy, UnitEnergy, netlist_energy, unit_energy

__all__ = ["Energy", "UnitEnergy", "design_energy", "netlist_energy", "unit_energy"]
