"""Plumbing: copies for tensors read twice, words of the width each unit wants, registers at the
ports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwgen.errors import ConfigError
from hwgen.ir import (
    Attention,
    BlockQuantize,
    Concat,
    Embed,
    Fork,
    Graph,
    Linear,
    Node,
    Normalize,
    Pool,
    Positions,
    Product,
    Queue,
    Reduce,
    Reorder,
    Resize,
    Rotate,
    Select,
    Softmax,
    Tensor,
    Window,
)


def forks(graph: Graph) -> None:
    """Give every reader of a tensor a copy of its own."""
    nodes: list[Node] = []
    copies: dict[str, list[str]] = {}
    readers = graph.consumers()

    def copy(tensor: str) -> None:
        count = len(readers.get(tensor, []))
        count += sum((p.tensor == tensor) + (p.ends == tensor) for p in graph.outputs)
        if count > 1:
            names = [_like(graph, tensor, f"{tensor}_copy") for _ in range(count)]
            nodes.append(Fork(name=f"{tensor}.fork", inputs=(tensor,), outputs=tuple(names)))
            copies[tensor] = names[::-1]

    def own(tensor: str) -> str:
        return copies[tensor].pop() if tensor in copies else tensor

    for port in graph.inputs:
        copy(port.tensor)
        if port.ends:
            copy(port.ends)
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(own(t) for t in node.inputs)))
        for tensor in node.outputs:
            copy(tensor)
    graph.nodes = nodes
    graph.outputs = [
        replace(port, tensor=own(port.tensor), ends=port.ends and own(port.ends))
        for port in graph.outputs
    ]


def streams(graph: Graph, target: int, lanes: Mapping[str, int] | None = None) -> None:
    """Set the lanes of all tensors so that none needs more than `target` words; `lanes` fixes
    those of ports."""
    lanes = dict(lanes or {})
    names = {port.name for port in graph.inputs} | {port.name for port in graph.outputs}
    if unknown := set(lanes) - names:
        raise ConfigError(f"lanes: {sorted(unknown)} are no inputs or outputs of the model")
    nodes, graph.nodes = graph.nodes, []
    moved: dict[str, str] = {}
    for port in graph.inputs:
        x = graph.tensors[port.tensor]
        most = x.channels * -(-x.rows // target)
        graph.relane(port.tensor, _port_lanes(port.name, x, lanes) or _fewest(x, target, most))
        moved[port.tensor] = _queue(graph, port.tensor)
        if port.ends:
            moved[port.ends] = _queue(graph, port.ends)
    for node in nodes:
        wanted = _wanted(graph, node)
        inputs = []
        for k, tensor in enumerate(node.inputs):
            have = moved.get(tensor, tensor)
            if k and getattr(node, "stateful", False) and tensor == node.inputs[-1]:
                inputs.append(_resize(graph, have, 1))  # the ends of sequences
                continue
            if wanted is None:
                wanted = _chosen(graph, node, graph.tensors[have], target)
            inputs.append(_resize(graph, have, wanted))
        graph.nodes.append(replace(node, inputs=tuple(inputs)))
        if not isinstance(node, Window | Linear | Pool | Product):
            for tensor in node.outputs:
                graph.relane(tensor, _made(graph, node, tensor, wanted, target))
    for k, output in enumerate(graph.outputs):
        tensor = moved.get(output.tensor, output.tensor)
        x = graph.tensors[tensor]
        wanted = _port_lanes(output.name, x, lanes) or _fewest(x, target, x.lanes)
        tensor = _queue(graph, _resize(graph, tensor, wanted))
        graph.outputs[k] = replace(output, tensor=tensor, ends=moved.get(output.ends, output.ends))


def _wanted(graph: Graph, node: Node) -> int | None:
    """The lanes a node's fold asks for; None where it takes any."""
    match node:
        case Window():
            if node.wide:
                return node.columns * node.image[2]
            return graph.tensors[node.output].lanes // node.taps
        case Linear():
            return node.pixels * node.parallel * node.simd
        case BlockQuantize():
            return graph.tensors[node.output].lanes
        case Pool():
            return node.pixels * node.block * node.simd
        case Attention() | Product():
            return node.simd
        case Embed() | Positions():
            return 1
    return None


