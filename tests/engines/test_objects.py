"""Verilator's own sources are compiled once: the script that makefiles run compilers with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hwgen.engines.tools import environment

COMPILER = """#!/bin/sh
echo "$@" >>"$LOG"
for last; do :; done
if [ -s "$last" ]; then exit 3; fi
echo "$1" >"${last##*/}".made
object=${last##*/}
echo "$1" >"${object%.cpp}.o"
"""


@pytest.fixture
def compiles(tmp_path: Path):
    """Compiles a file by the script; returns the exit status and how often the compiler ran."""
    compiler, log = tmp_path / "compiler", tmp_path / "log"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    (tmp_path / "root dir" / "include").mkdir(parents=True)
    (tmp_path / "objects").mkdir()
    variables = {
        **environment(),
        "VERILATOR_ROOT": str(tmp_path / "root dir"),
        "HWGEN_OBJECTS": str(tmp_path / "objects"),
        "LOG": str(log),
    }

    def run(folder: str, source: Path, *options: str) -> tuple[int, int]:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        source.touch()
        object_ = source.with_suffix(".o").name
        command = f'{variables["OBJCACHE"]} "$@"'
        arguments = [str(compiler), *options, "-c", "-o", object_, str(source)]
        done = subprocess.run(
            ["sh", "-c", command, "make", *arguments], cwd=where, env=variables, check=False
        )
        if not done.returncode:
            assert (where / object_).read_text() == f"{options[0]}\n"
        return done.returncode, len(log.read_text().splitlines()) if log.exists() else 0

    return run, tmp_path / "root dir" / "include"


def test_once_for_all_designs(compiles, tmp_path: Path) -> None:
    run, include = compiles
    runtime = include / "verilated.cpp"
    assert run("first", runtime, "-O1") == (0, 1)
    assert run("second", runtime, "-O1") == (0, 1)
    assert run("third", runtime, "-O0") == (0, 2)
    assert run("third", include / "verilated_vpi.cpp", "-O0") == (0, 3)
    own = tmp_path / "harness.cpp"
    assert [run("first", own, "-O1")[1] for _ in range(2)] == [4, 5]


def test_failures_are_not_kept(compiles) -> None:
    run, include = compiles
    broken = include / "verilated.cpp"
    broken.write_text("wrong")
    assert run("first", broken, "-O1") == (3, 1)
    assert run("first", broken, "-O1") == (3, 2)
    broken.write_text("")
    assert run("first", broken, "-O1") == (0, 3)


def test_a_cache_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "objcache.sh" in environment()["OBJCACHE"]
    for own in ("ccache", ""):
        monkeypatch.setenv("OBJCACHE", own)
        assert environment()["OBJCACHE"] == own
