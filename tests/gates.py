"""Netlists of the tiny library's cells, made by hand."""

from __future__ import annotations

from pathlib import Path

from hwgen.cost.gates import Netlist
from hwgen.cost.liberty import Library, read_liberty

TINY = Path(__file__).parent / "tiny.lib"


def tiny() -> Library:
    return read_liberty(TINY)


def netlist(inputs: str, outputs: str, cells: str, library: Library | None = None) -> Netlist:
    """Ports of one bit by name; cells as `CELL.name A=net Y=net; ...`, where 0 and 1 are nets
    too."""
    numbers = {"0": "0", "1": "1"}

    def bit(name: str) -> int | str:
        return numbers.setdefault(name, len(numbers))

    ports = {
        name: {"direction": direction, "bits": [bit(name)]}
        for direction, names in (("input", inputs), ("output", outputs))
        for name in names.split()
    }
    found = {}
    for text in cells.split(";"):
        first, *pins = text.split()
        kind, name = first.split(".")
        joined = dict(pin.split("=") for pin in pins)
        connections = {pin: [bit(net)] for pin, net in joined.items()}
        found[name] = {"type": kind, "connections": connections}
    return Netlist(library or tiny(), {"ports": ports, "cells": found})
