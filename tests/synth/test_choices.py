"""What synthesis makes of layers without multipliers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog

import hwgen
from hwgen.formats import Bipolar, Int, Ternary
from hwgen.rtl.arith.dot import Dot
from tests.qdq import Builder
from tests.yosys import ECP5, XCUP, luts, synthesize

pytestmark = pytest.mark.synth


@pytest.mark.parametrize(("flow", "block"), [(XCUP, "DSP48E2"), (ECP5, "MULT18X18D")])
def test_ternary_layer(flow: str, block: str, tmp_path: Path) -> None:
    """No DSP block where the flow may use them, and no multiplier in the figures."""
    b = Builder()
    x = b.quantize(b.input(1, 32), 0.05)
    codes = b.constant(b.rng.choice([-1, 0, 1], (32, 8)).astype(np.int8))
    y = b.op("MatMul", x, b.op("DequantizeLinear", codes, b.constant(np.float32(0.03))))
    design = hwgen.compile(b.model(y), cycles=32)
    assert design.multipliers == 0
    cells = synthesize(design.sources, design.config.name, flow, tmp_path)
    assert sum(cells.values()) > 100
    assert block not in cells


@pytest.mark.parametrize(("flow", "family"), [(XCUP, "xilinx"), (ECP5, "ecp5")])
def test_choices_are_smaller(flow: str, family: str, tmp_path: Path) -> None:
    """At most three quarters of the lookup tables of 2-bit multipliers."""

    def size(fmt) -> int:
        folder = tmp_path / str(fmt)
        folder.mkdir()
        text = verilog.convert(Dot(Int(8), fmt, 16), name="dot")
        return luts(synthesize({"dot.v": text}, "dot", f"{flow} -nodsp", folder), family)

    multiplied = size(Int(2))
    assert max(size(Ternary()), size(Bipolar())) <= 0.75 * multiplied
