"""Place and route: the clock, what does not fit, and time."""

from __future__ import annotations

import pytest

from hwgen.cost.figures import Figures
from hwgen.errors import ToolError
from hwgen.synth import TARGETS, DoesNotFitError, Options, run
from hwgen.synth.place import _explain, without_pins
from hwgen.synth.run import _advice

pytestmark = pytest.mark.synth
# Multipliers with registers on all sides.
TEXT = """
module unit(input clk, input signed [17:0] x, output reg signed [35:0] y);
  reg signed [17:0] a, b;
  always @(posedge clk) begin a <= x; b <= a; y <= a * b; end
endmodule
module top(input clk, input signed [17:0] x, output signed [35:0] y);
  wire signed [35:0] INSTANCES;
  assign y = SUM;
UNITS
endmodule
"""


def multipliers(count: int) -> dict[str, str]:
    names = [f"y{k}" for k in range(count)]
    units = "".join(
        f"  unit u{k} (\n    .clk(clk), .x(x ^ 18'd{k}), .y(y{k})\n  );\n" for k in range(count)
    )
    text = TEXT.replace("INSTANCES", ", ".join(names)).replace("SUM", " | ".join(names))
    return {"top.v": text.replace("UNITS", units)}


def test_ecp5() -> None:
    found = run(multipliers(2), "top", Options("ecp5", "25k", place=True))
    assert (found.level, found.target, found.dsp) == ("placed", "ecp5", 2)
    assert found.fmax_mhz > 50
    assert found.utilisation["MULT18X18D"] == (2, 28)
    assert "nextpnr" in found.source
    assert found.nodes["u0"].level == "synthesis"


def test_too_large() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        run(multipliers(30), "top", Options("ecp5", "25k", place=True))
    assert caught.value.over == {"MULT18X18D": (30, 28)}
    assert "MULT18X18D 30 of 28, 2 too many; u0 holds 3% of the DSPs: fold it" in str(caught.value)


def test_time_runs_out() -> None:
    with pytest.raises(ToolError, match=r"longer than 0.1 s: give more time with --limit"):
        run(multipliers(3), "top", Options("ecp5", "25k", whole=True, place=True, limit=0.1))


LOG = """Info: Device utilisation:
Info: \t         ICESTORM_LC:    6658/   5280   126%
Info: \t        ICESTORM_RAM:      12/     30    40%
ERROR: Unable to place cell 'x', no BELs remaining to implement cell type 'ICESTORM_LC'
"""


def test_what_is_too_large() -> None:
    found = _explain(LOG, "ice40 up5k")
    assert str(found) == (
        "the design does not fit ice40 up5k: ICESTORM_LC 6,658 of 5,280, 1,378 too many"
    )
    other = _explain("Info: a\nERROR: no such thing\n", "ice40 up5k")
    assert str(other) == "nextpnr failed: no such thing"
    assert not isinstance(other, DoesNotFitError)


@pytest.mark.parametrize(
    ("resource", "kind", "title"),
    [("ICESTORM_LC", "lut", "LUT"), ("ICESTORM_RAM", "bram", "BRAM"), ("OXIDE_FF", "ff", "FF")],
)
def test_advice(resource: str, kind: str, title: str) -> None:
    nodes = {
        name: Figures("synthesis", "ice40", "", **{"lut": 0, "ff": 0, "bram": 0, kind: n})
        for name, n in (("small", 10), ("large", 30))
    }
    found = _advice({resource: (9, 8)}, TARGETS["ice40"], None, nodes)
    assert f"large holds 75% of the {title}s: fold it further" in found
    assert found.endswith("choose another device (hx8k)")
    assert _advice({resource: (9, 8)}, TARGETS["ice40"], "hx8k", {}).startswith("fold it further")


def test_netlists_without_pins() -> None:
    """Ports go, and what begins a carry chain with a constant is left open."""
    ways = {"CIN": "input"}
    cells = {
        "low": {"type": "VLO", "connections": {"Z": [7]}},
        **{
            name: {"type": "CCU2", "connections": {"CIN": [bit]}, "port_directions": dict(ways)}
            for name, bit in (("a", 7), ("b", "0"), ("c", 8))
        },
    }
    design = {"creator": "x", "modules": {"top": {"ports": {"p": {}}, "cells": cells}, "lib": {}}}
    found = without_pins(design, "top")
    assert list(found["modules"]) == ["top"]
    assert found["modules"]["top"]["ports"] == {}
    open_ = [n for n, c in cells.items() if c["type"] == "CCU2" and not c["connections"]]
    assert open_ == ["a", "b"]
