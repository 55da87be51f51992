"""@NAME@ in a LiteX SoC: its registers on the bus, its streams read and written by DMA.

Call `add_design(soc, platform)` in a SoC of LiteX, before it is built.
"""

from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.cores.dma import WishboneDMAReader, WishboneDMAWriter
from litex.soc.interconnect import axi, stream, wishbone
from litex.soc.integration.soc import SoCRegion
from migen import ClockSignal, Instance, ResetSignal, Signal

HERE = Path(__file__).parent
VERILOG = [@VERILOG@]
INPUTS = {@INPUTS@}  # bytes of a beat by the prefix of the stream's signals
OUTPUTS = {@OUTPUTS@}


class Design(LiteXModule):
    """The design: `registers` of AXI4-Lite; a sink or a source for each stream."""

    def __init__(self, platform):
        self.registers = axi.AXILiteInterface(data_width=32, address_width=32)
        ports = {"i_aclk": ClockSignal(), "i_aresetn": ~ResetSignal()}
        for channel in ("aw", "w", "b", "ar", "r"):
            signals = getattr(self.registers, channel)
            inward = channel not in ("b", "r")
            ports[f"{'i' if inward else 'o'}_s_axi_{channel}valid"] = signals.valid
            ports[f"{'o' if inward else 'i'}_s_axi_{channel}ready"] = signals.ready
        r = self.registers
        ports |= {"i_s_axi_awaddr": r.aw.addr, "i_s_axi_awprot": 0}
        ports |= {"i_s_axi_araddr": r.ar.addr, "i_s_axi_arprot": 0}
        ports |= {"i_s_axi_wdata": r.w.data, "i_s_axi_wstrb": r.w.strb, "o_s_axi_bresp": r.b.resp}
        ports |= {"o_s_axi_rdata": r.r.data, "o_s_axi_rresp": r.r.resp}
        self.sinks, self.sources = {}, {}
        for streams, found, way, back in (
            (INPUTS, self.sinks, "i", "o"),
            (OUTPUTS, self.sources, "o", "i"),
        ):
            for prefix, size in streams.items():
                end = found[prefix] = stream.Endpoint([("data", 8 * size)])
                ports[f"{way}_{prefix}tdata"] = end.data
                ports[f"{way}_{prefix}tvalid"] = end.valid
                ports[f"{way}_{prefix}tlast"] = end.last
                ports[f"{back}_{prefix}tready"] = end.ready
        @LEDPORT@
        self.specials += Instance("@BLOCK@", **ports)
        for name in VERILOG:
            platform.add_source(str(HERE / name))


def add_design(soc, platform, name="@NAME@", origin=None):
    """Add the design to a SoC, with a DMA engine for each stream (CSRs `<name>_<stream>_...`)."""
    soc.add_module(name, Design(platform))
    design = getattr(soc, name)
    soc.bus.add_slave(name, design.registers, SoCRegion(origin=origin, size=0x1000, cached=False))
    for ends, Engine, inward in (
        (design.sinks, WishboneDMAReader, True),
        (design.sources, WishboneDMAWriter, False),
    ):
        for prefix, end in ends.items():
            bus = wishbone.Interface(data_width=32, adr_width=30)
            engine = Engine(bus, with_csr=True)
            soc.add_module(f"{name}_{prefix.rstrip('_')}", engine)
            soc.dma_bus.add_master(f"{name}_{prefix}", bus) if hasattr(
                soc, "dma_bus"
            ) else soc.bus.add_master(f"{name}_{prefix}", bus)
            wide, narrow = (32, len(end.data)) if inward else (len(end.data), 32)
            converter = stream.Converter(wide, narrow)
            soc.add_module(f"{name}_{prefix}converter", converter)
            if inward:
                soc.comb += [
                    engine.source.connect(converter.sink),
                    converter.source.connect(end),
                ]
            else:
                soc.comb += [
                    end.connect(converter.sink),
                    converter.source.connect(engine.sink, omit={"valid_token_count"}),
                ]
