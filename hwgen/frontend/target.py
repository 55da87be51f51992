"""What numbers are quantized to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwgen.formats import ROUND, Float, Int
from hwgen.frontend.values import Numbers, exact


@dataclass(frozen=True)
class Target:
    """What a tensor is quantized to: code = clamp(round(x / scale) + zero, low, high); of a float
    format encode(x / scale)."""

    scale: Fraction
    zero: int
    fmt: Int | Float
    low: int | None = None
    high: int | None = None
    rounding: str = "half_even"

    @property
    def least(self) -> int:
        """The least code."""
        return self.fmt.min if self.low is None else self.low

    @property
    def most(self) -> int:
        """The greatest code."""
        return self.fmt.max if self.high is None else self.high

    def code(self, values: Numbers) -> Numbers:
        """The codes of numbers."""
        rounded = [ROUND[self.rounding](v / self.scale) + self.zero for v in np.ravel(values)]
        codes = [min(max(v, self.least), self.most) for v in rounded]
        return exact(np.array(codes, dtype=np.int64).reshape(np.shape(values)))
