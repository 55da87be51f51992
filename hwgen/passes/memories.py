"""Where weights are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hwgen.errors import ConfigError
from hwgen.ir import Graph, Linear


def memories(graph: Graph, chosen: Mapping[str, str]) -> None:
    """Set the kind of memory of layers by name; raises `ConfigError` for nodes without weights."""
    layers = {n.name: (place, n) for place, n in enumerate(graph.nodes) if isinstance(n, Linear)}
    for name, kind in chosen.items():
        if name not in layers:
            raise ConfigError(
                f"node {name!r} has no memory of weights; the nodes that have are "
                f"{', '.join(layers)}"
            )
        place, layer = layers[name]
        graph.nodes[place] = replace(layer, memory=kind)
