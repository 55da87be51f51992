"""The passes in order."""

from __future__ import annotations

from hwgen.config import Config
from hwgen.ir import Graph
from hwgen.passes.buffers import buffers
from hwgen.passes.fold import fold
from hwgen.passes.forms import forms
from hwgen.passes.memories import memories
from hwgen.passes.requantize import budget, merge
from hwgen.passes.streams import forks, streams
from hwgen.passes.tokens import tokens


def lower(graph: Graph, config: Config) -> None:
    """Turn the graph of a model into the graph of its hardware, in place."""
    if config.stream:
        tokens(graph)
    merge(graph)
    target = fold(
        graph, config.cycles, config.macs, {k: v.fold for k, v in config.nodes.items() if v.fold}
    )
    memories(graph, {k: v.memory for k, v in config.nodes.items() if v.memory is not None})
    forks(graph)
    streams(graph, target, config.lanes)
    bits = {k: v.requant_bits for k, v in config.nodes.items() if v.requant_bits is not None}
    budget(graph, target, config.requant_bits, bits)
    forms(graph)
    buffers(graph)
    graph.verify()
