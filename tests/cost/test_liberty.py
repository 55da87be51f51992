"""Reading liberty files, with a library of our own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hwgen.cost.boolean import truth
from hwgen.cost.gates import Kind
from hwgen.cost.liberty import read_liberty
from hwgen.cost.power import leakages, shares
from hwgen.cost.tables import Table
from hwgen.errors import ConfigError
from tests.gates import TINY, netlist, tiny


def test_library() -> None:
    library = tiny()
    library.check()
    assert (library.name, library.voltage, library.date) == ("tiny", 2.0, "2025-01-01")
    nand = library.cells["NAND2"]
    assert (nand.area, nand.inputs, nand.outputs) == (2, ["A", "B"], ["Y"])
    assert [nand.pins[pin].capacitance for pin in "AB"] == [0.01, 0.012]
    assert nand.leakages == (("A*B", 4.0), ("!A*B", 3.0), ("A*!B", 2.0))
    flop = library.cells["DFF"]
    assert flop.pins["CLK"].clock
    assert (flop.flop.state, flop.flop.clocked_on, flop.flop.next_state) == ("IQ", "CLK", "D")
    assert [power.related for power in library.cells["NOR2"].pins["Y"].powers] == ["A", "B"]
    senses = [(arc.related, arc.sense) for arc in library.cells["XOR2"].pins["Y"].arcs]
    assert senses == [("A", 1), ("A", -1), ("B", 1), ("B", -1)]


@pytest.mark.parametrize(
    "text, values",
    [
        ("!A+B", [1, 0, 1, 1]),
        ("(A B)'", [1, 1, 1, 0]),
        ("A ^ B", [0, 1, 1, 0]),
        ("A&!B | !A*B", [0, 1, 1, 0]),
        ("!(A+B')", [0, 0, 1, 0]),
        ("!A !B", [1, 0, 0, 0]),
        ("A^B*A", [0, 1, 0, 0]),
        ("1", [1, 1, 1, 1]),
    ],
)
def test_functions(text: str, values: list[int]) -> None:
    assert truth(text, ["A", "B"]).astype(int).tolist() == values


@pytest.mark.parametrize("text", ["A+", "(A", "A)", "C", "A @ B", ""])
def test_wrong_functions(text: str) -> None:
    with pytest.raises(ValueError, match="function"):
        truth(text, ["A", "B"])


def test_tables() -> None:
    """Between points and beyond them, in either order of axes."""
    table = Table(np.array([0, 0.2]), np.array([0, 0.1]), np.array([[1, 2], [3, 8.0]]))
    assert table.at(0.1, 0.05) == pytest.approx(3.5)
    assert table.at(0, 0.2) == pytest.approx(3)
    assert table.at([0.4, 0.2], 0).tolist() == pytest.approx([5, 3])
    (power,) = tiny().cells["BUF"].pins["Y"].powers  # 0.004 + 0.01 slew + 0.04 load, loads first
    assert power.rise.at(0.1, 0.05) == pytest.approx(0.007)
    assert power.fall.at(0.1, 0.05) == pytest.approx(0.004)


def test_units(tmp_path: Path) -> None:
    """The same library in other units."""
    text = TINY.read_text()
    for old, new in (("1ns", "10ps"), ('"1V"', '"100mV"'), ('"1nW"', '"1uW"'), ("1, pf", "2, ff")):
        text = text.replace(old, new)
    (tmp_path / "other.lib").write_text(text)
    library = read_liberty(tmp_path / "other.lib")
    pin = library.cells["INV"].pins["Y"]
    assert library.voltage == pytest.approx(0.2)
    assert library.cells["INV"].pins["A"].capacitance == pytest.approx(0.01 * 2e-3)
    assert library.cells["INV"].leakages[0][1] == pytest.approx(1000)
    assert pin.powers[0].rise.at(0, 0) == pytest.approx(0.003 * 2e-3 * 0.01)
    assert pin.arcs[0].rise.at(0, 0) == pytest.approx(0.05 * 0.01)
    assert pin.arcs[0].rise.at(0.002, 0) == pytest.approx(0.15 * 0.01)


def test_states() -> None:
    library = tiny()
    nand, xor, flop = (Kind(library, library.cells[name]) for name in ("NAND2", "XOR2", "DFF"))
    assert leakages(nand).tolist() == [1, 2, 3, 4]
    assert leakages(xor).tolist() == [5, 6, 5, 5]  # when names the output
    powers = flop.cell.pins["CLK"].powers  # states: CLK, D, what it holds
    d, q = flop.where("D"), flop.where("Q")
    for power, share in zip(powers, shares(flop, powers), strict=True):
        holds = flop.where(power.when) if power.when else ~d & ~q
        assert share.tolist() == holds.tolist()


BAD = {
    "no library group": ("library (tiny)", "libary (tiny)", "no liberty file"),
    "brace": ("  cell (INV) {", "  cell (INV) { {", "no liberty file"),
    "brace not closed": ("  cell (INV) {", "  cell (INV) { pin (B) {", "brace is not closed"),
    "unit": ("1nW", "1nX", "unit '1nX' is not known"),
    "no voltage": (re.compile("(nom_)?voltage : 2;"), "", "says no nom_voltage"),
    "number": ("area : 1;", "area : large;", "damaged: could not convert"),
    "shape": ('"0.05, 0.1, 0.15"', '"0.05, 0.1"', "no liberty file, or it is damaged"),
    "no inverter": ('"!A"', '"A"', "has no cell that is an inverter"),
    "no flip-flop": (re.compile(r"ff \("), "latch (", "has no cell that is a flip-flop"),
    "no gate": (
        re.compile(r"\(A B\)'|!\(A\+B\)"),
        "A*B",
        "has no cell that is a NAND or NOR gate of two inputs",
    ),
    "no power": ("internal_power", "other_group", "cell INV has no internal_power tables"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_library(case: str, tmp_path: Path) -> None:
    old, new, message = BAD[case]
    text = TINY.read_text()
    text = old.sub(new, text) if isinstance(old, re.Pattern) else text.replace(old, new)
    (tmp_path / "bad.lib").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_liberty(tmp_path / "bad.lib").check()
    assert "bad.lib" in str(caught.value)


def test_library_cut_short(tmp_path: Path) -> None:
    """Anywhere, inside a long string too: an error at once."""
    text = TINY.read_text()
    inside = text.index('values ("') + 12
    many = text[:inside] + "0.1, " * 10_000
    for cut in (text[: len(text) // 2], text[:inside], many):
        (tmp_path / "cut.lib").write_text(cut)
        with pytest.raises(ConfigError, match=r"cut.lib is no liberty file, or it is damaged"):
            read_liberty(tmp_path / "cut.lib")


def test_missing_library(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read the cell library .*none.lib: No such file"):
        read_liberty(tmp_path / "none.lib")


@pytest.mark.parametrize(
    "cells, message",
    [
        ("LATCH.l D=a E=a Q=y", "cell LATCH can't be simulated: it has a latch group"),
        ("AND9.g A=a Y=y", "has no cell AND9"),
        ("NAND2.g A=a B=y Y=n; INV.h A=n Y=y", "combinational loop through [gh]"),
        ("DFF.f CLK=a D=a Q=y", "not clocked by the port clk"),
    ],
)
def test_bad_netlist(cells: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = netlist("clk a", "y", cells).ranks
