"""Pins and clocks in each tool's language."""

from __future__ import annotations

from hwgen.deploy.board import Board


def constraints(board: Board) -> tuple[str, str]:
    """The file's name and text."""
    name, write = FORMATS[board.toolchain]
    return name, write(board)


def _lpf(board: Board) -> str:
    lines = [f'FREQUENCY PORT "clk" {board.clock.mhz:g} MHZ;']
    options = " ".join(f"{key}={value}" for key, value in board.attributes.items())
    for port, pin in board.locations.items():
        lines += [f'LOCATE COMP "{port}" SITE "{pin}";', f'IOBUF PORT "{port}" {options};']
    return "\n".join(lines) + "\n"


def _pcf(board: Board) -> str:
    return "".join(f"set_io {port} {pin}\n" for port, pin in board.locations.items())


def _cst(board: Board) -> str:
    options = " ".join(f"{key}={value}" for key, value in board.attributes.items())
    return "".join(
        f'IO_LOC "{port}" {pin};\nIO_PORT "{port}" {options};\n'
        for port, pin in board.locations.items()
    )


def _xdc(board: Board) -> str:
    options = " ".join(f"{key} {value}" for key, value in board.attributes.items())
    lines = [
        f"set_property -dict {{ PACKAGE_PIN {pin} {options} }} [get_ports {{ {port} }}]"
        for port, pin in board.locations.items()
    ]
    if board.clock.pin:
        lines.append(f"create_clock -name clk -period {1000 / board.clock.mhz:.3f} [get_ports clk]")
    if "rx" in board.pins:
        lines += [
            "set_false_path -from [get_ports rx]",
            "set_false_path -to [get_ports tx]",
        ]
    return "\n".join(lines) + "\n"


def _qsf(board: Board) -> str:
    lines = []
    for port, pin in board.locations.items():
        lines.append(f"set_location_assignment PIN_{pin} -to {port}")
        for key, value in board.attributes.items():
            lines.append(f'set_instance_assignment -name {key} "{value}" -to {port}')
    return "\n".join(lines) + "\n"


FORMATS = {
    "nextpnr-ecp5": ("pins.lpf", _lpf),
    "nextpnr-ice40": ("pins.pcf", _pcf),
    "nextpnr-gowin": ("pins.cst", _cst),
    "vivado": ("pins.xdc", _xdc),
    "quartus": ("pins.tcl", _qsf),
}
