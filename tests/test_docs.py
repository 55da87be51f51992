"""The examples of README.md and docs/ run and print what they show; reference pages miss nothing.

Conventions of the pages:

- A `python` block runs, all blocks of a page in one namespace. A `text` block right behind it is
  what it prints.
- A `console` block runs line by line: `$ ` begins a command, the lines below are what it prints.
  A command that fails must be followed by `$ echo $?`.
- In shown output `...` alone on a line stands for any lines, inside a line for any text.
- A block behind a line that ends with "as `name`:" is written to that file. Other `toml` blocks
  must be valid configurations.
- `sh` blocks set up a machine and are not run.

A page runs in an empty folder that has the shipped models in models/.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import typer

import hwgen
from hwgen import errors
from hwgen.cache import cache_folder
from hwgen.cli import app
from hwgen.config import Config, NodeConfig
from hwgen.design import Predicted, Simulation, bundle_of
from hwgen.engines import fast
from hwgen.frontend.lower import LOWER
from hwgen.golden import EVAL

ROOT = Path(__file__).parent.parent
# The longest first, so that two processes end together.
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md")],
    key=lambda page: (-page.read_text().count("\n$ "), page.name),
)
BIN = Path(sys.executable).parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"as `([\w.]+)`:\s*\Z")
SETUP = re.compile(r"#|apt |sudo apt |python3 -m venv |\. |pip |make |git |cd |cp |mkdir ")
FILES = {"toml", "verilog", "json"}
KNOWN = {"python", "text", "console", "sh", "", *FILES}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, line, and the text between it and the block before."""

    language: str
    text: str
    line: int
    before: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found, end = [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[2], line, text[end : match.start()]))
        end = match.end()
    assert text.count("\n```") + text.startswith("```") == 2 * len(found), "a fence is not closed"
    return found


def same(got: str, shown: str) -> bool:
    """Whether the output is what a page shows, `...` for anything."""
    pattern = ""
    for line in shown.rstrip().splitlines():
        parts = [re.escape(part) for part in line.rstrip().split("...")]
        pattern += r"(?:[^\n]*\n)*?" if line.strip() == "..." else r"[^\n]*".join(parts) + "\n"
    cleaned = "".join(f"{line.rstrip()}\n" for line in got.rstrip().splitlines())
    return re.fullmatch(pattern, cleaned) is not None


def check(got: str, shown: str, where: str) -> None:
    assert same(got, shown), f"{where} shows\n{shown.rstrip()}\n\nbut it printed\n{got.rstrip()}"


@pytest.mark.parametrize(
    ("got", "shown", "equal"),
    [
        ("a\nb\n", "a\nb", True),
        ("a\nb\n", "a", False),
        ("", "a", False),
        ("a 12 b\n", "a ... b\n", True),
        ("a 12 c\n", "a ... b\n", False),
        ("x\na\nb\ny\n", "...\nb\n...\n", True),
        ("x\na\ny\n", "...\nb\n...\n", False),
    ],
)
def test_comparison(got: str, shown: str, equal: bool) -> None:
    assert same(got, shown) is equal


@pytest.fixture(scope="session")
def simulation() -> None:
    """The one simulation that all pages use, built by whichever process comes first."""
    design = hwgen.compile(ROOT / "models" / "digits_mlp.onnx", cycles=2048)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "docs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fast.build(bundle_of(design.graph, design.sources))


def furnish(folder: Path) -> None:
    """The models, and what `make demo` finds in a checkout whose environment is made."""
    shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__*"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    venv = folder / ".venv"
    venv.mkdir()
    (venv / "bin").symlink_to(BIN)
    for name in ("run", "dev"):
        (venv / name).touch()


