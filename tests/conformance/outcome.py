"""What hwgen makes of a case: a right result, or a refusal. Anything else is an `AssertionError`.

Quantized ops: the outputs are the case's own, exactly. Float ops: the codes are, but at ties, those
of QuantizeLinear, the case's own model and QuantizeLinear again, by ONNX's reference evaluator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import hwgen
from hwgen.errors import HwgenError
from hwgen.golden.host import encode
from hwgen.ir import Graph
from tests.conformance.cases import HOSTED, Case, evaluate, paired

PASS, REFUSED, NOT_APPLICABLE = "pass", "refused", "not applicable"
FARTHEST = 8  # steps from the case's own outputs
TIE = 1e-3  # of a step: closer to a tie, float32 decides nothing


@dataclass
class Outcome:
    """`graph` and `codes` (one sample, in stream order) of a case that passes; `distance`: the
    greatest from the case's own float outputs, in steps of the output."""

    case: Case
    status: str
    message: str = ""
    graph: Graph | None = None
    codes: dict[str, np.ndarray] | None = None
    distance: float = 0.0


def run(case: Case) -> Outcome:
    """Build the case and compare the golden model's outputs."""
    if case.reason:
        return Outcome(case, NOT_APPLICABLE, case.reason)
    try:
        design = hwgen.compile(case.model)
        inputs = {port.name: case.inputs[port.name] for port in design.graph.inputs}
        got = design.golden(inputs)
    except HwgenError as error:
        return Outcome(case, REFUSED, _reason(str(error)))
    assert got.keys() == {value.name for value in case.model.graph.output}, case.name
    distance = 0.0
    for name, array in got.items():
        expected = case.expected[name]
        assert array.size == expected.size > 0, f"{case.name}: {array.shape}, {expected.shape}"
        array = array.reshape(expected.shape)
        if name in case.scales:
            distance = max(distance, _close(case, name, array))
        else:
            _equal(case, name, array)
    return Outcome(case, PASS, "", design.graph, encode(design.graph, inputs), distance)


def _reason(message: str) -> str:
    """The part of a refusal that says why, without the node's name."""
    lines = [line for line in message.splitlines() if line.startswith("  ")]
    reasons = [line.split("): ", 1)[1] for line in lines if "): " in line]
    return reasons[0] if reasons else " ".join(message.split())


def _close(case: Case, name: str, got: np.ndarray) -> float:
    """Check an output that the model quantizes; returns the greatest distance to the case's own,
    in steps."""
    scale, probe = case.scales[name], case.probes.get(name, 0)
    raw = _own(case, name).astype(np.float32) + probe
    off = np.abs(got - paired(raw, scale)) / scale
    part = np.abs(raw / scale - np.floor(raw / scale) - 0.5)
    assert off.max() in (0, 1), f"{case.name}: codes differ by {off.max()}"
    assert (part[off > 0] < TIE).all(), f"{case.name}: codes differ where there is no tie"
    assert (off > 0).sum() <= max(1, got.size // 256), f"{case.name}: {(off > 0).sum()} differ"
    far = float((np.abs(got - probe - case.expected[name].astype(np.float64)) / scale).max())
    assert far <= FARTHEST, f"{case.name}: {far} steps from the case's own output"
    return far


def _equal(case: Case, name: str, got: np.ndarray) -> None:
    """Check an output that is as it comes: the case's own, or where the host computes it from
    numbers that the model quantized, that of the case's model for those."""
    expected = _own(case, name) if case.op in HOSTED else case.expected[name]
    assert got.dtype == expected.dtype, f"{case.name}: {got.dtype}, not {expected.dtype}"
    if case.op in HOSTED and got.dtype.kind == "f":
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7, err_msg=case.name)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=case.name)


def _own(case: Case, name: str) -> np.ndarray:
    """An output of the case's own model for the numbers that the codes stand for."""
    return evaluate(case.own, case.feeds, name)
