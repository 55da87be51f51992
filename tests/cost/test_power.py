"""Every term of the energy, by hand. The library's voltage is 2, ports have a slew of 0.05 ns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwgen.cost.gates import Netlist, timing
from hwgen.cost.liberty import read_liberty
from hwgen.cost.power import GatePower, gate_power
from hwgen.energy import netlist_energy
from hwgen.engines.gates import simulate
from tests.gates import TINY, netlist


def power(gates: Netlist, timed: float = 0, **vectors: list[int]) -> GatePower:
    times = timing(gates)
    return gate_power(gates, times, simulate(gates, vectors, times if timed else None, timed))


def test_combinational() -> None:
    """y = !(!a & b). In cycle 0 a and b rise, and n falls; in 1 a falls, n rises, y falls by n; in
    2 b falls and y rises by b."""
    gates = netlist("a b", "y", "INV.g A=a Y=n; NAND2.h A=n B=b Y=y")
    assert gates.area == 3
    found = power(gates, a=[1, 0, 0], b=[1, 1, 0])
    half_square = 0.5 * 2**2
    assert 3 * found.ports == pytest.approx(half_square * (2 * 0.01 + 2 * 0.012))
    assert 3 * found.switching == pytest.approx([half_square * 2 * 0.01, 0])
    rise, fall = 0.003 + 0.01 * 0.05 + 0.02 * 0.01, 0.002 + 0.01 * 0.05
    assert 3 * found.internal == pytest.approx([rise + fall, 0.004 + 0.006])
    assert 3 * found.leakage == pytest.approx([1 + 2 + 2, 3 + 4 + 2])
    assert found.clock_net == 0 == found.clock.sum()


def test_input_pin() -> None:
    """A selector's own energy, at the slew of its net (0.02 + the load 0.015), and which input
    caused what."""
    gates = netlist("a b s", "y", "BUF.g A=s Y=t; MUX2.h A=a B=b S=t Y=y")
    found = power(gates, a=[0, 0, 1], b=[1, 1, 1], s=[0, 1, 0])
    # Cycle 1: s rises, and y by S; cycle 2: a rises and s falls, between two ones.
    slew = 0.02 + 0.015
    rises, falls = 0.006 + 0.01 * slew, 0.005 + 0.01 * slew
    assert 3 * found.internal[1] == pytest.approx(rises + falls + 0.009)
    buffer = (0.004 + 0.01 * 0.05 + 0.04 * 0.015) + 0.004
    assert 3 * found.internal[0] == pytest.approx(buffer)


def test_when() -> None:
    """Tables of an exclusive or by the other input: a rises with b = 0, b rises with a = 1, a falls
    with b = 1."""
    gates = netlist("a b", "y", "XOR2.g A=a B=b Y=y")
    found = power(gates, a=[1, 1, 0], b=[0, 1, 1])
    assert 3 * found.internal == pytest.approx([0.008 + 0.009 + 0.01])
    assert 3 * found.leakage == pytest.approx([6 + 5 + 5])


def test_tied() -> None:
    """A pin tied to 1 charges nothing, and counts in the states."""
    gates = netlist("a", "y", "NAND2.g A=a B=1 Y=y")
    found = power(gates, a=[1, 0, 0, 0])
    assert 4 * found.internal == pytest.approx([0.004 + 0.005])
    assert 4 * found.ports == pytest.approx(2 * 2 * 0.01)
    assert 4 * found.leakage == pytest.approx([4 + 3 + 3 + 3])


def test_flip_flop() -> None:
    """q follows d by a cycle; the load of q is an inverter."""
    gates = netlist("clk d", "y", "DFF.f CLK=clk D=d Q=q; INV.g A=q Y=y")
    found = power(gates, d=[1, 1, 0, 0])
    rises = [0.011, 0, 0.02, 0.001]  # with d and q before the edge: 00, 10, 11, 01
    falls = [0.021, 0.022, 0.023, 0.012]  # 10, 11, 01, 00
    assert 4 * found.clock[0] == pytest.approx(sum(rises) + sum(falls))
    assert found.clock_net == pytest.approx(0.008 * 2**2)
    data = 0.002 + 0.001  # while the clock is high
    assert 4 * found.internal[0] == pytest.approx(data + 0.025 + 0.1 * 0.01 + 0.03)
    assert 4 * found.switching[0] == pytest.approx(0.5 * 2**2 * 2 * 0.01)
    assert 8 * found.leakage[0] == pytest.approx(6 + 7 + 7 + 6 + 4 * 5)
    assert found.clock[1] == 0


def test_low_clock() -> None:
    """Data that comes in the second half of the period takes the energy of a low clock."""
    slow = "BUF.g A=d Y=n; BUF.h A=n Y=m; DFF.f CLK=clk D=m Q=y"
    gates = netlist("clk d", "y", slow)
    assert 2 * power(gates, d=[1, 0]).internal[-1] == pytest.approx(0.002 + 0.001 + 0.025)
    late = power(gates, timed=0.4, d=[1, 0])  # 0.23 ns are more than half the period
    assert 2 * late.internal[-1] == pytest.approx(0.012 + 0.013 + 0.025)


def test_wires(tmp_path: Path) -> None:
    """A library's default wire load: by the number of pins, the ports outside among them."""
    wires = """default_wire_load : "medium";
  wire_load ("small") { capacitance : 5; fanout_length (1, 1); }
  wire_load ("medium") {
    capacitance : 0.002; slope : 3; fanout_length (1, 2.5); fanout_length (3, 6.5);
  }
"""
    text = TINY.read_text().replace("  cell (INV)", f"  {wires}  cell (INV)", 1)
    (tmp_path / "wired.lib").write_text(text)
    cells = ";".join(f"INV.g{k} A=a Y=y{k}" for k in range(5)) + ";INV.h A=b Y=a"
    gates = netlist("b", "y0 a", cells, read_liberty(tmp_path / "wired.lib"))
    nets = {name: int(bits[0]) for name, (_, bits) in gates.ports.items()}
    assert gates.load[nets["b"]] == pytest.approx(0.01 + 0.002 * 2.5)
    assert gates.load[nets["y0"]] == pytest.approx(0.002 * 2.5)
    assert gates.load[nets["a"]] == pytest.approx(5 * 0.01 + 0.002 * (6.5 + 3 * 3))
    length = gates.library.wires.at(np.array([0, 1, 2, 3, 4]))
    assert length.tolist() == pytest.approx([0, 0.005, 0.009, 0.013, 0.019])


