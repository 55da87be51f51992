"""Tops around a design: with a serial line for a board, with AXI4-Lite registers as a block."""

from __future__ import annotations

import re

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hwgen.emit.top import Port, top_ports
from hwgen.emit.verilog import convert
from hwgen.ir import Graph
from hwgen.rtl.axi import lane_bytes
from hwgen.rtl.link.axilite import SIGNALS, AxiLite
from hwgen.rtl.link.registers import Registers
from hwgen.rtl.link.serial import SerialLink

CLOCK = "hwgen_clock"  # the module that makes the design's clock of the board's
STREAM = ("tdata", "tvalid", "tready", "tlast")


def beat_bytes(port: Port) -> int:
    """Bytes of tdata."""
    return lane_bytes(port.tensor) * port.tensor.lanes


class _Controlled:
    """A design's instance and its registers; `axis`: the signals of its streams by name."""

    def __init__(self, m: Module, graph: Graph, top: str, identity: bytes, khz: int) -> None:
        self.inputs, self.outputs = top_ports(graph)
        sides = [*((p, "i", "o") for p in self.inputs), *((p, "o", "i") for p in self.outputs)]
        self.axis: dict[str, Signal] = {}
        arguments = {}
        for port, inward, outward in sides:
            for name in STREAM:
                width = 8 * beat_bytes(port) if name == "tdata" else 1
                signal = self.axis[port.prefix + name] = Signal(width, name=port.prefix + name)
                way = outward if name == "tready" else inward
                arguments[f"{way}_{port.prefix}{name}"] = signal
        error, reset = Signal(name="tlast_error"), Signal(name="design_resetn")
        self.registers = registers = Registers(identity, khz, len(self.inputs), len(self.outputs))
        m.submodules.registers = registers
        m.submodules.design = Instance(
            top, i_aclk=ClockSignal(), i_aresetn=reset, o_tlast_error=error, **arguments
        )
        m.d.comb += [reset.eq(~registers.o_reset), registers.i_errors[0].eq(error)]
        for ports, moved, last in (
            (self.inputs, registers.i_in, registers.i_in_last),
            (self.outputs, registers.i_out, registers.i_out_last),
        ):
            for k, port in enumerate(ports):
                valid, ready, end = (self.axis[port.prefix + name] for name in STREAM[1:])
                m.d.comb += [moved[k].eq(valid & ready), last[k].eq(end)]

    def lights(self, m: Module, khz: int, leds: Signal) -> None:
        """A slow blink, busy, an error, then the count of tensors that came out."""
        blink = Signal(range(500 * khz)), Signal()
        with m.If(blink[0] == 500 * khz - 1):
            m.d.sync += [blink[0].eq(0), blink[1].eq(~blink[1])]
        with m.Else():
            m.d.sync += blink[0].eq(blink[0] + 1)
        own = self.registers
        m.d.comb += leds.eq(Cat(blink[1], own.o_busy, own.o_error, own.o_count))


