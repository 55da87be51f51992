"""ONNX's own node tests: each gives a right result or is refused, and docs/conformance.md says
which."""

from __future__ import annotations

import functools

import pytest

from tests.conformance.cases import OPS, Case, collect
from tests.conformance.outcome import REFUSED, run
from tests.conformance.page import PATH, page


@functools.cache
def cases() -> list[Case]:
    return collect()


@pytest.mark.parametrize("op", OPS)
def test_cases(op: str) -> None:
    for case in cases():
        if case.op == op:
            outcome = run(case)
            assert outcome.message or outcome.status != REFUSED, case.name


def test_page() -> None:
    assert PATH.read_text() == page([run(case) for case in cases()]), "run make conformance"
