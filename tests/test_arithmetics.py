"""A whole model in every arithmetic of the table in docs/arithmetic.md: hardware against golden."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import hwgen
from benchmarks.table import ARITHMETICS, CALIBRATE, SAMPLES, hardware, models
from hwgen.engines.tools import run
from hwgen.formats.arithmetic import MULTIPLIERS
from hwgen.golden import multiply
from hwgen.rtl.arith import coded
from tests.conftest import SHIPPED

SIZE = 5  # designs in one simulator: compiling one alone takes seconds
GROUPS = [list(ARITHMETICS[k : k + SIZE]) for k in range(0, len(ARITHMETICS), SIZE)]
CYCLES = 2048
# Of 192 images; what the formats below keep of 0.96.
POOR = {"ternary": 0.7, "e2m1": 0.85, "mxfp4": 0.85}


def digits() -> tuple[Path, np.ndarray, np.ndarray]:
    with np.load(SHIPPED / "digits_mlp.npz") as data:
        return SHIPPED / "digits_mlp_float.onnx", data["inputs"], data["labels"]


def check(path: Path, inputs: np.ndarray, labels: np.ndarray, group: list[str]) -> None:
    """Every design decides as it should, and its Verilog gives the golden model's codes."""
    designs = {}
    for name in group:
        design = hwgen.compile(path, arith=name, calibrate=inputs[:CALIBRATE], cycles=CYCLES)
        scores = next(iter(design.golden(inputs[CALIBRATE:]).values()))
        decided = scores.reshape(len(scores), -1).argmax(axis=1)
        accuracy = (decided == labels[CALIBRATE:]).mean()
        assert accuracy >= POOR.get(name, 0.92), f"{name}: {accuracy:.3f}"
        designs[name] = design
    equal = hardware(list(designs.values()), inputs[-SAMPLES:])
    assert [name for name, same in zip(designs, equal, strict=True) if not same] == []


def test_tables_cover_every_multiplier() -> None:
    assert set(multiply.CODED) == set(coded.CODED) == set(MULTIPLIERS) - {"exact"}


@pytest.mark.model
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_digits(group: list[str]) -> None:
    check(*digits(), group)


if "HWGEN_MODELS" in os.environ:

    @pytest.mark.model
    def test_larger_model() -> None:
        (model,) = models(["d01"])
        group = ["e4m3fn", "e4m3fn:lmul", "bf16:pam", "bf16+an-1-2"]
        check(model.path, model.inputs, model.labels, group)


@pytest.mark.parametrize("arith", ["e2m1", "bf16", "e4m3fn:lmul+fp32", "bf16:pam+an-1-2", "mxfp4"])
def test_lint(arith: str, tmp_path: Path) -> None:
    """Verilator warns of nothing but what lint.vlt gives reasons for."""
    path, inputs, _ = digits()
    design = hwgen.compile(path, arith=arith, calibrate=inputs[:CALIBRATE], cycles=CYCLES)
    design.save(tmp_path / "design")
    files = ["lint.vlt", *(name for name in design.sources if name.endswith(".v"))]
    command = ["verilator", "--lint-only", "-Wall", "--top-module", design.config.name, *files]
    assert "%Warning" not in run(command, tmp_path / "design")
