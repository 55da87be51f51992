"""Runs the `hwgen` command in this process, and checks how it fails."""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from hwgen import cli, terminal


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def run(*arguments: object) -> Outcome:
    """`hwgen ARGUMENTS`, without lines of progress, which depend on the machine's speed; anything
    but an exit is the caller's to see."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = ["hwgen", *map(str, arguments)]
    silent = mock.patch.object(terminal, "EVERY", float("inf"))
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err), silent:
        try:
            cli.main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def succeeds(*arguments: object) -> str:
    """Exit code 0; returns what was printed."""
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.err or outcome.out
    assert not outcome.err
    return outcome.out


def fails(folder: Path, *arguments: object, says: str | list[str], printed: str = "") -> str:
    """Exit code 2, one message that matches `says`, and nothing in `folder` new or changed."""
    before = snapshot(folder)
    outcome = run(*arguments)
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("hwgen: "), outcome.err
    assert outcome.err.count("hwgen: ") == 1
    assert re.search(printed, outcome.out) if printed else not outcome.out, outcome.out
    for pattern in [says] if isinstance(says, str) else says:
        assert re.search(pattern, outcome.err), f"{pattern!r} is not in {outcome.err!r}"
    assert snapshot(folder) == before
    return outcome.err


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
