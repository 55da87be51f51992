"""Verilog names from ONNX names."""

from __future__ import annotations

import re

KEYWORDS = frozenset(
    """always and assign begin buf case casex casez deassign default defparam disable edge else end
    endcase endfunction endmodule endtask event for force forever fork function if initial inout
    input integer join large logic medium module nand negedge nor not or output parameter posedge
    primitive pull0 pull1 real realtime reg release repeat scalared signed small specify strength
    strong0 strong1 supply0 supply1 table task time tri unsigned vectored wait wand weak0 weak1
    while wire wor xnor xor bit byte int string type var void""".split()
)


def identifier(name: str) -> str:
    """Letters, digits and single underscores, not starting with a digit, no keyword."""
    text = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "unnamed"
    return f"n_{text}" if text[0].isdigit() or text in KEYWORDS else text


def unique(name: str, taken: set[str]) -> str:
    """`name`, numbered if it is taken; takes it."""
    found, number = name, 1
    while found.lower() in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found.lower())
    return found
