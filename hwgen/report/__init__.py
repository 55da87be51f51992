"""One page with all figures of a design or of an exploration."""

from hwgen.report.collect import design_data
from hwgen.report.exploration import exploration_data, is_exploration
from hwgen.report.page import page

__all__ = ["design_data", "exploration_data", "is_exploration", "page"]
