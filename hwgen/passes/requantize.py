"""What a requantization may cost: the cycles it has per word, the bits it is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hwgen.errors import ConfigError
from hwgen.ir import Graph, Requantize


def merge(graph: Graph) -> None:
    """A Requantize that only clamps (scale 1, whole offset) goes into the one before it."""
    for node in [n for n in graph.nodes if isinstance(n, Requantize)]:
        maker = graph.producer().get(node.input)
        readers = graph.consumers()
        if not isinstance(maker, Requantize) or len(readers[node.input]) > 1:
            continue
        if any(port.tensor == node.input for port in graph.outputs):
            continue
        shifts = node.offset.ravel()
        if any(v != 1 for v in node.scale.ravel()) or any(v.denominator != 1 for v in shifts):
            continue
        if node.scale.shape != maker.scale.shape or len(set(shifts.tolist())) > 1:
            continue
        moved = int(shifts[0]) + node.zero_point
        low, high = ((v + moved).clip(node.low, node.high) for v in (maker.low, maker.high))
        merged = replace(
            maker, outputs=node.outputs, zero_point=maker.zero_point + moved, low=low, high=high
        )
        graph.nodes[graph.nodes.index(maker)] = merged
        graph.nodes.remove(node)
        del graph.tensors[node.input]


def budget(graph: Graph, target: int, bits: int | None, by_layer: Mapping[str, int]) -> None:
    """Set the cycles a word may take, and the bits of approximate forms (of all, or by the layer's
    name).

    Raises `ConfigError` for the name of a node that has no approximate form.
    """
    approximable = {n.name for n in graph.nodes if isinstance(n, Requantize)}
    approximable |= {name.removesuffix(".requantize") for name in approximable}
    for name in by_layer:
        if name not in approximable:
            raise ConfigError(f"node {name!r} has no requant_bits: its arithmetic is exact")
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Requantize):
            layer = node.name.removesuffix(".requantize")
            allowed = by_layer.get(layer, by_layer.get(node.name, bits))
            if node.rounding != "half_even":  # the approximate form rounds to the nearest
                allowed = None
            spare = max(1, target // graph.tensors[node.input].words)
            graph.nodes[k] = replace(node, cycles=spare, bits=allowed)
