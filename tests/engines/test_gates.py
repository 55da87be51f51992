"""Simulation of gates: against Verilator, and what delays do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwgen.cost.gates import Netlist, timing
from hwgen.engines.gates import simulate
from hwgen.engines.tools import run
from hwgen.errors import InputError, SimulationError
from hwgen.synth.gates import gate_netlist
from tests.gates import netlist, tiny

SOURCE = """module mac(input clk, input clear, input [3:0] a, input [3:0] b, output reg [11:0] o);
  always @(posedge clk) o <= (clear ? 12'd0 : o) + a * b;
endmodule
"""
CYCLES = 300
BENCH = """module bench(input clk);
  reg [{inputs}:0] vectors [0:{last}];
  reg [{inputs}:0] given = 0;
  wire [{nets}:0] nets;
  reg [{nets}:0] old;
  reg started = 0;
  integer counts [0:{nets}];
  integer cycle = 0, n;
  assign nets[0] = 1'b0;
  assign nets[1] = 1'b1;
  {joined}
  initial $readmemb("vectors.txt", vectors);
  initial for (n = 0; n <= {nets}; n = n + 1) counts[n] = 0;
  always @(posedge clk) begin
    given <= vectors[cycle];
    cycle <= cycle + 1;
  end
  always @(negedge clk) begin
    for (n = 0; n <= {nets}; n = n + 1)
      if (started && nets[n] != old[n]) counts[n] = counts[n] + 1;
    started <= 1;
    old <= nets;
  end
  final for (n = 0; n <= {nets}; n = n + 1) $display("%0d", counts[n]);
endmodule
"""
MAIN = """#include "Vbench.h"
int main() {{
  Vbench top;
  top.clk = 0, top.eval();
  for (int k = 0; k <= {cycles}; k++) top.clk = 1, top.eval(), top.clk = 0, top.eval();
  top.final();
}}
"""


def verilog_toggles(gates: Netlist, vectors: dict[str, np.ndarray], folder: Path) -> list[int]:
    """How often each net changes in a bench of Verilog's own, from cycle to cycle."""
    lines, places, start = [], [], 0
    for name, (output, bits) in gates.ports.items():
        if output or gates.clock in bits:
            continue
        places.append((name, len(bits)))
        lines += [f"assign nets[{net}] = given[{start + k}];" for k, net in enumerate(bits)]
        start += len(bits)
    lines.append(f"assign nets[{gates.clock}] = clk;")
    for m in gates.members:
        for ins, outs in zip(m.inputs, m.outputs, strict=True):
            pins = {p: f"nets[{n}]" for p, n in zip(m.kind.inputs, ins, strict=True)}
            out = f"nets[{outs[0]}]"
            if m.kind.cell.flop:
                register = f"held{outs[0]}"
                lines.append(f"reg {register} = 0; assign {out} = {register};")
                lines.append(f"always @(posedge clk) {register} <= {pins['D']};")
            else:
                lines.append(f"assign {out} = {FUNCTIONS[m.kind.cell.name].format(**pins)};")
    text = BENCH.format(
        inputs=start - 1,
        last=CYCLES,
        nets=gates.nets - 1,
        joined="\n  ".join(lines),
    )
    (folder / "bench.v").write_text(text)
    (folder / "main.cpp").write_text(MAIN.format(cycles=CYCLES))
    words = ["".join(f"{int(vectors[n][c]):0{w}b}" for n, w in places[::-1]) for c in range(CYCLES)]
    words.insert(0, "0" * start)
    (folder / "vectors.txt").write_text("\n".join(words))
    options = ["--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "--Mdir", "build"]
    run(["verilator", *options, "-o", "bench", "bench.v", "main.cpp"], folder)
    printed = run(["build/bench"], folder)
    return [int(line) for line in printed.splitlines() if line.isdigit()]


FUNCTIONS = {
    "INV": "!{A}",
    "BUF": "{A}",
    "NAND2": "!({A} && {B})",
    "NOR2": "!({A} || {B})",
    "XOR2": "{A} != {B}",
    "MUX2": "{S} ? {B} : {A}",
}


def mac() -> tuple[Netlist, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = {"a": rng.integers(0, 16, CYCLES), "b": rng.integers(0, 16, CYCLES)}
    vectors["clear"] = rng.random(CYCLES) < 0.1
    total, expected = 0, []
    for a, b, clear in zip(vectors["a"], vectors["b"], vectors["clear"], strict=True):
        expected.append(total)  # ports change behind the edge that takes them
        total = (0 if clear else total) + int(a) * int(b) & 0xFFF
    return gate_netlist({"mac.v": SOURCE}, "mac", tiny()), vectors, np.array(expected)


def test_toggles_are_verilators(tmp_path: Path) -> None:
    gates, vectors, expected = mac()
    found = simulate(gates, vectors)
    assert found.toggles.sum() > 1000
    assert found.toggles.tolist() == verilog_toggles(gates, vectors, tmp_path)
    assert (found.outputs["o"] == expected).all()


def test_counts_agree() -> None:
    """What is counted by cause, by pin and by net is the same; with delays changes are more, by
    pairs, and the outputs the same."""
    gates, vectors, expected = mac()
    times = timing(gates)
    quiet, timed = simulate(gates, vectors), simulate(gates, vectors, times, 2 * times.path)
    for activity in (quiet, timed):
        for k, m in enumerate(gates.members):
            causes = activity.causes[k].sum(axis=(2, 3))
            assert (causes == activity.toggles[m.outputs]).all()
            pins = activity.pins[k].sum(axis=2)
            driven = m.inputs != gates.clock
            assert (pins == activity.toggles[m.inputs])[driven].all()
            assert (pins[~driven] == 2 * CYCLES).all()
            assert activity.times[k].sum(axis=1) == pytest.approx(1)
        assert (activity.outputs["o"] == expected).all()
    more = timed.toggles - quiet.toggles
    assert (more >= 0).all() and (more % 2 == 0).all() and more.sum() > 100


def test_hazard() -> None:
    """A pulse as wide as two buffers are slow passes an exclusive or; one as wide as an inverter
    is does not."""
    a = np.arange(20) % 2
    for cells, pulses in (
        ("BUF.g A=a Y=n; BUF.h A=n Y=m; XOR2.x A=a B=m Y=y", 1),
        ("INV.g A=a Y=m; XOR2.x A=a B=m Y=y", 0),
    ):
        gates = netlist("a", "y", cells)
        (y,) = gates.ports["y"][1]
        assert simulate(gates, {"a": a}).toggles[y] == 0
        timed = simulate(gates, {"a": a}, timing(gates), 1.0)
        assert timed.toggles[y] == 2 * 19 * pulses  # a is 0 before cycle 0, and in it


def test_warm() -> None:
    gates = netlist("clk d", "y", "DFF.f CLK=clk D=d Q=y")
    found = simulate(gates, {"d": [1, 1, 1, 0]}, warm=2)
    assert found.cycles == 2 and found.outputs["y"].tolist() == [0, 1, 1, 1]
    assert found.toggles[gates.ports["y"][1]].tolist() == [0]
    assert found.pins[0].sum() == 2 * 2 + 1


def test_stream() -> None:
    """A port whose codes wait for the flip-flop y, which changes in every cycle."""
    gates = netlist("clk d", "y z", "INV.g A=y Y=n; DFF.f CLK=clk D=n Q=y; BUF.h A=d Y=z")
    found = simulate(gates, {"d": [0, 1, 0, 1, 1, 1]}, streams={"d": "y"})
    assert found.outputs["y"].tolist() == [1, 0, 1, 0, 1, 0]
    assert found.outputs["z"].tolist() == [0, 1, 1, 0, 0, 1]


def test_short_period() -> None:
    gates = netlist("a", "y", "BUF.g A=a Y=n; BUF.h A=n Y=y")
    with pytest.raises(
        SimulationError, match=r"not settled after 0.1 ns; the slowest path takes 0"
    ):
        simulate(gates, {"a": [1, 0]}, timing(gates), 0.1)


def test_wrong_vectors() -> None:
    gates = netlist("a b", "y", "NAND2.g A=a B=b Y=y")
    for vectors in ({"a": [1], "b": [1, 0]}, {"c": [1]}, {}):
        with pytest.raises(InputError, match="for ports among a, b"):
            simulate(gates, vectors)
