"""Errors a user can cause and mend; the command line prints their message and exits with code 2."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_NAMES, FIRST = 12, 8  # that a message lists; of more, the first


class HwgenError(Exception):
    """Base of every error hwgen raises on purpose. The message names the node and says what to
    do."""


class ModelError(HwgenError):
    """The ONNX file can't be read, or holds something hwgen does not map to hardware."""


class ConfigError(HwgenError):
    """An unknown key, node or value in the configuration, the overrides or the targets."""


class InputError(HwgenError):
    """Input arrays of a wrong name, shape or type."""


class ToolError(HwgenError):
    """A tool outside Python (C++ compiler, Verilator) is missing or failed."""


class SimulationError(HwgenError):
    """A simulation made no progress: the message names the stream that is stuck."""


class LinkError(HwgenError):
    """A board that does not answer, is another, or gave what it should not."""


def hint(name: str, known: Iterable[str], others: str = "there are", cutoff: float = 0.6) -> str:
    """What to say of an unknown name: which known one it resembles (by `cutoff` of 0 to 1), or
    which `others` are."""
    names = list(known)
    if near := get_close_matches(str(name), names, 1, cutoff):
        return f"did you mean {near[0]!r}?"
    return f"{others} {some(names) or 'none'}"


def some(names: Sequence[str]) -> str:
    """Names in a message; of many the first, and that there are more."""
    shown = names if len(names) <= MOST_NAMES else [*names[:FIRST], "..."]
    return ", ".join(shown)
