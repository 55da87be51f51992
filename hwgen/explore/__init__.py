"""Design points: which there are, what they reach, and the best of them verified."""

from hwgen.explore.run import Exploration, explore
from hwgen.explore.space import Space

__all__ = ["Exploration", "Space", "explore"]
