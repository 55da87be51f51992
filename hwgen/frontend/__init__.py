"""ONNX in, graph out."""

from hwgen.frontend.lower import Row, load, survey
from hwgen.frontend.read import read

__all__ = ["Row", "load", "read", "survey"]
