"""What energy is spent on: classes of a design's parts."""

from __future__ import annotations

from hwgen.ir import (
    Attention,
    Concat,
    Embed,
    Fork,
    Linear,
    Multiply,
    Node,
    Positions,
    Product,
    Queue,
    Reorder,
    Resize,
    Select,
    Window,
)

ROM = "rom"  # what read-only memories are called together in a unit's gates
GLUE = "(glue)"  # what joins the nodes
MACS = (Linear, Product, Attention, Multiply)
STORES = (Window, Queue, Reorder)
PLUMBING = (Fork, Resize, Concat, Select)
MEMORIES = ("weight memory", "activation memory")
CLASSES = ("mac", *MEMORIES, "functions", "control", "clock", "leakage", "glitch")


def class_of(node: Node | None, part: str) -> str:
    """The class of a gate by its node (None: ports, and what joins nodes) and its part of it."""
    if part == ROM or isinstance(node, Embed | Positions):
        return "weight memory"
    if isinstance(node, STORES):
        return "activation memory"
    if node is None or isinstance(node, PLUMBING):
        return "control"
    return "mac" if isinstance(node, MACS) else "functions"
