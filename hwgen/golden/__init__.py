"""What each node kind computes, bit for bit, in NumPy; written from the definitions in hwgen.ir."""

from hwgen.golden.cache import Cache
from hwgen.golden.evaluate import EVAL, run

__all__ = ["EVAL", "Cache", "run"]
