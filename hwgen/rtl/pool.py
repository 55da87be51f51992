"""Maximum and sum over windows."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring

from hwgen.ir import Pool, Tensor
from hwgen.rtl.counter import counter
from hwgen.rtl.stream import ports, shape_of


class PoolUnit(wiring.Component):
    """y[p, c] = max or sum over taps t of x[p, t, c]; the maximum of floats too.

    `pixels` rows, `block` channels and `simd` taps at once.

    Latency: 2 cycles from a window's last word. Initiation interval: ceil(taps / simd) cycles per
    output word.

    Members: `i`: words of pixels * simd * block elements, ordered (pixel, tap, channel); `o`: words
    of pixels * block elements.
    """

    def __init__(self, node: Pool, x: Tensor, y: Tensor) -> None:
        self._node, self._x, self._y = node, x, y
        super().__init__(ports(x, y))

    def elaborate(self, _platform) -> Module:
        """Register the word, reduce it over its taps, then into the accumulator that is the
        output."""
        m = Module()
        node = self._node
        words = -(-node.taps // node.simd)
        ce = Signal()
        m.d.comb += [ce.eq(~self.o.valid | self.o.ready), self.i.ready.eq(ce)]
        position, last = counter(m, words, self.i.valid & ce, "word")
        x = Signal(self.i.payload.shape())
        valid, first, end = Signal(), Signal(), Signal()
        out = Signal(self.o.payload.shape())
        out_valid = Signal()
        m.d.comb += [self.o.valid.eq(out_valid), self.o.payload.eq(out)]
        with m.If(ce):
            m.d.sync += [
                x.eq(self.i.payload),
                valid.eq(self.i.valid),
                first.eq(position == 0),
                end.eq(last),
                out_valid.eq(valid & end),
            ]
        left = node.taps - (words - 1) * node.simd
        for lane in range(node.pixels * node.block):
            pixel, c = divmod(lane, node.block)
            taps = [x[(pixel * node.simd + t) * node.block + c] for t in range(node.simd)]
            for t in range(left, node.simd):
                taps[t] = Mux(end, self._neutral(), taps[t])
            while len(taps) > 1:  # a tree: two become one
                pairs = zip(taps[::2], taps[1::2], strict=False)
                taps = [self._combine(m, a, b) for a, b in pairs] + taps[len(taps) & ~1 :]
            kept = Mux(first, self._neutral(), out[lane])
            with m.If(ce & valid):
                m.d.sync += out[lane].eq(self._combine(m, kept, taps[0]))
        return m

    def _neutral(self) -> Const:
        """What changes no result."""
        y, fmt = self._y.fmt, self._node.fmt
        if fmt is not None:
            return Const(fmt.sign | fmt.largest_code, fmt.bits)
        return Const(0 if self._node.kind == "sum" else y.min, shape_of(y))

    def _combine(self, m: Module, a, b):
        if self._node.kind == "sum":
            return a + b
        # A signal: as an expression, which holds both operands twice, it would double with each
        # level.
        larger = Signal(shape_of(self._y.fmt))
        above = a > b
        if self._node.fmt is not None:  # of negative numbers the larger has the smaller code
            above = Mux(a[-1], b[-1] & (a < b), b[-1] | above)
        m.d.comb += larger.eq(Mux(above, a, b))
        return larger
