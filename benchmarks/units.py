"""Sizes of arithmetic units in one flow, beside goals and public RTL: part of `make bench`.

xcup: `synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -nosrl -flatten`; ecp5: `synth_ecp5
-nodsp`, LUT4 and two for each CCU2C. Units are combinational. Public RTL is that of CVFPU
(fpnew_fma), MX-for-FPGA and a synthesizer's own `*`, in the same flow. Gates need a liberty file,
$HWGEN_LIBERTY.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

from hwgen.formats import Approximate, parse, parse_arithmetic
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.fma import ApproximateFma, Fma
from hwgen.rtl.arith.multiply import Multiplier
from tests.yosys import gates, luts, synthesize

XCUP = "synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -nosrl -flatten"
ECP5 = "synth_ecp5 -nodsp"
BF16, FP32 = parse("bf16"), parse("fp32")
PSUM = Approximate(1, 2)


def _multiplier(spec: str, **options) -> Callable[[], wiring.Component]:
    return lambda: Multiplier(parse_arithmetic(spec), **options)


def _dot(spec: str, lanes: int) -> Callable[[], wiring.Component]:
    arith = parse_arithmetic(spec)
    return lambda: Dot(arith.x, arith.w, lanes, arith, 0)


# (unit, what makes it, most LUTs that are wanted, LUTs of public RTL of the same contract)
UNITS: tuple[tuple[str, Callable[[], wiring.Component], int | None, int | None], ...] = (
    ("int8 multiplier", _multiplier("int8"), 90, 134),
    ("e4m3fn multiplier, OCP", _multiplier("e4m3fn", saturate=False), 91, None),
    ("e4m3fn multiplier, flushed", _multiplier("e4m3fn", flush=True), 39, None),
    ("e4m3fn L-Mul", _multiplier("e4m3fn:lmul"), 27, None),
    ("e4m3fn PAM", _multiplier("e4m3fn:pam"), None, None),
    ("bf16 multiplier, flushed", _multiplier("bf16", flush=True), None, None),
    ("bf16 L-Mul", _multiplier("bf16:lmul"), 59, None),
    ("bf16 PAM", _multiplier("bf16:pam"), None, None),
    ("bf16 multiply-add, flushed", lambda: Fma(BF16, BF16, BF16, flush=True), 396, None),
    ("bf16 multiply-add, IEEE 754", lambda: Fma(BF16, BF16, BF16), 599, 599),
    ("bf16 * bf16 + fp32, IEEE 754", lambda: Fma(FP32, BF16, BF16), None, 1217),
    (
        "bf16 multiply-add, exact normalization",
        lambda: ApproximateFma(PSUM, BF16, BF16, flush=True, exact=True),
        None,
        None,
    ),
    (
        "bf16 multiply-add, an-1-2",
        lambda: ApproximateFma(PSUM, BF16, BF16, flush=True),
        None,
        None,
    ),
    ("int8 dot product of 32", _dot("int8", 32), 110 * 32, 5458),
    ("e2m1 dot product of 32", _dot("e2m1", 32), 900, 1343),
    ("e4m3fn dot product of 4", _dot("e4m3fn", 4), 560, 590),
)


def _text(unit: wiring.Component) -> dict[str, str]:
    return {"unit.v": verilog.convert(unit, name="unit", emit_src=False)}


def _cell(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def sizes() -> Iterator[list[str]]:
    """Rows: unit, LUTs of xcup, the goal, public RTL, LUTs of ecp5."""
    for name, make, goal, public in UNITS:
        found = []
        for flow, family in ((XCUP, "xcup"), (ECP5, "ecp5")):
            with tempfile.TemporaryDirectory() as folder:
                cells = synthesize(_text(make()), "unit", flow, Path(folder))
            found.append(luts(cells, family))
        yield [name, _cell(found[0]), _cell(goal), _cell(public), _cell(found[1])]


def normalization() -> Iterator[list[str]]:
    """Rows: unit, area, delay and their product with exact and with approximate normalization."""
    liberty = os.environ["HWGEN_LIBERTY"]
    shape = PartialSum(PSUM, 0)
    pairs = (
        ("adder", lambda exact: ApproximateAdd(shape, exact=exact)),
        (
            "bf16 multiply-add",
            lambda exact: ApproximateFma(PSUM, BF16, BF16, 0, True, exact, gates=True),
        ),
    )
    for name, make in pairs:
        found = []
        for exact in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                found.append(gates(_text(make(exact)), "unit", liberty, Path(folder)))
        (most, slow), (area, delay) = found
        yield [
            name,
            f"{most:,.0f}, {slow / 1000:.2f} ns",
            f"{area:,.0f}, {delay / 1000:.2f} ns",
            f"{area / most - 1:+.1%}",
            f"{area * delay / most / slow - 1:+.1%}",
        ]
