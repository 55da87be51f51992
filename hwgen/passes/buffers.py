"""Depths of buffers: what a steady stream of samples needs, so that no unit ever waits for room."""

from __future__ import annotations

from dataclasses import replace

from hwgen.cost.schedule import Schedule, most_held, schedule
from hwgen.ir import Graph, Node, OutputPort, Queue, Window

# A word may wait this long in its producer's output register: rounding of evenly spaced firings.
JITTER = 2


def buffers(graph: Graph) -> None:
    """Set the rows of every Window, and put a Queue where words wait for another branch or for a
    burst.

    Computed for the schedule in which every unit fires evenly over the interval. It needs no more
    room than it is given, so the hardware, which fires as early as it can, reaches the same
    interval. A word that waits in its producer's output register halts the units before it, as far
    back as the last buffer: that is allowed where it lasts no longer than they are idle anyway.
    """
    plan = schedule(graph, paced=True)
    nodes: list[Node] = []
    busy: dict[str, int] = {}  # tensor -> firings of the busiest unit that halts with it
    for node in graph.nodes:
        inputs = []
        for tensor in node.inputs:
            waits = plan.taken[node.name, tensor] - plan.words[tensor]
            if waits.max() > JITTER or waits.sum() > plan.interval - busy.get(tensor, 0):
                held = most_held(plan.words[tensor], plan.taken[node.name, tensor], plan.interval)
                depth = held + 2 if held > 1 else 2
                queued = graph.fresh(f"{tensor}_queue")
                graph.tensors[queued] = graph.tensors[tensor]
                nodes.append(
                    Queue(name=f"{queued}.queue", inputs=(tensor,), outputs=(queued,), depth=depth)
                )
                tensor = queued
            inputs.append(tensor)
        node = replace(node, inputs=tuple(inputs))
        halted = [] if isinstance(node, Window | Queue) else [busy.get(t, 0) for t in inputs]
        busy |= dict.fromkeys(node.outputs, max([plan.firings[node.name], *halted]))
        if isinstance(node, Window):
            held = most_held(*plan.rows[node.name], plan.interval)
            least = max(rows for rows, _ in node.row_schedule)
            node = replace(node, rows=max(held, least))
        nodes.append(node)
    graph.nodes = nodes
    graph.outputs = [replace(port, ends=_ends(graph, plan, port)) for port in graph.outputs]


def _ends(graph: Graph, plan: Schedule, port: OutputPort) -> str | None:
    """The ends of sequences in a Queue, for as long as their rows are under way."""
    if port.ends is None:
        return None
    held = most_held(plan.words[port.ends], plan.words[port.tensor][-1:], plan.interval)
    queued = graph.fresh(f"{port.ends}_queue")
    graph.tensors[queued] = graph.tensors[port.ends]
    graph.nodes.append(
        Queue(name=f"{queued}.queue", inputs=(port.ends,), outputs=(queued,), depth=held + 2)
    )
    return queued
