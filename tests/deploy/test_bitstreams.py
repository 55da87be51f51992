"""A real bitstream, clocks that are not reached, and the folding that fills a board."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import hwgen
from hwgen.cost.figures import Figures
from hwgen.deploy import Board, board_named, deploy, fit
from hwgen.deploy.bitstream import Built
from hwgen.deploy.deploy import _built
from hwgen.deploy.project import Project, project
from hwgen.design import Design
from hwgen.errors import ToolError
from hwgen.synth import DoesNotFitError
from hwgen.synth.place import Placed
from hwgen.synth.yosys import Cells
from tests.command import fails, succeeds
from tests.conftest import SHIPPED, model_files
from tests.small import good, write

ICEBREAKER = board_named("icebreaker")
MLP = [p for p in model_files() if p.stem.startswith("d01_")] or [SHIPPED / "digits_mlp.onnx"]


@pytest.mark.synth
def test_icebreaker(tmp_path: Path) -> None:
    """From a model to a bitstream in one command; twice the same."""
    model, folder = write(good(), tmp_path), tmp_path / "ice"
    common = ("deploy", model, "--board", "icebreaker", "-o", folder)
    shown = succeeds(*common, "--cycles", 60)
    assert "1BitSquared iCEBreaker" in shown
    assert "of 5,280" in shown
    assert "60 cycles per inference: 200,000 per second" in shown
    assert "openFPGALoader" in shown
    data = (folder / "model_board.bin").read_bytes()
    assert b"\x7e\xaa\x99\x7e" in data[:64]  # the preamble of an iCE40's bitstream
    assert len(data) > 100_000
    board = json.loads((folder / "manifest.json").read_text())["board"]
    assert board["summary"]["reached"] > board["clock_mhz"] == 12
    assert Design.load(folder).predicted.interval == 60
    succeeds(*common, "--cycles", 60)
    assert (folder / "model_board.bin").read_bytes() == data


@pytest.mark.synth
@pytest.mark.parametrize("path", MLP, ids=lambda path: path.stem)
def test_ulx3s(path: Path, tmp_path: Path) -> None:
    """The smallest of the larger models where they are, or the shipped one."""
    folder = tmp_path / "ulx3s"
    shown = succeeds("deploy", path, "--board", "ulx3s-12f", "-o", folder, "--cycles", 2048)
    assert "2,048 cycles per inference: 24,414 per second" in shown
    (bitstream,) = folder.glob("*.bit")
    data = bitstream.read_bytes()
    assert b"Part: LFE5U-12F" in data[:200]
    assert b"\xbd\xb3" in data[:300]  # the preamble of an ECP5's bitstream (Lattice FPGA-TN-02039)
    assert len(data) > 100_000
    summary = json.loads((folder / "manifest.json").read_text())["board"]["summary"]
    assert summary["reached"] > 50
    assert Design.load(folder).predicted.interval == 2048


def built(fmax: Callable[[Project], float]) -> Callable:
    def build(work: Project, *_) -> Built:
        return Built(b"", Cells({}, None, ""), Placed(fmax(work), {}, "none"))

    return build


def test_clock_that_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slower one that the board can make, unless it was asked for."""
    design = hwgen.compile(good(), cycles=60)
    work = project(design, board_named("ulx3s-12f"))

    def run(mhz: float | None = None):
        return _built(work, mhz, None, False, None, lambda *_: None)

    monkeypatch.setattr(deploy, "build", built(lambda _: 42.0))
    assert 0.9 * 42 < run()[0].clock < 42
    with pytest.raises(ToolError, match=r"reaches 42.0 MHz with this design, not 50 MHz"):
        run(50)
    monkeypatch.setattr(deploy, "build", built(lambda _: 0.5))
    with pytest.raises(ToolError, match="less than any clock it can make"):
        run()


