"""What else lies in a project: build scripts, and the design as a block for other projects."""

from __future__ import annotations

import json

from hwgen.deploy.bitstream import flow, pack_arguments, route_options
from hwgen.deploy.clock import template
from hwgen.deploy.project import TOP, Project
from hwgen.emit.board import BlockTop, beat_bytes, top_text
from hwgen.emit.top import top_ports
from hwgen.synth.targets import target_named

BLOCK = "block.v"
GENERIC_PART = "xc7a100tcsg324-1"  # what an IP is packaged on, where the board is of another maker
# Of Zynq boards, by processor: its IP, settings, and the names of its pins.
PROCESSORS = {
    "zynq7": {
        "PROCESSOR": "processing_system7",
        "SETTINGS": "CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ @MHZ@",
        "CLOCK": "FCLK_CLK0",
        "RESET": "FCLK_RESET0_N",
        "MASTER": "M_AXI_GP0",
        "SLAVE": "S_AXI_HP0",
        "CLOCKS": "processor/M_AXI_GP0_ACLK processor/S_AXI_HP0_ACLK",
        "EXTERNAL": "DDR FIXED_IO",
    },
    "zynq_ultra_ps_e": {
        "PROCESSOR": "zynq_ultra_ps_e",
        "SETTINGS": "CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 "
        "CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ @MHZ@",
        "CLOCK": "pl_clk0",
        "RESET": "pl_resetn0",
        "MASTER": "M_AXI_HPM0_FPD",
        "SLAVE": "S_AXI_HP0_FPD",
        "CLOCKS": "processor/maxihpm0_fpd_aclk processor/saxihp0_fpd_aclk",
        "EXTERNAL": "",
    },
}


def project_files(work: Project) -> dict[str, str]:
    """Build scripts for the board, and the block with what other tools need to take it in."""
    files = {**_block(work), **_edam(work)}
    if work.board.open:
        return {**files, "build.sh": _script(work)}
    if work.board.toolchain == "quartus":
        mhz = work.board.clock.mhz
        clock = f"create_clock -name clk -period {1000 / mhz:.3f} [get_ports clk]\n"
        return {**files, "build.tcl": _tcl(work, "quartus.tcl"), CLOCKS: clock + SDC}
    return {**files, "build.tcl": _tcl(work, "vivado_dma.tcl" if _dma(work) else "vivado.tcl")}


CLOCKS = "clock.sdc"
SDC = "derive_pll_clocks\nset_false_path -from [get_ports rx]\nset_false_path -to [get_ports tx]\n"


def _dma(work: Project) -> bool:
    return work.board.link == "dma"


def _verilog(work: Project) -> str:
    return " ".join(name for name in work.sources() if name.endswith(".v"))


def _script(work: Project) -> str:
    board, family = work.board, target_named(work.board.family)
    packer = {"nextpnr-ecp5": "yowasp-ecppack", "nextpnr-ice40": "yowasp-icepack"}
    command = [packer.get(board.toolchain, "gowin_pack"), *pack_arguments(work)]
    return template(
        "build.sh",
        PACKAGES=family.tool,
        VERILOG=_verilog(work),
        FLOW=flow(work),
        NEXTPNR=family.tool,
        OPTIONS=" ".join(route_options(work, work.constraints()[0])),
        PACK=f'"${{PACK:-{command[0]}}}" {" ".join(command[1:])}',
    )


def _tcl(work: Project, name: str) -> str:
    values: dict[str, object] = {
        "TOP": work.top,
        "PART": work.board.part,
        "BITSTREAM": work.bitstream,
        "CONSTRAINTS": work.constraints()[0],
        "VERILOG": _verilog(work),
        "LEDS": len(work.board.pins.get("leds", ())),
    }
    if _dma(work):
        values |= PROCESSORS[work.board.processor]
        values["MHZ"] = f"{work.clock:g}"
        values["STREAMS"] = " ".join(
            f"{stem}{k} {stem} {port.prefix.rstrip('_')} {beat_bytes(port)}"
            for stem, side in zip(("in", "out"), top_ports(work.design.graph), strict=True)
            for k, port in enumerate(side)
        )
    return template(name, **values)


