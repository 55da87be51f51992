"""Energy of whole units: what their gates compute, how it grows, and OpenSTA's power."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen import golden
from hwgen.cost.classes import CLASSES
from hwgen.cost.figures import Figures
from hwgen.cost.gates import timing
from hwgen.cost.liberty import Library, read_liberty
from hwgen.cost.power import gate_power
from hwgen.emit.unit_kinds import KINDS, Unit
from hwgen.emit.verilog import unit_sources
from hwgen.energy import design_energy, unit_energy
from hwgen.engines.gates import simulate
from hwgen.errors import ConfigError, SimulationError
from hwgen.formats import parse_arithmetic
from hwgen.ir import Linear
from hwgen.synth.gates import gate_netlist, part_of
from hwgen.synth.library import OSU018
from tests.gates import TINY, tiny
from tests.opensta import look, measured, reference
from tests.small import good

LIBRARIES = [path for path in (os.environ.get("HWGEN_LIBERTY"), OSU018) if path]
CYCLES = 400


def unit(kind: str, spec: str, stages: int = 0) -> tuple[Unit, dict, dict]:
    """A unit, its sources, and operands for CYCLES cycles."""
    made = KINDS[kind](parse_arithmetic(spec), stages, 4)
    chosen = np.arange(CYCLES)
    if not made.latency:
        chosen = np.random.default_rng(0).integers(0, len(made.expected), CYCLES)
    vectors = {name: codes[chosen] for name, codes in made.operands.items()}
    made = replace(made, expected=made.expected[chosen])
    if made.latency:
        vectors["i_ce"] = np.ones(CYCLES, dtype=np.int64)
    return made, unit_sources(made.component, "unit"), vectors


@pytest.mark.parametrize(
    "kind, spec", [("mul", "e4m3fn:lmul"), ("mac", "int4"), ("mul", "bf16:pam")]
)
def test_gates_compute_the_unit(kind: str, spec: str) -> None:
    made, sources, vectors = unit(kind, spec)
    found = unit_energy(sources, "unit", tiny(), vectors)
    got = found.outputs["o"][made.latency :]
    bits = unit_bits(made)
    expected = made.expected[: CYCLES - made.latency] & ((1 << bits) - 1)
    assert (got == expected).all()
    parts = found.energy
    assert min(parts.switching, parts.internal, parts.leakage, parts.glitch) > 0
    assert (parts.clock > 0) == (found.flops > 0) == (made.latency > 0)
    assert parts.total == pytest.approx(
        parts.switching + parts.internal + parts.clock + parts.leakage + parts.glitch
    )


def unit_bits(made: Unit) -> int:
    return made.component.o.shape().width


def test_idle_operands_take_little() -> None:
    _, sources, vectors = unit("mac", "int4")
    still = {name: np.full_like(codes, codes[5]) for name, codes in vectors.items()}
    still["i_clear"] = np.ones(CYCLES, dtype=np.int64)
    busy, idle = (unit_energy(sources, "unit", tiny(), v).energy for v in (vectors, still))
    assert idle.clock > 0 and idle.glitch < 0.02 * busy.glitch
    assert idle.switching + idle.internal < 0.02 * (busy.switching + busy.internal)


def test_library_without_power(tmp_path: Path) -> None:
    path = tmp_path / "still.lib"
    path.write_text(TINY.read_text().replace("internal_power", "internal_current"))
    _, sources, vectors = unit("mul", "e4m3fn:lmul")
    with pytest.raises(ConfigError, match=r"still.lib: cell INV has no internal_power tables"):
        unit_energy(sources, "unit", path, vectors)


# --- whole designs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> tuple[hwgen.Design, np.ndarray]:
    inputs = np.random.default_rng(0).normal(size=(3, 1, 12)).astype(np.float32)
    return hwgen.compile(good(), cycles=60), inputs


@pytest.mark.model
def test_design(small) -> None:
    """Its gates give the golden model's codes, or there would be no figures."""
    design, inputs = small
    found = design_energy(design, inputs, TINY)
    assert (found.level, found.target, found.cycles) == ("activity", "asic", 60)
    assert found.source.startswith("180 cycles of ")
    assert {*found.nodes} == {*(node.name for node in design.graph.nodes), "(glue)"}
    assert set(found.energy) == set(CLASSES) and min(found.energy.values()) > 0
    assert found.energy_nj == pytest.approx(sum(found.energy.values()))
    for name in ("energy_nj", "ff", "area_um2"):
        nodes = [getattr(node, name) for node in found.nodes.values()]
        assert getattr(found, name) == pytest.approx(sum(nodes))
    layer = next(n for n in design.graph.nodes if isinstance(n, Linear))
    mac = {name: node.energy["mac"] for name, node in found.nodes.items()}
    assert mac[layer.name] == found.energy["mac"]
    weights = found.nodes[layer.name].energy["weight memory"]  # others hold scales and offsets
    assert 0.9 * found.energy["weight memory"] < weights < found.energy["weight memory"]


