"""Sizes of arithmetic units in one flow, beside goals and public RTL: part of `make bench`.

xcup: `synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -nosrl -flatten`; ecp5: `synth_ecp5
-nodsp`, LUT4 and two for each CCU2C. Units are combinational. Public RTL is that of CVFPU
(fpnew_fma), MX-for-FPGA and a synthesizer's own `*`, in the same flow. Gates need a liberty file,
$HWGEN_LIBERTY.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from amaranth.back import verilog
from amaranth.lib import wiring

from hwgen.formats import Approximate, parse, parse_arithmetic
from hwgen.rtl.arith.approximate import ApproximateAdd, PartialSum
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.fma import ApproximateFma, Fma
from hwgen.rtl.arith.multiply import Multiplier
from hwgen.synth import Options, run
from hwgen.synth.library import fast_flow, find_liberty, gate_counts
from hwgen.synth.yosys import whole

XCUP = Options("xcup", whole=True, extra="-nodsp -nosrl")
ECP5 = Options("ecp5", whole=True, extra="-nodsp")
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
        "bf16 multiply-add, exact, anticipated",
        lambda: ApproximateFma(PSUM, BF16, BF16, flush=True, exact=True, anticipate=True),
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
        found = [run(_text(make()), "unit", options).lut for options in (XCUP, ECP5)]
        yield [name, _cell(found[0]), _cell(goal), _cell(public), _cell(found[1])]


def normalization() -> Iterator[list[str]]:
    """Rows: unit, area and delay with exact normalization by leading zeros counted, by leading
    zeros anticipated and with approximate normalization; what that saves of the lesser of both, in
    area and in area times delay."""
    library = find_liberty(os.environ["HWGEN_LIBERTY"])
    shape = PartialSum(PSUM, 0)
    units: tuple[tuple[str, Callable[[bool, bool], wiring.Component]], ...] = (
        ("adder", lambda *how: ApproximateAdd(shape, 0, how[0], False, how[1])),
        ("prefix adder", lambda *how: ApproximateAdd(shape, 0, how[0], True, how[1])),
        (
            "bf16 multiply-add",
            lambda *how: ApproximateFma(PSUM, BF16, BF16, 0, True, how[0], True, how[1]),
        ),
    )
    for name, make in units:
        found = []
        for how in ((True, False), (True, True), (False, False)):
            cells, _ = whole(_text(make(*how)), "unit", fast_flow(library))
            figures = gate_counts(cells, library)
            found.append((figures["area_um2"], figures["delay_ps"]))
        *exact, (area, delay) = found
        least, best = min(a for a, _ in exact), min(a * d for a, d in exact)
        yield [
            name,
            *(f"{a:,.0f}, {d / 1000:.2f} ns" for a, d in found),
            f"{area / least - 1:+.1%}",
            f"{area * delay / best - 1:+.1%}",
        ]