def _edam(work: Project) -> dict[str, str]:
    """What Edalize takes: python -c 'from edalize.edatool import get_edatool; ...'. None for block
    designs, nor for Gowin, for which its packer asks for another file than its router writes."""
    kinds = {".v": "verilogSource", ".xdc": "xdc", ".tcl": "tclSource", ".lpf": "LPF"}
    kinds |= {".pcf": "PCF", ".sdc": "SDC", ".hex": "user"}
    names = [*work.sources(), work.constraints()[0]]
    names += [CLOCKS] * (work.board.toolchain == "quartus")
    board = work.board
    options: dict[str, dict] = {}
    if board.toolchain == "vivado" and not _dma(work):
        options = {"vivado": {"part": board.part}}
    elif board.toolchain == "quartus":
        options = {"quartus": {"family": "Cyclone V", "device": board.part}}
    elif tool := {"nextpnr-ecp5": "trellis", "nextpnr-ice40": "icestorm"}.get(board.toolchain):
        _, *synthesis = flow(work).removesuffix(f"-top {work.top}").split()
        routing = [*board.options, "--freq", f"{work.clock:g}"]
        options = {tool: {"yosys_synth_options": synthesis, "nextpnr_options": routing}}
    if not options:
        return {}
    content = {
        "name": work.top,
        "toplevel": work.top,
        "files": [{"name": n, "file_type": kinds[n[n.rindex(".") :]]} for n in names],
        "tool_options": options,
    }
    return {"edam.json": json.dumps(content, indent=1) + "\n"}


def _memories(names: list[str]) -> str:
    """FuseSoC's set of memory files, copied to where the tools run; none where there are none."""
    if not names:
        return ""
    files = ", ".join(f"{name}: {{copyto: {name}}}" for name in names)
    return f"  memories:\n    files: [{files}]\n    file_type: user\n"


def _block(work: Project) -> dict[str, str]:
    """The design with AXI4-Lite registers, and how Vivado, FuseSoC and LiteX take it in."""
    graph, block = work.design.graph, f"{work.name}_block"
    leds = len(work.board.pins.get("leds", ())) if _dma(work) else 0
    own = work.design.sources
    around: dict[str, str] = {}
    if not _dma(work):  # else the project's top is the block
        khz = round(1000 * work.clock)
        top = BlockTop(graph, work.name, bytes.fromhex(work.identity), khz)
        around[BLOCK] = top_text(top, block)
    memories = [name for name in own if not name.endswith(".v")]
    verilog = [*(name for name in own if name.endswith(".v")), *(around or [TOP])]
    inputs, outputs = top_ports(graph)
    part = work.board.part if work.board.toolchain == "vivado" else GENERIC_PART
    common = {"NAME": work.name, "BLOCK": block}
    quoted = ", ".join(f'"{name}"' for name in verilog)
    files = {
        "package_ip.tcl": template(
            "package_ip.tcl",
            **common,
            PART=part,
            VERILOG=" ".join([*verilog, *memories]),
            BUSES=" ".join(["s_axi", *(p.prefix.rstrip("_") for p in (*inputs, *outputs))]),
        ),
        f"{work.name}.core": template(
            "fusesoc.core",
            **common,
            VERILOG=", ".join(verilog),
            MEMORIES=_memories(memories),
            SETS="rtl, memories" if memories else "rtl",
        ),
        "litex_soc.py": template(
            "litex_soc.txt",
            **common,
            VERILOG=quoted,
            INPUTS=", ".join(f'"{p.prefix}": {beat_bytes(p)}' for p in inputs),
            OUTPUTS=", ".join(f'"{p.prefix}": {beat_bytes(p)}' for p in outputs),
            LEDPORT=f'ports["o_leds"] = Signal({leds})' if leds else "",
        ),
    }
    return {**files, **around}
