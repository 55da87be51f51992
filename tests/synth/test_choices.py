"""What synthesis makes of layers without multipliers."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.back import verilog

import hwgen
from hwgen.formats import Bipolar, Int, Ternary
from hwgen.rtl.arith.dot import Dot
from hwgen.synth import Options, run
from tests.qdq import Builder

pytestmark = pytest.mark.synth


@pytest.mark.parametrize("target", ["xcup", "ecp5"])
def test_ternary_layer(target: str) -> None:
    """No DSP block where the flow may use them, and no multiplier in the figures."""
    b = Builder()
    x = b.quantize(b.input(1, 32), 0.05)
    codes = b.constant(b.rng.choice([-1, 0, 1], (32, 8)).astype(np.int8))
    y = b.op("MatMul", x, b.op("DequantizeLinear", codes, b.constant(np.float32(0.03))))
    design = hwgen.compile(b.model(y), cycles=32)
    assert design.multipliers == 0
    figures = design.synthesize(target, whole=True)
    assert figures.lut + figures.ff > 100
    assert figures.dsp == 0


@pytest.mark.parametrize("target", ["xcup", "ecp5"])
def test_choices_are_smaller(target: str) -> None:
    """At most three quarters of the lookup tables of 2-bit multipliers."""

    def size(fmt) -> int:
        text = verilog.convert(Dot(Int(8), fmt, 16), name="dot")
        return run({"dot.v": text}, "dot", Options(target, whole=True, extra="-nodsp")).lut

    multiplied = size(Int(2))
    assert max(size(Ternary()), size(Bipolar())) <= 0.75 * multiplied