def variables() -> dict[str, str]:
    """The environment of commands: this Python's programs, no traces of an outer make."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "COLUMNS"))}
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HWGEN_CACHE": str(cache_folder().absolute()),
    }


def run_console(block: Block, page: str, folder: Path) -> None:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0], f"{page}:{block.line}: a console block begins with `$ `"
    status = 0
    for part in parts[1:]:
        command, _, shown = part.partition("\n")
        where = f"{page}:{block.line}: `{command}`"
        asks = command == "echo $?"
        assert status == 0 or asks, f"{where}: the command before failed with status {status}"
        run = subprocess.run(
            ["bash", "-c", f"(exit {status}); {command}"],
            cwd=folder,
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        status = run.returncode
        if shown.strip():
            check(run.stdout, shown, where)
        elif status:
            pytest.fail(f"{where} failed:\n{run.stdout}")
    assert status == 0, f"{page}:{block.line}: the last command failed with status {status}"


def run_python(block: Block, page: str, namespace: dict) -> str:
    printed = io.StringIO()
    # Line numbers of a traceback are those of the page.
    code = compile("\n" * block.line + block.text, page, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    page = str(path.relative_to(ROOT))
    found = blocks(path)
    if any("simulate" in b.text for b in found if b.language in ("python", "console")):
        request.getfixturevalue("simulation")
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    printed = None
    for block in found:
        where = f"{page}:{block.line}"
        assert block.language in KNOWN, f"{where}: no rule for {block.language!r} blocks"
        saved = SAVED.search(block.before)
        before, printed = printed, None
        if saved:
            (tmp_path / saved[1]).write_text(block.text)
        elif block.language == "python":
            printed = run_python(block, page, namespace)
        elif block.language == "text":
            assert before is not None, f"{where}: no python block comes before this output"
            check(before, block.text, where)
        elif block.language == "console":
            run_console(block, page, tmp_path)
        elif block.language == "toml":
            Config.parse(tomllib.loads(block.text))
        elif block.language == "sh":
            for line in block.text.splitlines():
                assert SETUP.match(line), f"{where}: {line!r} is no set-up: show it as `$ `"
        else:
            assert block.language == "", f"{where}: say where the file is saved"
            assert not re.search(r"^(\$|hwgen) ", block.text, re.MULTILINE), f"{where}: run it"


def in_code(page: str) -> str:
    """All inline code of a page, one per line."""
    text = FENCE.sub("", (ROOT / page).read_text())
    return "\n".join(re.findall(r"`([^`\n]+)`", text))


def missing(names, page: str) -> list[str]:
    """Names that no inline code of the page mentions as a word."""
    code = in_code(page)
    return [n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?!\w)", code)]


def test_command_line_page_is_complete() -> None:
    commands = typer.main.get_command(app).commands
    names = set(commands)
    for command in commands.values():
        for parameter in command.params:
            names |= {opt for opt in parameter.opts if opt.startswith("-")}
    assert missing(sorted(names), "docs/cli.md") == []


def test_configuration_page_is_complete() -> None:
    keys = [f.name for kind in (Config, NodeConfig) for f in fields(kind)]
    assert missing(keys, "docs/configuration.md") == []


def test_python_page_is_complete() -> None:
    public = [n for n in vars(hwgen.Design) if not n.startswith("_")]
    public += [f.name for kind in (Simulation, Predicted) for f in fields(kind)]
    public += [n for n, v in vars(errors).items() if isinstance(v, type)]
    assert missing([*hwgen.__all__, *public], "docs/api.md") == []


def test_design_page_is_complete() -> None:
    """Every key of manifest.json and every file of a design's folder."""

    def keys(value) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value)) if value else set()
        return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()

    design = hwgen.compile(ROOT / "models" / "digits_mlp.onnx")
    files = saved_files(design)
    content = json.loads(files["manifest.json"])
    content["predicted"].pop("nodes")
    content["versions"] = content["folds"] = {}
    names = keys(content) | {name for name in files if "/" not in name and not name.endswith(".v")}
    assert missing(sorted(names), "docs/design.md") == []


def saved_files(design) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        caught: dict = {}
        patch.setattr("hwgen.design.save", lambda _folder, files: caught.update(files))
        design.save("unused")
    return caught


def test_ops_page_is_complete() -> None:
    names = {part for key in LOWER for part in key.rsplit(".", 1)}
    assert missing(sorted(names), "docs/ops.md") == []


def test_architecture_page_is_complete() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert [kind.__name__ for kind in EVAL if kind.__name__ not in text] == []
    folders = {p.parent.name for p in (ROOT / "hwgen").glob("*/__init__.py")}
    assert [f for f in sorted(folders) if f"{f}/" not in text] == []


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", page.read_text())):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_shipped_models_say_what_the_pages_use() -> None:
    for path in (ROOT / "models").glob("*.npz"):
        with np.load(path) as file:
            own = {"vocabulary"} if path.stem == "charlm" else set()
            assert set(file.files) == {"inputs", "labels", "outputs"} | own
