"""Sliding windows out of a circular buffer of image rows."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from hwgen.ir import Tensor, Window
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports


class WindowUnit(wiring.Component):
    """Writes the image into a buffer of `rows` rows and reads each window `repeat` times.

    The reader starts a row of windows when all image rows it needs are there, and frees them when
    no later window needs them; `taps` kernel positions are read at once from as many copies of the
    memory. Latency: 4 cycles from the last word needed. Initiation interval: 1 per word, in or out.

    Members: `i`: the image; `o`: words of taps * i.lanes elements.
    """

    def __init__(self, node: Window, x: Tensor, y: Tensor) -> None:
        self._node, self._lanes, self._bits = node, x.lanes, x.fmt.bits
        _, width, channels = node.image
        self._pixel = -(-channels // x.lanes)  # words
        self._row = width * self._pixel
        self._depth = node.rows * self._row
        self._out = node.output_image
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Writer, then the reader's pipeline: counters, offset, address, memory."""
        m = Module()
        ce, released = Signal(), Signal(range(self._node.rows + 1))
        m.d.comb += ce.eq(~self.o.valid | self.o.ready)
        memory, row_written = self._writer(m, released)
        step, positions = self._sequence(m, ce, row_written)
        self._reader(m, memory, ce, step, positions, released)
        return m

    def _writer(self, m: Module, released: Signal) -> tuple[Memory, Signal]:
        """Stores words where a row is free; returns the memory and a strobe per complete row."""
        m.submodules.memory = memory = Memory(
            shape=self.i.payload.as_value().shape().width, depth=self._depth, init=[]
        )
        write = memory.write_port()
        live = Signal(range(self._node.rows + 1))
        take, row_written = Signal(), Signal()
        address, _ = counter(m, self._depth, take, "write_address")
        _, row_end = counter(m, self._row, take, "write_word")
        m.d.comb += [
            self.i.ready.eq(live != self._node.rows),
            take.eq(self.i.valid & self.i.ready),
            row_written.eq(take & row_end),
            write.addr.eq(address),
            write.data.eq(self.i.payload),
            write.en.eq(take),
        ]
        m.d.sync += live.eq(live + row_written - released)
        return memory, row_written

    def _sequence(self, m: Module, ce: Signal, row_written: Signal):
        """The counters of the loops (row, column, block, repeat, taps, word), the innermost
        last."""
        node = self._node
        rows, columns = self._out
        step = Signal()
        per_block = -(-node.block // self._lanes)
        word, word_last = counter(m, per_block, step, "word")
        tap, tap_last = counter(m, -(-node.positions // node.taps), step & word_last, "tap")
        inner = Signal()
        m.d.comb += inner.eq(step & word_last & tap_last)
        _, repeat_last = counter(m, node.repeat, inner, "repeat")
        turn = Signal()
        m.d.comb += turn.eq(inner & repeat_last)
        _, block_last = counter(m, node.blocks, turn, "block")
        column, column_last = counter(m, columns, turn & block_last, "column")
        row_end = Signal()
        m.d.comb += row_end.eq(turn & block_last & column_last)
        row, image_last = counter(m, rows, row_end, "row")

        freed = self._gate(m, ce, step, row, row_end, row_written)
        base = self._base(m, turn, block_last, column_last, image_last, per_block)
        position = Signal(range(self._depth))
        m.d.comb += position.eq(base + word)
        return step, (position, tap, row, column, freed)

    def _gate(self, m: Module, ce, step: Signal, row, row_end, row_written):
        """Lets a row of windows begin when its image rows are there; returns the rows it frees at
        its end."""
        fresh = Signal(init=1)
        available, needed, freed = (
            Signal(range(self._node.rows + 1), name=n) for n in ("available", "needed", "freed")
        )
        self._row_table(m, row, needed, freed)
        freed_now = Mux(row_end, freed, 0)
        m.d.comb += step.eq(ce & (~fresh | (available >= needed)))
        m.d.sync += available.eq(available + row_written - freed_now)
        with m.If(step):
            m.d.sync += fresh.eq(row_end)
        return freed_now

    def _row_table(self, m: Module, row, needed: Signal, freed: Signal) -> None:
        """Rows that must be there before an output row, and rows free after it."""
        table = self._node.row_schedule
        common = max(set(table), key=table.count)
        m.d.comb += [needed.eq(common[0]), freed.eq(common[1])]
        with m.Switch(row):
            for k, entry in enumerate(table):
                if entry != common:
                    with m.Case(k):
                        m.d.comb += [needed.eq(entry[0]), freed.eq(entry[1])]

    def _base(self, m: Module, turn, block_last, column_last, image_last, per_block: int) -> Signal:
        """Address of the window's first pixel, stepped by constants modulo the buffer."""
        node, depth = self._node, self._depth
        (height, _, _), (rows, columns) = node.image, self._out
        across = (columns - 1) * node.stride[1] * self._pixel + (node.blocks - 1) * per_block
        deltas = (
            per_block,
            node.stride[1] * self._pixel - (node.blocks - 1) * per_block,
            node.stride[0] * self._row - across,
            (height - (rows - 1) * node.stride[0]) * self._row - across,
        )
        start = -(node.pads[0] * self._row + node.pads[1] * self._pixel) % depth
        base, delta = Signal(range(depth), init=start), Signal(range(depth))
        by_block, by_column, by_row, by_image = (d % depth for d in deltas)
        m.d.comb += delta.eq(
            Mux(
                block_last, Mux(column_last, Mux(image_last, by_image, by_row), by_column), by_block
            )
        )
        with m.If(turn):
            m.d.sync += base.eq(self._modulo(base + delta))
        return base

    def _modulo(self, value):
        """`value` below 2 * depth, modulo depth."""
        if self._depth & (self._depth - 1) == 0:
            return value[: self._depth.bit_length() - 1] if self._depth > 1 else Const(0, 1)
        return Mux(value >= self._depth, value - self._depth, value)

    def _reader(self, m: Module, memory: Memory, ce, step, positions, released) -> None:
        """Three registers: offsets of the taps, addresses, memory output."""
        node = self._node
        position, tap, row, column, freed = positions
        self._valid(m, ce, step, freed, released)
        position1 = Signal.like(position)
        with m.If(ce):
            m.d.sync += position1.eq(position)
        inside_row, inside_column = self._inside(m, row, column)
        for lane in range(node.taps):
            offset, offset1 = (Signal(range(self._depth), name=f"offset{lane}_{k}") for k in "01")
            outside = [Signal(name=f"outside{lane}_{k}") for k in range(4)]
            with m.Switch(tap):
                for group, first in enumerate(range(0, node.positions, node.taps)):
                    place = min(first + lane, node.positions - 1)
                    ky, kx = divmod(place, node.kernel[1])
                    dy, dx = ky * node.dilation[0], kx * node.dilation[1]
                    with m.Case(group):
                        m.d.comb += [
                            offset.eq((dy * self._row + dx * self._pixel) % self._depth),
                            outside[0].eq(~(inside_row[ky] & inside_column[kx])),
                        ]
            read = memory.read_port()
            address = Signal(range(self._depth), name=f"address{lane}")
            m.d.comb += [read.addr.eq(address), read.en.eq(ce)]
            with m.If(ce):
                m.d.sync += [
                    offset1.eq(offset),
                    address.eq(self._modulo(position1 + offset1)),
                    Cat(outside[1:]).eq(Cat(outside[:3])),
                ]
            for c in range(self._lanes):
                k = lane * self._lanes + c
                element = read.data.word_select(c, self._bits)
                m.d.comb += self.o.payload[k].eq(Mux(outside[3], node.pad_code, element))

    def _valid(self, m: Module, ce, step, freed, released) -> None:
        """Three stages of valid; rows are released when their last window has been read."""
        valid = [Signal(name=f"valid{k}") for k in range(3)]
        freed1, freed2 = Signal.like(released), Signal.like(released)
        with m.If(ce):
            m.d.sync += [
                freed1.eq(Mux(step, freed, 0)),
                freed2.eq(freed1),
                Cat(valid).eq(Cat(step, valid[0], valid[1])),
            ]
        m.d.comb += [self.o.valid.eq(valid[2]), released.eq(Mux(ce, freed2, 0))]

    def _inside(self, m: Module, row, column) -> tuple[list, list]:
        """For each kernel row and column, whether it lies inside the image."""
        node = self._node
        flags = []
        for axis, index in enumerate((row, column)):
            size, before = node.image[axis], node.pads[axis]
            axis_flags = []
            for k in range(node.kernel[axis]):
                reach = [
                    o
                    for o in range(self._out[axis])
                    if 0 <= o * node.stride[axis] - before + k * node.dilation[axis] < size
                ]
                inside = Const(bool(reach), 1)
                if reach and reach[0] > 0:
                    inside &= index >= reach[0]
                if reach and reach[-1] < self._out[axis] - 1:
                    inside &= index <= reach[-1]
                axis_flags.append(inside)
            flags.append(axis_flags)
        return flags[0], flags[1]
