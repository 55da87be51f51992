"""Layers, and the folds they can have."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwgen.ir import BlockQuantize, Graph, Linear, Pool, Product, Tensor, Window


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
        self.node: Linear | Pool | Product = node
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
        if not isinstance(self.node, Linear):
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

    def once(self, simd: int) -> int:
        """Cycles with all outputs at once."""
        return self.fold(self.sizes[0], simd).cycles

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
                passes = max(1, target // self.once(s))
                choice = self.fold(-(-most_pe // min(passes, most_pe)), s)
            registers = choice.pe * self.sum_bits + choice.simd * self.seen.fmt.bits
            rank = (max(choice.cycles, target), choice.multipliers, not self.fits(s), registers)
            if found is None or rank < found[0]:
                found = rank, choice
        return found[1]


class Matrices(Layer):
    """A Product of two matrices, and the folds it can have."""

    def __init__(self, graph: Graph, node: Product) -> None:
        self.node = node
        first, second, product = (graph.tensors[name] for name in (*node.inputs, node.output))
        self.seen, self.sum_bits = first, product.fmt.bits
        self._rows, self._columns = first.rows, second.rows
        self._sizes = product.channels, first.channels

    @property
    def sizes(self) -> tuple[int, int]:
        """Columns of the product, and elements of a sum."""
        return self._sizes

    @property
    def allowed(self) -> list[int]:
        """Every simd."""
        return list(range(1, self.sizes[1] + 1))

    def fold(self, pe: int, simd: int) -> Fold:
        """The fold of a choice of pe and simd; the second input must come in time too."""
        outputs, elements = self.sizes
        words = max(self._rows * -(-outputs // pe), self._columns)
        return Fold(1, pe, simd, words * -(-elements // simd))

    def once(self, simd: int) -> int:
        """Cycles with all outputs at once, but for the second input."""
        return self._rows * -(-self.sizes[1] // simd)

    def wide(self, target: int) -> None:
        """It has no pixels."""

    def fits(self, simd: int) -> bool:
        """It takes any words."""
        return True


def _least_divisor(number: int, least: float) -> int:
    """The least divisor of `number` that is at least `least`, or `number`."""
    return next((d for d in range(1, number) if number % d == 0 and d >= least), number)
