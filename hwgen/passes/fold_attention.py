"""How much of attention is done at once: keys, elements of a head, and heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwgen.errors import ConfigError
from hwgen.ir import Attention, Concat, Graph, Mask, Select, Tensor

PART = ".heads"  # ends the name of a node with some of the heads


def whole(name: str) -> str:
    """The name of a node's heads together, from that of some of them."""
    return name.rpartition(PART)[0] or name


def fastest(graph: Graph, node: Attention) -> int:
    """The fewest clock cycles per sample of a node that no setting holds back."""
    widths = _widths(graph, node)
    every = replace(node, lanes=node.slots, simd=math.gcd(*widths))
    return min(_slowest(graph, _parts(every, count), widths) for count in _counts(node))


def fold_attention(graph: Graph, target: int, overrides: Mapping[str, Mapping[str, int]]) -> int:
    """Set lanes, simd and heads at once of every Attention: the fewest multipliers within `target`
    cycles, or the fastest; given values stay. Returns the most cycles one takes."""
    slowest = 0
    for node in [n for n in graph.nodes if isinstance(n, Attention)]:
        given = overrides.get(node.name, {})
        _check(graph, node, given)
        folded = _folded(graph, node, target, given)
        slowest = max(slowest, _slowest(graph, folded, _widths(graph, node)))
        if len(folded) > 1:
            _split(graph, node, folded)
            continue
        graph.nodes[graph.nodes.index(node)] = folded[0]
        graph.relane(node.output, folded[0].simd)
    return slowest


def multipliers(graph: Graph, target: int, overrides: Mapping[str, Mapping[str, int]]) -> int:
    """Multipliers of all Attention nodes for a target."""
    nodes = [n for n in graph.nodes if isinstance(n, Attention)]
    folded = [_folded(graph, n, target, overrides.get(n.name, {})) for n in nodes]
    return sum(part.multipliers for parts in folded for part in parts)


def _cycles(graph: Graph, node: Attention, widths: tuple[int, int]) -> int:
    """Clock cycles per sample: a visit takes as long as a head has words."""
    return _visits(graph, node) * max(widths) // node.simd


def _visits(graph: Graph, node: Attention) -> int:
    """Visits of a sample."""
    q, k, _ = (graph.tensors[name] for name in node.inputs[:3])
    return sum(count for _, _, count in node.turns(q.rows, k.rows))


def _folded(
    graph: Graph, node: Attention, target: int, given: Mapping[str, int]
) -> list[Attention]:
    """The node for a target; several with some of the heads each where one alone is too slow."""
    widths = _widths(graph, node)
    best: tuple[int, list[Attention]] | None = None
    for count in [given["heads"]] if "heads" in given else _counts(node):
        parts = [_best(graph, part, widths, target, given) for part in _parts(node, count)]
        slowest = _slowest(graph, parts, widths)
        if best is None or slowest < best[0]:
            best = slowest, parts
        if slowest <= target:
            break
    return best[1]


def _counts(node: Attention) -> list[int]:
    """Into how many parts a node's heads can be dealt."""
    return [count for count in range(1, node.groups + 1) if node.groups % count == 0]


def _slowest(graph: Graph, parts: list[Attention], widths: tuple[int, int]) -> int:
    """The most cycles of all parts, or of joining them, a word of one part at a time."""
    cycles = [_cycles(graph, part, widths) for part in parts]
    join = graph.tensors[parts[0].output].rows * len(parts) if len(parts) > 1 else 0
    return max(join, *cycles)


def _parts(node: Attention, count: int) -> list[Attention]:
    """The node's heads dealt to `count` nodes, which still have its inputs."""
    if count == 1:
        return [node]
    heads, groups = node.heads // count, node.groups // count
    return [
        replace(
            node,
            name=f"{node.name}{PART}{part}",
            heads=heads,
            groups=groups,
            mask=_masked(node.mask, slice(part * heads, (part + 1) * heads)),
        )
        for part in range(count)
    ]


def _widths(graph: Graph, node: Attention) -> tuple[int, int]:
    """Elements of a head of the queries, and of the values."""
    q, v = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[2]]
    return q.channels // node.heads, v.channels // node.groups


def _check(graph: Graph, node: Attention, given: Mapping[str, int]) -> None:
    depth, width = _widths(graph, node)
    if "pe" in given:
        raise ConfigError(f"{node.name}: attention has no pe; set lanes, simd or heads")
    if (simd := given.get("simd", 1)) and (depth % simd or width % simd):
        raise ConfigError(f"{node.name}: simd must divide {math.gcd(depth, width)}, not {simd}")
    if given.get("lanes", 1) > node.slots:
        raise ConfigError(f"{node.name}: lanes must be at most {node.slots}, not {given['lanes']}")
    if node.groups % given.get("heads", 1):
        raise ConfigError(
            f"{node.name}: heads must divide its {node.groups} groups, not {given['heads']}; a "
            "group is the heads that share keys and values"
        )


def _best(
    graph: Graph,
    node: Attention,
    widths: tuple[int, int],
    target: int,
    given: Mapping[str, int],
) -> Attention:
    """The fewest multipliers within the target, of those the most keys at once."""
    lanes, simd = given.get("lanes"), given.get("simd")
    common = math.gcd(*widths)
    simds = [simd] if simd else [s for s in range(1, common + 1) if common % s == 0]
    most = {-(-node.slots // c) for c in range(1, node.slots + 1)}
    ranks = []
    for n in [lanes] if lanes else most:
        visits = _visits(graph, replace(node, lanes=n))
        ranks += [(max(visits * max(widths) // s, target), n * s, s, n) for s in simds]
    *_, s, n = min(ranks)
    return replace(node, lanes=n, simd=s)


def _split(graph: Graph, node: Attention, parts: list[Attention]) -> None:
    """Replace a node by others that work on some of the heads each."""
    depth, width = _widths(graph, node)
    made: list = []
    outputs = []
    for number, part in enumerate(parts):
        inputs = []
        sizes = (part.heads * depth, part.groups * depth, part.groups * width)
        for tensor, size in zip(node.inputs[:3], sizes, strict=True):
            x = graph.tensors[tensor]
            name = graph.fresh(f"{tensor}_heads{number}")
            graph.tensors[name] = Tensor((x.rows, size), x.fmt)
            low = number * size
            stem = f"{node.name}.select{len(made)}"
            made.append(
                Select(name=stem, inputs=(tensor,), outputs=(name,), low=low, high=low + size)
            )
            inputs.append(name)
        y = graph.tensors[node.output]
        name = graph.fresh(f"{node.output}_heads{number}")
        graph.tensors[name] = Tensor((y.rows, part.heads * width), y.fmt)
        made.append(replace(part, inputs=(*inputs, *node.inputs[3:]), outputs=(name,)))
        graph.relane(name, part.simd)
        outputs.append(name)
    joined = Concat(
        name=f"{node.name}.join",
        inputs=tuple(outputs),
        outputs=node.outputs,
        turn=(parts[0].heads * width,) * len(parts),
    )
    at = graph.nodes.index(node)
    graph.nodes[at : at + 1] = [*made, joined]


def _masked(mask: Mask | None, heads: slice) -> Mask | None:
    """The mask of some heads."""
    if mask is None or len(mask.allowed) == 1:
        return mask
    bias = None if mask.bias is None else mask.bias[heads]
    return Mask(allowed=np.ascontiguousarray(mask.allowed[heads]), bias=bias)
