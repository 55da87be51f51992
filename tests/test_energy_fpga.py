"""Energy in FPGAs: what Verilator counts, published energies, and how inputs change both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen import golden
from hwgen.cost.fpga import BRAM, CELL, FAMILIES, energies
from hwgen.energy import How, fpga_energy
from hwgen.energy.saif import read_saif
from hwgen.errors import ConfigError, SimulationError
from hwgen.ir import Linear
from hwgen.synth import TARGETS
from tests.command import fails, succeeds
from tests.gates import TINY
from tests.small import good, write

SAIF = """(SAIFILE
 (INSTANCE TOP
  (NET
   (aclk (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 90))
  )
  (INSTANCE top
   (NET
    ($auto$1 (T0 5) (T1 0) (TZ 0) (TX 0) (TB 0) (TC 7))
    (tdata\\[0\\] (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 3))
   )
   (INSTANCE n_a
    (NET
     (clk (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 90))
     (x (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 4))
    )
    (INSTANCE dot
     (NET
      (_0_\\[1\\] (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 2))
     )
    )
   )
   (INSTANCE n_b
    (NET
     ($1 (T0 5) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 11))
    )
   )
  )
 )
)
"""


def test_counts_of_transitions() -> None:
    found = read_saif(SAIF.splitlines())
    assert {n: (v.nets, v.transitions) for n, v in found.items()} == {
        "": (1, 3), "n_a": (2, 6), "n_b": (1, 11)
    }  # fmt: skip
    assert found["n_a"].mean == 3


def test_published_energies_are_scaled() -> None:
    assert CELL.at(150, 1.5) == CELL.energy == pytest.approx(2.242)
    assert BRAM.at(45, 0.9) == 18
    found = energies("ecp5")  # 40 nm, 1.1 V
    assert found.cell == pytest.approx(2.242 * 40 / 150 * (1.1 / 1.5) ** 2)
    assert found.dsp == pytest.approx(1.09 * 40 / 45 * (1.1 / 0.9) ** 2)
    assert found.glitches == pytest.approx(4.0 / (13.7 - 4.0))
    assert FAMILIES.keys() == TARGETS.keys()


@pytest.fixture(scope="module")
def small() -> tuple[hwgen.Design, np.ndarray]:
    inputs = np.random.default_rng(0).uniform(-3, 3, (3, 12)).astype(np.float32)
    return hwgen.compile(good(), cycles=60), inputs


@pytest.mark.model
@pytest.mark.synth
def test_design(small) -> None:
    design, inputs = small
    busy = design.energy(inputs)
    used = design.synthesize("ecp5")
    assert (busy.level, busy.target, busy.lut, busy.ff) == ("activity", "ecp5", used.lut, used.ff)
    assert busy.energy_nj == pytest.approx(sum(n.energy_nj for n in busy.nodes.values()))
    for node in (busy, *busy.nodes.values()):
        assert node.energy_nj == pytest.approx(sum(node.energy.values()))
    prices = energies("ecp5")
    assert busy.energy["clock"] == pytest.approx(used.ff * 60 * prices.clock * 1e-3)
    layer = next(n.name for n in design.graph.nodes if isinstance(n, Linear))
    assert busy.nodes[layer].energy["mac"] == busy.energy["mac"] > 0
    still = fpga_energy(design, np.zeros_like(inputs), "ecp5")
    assert still.energy["clock"] == busy.energy["clock"]
    assert still.energy["mac"] < busy.energy["mac"]
    assert still.energy["glitch"] < busy.energy["glitch"]


@pytest.mark.model
@pytest.mark.synth
def test_verilog_that_differs(small, monkeypatch: pytest.MonkeyPatch) -> None:
    design, inputs = small
    right = golden.run
    monkeypatch.setattr(golden, "run", lambda *a: {k: v ^ 1 for k, v in right(*a).items()})
    with pytest.raises(SimulationError, match="the Verilog differs from the golden model"):
        design.energy(inputs)


@pytest.mark.parametrize(
    "how, says",
    [
        (How("ecp6"), "did you mean 'ecp5'"),
        (How("ecp5", liberty=TINY), "a cell library, a delay and a period are for the target asic"),
        (How("ecp5", delay=100), "are for the target asic, not ecp5"),
        (How("ecp5", "99k"), "unknown device of ecp5 '99k'"),
        (How("asic", "25k", TINY), "gates have no device"),
        (How("asic", liberty=TINY, delay=0), "delay must be a number of picoseconds above 0"),
        (How("asic", liberty=TINY, period=-1.0), "period must be a number of nanoseconds above 0"),
    ],
)
def test_wrong_options(how: How, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        how.check()


def test_command(tmp_path: Path, small) -> None:
    model, design = write(good(), tmp_path), small[0]
    np.savez(tmp_path / "x.npz", inputs=small[1])
    np.savez(tmp_path / "flat.npz", inputs=small[1][:, :7])
    lacks = tmp_path / "lacks.lib"
    lacks.write_text(Path(TINY).read_text().replace("internal_power", "no_power"))
    call = ("energy", model, "--cycles", 60, "--inputs", tmp_path / "x.npz")
    fails(tmp_path, *call, "--liberty", lacks, says="internal_power")
    fails(tmp_path, *call, "--target", "ice50", says="unknown target 'ice50'")
    flat = ("energy", model, "--inputs", tmp_path / "flat.npz", "--liberty", TINY)
    fails(tmp_path, *flat, says=r"must have shape \(samples, 12\), not \(3, 7\)")
    printed = succeeds(*call, "--liberty", TINY, "--limit", 1)
    assert "node, nJ" in printed and "glitch" in printed and "per inference" in printed
    assert all(node.name in printed for node in design.graph.nodes)
