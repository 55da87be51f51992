"""The passes in order."""

from __future__ import annotations

from hwgen.config import Config
from hwgen.cost.timing import interval
from hwgen.ir import Graph, Requantize
from hwgen.passes.buffers import buffers
from hwgen.passes.fold import fold
from hwgen.passes.forms import forms
from hwgen.passes.streams import forks, streams


def lower(graph: Graph, config: Config) -> None:
    """Turn the graph of a model into the graph of its hardware, in place."""
    overrides = {name: node.fold for name, node in config.nodes.items()}
    target = fold(graph, config.cycles, config.macs, overrides)
    forks(graph)
    streams(graph, target, config.lanes)
    serialize(graph, target)
    forms(graph)
    buffers(graph)
    graph.verify()
