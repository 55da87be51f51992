"""Transitions of nets, from the file that Verilator counts them into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

INSTANCE = re.compile(r"( *)\(INSTANCE (\S+)")
COUNT = re.compile(r" *\((?!\$auto\$)(\S+) \(T0 .*\(TC (\d+)\)\)")
NOT_COUNTED = {"aclk", "clk", "rst", "aresetn"}


@dataclass
class Nets:
    """How many nets there are, and their transitions."""

    nets: int = 0
    transitions: int = 0

    @property
    def mean(self) -> float:
        """Transitions of a net."""
        return self.transitions / self.nets if self.nets else 0.0


def read_saif(lines: Iterable[str]) -> dict[str, Nets]:
    """Of each instance in the top module, with all it consists of; those of the top itself are
    under "". Clocks and resets are left out."""
    found: dict[str, Nets] = {"": Nets()}
    path: list[str] = []  # of instances: the file's root, the top, then parts of it
    for line in lines:
        if match := INSTANCE.match(line):  # indented by one more for each level
            path = [*path[: len(match[1]) - 1], match[2]]
        elif (match := COUNT.match(line)) and match[1] not in NOT_COUNTED:
            own = found.setdefault(path[2] if len(path) > 2 else "", Nets())
            own.nets += 1
            own.transitions += int(match[2])
    return found
