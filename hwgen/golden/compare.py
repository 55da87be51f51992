"""How far an approximate requantization is from the exact one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwgen.golden.evaluate import EVAL
from hwgen.ir import Requantize

MOST = 1 << 16  # inputs tried per channel


def differing(node: Requantize) -> tuple[int, int]:
    """(codes that differ, codes tried): all inputs of every channel, evenly thinned beyond
    65,536."""
    steps = min(MOST, int((node.x_high - node.x_low).max()) + 1)
    low, high = node.x_low, node.x_high
    place = np.linspace(0, 1, steps).reshape(-1, *[1] * low.ndim)
    x = np.rint(low + (high - low) * place).astype(np.int64)
    wrong = total = 0
    for part in np.array_split(x, max(1, x.size >> 20)):
        approximate = EVAL[Requantize](node, part)
        exact = EVAL[Requantize](replace(node, bits=None), part)
        wrong += int((approximate != exact).sum())
        total += part.size
    return wrong, total
