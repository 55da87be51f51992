"""Which part may import which, and how long a file may be."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hwgen"
# Each may import what stands in the rows above it, and nothing of its own row but itself.
LAYERS = (
    ("errors",),
    ("formats", "cache", "protocol"),
    ("ir",),
    ("frontend", "golden", "rtl", "cost", "config"),
    ("passes",),
    ("emit", "synth"),
    ("engines",),
    ("energy",),
    ("design", "doctor", "samples", "host"),
    ("points",),
    ("trace", "terminal", "options", "deploy"),
    ("explore",),
    ("report",),
    ("commands",),
    ("cli",),
)
LEVEL = {part: level for level, row in enumerate(LAYERS) for part in row}
# Only these may import: one dependency, one room.
ROOMS = {
    "amaranth": {"rtl", "emit"},
    "find_libpython": {"engines"},
    "google": {"frontend"},  # protobuf
    "onnx": {"frontend", "design", "explore", "points"},
    "onnxruntime": {"frontend"},
    "optuna": {"explore"},
    "ray": {"explore"},
    "rich": {"cli", "commands", "terminal"},
    "serial": {"host"},
    "typer": {"cli", "options", "commands"},
    "numpy": {*LEVEL}
    - {"errors", "cache", "config", "doctor", "terminal", "options", "protocol", "deploy"},
}
EXTRAS = {
    "onnxruntime": "trace",
    "optuna": "explore",
    "ray": "cluster",
    "pyserial": "boards",
}  # these come with an extra
DISTRIBUTIONS = {"google": "protobuf", "serial": "pyserial"}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """`rtl` for hwgen/rtl/linear.py, `cli` for hwgen/cli.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports anywhere, by its full name; `from a import b` as a and as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module
            if node.module == "hwgen":
                yield from (f"hwgen.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_directions(path: Path) -> None:
    here = part(path)
    if here == "__init__":
        assert not [name for name in imports(path) if name.startswith("hwgen")]
        return
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "hwgen" and rest and rest[0] != here:
            assert LEVEL[rest[0]] < LEVEL[here], f"{here} must not import {name}"
        elif first != "hwgen" and first not in sys.stdlib_module_names:
            assert here in ROOMS[first], f"{here} must not import {name}"


def test_every_part_has_a_place() -> None:
    assert {part(path) for path in FILES} == {*LEVEL, "__init__"}
    seen = {name.split(".")[0] for path in FILES for name in imports(path)}
    assert set(ROOMS) == seen - {"hwgen", *sys.stdlib_module_names}


def test_every_dependency_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", entry)[0] for entry in project["dependencies"]}
    for name, extra in EXTRAS.items():
        assert any(re.match(name, e) for e in project["optional-dependencies"][extra])
    assert {DISTRIBUTIONS.get(name, name) for name in ROOMS} <= declared | set(EXTRAS)


def test_testbenches_stand_alone() -> None:
    """What lies in a design's folder works without hwgen."""
    benches = sorted((ROOT / "sim").glob("*.py"))
    assert len(benches) >= 2
    for path in benches:
        assert not [name for name in imports(path) if name.startswith("hwgen")], path


@pytest.mark.parametrize("folder", ["hwgen", "sim", "boards", "rtl_templates", "models", "tests"])
def test_files_are_short(folder: str) -> None:
    paths = [p for s in ("py", "cpp", "v", "mk") for p in (ROOT / folder).rglob(f"*.{s}")]
    assert paths
    for path in paths:
        assert len(path.read_text().splitlines()) < 500, path
