"""What synthesis makes of float multiply-adds and of approximate normalization."""

from __future__ import annotations

import os

import pytest
from amaranth.back import verilog
from amaranth.lib import wiring

from hwgen.formats import Approximate, parse
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.fma import ApproximateFma, Fma
from hwgen.synth import Options, run
from hwgen.synth.library import fast_flow, find_liberty, gate_counts
from hwgen.synth.yosys import whole

pytestmark = pytest.mark.synth
FLOW = Options("xcup", whole=True, extra="-nodsp -nosrl")
BF16, FP32 = parse("bf16"), parse("fp32")


def text(unit: wiring.Component) -> dict[str, str]:
    return {"unit.v": verilog.convert(unit, name="unit", emit_src=False)}


def size(unit: wiring.Component) -> int:
    return run(text(unit), "unit", FLOW).lut


def test_multiply_adds() -> None:
    """Lookup tables of bf16, flushed and with subnormals, and of bf16 products in fp32."""
    assert size(Fma(BF16, BF16, BF16, flush=True)) <= 340
    assert size(Fma(BF16, BF16, BF16)) <= 360
    assert size(Fma(FP32, BF16, BF16)) <= 700


PSUM = Approximate(1, 2)
EXACT = {"counted": (True, False), "anticipated": (True, True)}  # exact, anticipate


def fused(exact: bool = False, anticipate: bool = False, for_gates: bool = False) -> ApproximateFma:
    return ApproximateFma(PSUM, BF16, BF16, 0, True, exact, for_gates, anticipate)


def test_approximate_normalization() -> None:
    """At least 5 % fewer lookup tables than the smaller of both exact normalizations."""
    exact = [size(fused(*how)) for how in EXACT.values()]
    assert size(fused()) <= 0.95 * min(exact), exact


if liberty := os.environ.get("HWGEN_LIBERTY"):  # there is nothing to test without

    def unit(name: str, exact: bool = False, anticipate: bool = False) -> wiring.Component:
        if name == "multiply-add":
            return fused(exact, anticipate, for_gates=True)
        return ApproximateAdd(PartialSum(PSUM, 0), 0, exact, name == "prefix adder", anticipate)

    @pytest.mark.parametrize(
        ("name", "area", "product"),
        [("adder", 0.92, 0.9), ("prefix adder", 0.95, 0.85), ("multiply-add", 0.95, 0.85)],
    )
    def test_approximate_normalization_in_gates(name: str, area: float, product: float) -> None:
        """Area, and area times delay, as parts of the least of both exact normalizations: most of
        the multiplier's area is the same."""
        library, found = find_liberty(liberty), {}
        for how, options in {"an": (False, False), **EXACT}.items():
            cells, _ = whole(text(unit(name, *options)), "unit", fast_flow(library))
            figures = gate_counts(cells, library)
            found[how] = figures["area_um2"], figures["delay_ps"]
        least, delay = found.pop("an")
        assert least <= area * min(a for a, _ in found.values()), found
        assert least * delay <= product * min(a * d for a, d in found.values()), found
