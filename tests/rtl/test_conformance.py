"""ONNX's own node tests in Verilog, equal to the golden model."""

from __future__ import annotations

import functools

import pytest

from tests.conformance.cases import collect
from tests.conformance.outcome import Outcome, run
from tests.conformance.verilog import PARTS, parts, simulate


@functools.cache
def outcomes() -> list[Outcome]:
    return [run(case) for case in collect()]


@pytest.mark.parametrize("part", range(PARTS))
def test_verilog(part: int) -> None:
    chosen = parts(outcomes())[part]
    assert chosen
    simulate(chosen)
