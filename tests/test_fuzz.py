"""Damaged files are built right or refused in one clear message: no traceback, hang or flood.

HWGEN_FUZZ is the number of files (200).
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

import hwgen
from tests.conftest import model_files
from tests.fuzz import mutated

FILES = int(os.environ.get("HWGEN_FUZZ", "200"))
GROUPS = 8
SECONDS = 10
LARGEST = 80_000  # bytes of a file to start from


def peak() -> int:
    """The most memory this process has held, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("group", range(GROUPS))
def test_mutations(group: int, tmp_path: Path) -> None:
    def late(*_) -> None:
        raise TimeoutError(f"takes longer than {SECONDS} s")

    files = [path for path in model_files() if path.stat().st_size < LARGEST]
    signal.signal(signal.SIGALRM, late)
    built = refused = 0
    before = peak()  # of tests that ran in this process
    for seed in range(group, FILES, GROUPS):
        source = files[seed % len(files)]
        path = tmp_path / "model.onnx"
        path.write_bytes(mutated(source.read_bytes(), seed))
        signal.alarm(SECONDS)
        try:
            hwgen.compile(path).predicted  # noqa: B018 - computed when it is read
            built += 1
        except hwgen.HwgenError as error:
            assert str(error).strip(), f"seed {seed} of {source.name}: an empty message"
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed} of {source.name}: {error!r}") from error
        finally:
            signal.alarm(0)
    assert built
    assert refused
    assert peak() <= max(before, 2 << 20), "more than 2 GB"
