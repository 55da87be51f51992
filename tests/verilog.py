"""What lies in Verilog text, without synthesis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

MODULE = re.compile(r"^module (\S+?)[ (].*?^endmodule", re.MULTILINE | re.DOTALL)
MEMORY = re.compile(r"^  reg \[(\d+):0\] \S+ +\[(\d+):0\];", re.MULTILINE)
FIRST = re.compile(r"^  (\S+) ", re.MULTILINE)  # of an instance it is a module's name


def lines(sources: Mapping[str, str]) -> int:
    """Lines of Verilog."""
    return sum(len(text.splitlines()) for name, text in sources.items() if name.endswith(".v"))


def memory_bits(sources: Mapping[str, str], top: str) -> int:
    """Bits of all memories below a module, each instance's; those read from files too."""
    text = "".join(text for name, text in sources.items() if name.endswith(".v"))
    modules = {match[1]: match[0] for match in MODULE.finditer(text)}

    @cache
    def below(name: str) -> int:
        body = modules[name]
        bits = sum((int(high) + 1) * (int(last) + 1) for high, last in MEMORY.findall(body))
        parts = (part for part in FIRST.findall(body) if part in modules)
        return bits + sum(below(part) for part in parts)

    files = (text for name, text in sources.items() if not name.endswith(".v"))
    return below(top) + sum(4 * sum(map(len, text.split())) for text in files)
