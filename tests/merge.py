"""Several graphs in one simulation, for compiling one takes seconds."""

from __future__ import annotations

from dataclasses import replace

from hwgen.ir import Graph


def merge(graphs: list[Graph]) -> Graph:
    """All graphs side by side in one."""
    merged = Graph("together")
    for number, graph in enumerate(graphs):

        def own(name: str, number: int = number) -> str:
            return f"n{number}_{name}"

        merged.tensors |= {own(name): tensor for name, tensor in graph.tensors.items()}
        merged.inputs += [replace(p, name=own(p.name), tensor=own(p.tensor)) for p in graph.inputs]
        merged.outputs += [
            replace(p, name=own(p.name), tensor=own(p.tensor)) for p in graph.outputs
        ]
        for node in graph.nodes:
            inputs, outputs = (tuple(map(own, t)) for t in (node.inputs, node.outputs))
            merged.nodes.append(replace(node, name=own(node.name), inputs=inputs, outputs=outputs))
    return merged
