"""How much of attention is done at once: keys, elements of a head, and heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwgen.errors import ConfigError
from hwgen.ir import Attention, Concat, Graph, Mask, Select, Tensor


def cycles(graph: Graph, node: Attention) -> int:
    """Clock cycles per sample: a visit takes as long as a head has words."""
    return _visits(graph, node) * max(_widths(graph, node)) // node.simd


def _visits(graph: Graph, node: Attention) -> int:
    """Visits of a sample."""
    q, k, _ = (graph.tensors[name] for name in node.inputs[:3])
    return sum(count for _, _, count in node.turns(q.rows, k.rows))


def fold_attention(graph: Graph, target: int, overrides: Mapping[str, Mapping[str, int]]) -> int:
    """Set lanes, simd and heads at once of every Attention: the fewest multipliers within `target`
    cycles, or the fastest; given values stay. Returns the most cycles one takes."""
    slowest = 0
    for node in [n for n in graph.nodes if isinstance(n, Attention)]:
        given = overrides.get(node.name, {})
        _check(graph, node, given)
        folded = _best(graph, node, target, given.get("lanes"), given.get("simd"))
        wanted = given.get("heads") or -(-cycles(graph, folded) // target)
        fitting = (p for p in range(1, node.groups) if node.groups % p == 0 and p >= wanted)
        parts = next(fitting, node.groups) if wanted > 1 else 1
        if parts > 1:
            slowest = max(slowest, *_split(graph, node, parts, target, given))
            continue
        graph.nodes[graph.nodes.index(node)] = folded
        graph.relane(folded.output, folded.simd)
        slowest = max(slowest, cycles(graph, folded))
    return slowest


def multipliers(graph: Graph, target: int, overrides: Mapping[str, Mapping[str, int]]) -> int:
    """Multipliers of all Attention nodes for a target."""
    found = 0
    for node in [n for n in graph.nodes if isinstance(n, Attention)]:
        given = overrides.get(node.name, {})
        found += _best(graph, node, target, given.get("lanes"), given.get("simd")).multipliers
    return found


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
            f"{node.name}: heads must divide its {node.groups} groups, not {given['heads']}"
        )


def _best(
    graph: Graph, node: Attention, target: int, lanes: int | None, simd: int | None
) -> Attention:
    """The fewest multipliers within the target, of those the most keys at once."""
    widths = _widths(graph, node)
    common = math.gcd(*widths)
    simds = [simd] if simd else [s for s in range(1, common + 1) if common % s == 0]
    most = {-(-node.slots // c) for c in range(1, node.slots + 1)}
    ranks = []
    for n in [lanes] if lanes else most:
        visits = _visits(graph, replace(node, lanes=n))
        ranks += [(max(visits * max(widths) // s, target), n * s, s, n) for s in simds]
    *_, s, n = min(ranks)
    return replace(node, lanes=n, simd=s)


def _split(graph: Graph, node: Attention, parts: int, target: int, given) -> list[int]:
    """Replace a node by several that work on some of the heads each; returns their cycles."""
    depth, width = _widths(graph, node)
    heads, groups = node.heads // parts, node.groups // parts
    made: list = []
    found, outputs = [], []
    sizes = (heads * depth, groups * depth, groups * width)
    for part in range(parts):
        inputs = []
        for tensor, size in zip(node.inputs[:3], sizes, strict=True):
            x = graph.tensors[tensor]
            name = graph.fresh(f"{tensor}_heads{part}")
            graph.tensors[name] = Tensor((x.rows, size), x.fmt)
            low = part * size
            stem = f"{node.name}.select{len(made)}"
            made.append(
                Select(name=stem, inputs=(tensor,), outputs=(name,), low=low, high=low + size)
            )
            inputs.append(name)
        y = graph.tensors[node.output]
        name = graph.fresh(f"{node.output}_heads{part}")
        graph.tensors[name] = Tensor((y.rows, heads * width), y.fmt)
        one = replace(
            node,
            name=f"{node.name}.heads{part}",
            inputs=(*inputs, *node.inputs[3:]),
            outputs=(name,),
            heads=heads,
            groups=groups,
            mask=_masked(node.mask, slice(part * heads, (part + 1) * heads)),
        )
        one = _best(graph, one, target, given.get("lanes"), given.get("simd"))
        graph.relane(one.output, one.simd)
        found.append(cycles(graph, one))
        made.append(one)
        outputs.append(name)
    joined = Concat(
        name=f"{node.name}.join",
        inputs=tuple(outputs),
        outputs=node.outputs,
        turn=(heads * width,) * parts,
    )
    at = graph.nodes.index(node)
    graph.nodes[at : at + 1] = [*made, joined]
    return found


def _masked(mask: Mask | None, heads: slice) -> Mask | None:
    """The mask of some heads."""
    if mask is None or len(mask.allowed) == 1:
        return mask
    bias = None if mask.bias is None else mask.bias[heads]
    return Mask(allowed=np.ascontiguousarray(mask.allowed[heads]), bias=bias)
