"""The wheel: what it holds, and that it works where nothing else of the project is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from hwgen.cache import cache_folder
from tests.command import snapshot, succeeds
from tests.conftest import SHIPPED

ROOT = Path(__file__).parent.parent
PARTS = ["hwgen", "sim", "boards", "rtl_templates"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy without what earlier builds left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (folder / "dist").iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return folder


def run_installed(installed: Path, folder: Path, *arguments: object) -> str:
    """Python with the installed wheel before the checkout that the environment may point to."""
    folder.mkdir(exist_ok=True)
    # PYTHONPATH comes before what an editable installation maps; -P keeps the folder itself out.
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "HWGEN_CACHE": str(cache_folder())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"hwgen"}
    mapped = {"hwgen": "hwgen", **{f"hwgen/{part}": part for part in PARTS[1:]}}
    expected = set()
    for inside, outside in mapped.items():
        for path in (ROOT / outside).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"{inside}/{path.relative_to(ROOT / outside)}")
    assert names == expected
    assert {"hwgen/sim/harness.cpp", "hwgen/rtl_templates/hwgen_rom.v"} <= names


def test_metadata(installed: Path) -> None:
    (found,) = metadata.distributions(path=[str(installed)])
    assert (found.name, found.version) == ("hwgen", metadata.version("hwgen"))
    assert found.metadata["License-Expression"] == "Apache-2.0"
    (script,) = found.entry_points
    assert (script.name, script.value) == ("hwgen", "hwgen.cli:main")


def test_modules_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = """
import importlib, importlib.util, json
names = ["hwgen", "hwgen.cli", "hwgen.sim", "hwgen.boards", "hwgen.rtl_templates"]
files = {name: importlib.import_module(name).__file__ for name in names}
print(json.dumps([files, [importlib.util.find_spec(n) is not None for n in ("sim", "boards")]]))
"""
    files, top_level = json.loads(run_installed(installed, tmp_path / "empty", "-c", program))
    assert all(Path(file).is_relative_to(installed) for file in files.values()), files
    assert top_level == [False, False]


@pytest.mark.model
def test_commands_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """The same design as of the checkout, and a simulation of it."""
    model, empty = SHIPPED / "digits_mlp.onnx", tmp_path / "empty"
    options = ("--cycles", 2048)
    run_installed(installed, empty, "-m", "hwgen.cli", "build", model, "-o", "d", *options)
    assert [path.name for path in empty.iterdir()] == ["d"]
    succeeds("build", model, "-o", tmp_path / "here", *options)
    assert snapshot(empty / "d") == snapshot(tmp_path / "here")
    with np.load(SHIPPED / "digits_mlp.npz") as file:
        np.savez(empty / "x.npz", x=file["inputs"][:2])
    arguments = ("-m", "hwgen.cli", "simulate", "d", "--inputs", "x.npz")
    out = run_installed(installed, empty, *arguments)
    assert out.endswith("hardware equals the golden model\n")
    program = f"import hwgen; print(hwgen.compile({str(model)!r}, cycles=2048).predicted.interval)"
    assert run_installed(installed, empty, "-c", program) == "2048\n"