@pytest.mark.model
def test_still_inputs_take_less(small) -> None:
    """The same sample again and again, beside samples that differ: less in data, the same clock."""
    design, inputs = small
    busy = design_energy(design, inputs, TINY)
    still = design_energy(design, np.zeros_like(inputs), TINY, period=2 * busy_period(busy))
    for name in ("mac", "functions", "activation memory", "glitch"):
        assert still.energy[name] < busy.energy[name]
    assert still.energy["clock"] == pytest.approx(busy.energy["clock"], rel=0.2)
    assert still.energy["leakage"] == pytest.approx(2 * busy.energy["leakage"], rel=0.1)


def busy_period(found: Figures) -> float:
    return float(found.source.split(", ")[-1].split()[0])


@pytest.mark.model
def test_design_differs(small, monkeypatch: pytest.MonkeyPatch) -> None:
    design, inputs = small
    right = golden.run
    monkeypatch.setattr(golden, "run", lambda *a: {k: v ^ 1 for k, v in right(*a).items()})
    with pytest.raises(SimulationError, match="gates differ from the golden model: m_axis_tdata"):
        design_energy(design, inputs, TINY)


@pytest.mark.parametrize(
    "gate, parts",
    [
        ("/$auto$1", ("", "")),
        ("n_a/$abc$12$auto$3", ("n_a", "")),
        ("n_a/$flatten\\dot0$32.$abc$1", ("n_a", "dot0$32")),
        ("n_a/$flatten\\top_n_a_rom.$abc$1.x", ("n_a", "rom")),
        ("n_a/dot0.o_reg", ("n_a", "dot0")),
    ],
)
def test_parts(gate: str, parts: tuple[str, str]) -> None:
    assert part_of(gate) == parts


# --- against OpenSTA -----------------------------------------------------------------------------


def ratio(library: Library, kind: str, spec: str, folder: Path) -> float:
    """Our power over OpenSTA's, with delays."""
    _, sources, vectors = unit(kind, spec, int(kind == "mac"))
    netlist = gate_netlist(sources, "unit", library)
    times = timing(netlist)
    period = 3 * times.path
    activity = simulate(netlist, vectors, times, period)
    ours = measured(gate_power(netlist, times, activity), period)
    return ours.total / reference(netlist, look(netlist, folder), activity, period).total


@pytest.mark.synth
@pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA is not installed")
@pytest.mark.parametrize("path", [TINY, *LIBRARIES], ids=lambda path: Path(path).stem)
@pytest.mark.parametrize(
    "kind, spec", [("mac", "int8"), ("mul", "bf16"), ("mul", "e4m3fn"), ("mul", "e4m3fn:lmul")]
)
def test_power_is_openstas(path: str | Path, kind: str, spec: str, tmp_path: Path) -> None:
    if not Path(path).is_file():
        pytest.skip(f"{path} is not installed")
    assert ratio(read_liberty(path), kind, spec, tmp_path) == pytest.approx(1, abs=0.05)
