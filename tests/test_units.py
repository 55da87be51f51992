"""`hwgen unit`: its own testbench must pass, and must notice a wrong unit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import fails, succeeds

CASES = [
    ("int8", "mul", 0, 1),
    ("e4m3fn:lmul", "mul", 2, 1),
    ("int8xternary", "mac", 1, 1),
    ("e4m3fn", "mac", 0, 1),
    ("bf16+an-1-2", "mac", 1, 1),
    ("bf16+bf16", "fma", 4, 1),
    ("e2m1", "dot", 3, 32),
    ("int8", "dot", 0, 5),
    ("bf16:pam+an-1-2", "dot", 0, 3),
    ("e4m3fn+fp32", "dot", 2, 4),
]


def bench(folder: Path) -> subprocess.CompletedProcess:
    command = ["make", "-s", "-C", str(folder), f"PYTHON={sys.executable}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("spec", "kind", "stages", "lanes"), CASES)
def test_bench(spec: str, kind: str, stages: int, lanes: int, tmp_path: Path) -> None:
    options = ["--kind", kind, "--stages", str(stages), "--lanes", str(lanes)]
    succeeds("unit", spec, *options, "-o", tmp_path / "unit")
    run = bench(tmp_path / "unit")
    assert run.returncode == 0, run.stderr
    assert "results equal the golden model's" in run.stdout


def test_bench_notices(tmp_path: Path) -> None:
    succeeds("unit", "e2m1", "-o", tmp_path / "unit")
    vectors = tmp_path / "unit" / "vectors.txt"
    lines = vectors.read_text().splitlines()
    lines[7] = f"{lines[7][:-1]}{int(lines[7][-1], 16) ^ 1:x}"
    vectors.write_text("\n".join(lines) + "\n")
    run = bench(tmp_path / "unit")
    assert run.returncode != 0
    assert "1 of 256 results differ" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("int8", "--kind", "adder"), "kind must be one of mul, mac, fma, dot"),
        (("int8", "--kind", "fma"), "an fma rounds"),
        (("bf16", "--kind", "mac", "--stages", "3"), "a mac has 0 or 1 stages"),
        (("mxfp8", "--kind", "dot"), "name the format of a block's elements"),
        (("e4m3fn:foo",), "multiplier"),
    ],
)
def test_refusals(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    fails(tmp_path, "unit", *arguments, "-o", tmp_path / "unit", says=message)
