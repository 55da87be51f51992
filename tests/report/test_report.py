"""The page of a design and of an exploration: what is in it, and what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen.cost.figures import Figures
from hwgen.errors import ModelError
from hwgen.report import design_data, exploration_data, page
from hwgen.trace import trace
from tests.command import fails, succeeds
from tests.conftest import SHIPPED
from tests.gates import TINY

MLP, DATA = SHIPPED / "digits_mlp.onnx", SHIPPED / "digits_mlp.npz"
CHROMIUM = shutil.which("chromium")
GOALS = {"accuracy": "max", "energy": "min", "luts": "min"}
LAYERS = ("/0/Gemm", "/2/Gemm", "/4/Gemm")


def figures(level: str, lut: int, **more) -> Figures:
    """Of each layer `lut` lookup tables, a third of them in its window."""
    nodes = {}
    for name in LAYERS:
        for unit, share in ((f"{name}.window", lut // 3), (name, lut - lut // 3)):
            nodes[unit] = Figures(level, "ecp5", "", lut=share, ff=2, **more)
    energy = 6 * more["energy_nj"] if more else None
    classes = {"mac": energy} if more else None
    return Figures(
        level, "ecp5", f"<{level}>", lut=3 * lut, ff=12, cycles=2048, latency=3544,
        energy_nj=energy, energy=classes, nodes=nodes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def design() -> dict:
    """A page's data."""
    made = hwgen.compile(MLP, cycles=2048)
    inputs = np.load(DATA)["inputs"][:4]
    levels = [
        figures("model", 330),
        figures("synthesis", 300),
        figures("activity", 300, energy_nj=5.0, energy={"mac": 5.0}),
    ]
    return design_data(made, levels, trace(made, inputs), 0.75, 4, ["no </script> here"])