def test_timing() -> None:
    gates = netlist("a", "y", "INV.g A=a Y=n; BUF.h A=n Y=y")
    times = timing(gates)
    assert times.delays[0][0, 0, 0].tolist() == pytest.approx([0.085, 0.075])
    assert times.slew[gates.members[0].outputs[0, 0]].tolist() == pytest.approx([0.03, 0.03])
    assert times.path == pytest.approx(0.085 + 0.09 + 0.5 * 0.03)


def test_slow_net() -> None:
    """A net of so many pins has no greater slew than the library's tables."""
    cells = "INV.g A=a Y=n;" + ";".join(f"INV.g{k} A=n Y=y{k}" for k in range(30))
    gates = netlist("a", "y0", cells)
    times = timing(gates)
    net = gates.members[0].outputs[0, 0]
    assert gates.load[net] == pytest.approx(0.3)
    assert times.slew[net].tolist() == [0.2, 0.2]
    assert times.path == pytest.approx(0.05 + 0.5 * 0.05 + 0.3 + 0.05 + 0.5 * 0.2)


def test_parts() -> None:
    """The parts of a hazard's energy: y = a ^ a, one side of it late by two buffers, is 0 but for
    a pulse whenever a changes."""
    gates = netlist("a", "y", "BUF.g A=a Y=n; BUF.h A=n Y=m; XOR2.x A=a B=m Y=y; INV.i A=y Y=z")
    found = netlist_energy(gates, {"a": [1, 0, 1, 0]}, period=1.0)
    energy = found.energy
    assert energy.switching == pytest.approx(0.5 * 4 * (0.03 + 0.01 + 0.022))
    up = 0.008 + 0.009  # a rises while m is 0, then m rises while a is 1
    down = 0.01 + 0.007
    inverter = (0.003 + 0.01 * 0.03) + (0.002 + 0.01 * 0.03)
    pulses = 2 * 0.5 * 4 * 0.01 + inverter
    assert energy.glitch == pytest.approx((up + down) / 2 + pulses)
    assert energy.leakage == pytest.approx((3 + 3 + 5 + 2) * 1e-6)
    parts = energy.switching + energy.internal + energy.leakage + energy.glitch
    assert energy.total == pytest.approx(parts)
    assert energy.glitch_factor == pytest.approx(
        1 + energy.glitch / (energy.switching + energy.internal)
    )