def test_placing_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search goes on with slower foldings; without one the message says by how much."""
    work = project(hwgen.compile(good(), cycles=12), ICEBREAKER)

    def build(tried: Project, *_) -> Built:
        if tried.design.predicted.interval < 30:
            raise DoesNotFitError("up5k", {"ICESTORM_LC": (6000, 5280)}, "")
        return Built(b"", Cells({}, None, ""), Placed(20, {}, "none"))

    monkeypatch.setattr(deploy, "build", build)
    found, _ = _built(work, None, None, True, None, lambda *_: None)
    assert 30 <= found.design.predicted.interval <= 60
    message = r"does not fit icebreaker: ICESTORM_LC 6,000 of 5,280, 720 too many; fold it further"
    with pytest.raises(DoesNotFitError, match=message):
        _built(work, None, None, False, None, lambda *_: None)


def shrunk(**resources: int) -> Board:
    return replace(ICEBREAKER, resources={**ICEBREAKER.resources, **resources})


def test_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest folding whose multipliers there are; too large even at its smallest: by how
    much."""
    tried = []

    def uses(work: Project, _progress) -> dict[str, int]:
        tried.append(work.design.predicted.interval)
        count = work.design.multipliers
        return {"lut": 100 * count, "ff": 100, "dsp": count, "bram": 1}

    monkeypatch.setattr(fit, "uses", uses)
    design = hwgen.compile(good())
    found = fit.fill(design, ICEBREAKER)
    able = [fit.refolded(design, cycles) for cycles in range(min(tried), 61)]
    wanted = min(d.predicted.interval for d in able if d.multipliers <= 8)
    assert wanted <= found.predicted.interval <= fit.CLOSE * wanted
    assert found.multipliers <= 8
    assert len(tried) < 10
    roomy = fit.fill(design, shrunk(lut=1_000_000, dsp=1000))
    assert roomy.predicted.interval == min(tried)
    message = r"LUT 100 of 50, 50 too many; the smallest folding was tried, \d+ cycles"
    with pytest.raises(DoesNotFitError, match=message):
        fit.fill(design, shrunk(lut=50))


def test_fit_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few foldings are synthesized where the cost model knows the family."""
    tried = []

    def uses(work: Project, _progress=None) -> dict[str, int]:
        figures = work.design.estimate("ecp5")
        tried.append(work.design.predicted.interval)
        found = {"lut": 1.1 * figures.lut + 500, "ff": figures.ff, "dsp": figures.dsp, "bram": 1}
        return {kind: round(n) for kind, n in found.items()}

    monkeypatch.setattr(fit, "uses", uses)
    room = {"lut": 4_000, "ff": 9_000, "dsp": 156, "bram": 99}
    board = replace(board_named("ulx3s-12f"), resources=room)
    design = hwgen.compile(SHIPPED / "digits_mlp.onnx")
    found = fit.fill(design, board)
    assert len(tried) <= 6
    work = project(found, board)
    assert uses(work)["lut"] <= 0.8 * 4_000
    faster = fit.refolded(design, round(found.predicted.interval / fit.CLOSE) - 1)
    assert uses(project(faster, board))["lut"] > 0.8 * 4_000


def test_too_large_for_a_vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"lut": 30_000, "ff": 10, "dsp": 100, "bram": 0}
    monkeypatch.setattr(deploy, "uses", lambda *_: many)
    model = write(good(), tmp_path)
    says = "does not fit arty-a7-35: LUT 30,000 of 20,800, 9,200 too many; DSP 100 of 90, 10 too"
    fails(tmp_path, "deploy", model, "--board", "arty-a7-35", "-o", tmp_path / "x", says=says)


def test_energy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shown where the design has a model of it."""
    monkeypatch.setattr(deploy, "uses", lambda *_: dict.fromkeys(fit.KINDS, 1))
    figures = Figures("model", "xc7", "here", energy_nj=12.5)
    monkeypatch.setattr(Design, "estimate", lambda *_: figures)
    summary, _ = deploy.deploy(hwgen.compile(good()), board_named("pynq-z2"), tmp_path / "p")
    assert "energy: 12.5 nJ per inference, modelled" in summary.lines()


def test_refused_before_it_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the cost model, which says how many cycles fit; by synthesis node by node without one."""
    monkeypatch.setattr(deploy, "build", None)
    common = ("deploy", SHIPPED / "digits_mlp.onnx", "--cycles", 64, "-o", tmp_path / "x")
    shown = fails(tmp_path, *common, "--board", "ulx3s-12f", says=r"DSP 59 of 28, 31 too many")
    cycles = int(re.search(r"--cycles (\d+) fits", shown)[1])
    board = board_named("ulx3s-12f")
    fitting = hwgen.compile(SHIPPED / "digits_mlp.onnx", cycles=cycles).estimate("ecp5")
    used = {kind: round(getattr(fitting, kind)) for kind in fit.KINDS}
    assert cycles < 512 and not fit.excess(used, board)
    small = replace(board, resources={"lut": 900, "ff": 900, "dsp": 28, "bram": 56})
    says = "smallest folding, .* cycles per inference, is too large too"
    assert re.search(says, fit.advice(hwgen.compile(SHIPPED / "digits_mlp.onnx"), small))
    many = {"lut": 5_800, "ff": 10, "dsp": 9, "bram": 0}
    monkeypatch.setattr(fit, "uses", lambda *_: many)
    says = "DSP 9 of 8, 1 too many; fold it further"
    fails(tmp_path, *common, "--board", "icebreaker", says=says)


def test_serial_rates(tmp_path: Path) -> None:
    common = ("deploy", write(good(), tmp_path), "-o", tmp_path / "x")
    fails(tmp_path, *common, "--board", "ulx3s-12f", "--baud", 1, says="must be at least 300")
    fails(tmp_path, *common, "--board", "kv260", "--baud", 9600, says="has no serial line")
