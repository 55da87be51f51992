"""How much of each layer is done at once: pe outputs and simd inputs, fewest multipliers for a
target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwgen.errors import ConfigError
from hwgen.ir import (
    Attention,
    BlockQuantize,
    Concat,
    Embed,
    Graph,
    Linear,
    Normalize,
    Pool,
    Reorder,
    Softmax,
    Tensor,
    Window,
)
from hwgen.passes import fold_attention


@dataclass(frozen=True)
class Fold:
    """A choice for one layer: `pixels`, `parallel` groups (a pool: channels), `pe` outputs, `simd`
    inputs at once; the window takes `columns` pixels at once."""

    parallel: int
    pe: int
    simd: int
    cycles: int
    pixels: int = 1
    columns: int = 1

    @property
    def multipliers(self) -> int:
        """Multipliers (a pool: comparators or adders), or choices in their place."""
        return self.pixels * self.parallel * self.pe * self.simd


class Layer:
    """A Linear or Pool with its Window (and the BlockQuantize between), and the folds it can
    have."""

    def __init__(self, graph: Graph, node: Linear | Pool) -> None:
        self.node = node
        maker = graph.producer()[node.input]
        self.quantizer = maker if isinstance(maker, BlockQuantize) else None
        if self.quantizer is not None:
            maker = graph.producer()[maker.input]
        self.window: Window = maker  # type: ignore[assignment]
        self.seen: Tensor = graph.tensors[self.window.input]
        self.sum_bits = graph.tensors[node.output].fmt.bits
        rows, columns = self.window.output_image
        self.pixels = rows * columns
        self.taps = self.window.positions

    @property
    def weights(self) -> tuple[int, ...]:
        """(groups, outputs, taps, inputs) of the weights; those of a depthwise layer for a pool."""
        if isinstance(self.node, Linear):
            return self.node.weight.shape
        return self.window.image[2], 1, self.taps, 1

    @property
    def depthwise(self) -> bool:
        """Whether the layer works on channels at once (groups of one input, or a pool)."""
        if isinstance(self.node, Pool):
            return True
        return self.node.blocks is None and self.weights[0] > 1 == self.weights[3]

    @property
    def sizes(self) -> tuple[int, int]:
        """The largest useful pe and simd."""
        groups, outputs, taps, channels = self.weights
        return (groups, taps) if self.depthwise else (outputs, taps * channels)

    def fold(self, pe: int, simd: int) -> Fold:
        """The fold of a choice of pe and simd."""
        if self.depthwise:
            channels, taps = self.sizes
            cycles = self.pixels * -(-channels // pe) * -(-taps // simd)
            return Fold(pe, self.weights[1], simd, cycles)
        groups, outputs, taps, channels = self.weights
        if groups > 1:  # a group's outputs must end with a word
            pe = next(p for p in range(pe, outputs + 1) if outputs % p == 0)
        cycles = self.pixels * groups * -(-outputs // pe) * -(-taps * channels // simd)
        return Fold(1, pe, simd, cycles)

    def wide(self, target: int) -> Fold | None:
        """The fold for a target that one pixel and one group a cycle can't reach: all groups at
        once, and as many pixels as it takes; None where that is not needed."""
        (height, width, channels), (rows, across) = self.window.image, self.window.output_image
        if self.lies:
            height, width, rows, across = 1, height, 1, rows
        fastest = max(height * width, self.fold(*self.sizes).cycles)
        if fastest <= target or self.seen.channels != channels or self.quantizer is not None:
            return None
        columns = _least_divisor(width, height * width / target)
        pixels = _least_divisor(across, rows * across / target)
        groups, outputs, taps, inputs = self.weights
        full = max(height * width // columns, rows * across // pixels)
        choice = Fold(groups, outputs, taps * inputs, full, pixels, columns)
        if pixels == 1 and (self.depthwise or groups == 1):
            found = self.best(target, groups if self.depthwise else None, None)
            choice = replace(found, cycles=max(found.cycles, full), columns=columns)
        return choice

    @property
    def lies(self) -> bool:
        """Whether the rows of a matrix can be seen as the pixels of one line."""
        return self.taps == 1 and self.window.image[1] == 1

    def simds(self) -> list[int]:
        """The least simd for every number of words a row can have."""
        most = self.sizes[1]
        return sorted({-(-most // simd): simd for simd in reversed(self.allowed)}.values())

    @property
    def allowed(self) -> list[int]:
        """Every simd it can have: a word never crosses the end of a block."""
        most = self.sizes[1]
        blocks = (isinstance(self.node, Linear) and self.node.blocks) or ()
        sizes = [block.size for block in blocks if block.size < most]
        return [s for s in range(1, most + 1) if all(size % s == 0 for size in sizes)]

    def fits(self, simd: int) -> bool:
        """Whether the window can hand out `simd` inputs at once without a conversion behind it."""
        if self.depthwise:
            return True
        channels = self.weights[3]
        if self.taps == 1 and self.seen.channels == self.window.image[2]:
            return True
        return channels % simd == 0 or (self.taps > 1 and simd % channels == 0)

    def best(self, target: int, pe: int | None, simd: int | None) -> Fold:
        """The fewest multipliers within `target` cycles (or the fastest); given values stay."""
        most_pe, _ = self.sizes
        found = None
        for s in [simd] if simd else self.simds():
            if pe:
                choice = self.fold(pe, s)
            else:
                once = self.fold(most_pe, s).cycles
                passes = max(1, target // once)
                choice = self.fold(-(-most_pe // min(passes, most_pe)), s)
            registers = choice.pe * self.sum_bits + choice.simd * self.seen.fmt.bits
            rank = (max(choice.cycles, target), choice.multipliers, not self.fits(s), registers)
            if found is None or rank < found[0]:
                found = rank, choice
        return found[1]


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
    layers = [Layer(graph, node) for node in graph.nodes if isinstance(node, Linear | Pool)]
    given = dict(overrides or {})
    attended = {n.name for n in graph.nodes if isinstance(n, Attention)}
    own = {name: given.pop(name) for name in attended & set(given)}
    chosen = _overrides(layers, given)

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
        _check_cycles(graph, layers, folds, cycles, chosen)
    for layer, choice in zip(layers, folds, strict=True):
        _apply(graph, layer, choice, max(target, choice.cycles))
    slowest = fold_attention.fold_attention(graph, target, own)
    return max([target, slowest, *(choice.cycles for choice in folds)])


def longest_stream(graph: Graph) -> int:
    """Elements of the largest tensor between layers."""
    inner = {n.output for n in graph.nodes if isinstance(n, Window)}
    return max(tensor.elements for name, tensor in graph.tensors.items() if name not in inner)


def multipliers(graph: Graph) -> int:
    """Multipliers of all layers."""
    return sum(n.multipliers for n in graph.nodes if isinstance(n, Linear | Attention))


def _overrides(layers: list[Layer], overrides: Mapping) -> dict:
    by_name = {layer.node.name: layer for layer in layers}
    for name, values in overrides.items():
        if name not in by_name:
            raise ConfigError(
                f"node {name!r} has no pe or simd; the nodes that have are {', '.join(by_name)}"
            )
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
            if isinstance(layer.node, Linear)
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


def _check_cycles(graph: Graph, layers: list, folds: list, cycles: int, chosen: dict) -> None:
    needs = [
        (choice.cycles, layer.node.name)
        for layer, choice in zip(layers, folds, strict=True)
        if layer.node.name not in chosen
    ]
    needs += [
        (graph.tensors[tensor].elements, node.name)
        for node in graph.nodes
        if isinstance(node, Reorder | Concat)
        for tensor in (node.input, node.output)
    ]
    needs += [
        (graph.tensors[node.input].elements, node.name)
        for node in graph.nodes
        if isinstance(node, Embed)
    ]
    needs += [
        (graph.tensors[node.input].rows, node.name)
        for node in graph.nodes
        if isinstance(node, Normalize | Softmax)
    ]
    slowest, name = max(needs, default=(0, ""))
    if slowest > cycles:
        raise ConfigError(
            f"{name} takes {slowest} cycles even fully parallel; cycles must be at least "
            f"{slowest}, not {cycles}"
        )


def _apply(graph: Graph, layer: Layer, choice: Fold, target: int) -> None:
    """Write a fold into the layer, its window and the tensor between."""
    node, window = layer.node, layer.window
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


def _least_divisor(number: int, least: float) -> int:
    """The least divisor of `number` that is at least `least`, or `number`."""
    return next((d for d in range(1, number) if number % d == 0 and d >= least), number)


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
