"""Errors a user can cause and mend; the command line prints their message and exits with code 2."""

from __future__ import annotations


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