class SerialTop(wiring.Component):
    """A design behind a serial line. Ports: `clk`, `rx`, `tx`, and where there are any `leds` and
    `high`, which is all ones. `low`: ports that are active low."""

    def __init__(
        self,
        graph: Graph,
        top: str,
        identity: bytes,
        khz: int,
        divisor: int,
        leds: int = 0,
        high: int = 0,
        low: tuple[str, ...] = (),
    ) -> None:
        self._design = graph, top, identity, khz
        self._divisor, self._low = divisor, low
        members = {"clk": In(1), "rx": In(1), "tx": Out(1)}
        members |= {name: Out(n) for name, n in (("leds", leds), ("high", high)) if n}
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """Clock, reset, link, design."""
        m = Module()
        domain = m.domains.sync = ClockDomain("sync", local=True)
        locked, steady = Signal(), Signal()
        waited = Signal(4, reset_less=True)
        m.submodules.clock = Instance(CLOCK, i_i=self.clk, o_o=domain.clk, o_locked=locked)
        m.submodules.steady = FFSynchronizer(locked, steady)
        m.d.sync += waited.eq(Cat(steady, waited))
        m.d.comb += domain.rst.eq(~waited.all())
        design = _Controlled(m, *self._design)
        sizes = [beat_bytes(p) for p in design.inputs], [beat_bytes(p) for p in design.outputs]
        m.submodules.link = link = SerialLink(*sizes, self._divisor)
        registers = design.registers
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            link.reset.eq(registers.o_reset),
            link.data.eq(registers.o_data),
            registers.i_reset.eq(link.o_reset),
            registers.i_address.eq(link.address),
            registers.i_read.eq(link.read),
            registers.i_write.eq(link.write),
            registers.i_data.eq(link.o_data),
            registers.i_errors[1:].eq(link.errors),
        ]
        for stem, ports in (("in", design.inputs), ("out", design.outputs)):
            for k, port in enumerate(ports):
                for name in STREAM:
                    own, other = design.axis[port.prefix + name], getattr(link, f"{stem}{k}_{name}")
                    to_link = (stem == "in") == (name == "tready")
                    m.d.comb += other.eq(own) if to_link else own.eq(other)
        if hasattr(self, "leds"):
            lit = Signal(len(self.leds))
            design.lights(m, self._design[3], lit)
            m.d.comb += self.leds.eq(~lit if "leds" in self._low else lit)
        if hasattr(self, "high"):
            m.d.comb += self.high.eq(-1)
        return m


class BlockTop(wiring.Component):
    """A design with its registers behind AXI4-Lite, `s_axi_...`; clock `aclk`, reset `aresetn`
    (active low, synchronous), the design's streams, `leds`."""

    def __init__(self, graph: Graph, top: str, identity: bytes, khz: int, leds: int = 0) -> None:
        self._design = graph, top, identity, khz
        members = {"aclk": In(1), "aresetn": In(1)}
        members |= {f"s_axi_{n}": (In if way else Out)(bits) for n, (bits, way) in SIGNALS.items()}
        inputs, outputs = top_ports(graph)
        for ports, way, back in ((inputs, In, Out), (outputs, Out, In)):
            for port in ports:
                members[f"{port.prefix}tdata"] = way(8 * beat_bytes(port))
                members |= {f"{port.prefix}{name}": way(1) for name in ("tvalid", "tlast")}
                members[f"{port.prefix}tready"] = back(1)
        members |= {"leds": Out(leds)} if leds else {}
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """Registers between the port and the design; streams pass."""
        m = Module()
        domain = m.domains.sync = ClockDomain("sync", local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        design = _Controlled(m, *self._design)
        m.submodules.axi = axi = AxiLite()
        for name, (_, way) in SIGNALS.items():
            own, port = getattr(axi, name), getattr(self, f"s_axi_{name}")
            m.d.comb += own.eq(port) if way else port.eq(own)
        registers = design.registers
        m.d.comb += [
            registers.i_address.eq(axi.o_address),
            registers.i_read.eq(axi.o_read),
            registers.i_write.eq(axi.o_write),
            registers.i_data.eq(axi.o_data),
            axi.i_data.eq(registers.o_data),
        ]
        for name, signal in design.axis.items():
            port = getattr(self, name)
            inward = name.startswith("s_") != name.endswith("tready")
            m.d.comb += signal.eq(port) if inward else port.eq(signal)
        if hasattr(self, "leds"):
            design.lights(m, self._design[3], self.leds)
        return m


def top_text(component: wiring.Component, name: str) -> str:
    """Its Verilog, as module `name`; modules inside are called `name`_..."""
    text = rtlil.convert(component, name=name, emit_src=False)
    inner = re.compile(rf"\\{name}(?:\.[\w$]+)+")
    return convert(inner.sub(lambda found: re.sub(r"[.$]", "_", found[0]), text))
