"""Run every case, in Verilog too, and write docs/conformance.md."""

from __future__ import annotations

from collections import Counter

from tests.conformance.cases import collect
from tests.conformance.outcome import run
from tests.conformance.page import PATH, page
from tests.conformance.verilog import parts, simulate

outcomes = [run(case) for case in collect()]
for part in parts(outcomes):
    simulate(part)
PATH.write_text(page(outcomes))
print(f"{PATH}:", *(f"{n} {status}," for status, n in Counter(o.status for o in outcomes).items()))
