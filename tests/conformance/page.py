"""docs/conformance.md: what became of every case."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from tests.conformance.cases import OPS, QUANTIZED
from tests.conformance.outcome import FARTHEST, NOT_APPLICABLE, PASS, REFUSED, Outcome
from tests.conformance.verilog import SAMPLES, computes

PATH = Path(__file__).parents[2] / "docs" / "conformance.md"
VERSION = f"onnx {onnx.__version__}"

HEAD = f"""# Conformance

The backend node tests of {VERSION} (`onnx.backend.test.case.node`), one by one. `make conformance`
runs them and writes this page; the tests run them too, and compare the page.

A case keeps its node, its attributes and its opset. Around it:

- its first input, or every input of Mul, Sub, Add, Div, Min, Max and Concat, becomes an input of
  the model, the rest constants. These ops (but for Concat) are tried a second time with the first
  input only: "constants";
- hardware takes one sample at a time. An input without a batch axis of 1 gets one in front, and a
  Squeeze that removes it, so that the whole case is one sample;
- float ops run in fixed point: inputs, outputs and the weights of Conv, ConvTranspose, Gemm and
  MatMul are int8 with zero point 0, and their scale is the least power of two whose codes reach the
  greatest magnitude of the case's own data. What Softmax and ArgMax give stays as the host computes
  it, and what Pad pads with is rounded to a code. Upsample's opset has no QuantizeLinear: it works
  on the codes;
- outputs that are known when the model is compiled (Constant, ConstantOfShape, Range, Shape, Where)
  are added to an input.

A case passes where the golden model gives

- for the quantized ops, the case's own outputs exactly;
- for the float ops, the codes of ONNX's reference evaluator: QuantizeLinear and DequantizeLinear of
  the inputs, the case's own model, QuantizeLinear of its outputs. At a tie of rounding a code may
  be off by one step, in one element or 1 of 256. Softmax may be off by a part in 100,000.

The last column is how far the outputs are from the case's own, which are of floats that nothing
quantized, in steps of the output. More than {FARTHEST} steps fail.

Where the hardware does more than to pass its input on, Verilog simulations must also give the codes
of the golden model, for the case's inputs and {SAMPLES - 1} random ones: the number in brackets.

Refused means one message and no hardware, the message below. Nothing may give a wrong result.

| op | cases | pass (in Verilog) | refused | not applicable | steps |
|---|---|---|---|---|---|
"""


def page(outcomes: list[Outcome]) -> str:
    """The whole page."""
    rows = [_row(op, [o for o in outcomes if o.case.op == op]) for op in OPS]
    total = _row("all", outcomes)
    text = HEAD + "\n".join([*rows, total]) + "\n"
    for status, title in ((REFUSED, "Refused"), (NOT_APPLICABLE, "Not applicable")):
        text += f"\n## {title}\n\n| op | cases | message |\n|---|---|---|\n"
        groups: dict[tuple[str, str], list[str]] = {}
        for outcome in outcomes:
            if outcome.status == status:
                key = (outcome.case.op, outcome.message)
                groups.setdefault(key, []).append(outcome.case.name)
        for (op, message), names in groups.items():
            text += f"| {op} | {'; '.join(names)} | {message.replace('|', chr(92) + '|')} |\n"
    return text


def _row(op: str, outcomes: list[Outcome]) -> str:
    count = Counter(o.status for o in outcomes)
    simulated = sum(map(computes, outcomes))
    passed = f"{count[PASS]} ({simulated})" if simulated else f"{count[PASS]}"
    far = max((o.distance for o in outcomes), default=0)
    steps = f"{far:.1f}" if far and op not in QUANTIZED.split() else ""
    counts = f"{len(outcomes)} | {passed} | {count[REFUSED]} | {count[NOT_APPLICABLE]}"
    return f"| {op} | {counts} | {steps} |"
