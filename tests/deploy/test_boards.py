"""Board files against amaranth-boards, and the projects of every board as far as can be checked
without the vendors' tools."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import hwgen
from hwgen.deploy import Board, board_named, boards
from hwgen.deploy.clock import clock
from hwgen.deploy.deploy import deploy
from hwgen.deploy.project import Project, project
from hwgen.deploy.vendor import _memories, project_files
from hwgen.design import Design
from hwgen.errors import ConfigError
from hwgen.synth.targets import TARGETS
from tests.command import fails, succeeds
from tests.small import good, write

BOARDS = list(boards().values())
PORT = re.compile(r"^  (?:input|output) (?:\[(\d+):0\] )?(\w+);", re.MULTILINE)


@pytest.fixture(scope="module")
def design() -> Design:
    return hwgen.compile(good(), cycles=60)


def test_wanted() -> None:
    wanted = ("ulx3s-85f", "ulx3s-12f", "ecpix5-85f", "icebreaker", "tang-nano-9k")
    wanted += ("tang-nano-20k", "arty-a7-35", "pynq-z2", "kv260", "de10-nano")
    assert set(wanted) <= set(boards())
    shown = succeeds("boards")
    assert all(name in shown for name in wanted)


@pytest.mark.parametrize("board", [b for b in BOARDS if b.source], ids=lambda b: b.name)
def test_pins(board: Board) -> None:
    """Those of amaranth-boards: clock with its frequency, serial line, and LEDs that are LEDs."""
    module, name = board.source.split(":")
    platform = getattr(importlib.import_module(module), name)
    found: dict[str, tuple[list[str], bool]] = {}
    for resource in platform.resources:
        stack = [(f"{resource.name}{resource.number}", resource)]
        while stack:
            path, node = stack.pop()
            for io in getattr(node, "ios", [node]):
                if hasattr(io, "names"):
                    found[path] = list(io.names), io.invert
                    if node is resource and resource.clock is not None:
                        found[f"{path}@"] = [resource.clock.frequency], False
                elif hasattr(io, "ios"):
                    stack.append((f"{path}.{io.name}", io))
    root = f"{platform.default_clk}0"
    assert found[root][0] == [board.clock.pin]
    assert found[f"{root}@"][0] == [1e6 * board.clock.mhz]
    assert (found["uart0.rx"][0], found["uart0.tx"][0]) == (
        list(board.pins["rx"]),
        list(board.pins["tx"]),
    )
    lit = {pin: low for path, (pins, low) in found.items() if "led" in path for pin in pins}
    for pin in board.pins["leds"]:
        assert lit[pin] == ("leds" in board.low)


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_resources(board: Board) -> None:
    assert set(board.resources) == {"lut", "ff", "dsp", "bram"}
    TARGETS[board.family].device(board.device)


def test_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown board 'ulx3s-85': did you mean 'ulx3s-85f'"):
        board_named("ulx3s-85")
    with pytest.raises(ConfigError, match=r"there are arty-a7-35, de10-nano.*hwgen boards"):
        board_named("zzzz")


def ports(text: str, top: str) -> set[str]:
    """Every bit of every port of a module."""
    body = re.search(rf"^module {top}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)[0]
    found: set[str] = set()
    for high, name in PORT.findall(body):
        found |= {name} if not high else {f"{name}[{k}]" for k in range(int(high) + 1)}
    return found


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_constraints(board: Board, design: Design) -> None:
    """Each constrained pin is a port of the top; of a serial top all ports have pins."""
    work = project(design, board)
    there = ports(work.sources()["top.v"], work.top)
    _, text = work.constraints()
    named = {port for port in there if re.search(rf"(?<![\w\[]){re.escape(port)}(?![\w\[])", text)}
    assert named == set(board.locations)
    assert named == there or board.link == "dma"
    for port, pin in board.locations.items():
        lines = [line for line in text.splitlines() if port in line.replace('"', " ").split()]
        lines += [line for line in text.splitlines() if f" {port} " in line or f'"{port}"' in line]
        assert any(pin in re.split(r'[\s";_]', line) for line in lines), (port, pin)


@pytest.mark.parametrize("mhz", [24, 48, 60, 100])
@pytest.mark.parametrize("board", [b for b in BOARDS if b.clock.pin], ids=lambda b: b.name)
def test_clocks(board: Board, mhz: float) -> None:
    """What the parameters of a PLL say, by the formulas of the data sheets."""
    try:
        text, real = clock(board, mhz)
    except ConfigError as error:
        assert "the nearest is" in str(error)
        return
    assert real == pytest.approx(mhz, rel=0.002)
    number = {k: int(n) for k, n in re.findall(r"\.(\w+)\((?:\dd|\d'd)?(\d+)(?:\.0)?\)", text)}
    given = board.clock.mhz
    if "EHXPLLL" in text:
        made = given / number["CLKI_DIV"] * number["CLKFB_DIV"]
        assert 400 <= made * number["CLKOP_DIV"] <= 800
    elif "SB_PLL40_PAD" in text:
        vco = given / (number["DIVR"] + 1) * (number["DIVF"] + 1)
        made = vco / 2 ** number["DIVQ"]
        assert 533 <= vco <= 1066
    elif "rPLL" in text:
        made = given / (number["IDIV_SEL"] + 1) * (number["FBDIV_SEL"] + 1)
        assert 400 <= made * number["ODIV_SEL"] <= 1250
    elif "MMCME2" in text:
        vco = given / number["DIVCLK_DIVIDE"] * number["CLKFBOUT_MULT_F"]
        made = vco / number["CLKOUT0_DIVIDE_F"]
        assert 600 <= vco <= 1200
    elif "altera_pll" in text:
        made = float(re.search(r'output_clock_frequency0\("([\d.]+) MHz"\)', text)[1])
    else:
        made = given
    assert made == pytest.approx(real)


# What the vendors' commands are to a Tcl interpreter without them: something that gives "1".
STUBS = """
proc unknown {args} { return 1 }
rename package _package
proc package {args} { return 1 }
rename cd _cd
proc cd {args} {}
rename source _source
proc source {args} { uplevel 1 [list _source [lindex $args end]] }
rename file _file
proc file {args} {
  if {[lindex $args 0] eq "copy"} { return 1 }
  return [uplevel 1 [list _file {*}$args]]
}
rename glob _glob
proc glob {args} { return x }
"""


@pytest.mark.parametrize("board", [b for b in BOARDS if not b.open], ids=lambda b: b.name)
def test_tcl(board: Board, design: Design, tmp_path: Path) -> None:
    """All scripts run to their end in an interpreter that takes any command."""
    interpreter = shutil.which("tclsh")
    if interpreter is None:
        pytest.skip("there is no tclsh")
    work = project(design, board)
    files = project_files(work) | dict([work.constraints()])
    scripts = [name for name in files if name.endswith((".tcl", ".xdc", ".sdc"))]
    assert {"build.tcl", "package_ip.tcl"} <= set(scripts)
    for name in scripts:
        (tmp_path / name).write_text(files[name])
        assert "@" not in files[name]
    for name in scripts:
        text = f"{STUBS}\n_cd {{{tmp_path}}}\n_source {name}\nputs done\n"
        run = subprocess.run(
            [interpreter], input=text, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert run.stdout.strip().endswith("done"), run.stderr
        assert not run.stderr, run.stderr


EDALIZED = ["arty-a7-35", "de10-nano", "ulx3s-12f", "ecpix5-85f", "icebreaker"]


@pytest.mark.parametrize("name", EDALIZED)
def test_edalize(name: str, design: Design, tmp_path: Path, monkeypatch) -> None:
    """Edalize takes the project, and names our files and device."""
    from edalize import edatool

    work = project(design, board_named(name))
    edam = json.loads(project_files(work)["edam.json"])
    tool = next(iter(edam["tool_options"]))
    named = [file["name"] for file in edam["files"] if file["file_type"] != "user"]
    edatool.get_edatool(tool)(edam=edam, work_root=str(tmp_path)).configure()
    scripts = [p for p in tmp_path.iterdir() if p.suffix in (".tcl", ".mk", ".ys", "")]
    made = "".join(p.read_text() for p in scripts if p.is_file())
    assert work.board.part in made or " ".join(work.board.options) in made
    assert all(name in made for name in named)
    assert ("clock.sdc" in made) == (name == "de10-nano")


@pytest.mark.parametrize("name", ["pynq-z2", "tang-nano-9k"])
def test_no_edalize(name: str, design: Design) -> None:
    assert "edam.json" not in project_files(project(design, board_named(name)))


def test_block_files(design: Design) -> None:
    """The block's port names are what Vivado infers interfaces from; other scripts name them."""
    work = project(design, board_named("ulx3s-12f"))
    files = project_files(work)
    there = {port.split("[")[0] for port in ports(files["block.v"], f"{work.name}_block")}
    assert {"aclk", "aresetn", "s_axi_awaddr", "s_axis_tdata", "m_axis_tlast"} <= there
    import yaml

    core = yaml.safe_load(files[f"{work.name}.core"].removeprefix("CAPI=2:"))
    assert core["targets"]["default"]["toplevel"] == f"{work.name}_block"
    assert core["targets"]["default"]["filesets"] == ["rtl"]
    assert core["filesets"]["rtl"]["files"] == [f"{work.name}.v", "block.v"]
    sets = yaml.safe_load(_memories(["a.hex", "b.hex"]))
    assert sets["memories"]["files"] == [{n: {"copyto": n}} for n in ("a.hex", "b.hex")]
    compile(files["litex_soc.py"], "litex_soc.py", "exec")
    assert '"s_axis_": 1' in files["litex_soc.py"]


