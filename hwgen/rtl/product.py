"""Products of two matrices that both come as streams."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from hwgen.formats import int_holding
from hwgen.ir import Product, Tensor
from hwgen.rtl.arith.dot import Dot
from hwgen.rtl.arith.sums import module_name
from hwgen.rtl.banks import Banks, banks
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports, register, shape_of


class ProductUnit(wiring.Component):
    """y[m, n] = sum over k of (x0[m, k] - zeros[0]) * (x1[n, k] - zeros[1]), `pe` n and `simd` k at
    once.

    Two banks hold the rows of the second input, a word `pe` rows: one batch is written while the
    other is read. A row of the first input goes through as it comes and is kept for its further
    passes, a pass for every `pe` outputs. Latency from the last word of a pass: 2 cycles and those
    of its Dot; a batch of the second input is there a cycle after its last word. Initiation
    interval: ceil(K / simd) cycles per output word, and 1 per word of the second input.

    Members: `i0`, `i1`: words of simd elements; `o`: words of pe sums.
    `parts`: what makes the module it instantiates, by name.
    """

    def __init__(self, node: Product, x0: Tensor, x1: Tensor, y: Tensor) -> None:
        self._node, self._rows = node, x0.rows // node.batches
        self._columns, self._words = x1.rows // node.batches, x0.words_per_row
        self._passes = -(-self._columns // node.pe)
        self._left = x0.channels - (self._words - 1) * node.simd  # elements in a row's last word
        self._formats = a, b = tuple(
            int_holding(x.fmt.min - zero, x.fmt.max - zero)
            for x, zero in zip((x0, x1), node.zeros, strict=True)
        )
        self._dot = module_name("dot", f"{a}_{b}_{node.simd}")
        self._dot_shape = Dot.sum_shape(a, b, node.simd)
        self.parts = {self._dot: lambda: Dot(a, b, node.simd)}
        super().__init__(ports(x0, x1, y))

    def elaborate(self, _platform) -> Module:
        """Memories, dot products, accumulators; the accumulators are the output."""
        m = Module()
        ce, step, filled = Signal(), Signal(), Signal()
        m.d.comb += ce.eq(~self.o.valid | self.o.ready)
        word, pass_end = counter(m, self._words, step, "word")
        part, row_end = counter(m, self._passes, step & pass_end, "pass")
        _, last_row = counter(m, self._rows, step & pass_end & row_end, "row")
        used = step & pass_end & row_end & last_row
        depth = self._passes * self._words
        turns = banks(m, depth, filled, used, used)
        fresh = part == 0  # the first pass takes the words of a row
        m.d.comb += [
            step.eq(ce & turns.there & (self.i0.valid | ~fresh)),
            self.i0.ready.eq(ce & turns.there & fresh),
        ]
        address, _ = counter(m, depth, step, "address")
        memory = self._writer(m, turns, filled)
        columns = memory.read_port()
        m.d.comb += [columns.addr.eq(turns.read + address), columns.en.eq(ce)]
        row = self._row(m, ce, word, fresh)
        flags = register(m, ce, Cat(step, word == 0, pass_end), "flags")
        self._sums(m, ce, self._less(row, flags[2]), columns.data, flags)
        return m

    def _writer(self, m: Module, turns: Banks, filled: Signal) -> Memory:
        """Stores the second input: row n in lane n mod pe."""
        pe = self._node.pe
        m.submodules.columns = memory = Memory(
            shape=data.ArrayLayout(self.i1.payload.shape(), pe),
            depth=2 * self._passes * self._words,
            init=[],
        )
        write = memory.write_port(granularity=1)
        take, base = Signal(), Signal(range(self._passes * self._words), name="group")
        word, row_end = counter(m, self._words, take, "written")
        _, last = counter(m, self._columns, take & row_end, "column")
        lane = Signal(pe, init=1)
        m.d.comb += [
            self.i1.ready.eq(turns.ready),
            take.eq(self.i1.valid & self.i1.ready),
            filled.eq(take & row_end & last),
            write.addr.eq(turns.write + base + word),
            write.en.eq(Mux(take, lane, 0)),
            *(write.data[k].eq(self.i1.payload) for k in range(pe)),
        ]
        with m.If(take & row_end):
            m.d.sync += lane.eq(lane.rotate_left(1))
            with m.If(lane[-1]):
                m.d.sync += base.eq(base + self._words)
        with m.If(filled):
            m.d.sync += [lane.eq(1), base.eq(0)]
        return memory

    def _row(self, m: Module, ce, word, fresh):
        """The word of the first input, as it comes or as it was kept."""
        coming = register(m, ce, self.i0.payload, "coming")
        if self._passes == 1:
            return coming
        m.submodules.row = memory = Memory(
            shape=self.i0.payload.shape(), depth=self._words, init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(word),
            write.data.eq(self.i0.payload),
            write.en.eq(self.i0.valid & self.i0.ready),
            read.addr.eq(word),
            read.en.eq(ce),
        ]
        kept = register(m, ce, ~fresh, "kept")
        chosen = Signal(self.i0.payload.shape())
        m.d.comb += chosen.eq(Mux(kept, read.data, coming))
        return chosen

    def _less(self, row, last) -> list:
        """The elements less the zero point; 0 behind the end of the row."""
        zero = self._node.zeros[0]
        return [
            element - zero if k < self._left else Mux(last, 0, element - zero)
            for k, element in enumerate(row)
        ]

    def _sums(self, m: Module, ce, row: list, columns, flags) -> None:
        """A dot product and an accumulator per output of the word."""
        node = self._node
        x = Signal(data.ArrayLayout(shape_of(self._formats[0]), node.simd), name="x")
        m.d.comb += [x[k].eq(element) for k, element in enumerate(row)]
        valid, first, last = flags
        for _ in range(Dot.latency(node.simd)):
            valid, first, last = register(m, ce, Cat(valid, first, last), "flags")
        done = register(m, ce, valid & last, "done")
        m.d.comb += self.o.valid.eq(done)
        for p in range(node.pe):
            w = Signal(data.ArrayLayout(shape_of(self._formats[1]), node.simd), name=f"w{p}")
            m.d.comb += [w[k].eq(columns[p][k] - node.zeros[1]) for k in range(node.simd)]
            total = Signal(self._dot_shape, name=f"dot{p}")
            m.submodules[f"dot{p}"] = Instance(
                self._dot,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_i_ce=ce,
                i_i_x=x.as_value(),
                i_i_w=w.as_value(),
                o_o=total,
            )
            out = Signal(self.o.payload[p].shape(), name=f"sum{p}")
            with m.If(ce & valid):
                m.d.sync += out.eq(Mux(first, 0, out) + total)
            m.d.comb += self.o.payload[p].eq(out)
