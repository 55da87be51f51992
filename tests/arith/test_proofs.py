"""Proofs by Yosys' SAT solver: multipliers equal specifications in Verilog for all operands."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.back import verilog

from hwgen.errors import ToolError
from hwgen.formats import parse_arithmetic
from hwgen.rtl.arith.multiply import Multiplier
from hwgen.synth.yosys import run_yosys

# An exact product in fixed point, in units of 2**-18, rounded where the binade it lies in has its
# ulp; nothing of it is the hardware's.
E4M3 = """
module spec(input [7:0] i_x, input [7:0] i_w, output reg [7:0] o);
    wire [3:0] sig_x = {|i_x[6:3], i_x[2:0]}, sig_w = {|i_w[6:3], i_w[2:0]};
    wire [4:0] up_x = |i_x[6:3] ? i_x[6:3] - 1 : 0, up_w = |i_w[6:3] ? i_w[6:3] - 1 : 0;
    wire [7:0] sigs = sig_x * sig_w;
    wire [40:0] exact = {33'b0, sigs} << (up_x + up_w);
    reg [40:0] ulps, rest, half, found;
    integer e;
    always @* begin
        found = 0;
        for (e = 1; e < 24; e = e + 1) begin
            ulps = exact >> (e + 8);
            rest = exact - (ulps << (e + 8));
            half = 41'd1 << (e + 7);
            if (rest > half || (rest == half && ulps[0])) ulps = ulps + 1;
            // In this binade, or below the first: subnormal codes count ulps too.
            if (exact >> (e + 11) != 0 || e == 1) found = ulps + ((e - 1) << 3);
        end
        if (found > 126) found = LARGEST;
        o = {i_x[7] ^ i_w[7], found[6:0]};
        if (&i_x[6:0] || &i_w[6:0]) o = 8'h7f;
        else if (found == 127) o = OVERFLOW;
    end
endmodule
"""
INT8 = """
module spec(input signed [7:0] i_x, input signed [7:0] i_w, output signed [15:0] o);
    assign o = i_x * i_w;
endmodule
"""
PROOF = """
read_verilog spec.v unit.v
hierarchy
proc -norom
opt
miter -equiv -flatten spec unit miter
hierarchy -top miter
opt -full
sat -verify -prove trigger 0 miter
"""


def prove(spec: str, unit: Multiplier, folder: Path) -> str:
    """What Yosys prints; raises `ToolError` where the proof fails."""
    text = verilog.convert(unit, name="unit", emit_src=False, strip_internal_attrs=True)
    (folder / "spec.v").write_text(spec)
    (folder / "unit.v").write_text(text)
    return run_yosys(PROOF.strip().splitlines(), folder)


def e4m3(saturate: bool) -> str:
    """The specification of e4m3fn with saturation, or with NaN above the largest number."""
    return E4M3.replace("LARGEST", "126" if saturate else "127").replace(
        "OVERFLOW", "8'h7e" if saturate else "{i_x[7] ^ i_w[7], 7'h7f}"
    )


@pytest.mark.parametrize(
    ("name", "saturate", "spec"),
    [("e4m3fn", True, e4m3(True)), ("e4m3fn", False, e4m3(False)), ("int8", True, INT8)],
)
def test_equal_to_the_specification(name: str, saturate: bool, spec: str, tmp_path: Path) -> None:
    printed = prove(spec, Multiplier(parse_arithmetic(name), saturate=saturate), tmp_path)
    assert "SAT proof finished - no model found: SUCCESS!" in printed


def test_a_difference_is_found(tmp_path: Path) -> None:
    """A proof that can't fail proves nothing."""
    wrong = INT8.replace("i_x * i_w", "i_x * i_w + (i_x == 77 && i_w == -3)")
    with pytest.raises(ToolError, match="Yosys failed"):
        prove(wrong, Multiplier(parse_arithmetic("int8")), tmp_path)