def test_script(design: Design, tmp_path: Path) -> None:
    """The shell script calls the same tools with the same files."""
    work = project(design, board_named("icebreaker"))
    (tmp_path / "build.sh").write_text(project_files(work)["build.sh"])
    calls = tmp_path / "calls"
    for tool in ("YOSYS", "NEXTPNR", "PACK"):
        path = tmp_path / tool
        path.write_text(f'#!/bin/sh\necho {tool} "$@" >> {calls}\n')
        path.chmod(0o755)
    environment = {tool: str(tmp_path / tool) for tool in ("YOSYS", "NEXTPNR", "PACK")}
    environment["PATH"] = "/usr/bin:/bin"
    subprocess.run(["sh", "build.sh"], cwd=tmp_path, env=environment, check=True)
    synthesis, placing, packing = calls.read_text().splitlines()
    assert "synth_ice40 -device u -dsp -top test_board" in synthesis
    assert all(name in synthesis for name in work.sources())
    assert "--up5k --package sg48 --freq 12 --pcf pins.pcf" in placing
    assert packing == "PACK top.asc test_board.bin"


def test_serial_line(design: Design) -> None:
    with pytest.raises(ConfigError, match="12 MHz can't be divided into 5,000,000 baud"):
        project(design, board_named("icebreaker"), baud=5_000_000)
    with pytest.raises(ConfigError, match="can't make 31 MHz of 12 MHz: the nearest is"):
        project(design, board_named("icebreaker"), mhz=31)


