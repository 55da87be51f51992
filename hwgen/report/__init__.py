"""One page with all figures of a design or of an exploration, and tables of several designs."""

from hwgen.report.collect import design_data
from hwgen.report.compare import as_csv, as_json, saved
from hwgen.report.exploration import exploration_data, is_exploration
from hwgen.report.measure import check_level, check_targets, measure
from hwgen.report.page import is_page, page

__all__ = [
    "as_csv",
    "as_json",
    "check_level",
    "check_targets",
    "design_data",
    "exploration_data",
    "is_exploration",
    "is_page",
    "measure",
    "page",
    "saved",
]
