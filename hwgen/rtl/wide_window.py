"""Sliding windows in words of several pixels or windows."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.memory import Memory

from hwgen.ir import Tensor, Window
from hwgen.rtl.counter import counter
from hwgen.rtl.window import WindowUnit


class WideWindowUnit(WindowUnit):
    """A WindowUnit that takes `columns` pixels of a row and gives `pixels` whole windows at once.

    Windows beside each other overlap, so for each kernel row a few adjacent words of the buffer
    are read, from as many copies of it, and every element is wired to its place in them; where
    the place changes from word to word it is selected. Latency and interval as for WindowUnit.

    Members: `i`: words of columns * C elements; `o`: words of pixels * KH * KW * C elements.
    """

    def __init__(self, node: Window, x: Tensor, y: Tensor) -> None:
        super().__init__(node, x, y)
        self._row = node.image[1] // node.columns
        self._depth = node.rows * self._row
        self._groups = node.output_image[1] // node.pixels
        # Column of each group's first element, counted from the word that holds it.
        self._starts = [
            g * node.pixels * node.stride[1] - node.pads[1] for g in range(self._groups)
        ]
        self._residues = sorted({start % node.columns for start in self._starts})
        last = self._residues[-1] + max(self._places().values())
        self._words = last // node.columns + 1  # read at once in a row

    def _places(self) -> dict[tuple[int, int], int]:
        """(window of the word, kernel column) -> column, counted from the group's first."""
        node = self._node
        return {
            (p, k): p * node.stride[1] + k * node.dilation[1]
            for p in range(node.pixels)
            for k in range(node.kernel[1])
        }

    def _sequence(self, m: Module, ce: Signal, row_written: Signal):
        """The counters of the loops (row, group of columns, repeat), the innermost last."""
        node = self._node
        rows = self._out[0]
        step, row_end = Signal(), Signal()
        _, repeat_last = counter(m, node.repeat, step, "repeat")
        group, group_last = counter(m, self._groups, step & repeat_last, "group")
        m.d.comb += row_end.eq(step & repeat_last & group_last)
        row, image_last = counter(m, rows, row_end, "row")
        freed = self._gate(m, ce, step, row, row_end, row_written)
        base = Signal(range(self._depth), init=-node.pads[0] * self._row % self._depth)
        by_row = node.stride[0] * self._row % self._depth
        by_image = (node.image[0] - (rows - 1) * node.stride[0]) * self._row % self._depth
        with m.If(row_end):
            m.d.sync += base.eq(self._modulo(base + Mux(image_last, by_image, by_row)))
        return step, (base, group, row, freed)

    def _reader(self, m: Module, memory: Memory, ce, step, positions, released) -> None:
        """Three registers: rows and words, addresses, memory output."""
        node = self._node
        base, group, row, freed = positions
        self._valid(m, ce, step, freed, released)
        words, inside, residue = self._tables(m, group)
        inside_row, _ = self._inside(m, row, Const(0))
        flags = Cat(residue, *inside.values(), *inside_row)
        delayed = [Signal(len(flags), name=f"flags{k}") for k in range(3)]
        with m.If(ce):
            m.d.sync += Cat(delayed).eq(Cat(flags, delayed[:2]))
        chosen = delayed[-1][: len(residue)]
        bits = iter(delayed[-1][len(residue) :])
        inside = {place: next(bits) for place in inside}
        for ky in range(node.kernel[0]):
            row_inside = next(bits)
            data = [
                self._read(m, memory, ce, f"{ky}_{n}", base, ky, word)
                for n, word in enumerate(words)
            ]
            for (p, kx), column in self._places().items():
                sources = [
                    data[(r + column) // node.columns].word_select(
                        (r + column) % node.columns, self._bits * node.image[2]
                    )
                    for r in self._residues
                ]
                element = Signal(len(sources[0]), name=f"element{p}_{ky}_{kx}")
                with m.Switch(chosen):
                    for index, source in enumerate(sources):
                        with m.Case(index):
                            m.d.comb += element.eq(source)
                self._place(m, (p, ky, kx), element, row_inside & inside[p, kx])

    def _place(self, m: Module, at: tuple[int, int, int], pixel: Signal, inside) -> None:
        """The channels of one pixel, or of padding, in the output word."""
        node = self._node
        p, ky, kx = at
        channels = node.image[2]
        first = ((p * node.kernel[0] + ky) * node.kernel[1] + kx) * channels
        for c in range(channels):
            element = pixel.word_select(c, self._bits)
            m.d.comb += self.o.payload[first + c].eq(Mux(inside, element, node.pad_code))

    def _read(self, m: Module, memory: Memory, ce, name: str, base, ky: int, word):
        """The word of kernel row `ky`, three cycles later."""
        offset = ky * self._node.dilation[0] * self._row % self._depth
        start, word1, address = (
            Signal(range(self._depth), name=f"{n}{name}") for n in ("start", "word", "address")
        )
        read = memory.read_port()
        m.d.comb += [read.addr.eq(address), read.en.eq(ce)]
        with m.If(ce):
            m.d.sync += [
                start.eq(self._modulo(base + offset)),
                word1.eq(word),
                address.eq(self._modulo(start + word1)),
            ]
        return read.data

    def _tables(self, m: Module, group):
        """What depends on the group of columns: words to read, which columns lie inside, where in
        its word the first one lies."""
        node = self._node
        width = node.image[1]
        words = [Signal(range(max(2, self._row)), name=f"word{n}") for n in range(self._words)]
        inside = {
            (p, k): Signal(name=f"inside{p}_{k}")
            for p in range(node.pixels)
            for k in range(node.kernel[1])
        }
        residue = Signal(range(max(2, len(self._residues))))
        with m.Switch(group):
            for g, start in enumerate(self._starts):
                with m.Case(g):
                    m.d.comb += residue.eq(self._residues.index(start % node.columns))
                    for n, word in enumerate(words):
                        place = start // node.columns + n
                        m.d.comb += word.eq(place if 0 <= place < self._row else 0)
                    for at, column in self._places().items():
                        m.d.comb += inside[at].eq(0 <= start + column < width)
        return words, inside, residue
