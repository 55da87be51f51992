"""The graph every pass works on: tensors as streams, nodes as frozen dataclasses."""

from hwgen.ir.graph import Graph, InputPort, OutputPort, Tensor
from hwgen.ir.nodes import (
    Add,
    Concat,
    Fork,
    Form,
    Linear,
    Lookup,
    Multiply,
    Node,
    Pool,
    Queue,
    Reduce,
    Reorder,
    Requantize,
    Resize,
    Thresholds,
    Window,
)

__all__ = [
    "Add",
    "Concat",
    "Fork",
    "Form",
    "Graph",
    "InputPort",
    "Linear",
    "Lookup",
    "Multiply",
    "Node",
    "OutputPort",
    "Pool",
    "Queue",
    "Reduce",
    "Reorder",
    "Requantize",
    "Resize",
    "Tensor",
    "Thresholds",
    "Window",
]
