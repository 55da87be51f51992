"""Our power of units beside OpenSTA's at the same activity, in the library $HWGEN_LIBERTY or
Debian's: `apt install opensta`. How the two are put together is said in tests/opensta.py.

Columns: gates; pJ per cycle with delays; our switching, internal, leakage and total over OpenSTA's;
the total where tables without a condition are added to the others, as OpenSTA does.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.characterize import TOP, Case, codes, unit_case
from hwgen.cost.gates import timing
from hwgen.cost.liberty import Library
from hwgen.cost.power import gate_power
from hwgen.emit.verilog import unit_sources
from hwgen.engines.gates import simulate
from hwgen.formats import Approximate, parse, parse_arithmetic
from hwgen.rtl.arith.fma import ApproximateFma
from hwgen.synth.gates import gate_netlist
from hwgen.synth.library import find_liberty
from tests.opensta import look, measured, reference

UNITS = (
    ("int8 MAC", "mac", "int8"),
    ("bf16 multiplier", "mul", "bf16"),
    ("e4m3fn multiplier", "mul", "e4m3fn"),
    ("e4m3fn L-Mul", "mul", "e4m3fn:lmul"),
)


def approximate() -> Case:
    """A multiply-add of bf16 with approximate normalization; the addend's bits at random."""
    bf16 = parse("bf16")
    unit = ApproximateFma(Approximate(1, 2), bf16, bf16, gates=True)
    operands = {"i_a": codes(bf16, True, True, 0), "i_b": codes(bf16, True, False, 1)}
    bits = parse_arithmetic(f"int{unit.shape.layout.size}").x
    return Case(unit_sources(unit, TOP), {"real": operands | {"i_c": codes(bits, False, False, 2)}})


def row(name: str, case: Case, library: Library) -> list[str]:
    """One unit's."""
    netlist = gate_netlist(case.sources, TOP, library)
    times = timing(netlist)
    period = 1.05 * times.path
    activity = simulate(netlist, case.operands["real"], times, period)
    ours = measured(gate_power(netlist, times, activity), period)
    with tempfile.TemporaryDirectory() as folder:
        seen = look(netlist, Path(folder))
    theirs, added = (reference(netlist, seen, activity, period, d) for d in (False, True))
    pairs = [(getattr(ours, p), getattr(theirs, p)) for p in ("switching", "internal", "leakage")]
    pairs += [(ours.total, theirs.total), (ours.total, added.total)]
    ratios = (f"{mine / other:.3f}" for mine, other in pairs)
    return [name, f"{len(netlist.names):,}", f"{ours.total:.2f}", *ratios]


def main() -> None:
    """Prints the table."""
    library = find_liberty(os.environ.get("HWGEN_LIBERTY"))
    print(f"{library.name}\n")
    header = ["unit", "gates", "pJ", "switching", "internal", "leakage", "total", "as it adds"]
    print(f"| {' | '.join(header)} |\n|{' - |' * len(header)}")
    made = {name: unit_case(kind, parse_arithmetic(spec)) for name, kind, spec in UNITS}
    for name, case in {**made, "an-1-2 multiply-add": approximate()}.items():
        print(f"| {' | '.join(row(name, case, library))} |", flush=True)


if __name__ == "__main__":
    main()
