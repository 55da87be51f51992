"""Depths of buffers: what a steady stream of samples needs, so that no unit ever waits for room."""

from __future__ import annotations

from dataclasses import replace

from hwgen.cost.timing import most_held, schedule
from hwgen.ir import Graph, Node, Queue, Window

# A word may wait this long in its producer's output register: rounding of evenly spaced firings.
JITTER = 2


def buffers(graph: Graph) -> None:
    """Set the rows of every Window, and put a Queue where words wait for another branch or for a
    burst.

    Computed for the schedule in which every unit fires evenly over the interval. It needs no more
    room than it is given, so the hardware, which fires as early as it can, reaches the same
    interval.
    """
    plan = schedule(graph, paced=True)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = []
        for tensor in node.inputs:
            words, taken = plan.words[tensor], plan.taken[node.name, tensor]
            if (taken - words).max() > JITTER:
                depth = most_held(words, taken, plan.interval) + 2
                queued = graph.fresh(f"{tensor}_queue")
                graph.tensors[queued] = graph.tensors[tensor]
                nodes.append(
                    Queue(name=f"{queued}.queue", inputs=(tensor,), outputs=(queued,), depth=depth)
                )
                tensor = queued
            inputs.append(tensor)
        node = replace(node, inputs=tuple(inputs))
        if isinstance(node, Window):
            held = most_held(*plan.rows[node.name], plan.interval)
            least = max(rows for rows, _ in node.row_schedule)
            node = replace(node, rows=max(held, least))
        nodes.append(node)
    graph.nodes = nodes
