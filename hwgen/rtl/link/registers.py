"""Registers of status and control, the same behind a serial line and behind AXI4-Lite."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.protocol import ERRORS, IDENTITY, MAGIC, REGISTERS, VERSION

RESET_CYCLES = 16


class Registers(wiring.Component):
    """Sixteen words of 32 bits about a design of `inputs` and `outputs` streams.

    `identity`: 16 bytes; `khz`: of the clock. Low words of counters latch the high ones when read.

    Members: `i_address` (a word), `i_read`, and `o_data` one cycle later; `i_write`, `i_data`;
    `i_in`, `i_in_last`, `i_out`, `i_out_last`: for each stream, a beat moves, and it is a tensor's
    last; `i_errors`: of ERRORS, those that are; `i_reset`: reset the design; `o_reset`: the
    design's reset; `o_busy`: a tensor is inside; `o_error`; `o_count`: tensors that came out.
    """

    def __init__(self, identity: bytes, khz: int, inputs: int, outputs: int) -> None:
        if len(identity) != IDENTITY:
            raise ValueError(f"identity must be {IDENTITY} bytes, not {len(identity)}")
        self._identity, self._khz = identity, khz
        super().__init__(
            {
                "i_address": In(4),
                "i_read": In(1),
                "o_data": Out(32),
                "i_write": In(1),
                "i_data": In(32),
                "i_in": In(inputs),
                "i_in_last": In(inputs),
                "i_out": In(outputs),
                "i_out_last": In(outputs),
                "i_errors": In(len(ERRORS)),
                "i_reset": In(1),
                "o_reset": Out(1),
                "o_busy": Out(1),
                "o_error": Out(1),
                "o_count": Out(32),
            }
        )

    def elaborate(self, _platform) -> Module:
        """Counters, then the table of words."""
        m = Module()
        errors, high = Signal(len(ERRORS)), Signal(32)
        tensors_in, cycles, busy = Signal(32), Signal(64), Signal(64)
        selected = {name: self.i_address == k for k, name in enumerate(REGISTERS)}
        self._resets(m, selected["control"])
        self._tensors(m, tensors_in)
        m.d.comb += self.o_error.eq(errors.any())
        cleared = Mux(self.i_write & selected["errors"], self.i_data[: len(ERRORS)], 0)
        m.d.sync += [
            errors.eq((errors & ~cleared) | self.i_errors),
            cycles.eq(cycles + 1),
            busy.eq(busy + self.o_busy),
        ]
        with m.If(self.o_reset):
            m.d.sync += [errors.eq(0), cycles.eq(0), busy.eq(0)]
        words: Sequence = [
            Const(MAGIC, 32),
            Const(VERSION, 32),
            *(
                Const(int.from_bytes(self._identity[k : k + 4], "little"), 32)
                for k in (0, 4, 8, 12)
            ),
            Const(0, 32),
            Cat(self.o_busy, self.o_reset),
            errors,
            tensors_in,
            self.o_count,
            Const(self._khz, 32),
            cycles[:32],
            high,
            busy[:32],
            high,
        ]
        with m.If(self.i_read), m.Switch(self.i_address):
            for k, word in enumerate(words):
                with m.Case(k):
                    m.d.sync += self.o_data.eq(word)
        for name, counter in (("cycles", cycles), ("busy", busy)):
            with m.If(self.i_read & selected[name]):
                m.d.sync += high.eq(counter[32:])
        return m
        return m

    def _resets(self, m: Module, selected) -> None:
        """Reset for some cycles, as asked for or after power on."""
        left = Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        m.d.comb += self.o_reset.eq(left != 0)
        with m.If(self.i_reset | (self.i_write & selected & self.i_data[0])):
            m.d.sync += left.eq(RESET_CYCLES)
        with m.Elif(self.o_reset):
            m.d.sync += left.eq(left - 1)

    def _tensors(self, m: Module, tensors_in: Signal) -> None:
        """Count tensors at the first input and all outputs; one that entered in part is inside."""
        first = self.i_in[0] & self.i_in_last[0]
        counts = [self.o_count, *(Signal(16, name=f"out{k}") for k in range(1, len(self.i_out)))]
        opened = Signal(len(self.i_in))
        m.d.sync += tensors_in.eq(tensors_in + first)
        for k, count in enumerate(counts):
            m.d.sync += count.eq(count + (self.i_out[k] & self.i_out_last[k]))
        for k in range(len(opened)):
            with m.If(self.i_in[k]):
                m.d.sync += opened[k].eq(~self.i_in_last[k])
        behind = [count[:16] != tensors_in[:16] for count in counts]
        m.d.comb += self.o_busy.eq(opened.any() | Cat(behind).any())
        with m.If(self.o_reset):
            m.d.sync += [tensors_in.eq(0), opened.eq(0), *(count.eq(0) for count in counts)]