@pytest.fixture(scope="module")
def exploration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exploration")
    rng, lines = np.random.default_rng(0), []
    for k in range(40):
        goals = dict(zip(GOALS, rng.integers(1, 9, 3).tolist(), strict=True))
        known = {**goals, "accuracy": None} if k == 7 else goals
        part = {"level": "model", "target": "ecp5", "source": "m", "lut": goals["luts"]}
        checked = {"matched": True, "samples": 4, "figures": {**part, "level": "synthesis"}}
        lines.append(
            {"point": {"bits": k % 8}, "objectives": known, "feasible": k % 5 > 0,
             "figures": part, "verified": checked if k == 12 else None}
        )  # fmt: skip
    (folder / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {"model": "m/net.onnx", "objectives": GOALS, "target": "ecp5", "source": "by hand"}
    (folder / "exploration.json").write_text(json.dumps(about))
    return folder


def test_layers_hold_their_units(design: dict) -> None:
    boxes = {box["id"]: box for box in design["graph"]["layers"]}
    assert {"in x", "out y", *LAYERS} <= boxes.keys()
    kinds = [unit["kind"].split()[0] for unit in boxes["/0/Gemm"]["units"]]
    assert kinds == ["Window", "Linear", "Requantize"]
    assert {(e["from"], e["to"]) for e in design["graph"]["edges"]} >= {
        ("/0/Gemm", "/2/Gemm"), ("/2/Gemm", "/4/Gemm"), ("/4/Gemm", "out y")
    }  # fmt: skip
    model, _, activity = design["figures"]
    assert model["nodes"]["/2/Gemm"]["lut"] == 330
    assert activity["nodes"]["/2/Gemm"]["energy"] == {"mac": 10.0}
    ranges = {layer["tensor"]: layer for layer in design["trace"]["layers"]}
    first = ranges["x_DequantizeLinear_Output"]
    assert first["sizes"] == sorted(first["sizes"]) and 0 < first["zeros"] < 1
    assert first["step"] == pytest.approx(first["most"] / 127)


def test_page_stands_alone(design: dict, exploration: Path) -> None:
    for data in (design, exploration_data(exploration)):
        text = page(data)
        assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg"}
        assert text.count("</script>") == 2
        assert not re.search(r"@(STYLE|SCRIPT|DATA)@|(src|href|@import)\s*[=(]", text)
        inside = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
        assert json.loads(inside)["kind"] == data["kind"]


def test_pareto(exploration: Path) -> None:
    points = exploration_data(exploration)["points"]
    signs = [-1 if goal == "max" else 1 for goal in GOALS.values()]

    def losses(p: dict) -> np.ndarray:
        return np.array([s * p["objectives"][n] for s, n in zip(signs, GOALS, strict=True)])

    fine = [p for p in points if p["feasible"] and p["objectives"]["accuracy"] is not None]
    for p in points:
        beaten = p not in fine or any(
            (losses(q) <= losses(p)).all() and (losses(q) < losses(p)).any() for q in fine
        )
        assert p["pareto"] == (not beaten)
    assert 1 < sum(p["pareto"] for p in points) < len(fine)


@pytest.mark.parametrize(
    "name, text",
    [
        ("points.jsonl", "{"),
        ("points.jsonl", '{"point": 3}'),
        ("points.jsonl", '{"point": {}, "objectives": {"accuracy": "high"}}'),
        ("exploration.json", '{"objectives": {"accuracy": "most"}}'),
        ("exploration.json", "[]"),
    ],
)
def test_damaged_exploration(tmp_path: Path, exploration: Path, name: str, text: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exploration, folder)
    (folder / name).write_text(text)
    with pytest.raises(ModelError, match=r"is no exploration, or it is damaged"):
        exploration_data(folder)


def test_figures_come_back() -> None:
    for made in (figures("model", 30), figures("activity", 30, energy_nj=1.0, energy={"mac": 1.0})):
        back = Figures.from_dict(json.loads(made.to_json()))
        assert back.as_dict() == made.as_dict()
    for wrong in ({}, {"level": "x", "target": "", "source": ""}, {**made.as_dict(), "lut": "9"}):
        with pytest.raises(ValueError):
            Figures.from_dict(wrong)


def test_compare(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.json" for name in ("a", "b")]
    for k, path in enumerate(paths):
        path.write_text(figures("synthesis", 300 + k).to_json())
    printed = succeeds("compare", *paths)
    assert re.search(r"a .*ecp5.*synthesis.*2,048.*900", printed) and "903" in printed
    lines = succeeds("compare", *paths, "--csv").splitlines()
    assert lines[0].startswith("name,level,target,source,lut,") and len(lines) == 3
    assert lines[2].startswith("b,synthesis,ecp5,<synthesis>,903,")
    both = json.loads(succeeds("compare", *paths, "--json"))
    assert [row["figures"]["lut"] for row in both] == [900, 903]
    paths[0].write_text("{}")
    fails(tmp_path, "compare", *paths, says="a.json holds no figures")
    fails(tmp_path, "compare", *paths, "--level", "placed", says="level must be one of model")
    fails(tmp_path, "compare", paths[1], "--csv", "--json", says="exclude each other")
    call = ("compare", MLP, SHIPPED / "digits_cnn.onnx", "--level", "activity", "--inputs", DATA)
    fails(tmp_path, *call, says=r"must have shape \(samples, 1, 8, 8\), not \(1, 64\)")


def test_report_command(tmp_path: Path, exploration: Path) -> None:
    out = tmp_path / "report.html"
    printed = succeeds("report", exploration, "-o", out)
    assert "exploration net.onnx" in printed
    assert '"kind": "exploration"' in out.read_text()
    call = ("report", MLP, "-o", out, "--cycles", 2048, "--level", "model")
    printed = succeeds(*call, "--inputs", DATA, "--limit", 4)
    data = json.loads(re.search(r'id="data">(.*?)</script>', out.read_text(), re.DOTALL)[1])
    assert data["facts"]["accuracy, 4 samples"] and data["trace"]["samples"] == 4
    fails(tmp_path, "report", exploration, "-o", out, "--target", "ecp5", says="takes no options")
    fails(tmp_path, "report", MLP, "-o", tmp_path / "no" / "x.html", says="no")
    fails(tmp_path, "report", MLP, "-o", out, "--level", "all", says="level must be one of")
    fails(tmp_path, "report", MLP, "-o", out, "--target", "ecp6", says="did you mean 'ecp5'")
    (tmp_path / "x.npz").write_bytes(b"PK")
    fails(tmp_path, "report", MLP, "-o", tmp_path / "x.npz", says="x.npz is a file that is no page")
    call = ("report", MLP, "-o", out, "--cycles", 2048, "--liberty", TINY, "--level", "model")
    assert "report.html: design digits_mlp" in succeeds(*call)
    assert "asic" in out.read_text()


# --- in a browser --------------------------------------------------------------------------------


def opened(path: Path) -> str:
    """The page as the browser has it in the end; fails for anything it complains of."""
    run = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={path.parent / 'profile'}", "--window-size=1366,768",
         "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    complaints = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    return run.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_pages_in_a_browser(tmp_path: Path, design: dict, exploration: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(design))
    found = opened(path)
    for title in ("figures", "layers", "dataflow", "errors", "ranges", "how-figures-were-obtained"):
        assert f'<section id="{title}">' in found
    assert found.count("2,048 cycles") == 1 and "error of the model" in found
    assert ">10.0 %<" in found  # 330 lookup tables modelled, 300 synthesized
    assert found.count('aria-label="LUT (synthesis, ecp5)"') == 1  # rather than the model's
    assert 'aria-label="LUT (model, ecp5)"' not in found
    assert "no &lt;/script&gt; here" in found
    path.write_text(page(exploration_data(exploration)))
    found = opened(path)
    assert found.count('class="scatter"') == 2 and found.count('type="range"') == 3
    feasible = 40 - 8 - 1
    assert found.count('class="mark"') == 2 * feasible
    path.write_text(page(design).replace("designPage();", "designPag();", 1))
    with pytest.raises(AssertionError, match="designPag is not defined"):
        opened(path)