def _chosen(graph: Graph, node: Node, x: Tensor, target: int) -> int:
    """The lanes of the first input of a node that takes any, or any that fit."""
    match node:
        case Fork():
            return x.lanes
        case Select():
            fits = [k for k in range(1, x.channels) if node.low % k == 0]
            rows = range(x.channels, x.lanes + x.channels, x.channels)
            return _fewest(x, target, x.lanes, [*fits, *rows])
        case Reorder():
            y = graph.tensors[node.output]
            fits = node.lanes(x, y)
            fits = [k for k in fits if replace(y, lanes=k).words <= target] or fits[-1:]
            return _fewest(x, target, x.lanes, fits)
        case Concat():
            ends = [graph.tensors[name] for name in (*node.inputs, node.output)]
            fits = node.lanes(*ends)
            return next((k for k in fits if replace(ends[-1], lanes=k).words <= target), fits[-1])
        case Rotate():
            fits = [k for k in range(1, x.channels + 1) if node.fits(k)]
            return _fewest(x, target, x.lanes, fits)
        case Normalize() | Softmax():
            return min(_fewest(x, target, x.lanes), x.channels)
    return _fewest(x, target, x.lanes)


def _made(graph: Graph, node: Node, tensor: str, wanted: int, target: int) -> int:
    """The lanes of an output of a node that takes `wanted` lanes."""
    y = graph.tensors[tensor]
    match node:
        case Reduce():
            return min(wanted, y.channels)
        case Select():
            rows = wanted // graph.tensors[node.input].channels
            return max(1, rows) * min(wanted, y.channels)
        case Embed() | Positions():
            return _fewest(y, target, y.channels)
    return wanted


def _port_lanes(name: str, x: Tensor, lanes: Mapping[str, int]) -> int | None:
    wanted = lanes.get(name)
    if wanted and wanted > x.channels and wanted % x.channels:
        raise ConfigError(
            f"lanes of {name!r} must be at most {x.channels} or a multiple of it, not {wanted}"
        )
    return wanted


def _fewest(x: Tensor, target: int, have: int, fits: Sequence[int] = ()) -> int:
    """The fewest lanes within `target` words, of those that one conversion from `have` lanes
    reaches; of `fits` where given, if need be by more conversions."""
    row = x.channels
    choices = fits or [*range(1, min(have, row) + 1), *range(2 * row, have + 1, row)]
    enough = [lanes for lanes in choices if replace(x, lanes=lanes).words <= target]
    direct = [lanes for lanes in enough if _direct(have, lanes, row)]
    return next(iter(direct or (fits and enough) or fits[-1:]), have)


def _direct(a: int, b: int, row: int) -> bool:
    """Whether one Resize turns words of `a` lanes into words of `b`."""
    narrow, wide = min(a, b), max(a, b)
    if wide == row:
        return True
    return wide % narrow == 0 and (wide < row or row % narrow == 0 or narrow % row == 0)


def _resize(graph: Graph, tensor: str, lanes: int) -> str:
    """The tensor in words of `lanes` elements, by way of a width both divide where they don't
    divide each other."""
    x = graph.tensors[tensor]
    if x.lanes == lanes:
        return tensor
    if not _direct(x.lanes, lanes, x.channels):
        common = math.lcm(x.lanes, lanes)
        if common > x.channels > min(x.lanes, lanes):
            common = x.channels
        return _resize(graph, _add(graph, tensor, common), lanes)
    return _add(graph, tensor, lanes)


def _add(graph: Graph, tensor: str, lanes: int) -> str:
    result = _like(graph, tensor, f"{tensor}_x{lanes}")
    graph.relane(result, lanes)
    graph.nodes.append(Resize(name=f"{result}.resize", inputs=(tensor,), outputs=(result,)))
    return result


def _queue(graph: Graph, tensor: str) -> str:
    result = _like(graph, tensor, f"{tensor}_port")
    graph.nodes.append(Queue(name=f"{result}.queue", inputs=(tensor,), outputs=(result,)))
    return result


def _like(graph: Graph, tensor: str, stem: str) -> str:
    name = graph.fresh(stem)
    graph.tensors[name] = graph.tensors[tensor]
    return name
