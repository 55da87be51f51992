"""How much of each layer is done at once: pe outputs and simd inputs, fewest multipliers for a
target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hwgen.errors import ConfigError
from hwgen.ir import (
    Attention,
    Concat,
    Embed,
    Graph,
    Linear,
    Normalize,
    Pool,
    Product,
    Reorder,
    Rotate,
    Softmax,
    Tensor,
    Window,
)
from hwgen.passes import fold_attention
from hwgen.passes.layers import Fold, Layer, Matrices


def fold(
    graph: Graph,
    cycles: int | None = None,
    macs: int | None = None,
    overrides: Mapping[str, Mapping[str, int]] | None = None,
) -> int:
    """Set the folds of all layers; returns the target in cycles per sample.

    Without `cycles` or `macs` the target is the longest stream of the network, one element per
    cycle.
    """
    layers = [
        Matrices(graph, node) if isinstance(node, Product) else Layer(graph, node)
        for node in graph.nodes
        if isinstance(node, Linear | Pool | Product)
    ]
    given = dict(overrides or {})
    attended = {n.name for n in graph.nodes if isinstance(n, Attention)}
    own = {name: given.pop(name) for name in attended & set(given)}
    chosen = _overrides(layers, given, attended)

    def choose(target: int) -> list[Fold]:
        return [
            (None if layer.node.name in chosen else layer.wide(target))
            or layer.best(target, *(chosen.get(layer.node.name, {}).get(k) for k in ("pe", "simd")))
            for layer in layers
        ]

    target = cycles or longest_stream(graph)
    if macs is not None:
        target = _fit(
            choose, layers, macs, lambda target: fold_attention.multipliers(graph, target, own)
        )
    folds = choose(target)
    if cycles is not None:
        _check_cycles(graph, layers, folds, cycles, {*chosen, *own})
    for layer, choice in zip(layers, folds, strict=True):
        _apply(graph, layer, choice, max(target, choice.cycles))
    slowest = fold_attention.fold_attention(graph, target, own)
    reached = max([target, slowest, *(choice.cycles for choice in folds)])
    if cycles is not None:
        slow = {n.node.name: c.cycles for n, c in zip(layers, folds, strict=True)}
        for name, takes in {**slow, **dict.fromkeys(own, slowest)}.items():
            if takes > cycles:
                text = f"takes {takes} cycles as it is set, not {cycles}"
                graph.notes[name] = "; ".join(filter(None, (graph.notes.get(name), text)))
    return reached


def longest_stream(graph: Graph) -> int:
    """Elements of the largest tensor between layers."""
    inner = {n.output for n in graph.nodes if isinstance(n, Window)}
    return max(tensor.elements for name, tensor in graph.tensors.items() if name not in inner)


def multipliers(graph: Graph) -> int:
    """Multipliers of all layers."""
    return sum(n.multipliers for n in graph.nodes if isinstance(n, Linear | Product | Attention))


def folds(graph: Graph) -> dict[str, dict[str, int]]:
    """What each layer does at once: pe and simd; lanes, simd and heads of attention, whose heads
    may be nodes of their own."""
    found: dict[str, dict[str, int]] = {}
    for node in graph.nodes:
        if isinstance(node, Linear | Product):
            found[node.name] = {"pe": node.pe, "simd": node.simd}
        elif isinstance(node, Pool):
            found[node.name] = {"simd": node.simd}
        elif isinstance(node, Attention):
            name = fold_attention.whole(node.name)
            heads = found.get(name, {}).get("heads", 0) + 1
            found[name] = {"lanes": node.lanes, "simd": node.simd, "heads": heads}
    return found


def _overrides(layers: list[Layer], overrides: Mapping, attended: Collection[str]) -> dict:
    by_name = {layer.node.name: layer for layer in layers}
    for name, values in overrides.items():
        if name not in by_name:
            able = ", ".join([*by_name, *attended])
            raise ConfigError(f"node {name!r} has no pe or simd; the nodes that have are {able}")
        for key in set(values) - {"pe", "simd"}:
            raise ConfigError(f"{name}: only attention has {key}; set pe or simd")
        for key, limit in zip(("pe", "simd"), by_name[name].sizes, strict=True):
            if not 1 <= values.get(key, 1) <= limit:
                raise ConfigError(f"{name}: {key} must be 1 to {limit}, not {values[key]}")
        if (simd := values.get("simd")) and simd not in (allowed := by_name[name].allowed):
            some = ", ".join(map(str, allowed))
            raise ConfigError(f"{name}: simd must divide its blocks: {some}, not {simd}")
    return dict(overrides)


def _fit(choose, layers: list[Layer], macs: int, others: Callable[[int], int]) -> int:
    """The least target whose multipliers, with those of `others`, are at most `macs`."""

    def total(target: int) -> int:
        return others(target) + sum(
            f.multipliers
            for f, layer in zip(choose(target), layers, strict=True)
            if isinstance(layer.node, Linear | Product)
        )

    low, high = 1, max([layer.fold(1, 1).cycles for layer in layers], default=1)
    while total(2 * high) < total(high):
        high *= 2
    if total(high) > macs:
        raise ConfigError(f"macs must be at least {total(high)} for this network, not {macs}")
    while low < high:
        middle = (low + high) // 2
        if total(middle) <= macs:
            high = middle
        else:
            low = middle + 1
    return low


def _check_cycles(
    graph: Graph, layers: list, folds: list, cycles: int, chosen: Collection[str]
) -> None:
    needs = [
        (choice.cycles, layer.node.name)
        for layer, choice in zip(layers, folds, strict=True)
        if layer.node.name not in chosen
    ]
    for node in graph.nodes:
        if isinstance(node, Reorder | Concat):
            ends = [graph.tensors[name] for name in (*node.inputs, node.output)]
            lanes = node.lanes(*ends)[-1]
            needs += [(tensor.elements // lanes, node.name) for tensor in ends]
        if isinstance(node, Attention) and node.name not in chosen:
            needs.append((fold_attention.fastest(graph, node), node.name))
    needs += [
        (graph.tensors[node.output].rows, node.name)
        for node in graph.nodes
        if isinstance(node, Embed | Rotate | Normalize | Softmax)
    ]
    slowest, name = max(needs, default=(0, ""))
    if slowest > cycles:
        raise ConfigError(
            f"{name} takes {slowest} cycles even fully parallel; cycles must be at least "
            f"{slowest}, not {cycles}"
        )


def _apply(graph: Graph, layer: Layer, choice: Fold, target: int) -> None:
    """Write a fold into the layer, its window and the tensor between."""
    node = layer.node
    if isinstance(node, Product):
        graph.nodes[graph.nodes.index(node)] = replace(node, pe=choice.pe, simd=choice.simd)
        graph.relane(node.output, choice.pe)
        return
    window = layer.window
    _, outputs, _, channels = layer.weights
    block, repeat = choice.parallel * channels, -(-outputs // choice.pe)
    lanes = choice.parallel * choice.simd
    wide = choice.pixels > 1 or choice.columns > 1
    new: Linear | Pool
    if isinstance(node, Pool):
        new = replace(node, block=block, simd=choice.simd, pixels=choice.pixels)
    else:
        new = replace(
            node,
            parallel=choice.parallel,
            pe=choice.pe,
            simd=choice.simd,
            repeat=repeat,
            pixels=choice.pixels,
        )
    graph.relane(node.output, choice.pixels * choice.parallel * choice.pe)
    image = window.image
    if wide:
        block, inner, taps = image[2], choice.pixels * image[2], layer.taps
        image = (1, image[0], image[2]) if layer.lies else image
    else:
        inner, taps = _window_lanes(layer, block, lanes, target, layer.depthwise)
    rows = layer.pixels * -(-image[2] // block) * repeat
    graph.tensors[window.output] = Tensor(
        (rows, layer.taps * block), graph.tensors[window.output].fmt, inner * taps
    )
    if layer.quantizer is not None:
        shape = graph.tensors[window.output].shape
        graph.tensors[node.input] = replace(graph.tensors[node.input], shape=shape, lanes=lanes)
    graph.nodes[graph.nodes.index(window)] = replace(
        window,
        image=image,
        block=block,
        repeat=repeat,
        taps=taps,
        columns=choice.columns,
        pixels=choice.pixels,
    )
    graph.nodes[graph.nodes.index(node)] = new


def _window_lanes(
    layer: Layer, block: int, lanes: int, target: int, whole: bool
) -> tuple[int, int]:
    """(elements of a pixel, taps) read at once: at least `lanes` in all, and the image within the
    target."""
    height, width, channels = layer.window.image
    given = layer.seen.channels
    view = given != channels
    at_once = min(lanes, block)
    for inner in range(block if whole else 1, block + 1):
        fits = block % inner == 0 or (layer.taps == 1 and block == channels)
        fits &= not view or given % inner == 0 or inner % given == 0
        if fits and inner >= at_once and height * width * -(-channels // inner) <= target:
            return inner, max(1, -(-lanes // inner))
    return block, max(1, -(-lanes // block))