def test_bad_arguments(tmp_path: Path) -> None:
    model = write(good(), tmp_path)
    common = ("deploy", model, "-o", tmp_path / "out")
    fails(tmp_path, *common, "--board", "icebraker", says="did you mean 'icebreaker'")
    fails(tmp_path, *common, "--board", "icebreaker", "--fit", "--macs", 2, says="--fit chooses")


def test_identity(design: Design) -> None:
    """Depends on the design, not on the board or its clock."""
    other = hwgen.compile(good(), cycles=12)

    def identity(of: Design, name: str, mhz: float | None = None) -> str:
        return Project(of, board_named(name), mhz or 1, 1, 1).identity

    assert identity(design, "ulx3s-12f") == identity(design, "icebreaker", 24)
    assert identity(design, "ulx3s-12f") != identity(other, "ulx3s-12f")


@pytest.mark.synth
def test_vendor_project(design: Design, tmp_path: Path) -> None:
    """Yosys takes the same sources for xc7; the summary says what fits, without a clock."""
    summary, work = deploy(design, board_named("arty-a7-35"), tmp_path / "arty")
    assert 500 < summary.used["lut"][0] < 3000
    assert summary.used["lut"][1] == 20_800
    assert not summary.bitstream
    assert summary.reached is None
    text = "\n".join(summary.lines())
    assert "100 MHz, not yet placed" in text
    assert (tmp_path / "arty" / "build.tcl").is_file()
    manifest = json.loads((tmp_path / "arty" / "manifest.json").read_text())
    assert manifest["board"]["identity"] == work.identity
    assert Design.load(tmp_path / "arty").sources == design.sources
