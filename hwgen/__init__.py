"""hwgen: verified dataflow hardware from quantized ONNX models."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "compile": "hwgen.design",
    "Design": "hwgen.design",
    "Config": "hwgen.config",
    "HwgenError": "hwgen.errors",
    "Points": "hwgen.points",
}
__all__ = ["Config", "Design", "HwgenError", "Points", "compile"]


def __getattr__(name: str):
    """Import what is used, so that `hwgen --help` need not wait for Amaranth and ONNX."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hwgen' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
