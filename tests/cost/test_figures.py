"""The one type of all figures: sums and JSON."""

from __future__ import annotations

import json
from dataclasses import fields

from hwgen.cost.figures import Figures, total

ONE = Figures("activity", "asic", "by hand", ff=1, area_um2=10.0, energy={"MAC": 1.0})
TWO = Figures("activity", "asic", "by hand", ff=2, area_um2=5.0, energy={"MAC": 2.0, "clock": 3.0})


def test_sums() -> None:
    sums = total([ONE, TWO])
    assert (sums["ff"], sums["area_um2"], sums["lut"]) == (3, 15.0, None)
    assert sums["energy"] == {"MAC": 3.0, "clock": 3.0}


def test_longest_delay() -> None:
    parts = [Figures("synthesis", "asic", "", delay_ps=d) for d in (5.0, None, 7.0)]
    assert total(parts)["delay_ps"] == 7.0
    assert total([ONE])["delay_ps"] is None


def test_json() -> None:
    """One object with every key, null for what is not known, and the same for each node."""
    design = Figures("activity", "asic", "by hand", **total([ONE, TWO]), nodes={"a": ONE, "b": TWO})
    found = json.loads(design.to_json())
    names = {f.name for f in fields(Figures)}
    assert set(found) == names
    assert {key for node in found["nodes"].values() for key in node} == names - {"nodes"}
    assert (found["ff"], found["dsp"], found["nodes"]["b"]["energy"]["clock"]) == (3, None, 3.0)
