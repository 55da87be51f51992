"""What synthesis makes of float multiply-adds and of approximate normalization."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.lib import wiring

from hwgen.formats import Approximate, parse
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.fma import ApproximateFma, Fma
from tests.yosys import XCUP, gates, luts, synthesize

pytestmark = pytest.mark.synth
FLOW = f"{XCUP} -nodsp -nosrl"
BF16, FP32 = parse("bf16"), parse("fp32")


def text(unit: wiring.Component) -> dict[str, str]:
    return {"unit.v": verilog.convert(unit, name="unit", emit_src=False)}


def size(unit: wiring.Component, folder: Path) -> int:
    folder.mkdir()
    return luts(synthesize(text(unit), "unit", FLOW, folder), "xilinx")


def test_multiply_adds(tmp_path: Path) -> None:
    """Lookup tables of bf16, flushed and with subnormals, and of bf16 products in fp32."""
    assert size(Fma(BF16, BF16, BF16, flush=True), tmp_path / "flush") <= 340
    assert size(Fma(BF16, BF16, BF16), tmp_path / "full") <= 360
    assert size(Fma(FP32, BF16, BF16), tmp_path / "mixed") <= 700


def fused(exact: bool, for_gates: bool = False) -> ApproximateFma:
    return ApproximateFma(Approximate(1, 2), BF16, BF16, 0, True, exact, for_gates)


def test_approximate_normalization(tmp_path: Path) -> None:
    """At least 5 % fewer lookup tables than exact normalization."""
    assert size(fused(False), tmp_path / "an") <= 0.95 * size(fused(True), tmp_path / "exact")


if liberty := os.environ.get("HWGEN_LIBERTY"):  # there is nothing to test without

    @pytest.mark.parametrize("multiply", [False, True])
    def test_approximate_normalization_in_gates(multiply: bool, tmp_path: Path) -> None:
        """Adders: at least 8 % less area than with exact normalization, 15 % less area times delay;
        with the multiplier, most of whose area is the same, 5 % and 15 %."""
        found = []
        for exact in (False, True):
            folder = tmp_path / str(exact)
            folder.mkdir()
            adder = PartialSum(Approximate(1, 2), 0)
            sources = text(fused(exact, True) if multiply else ApproximateAdd(adder, exact=exact))
            found.append(gates(sources, "unit", str(liberty), folder))
        (area, delay), (most, slow) = found
        assert area <= (0.95 if multiply else 0.92) * most, found
        assert area * delay <= 0.85 * most * slow, found
