"""From a manifest and a port to a run on a board."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hwgen.errors import LinkError, ToolError
from hwgen.host.run import Run, run_serial
from hwgen.host.serial_link import SerialLink

POLL = 0.05  # seconds that one read waits


def run(
    manifest: dict,
    folder: Path,
    port: str | None,
    arrays,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Run:
    """Send `arrays` (as for `Design.golden`) through the board of a manifest, whose bitstream lies
    in `folder`: over a serial `port`, or by DMA on the board itself. Raises `HwgenError`."""
    board = manifest["board"]
    if board["link"] == "dma":
        from hwgen.host.dma import run_dma

        return run_dma(manifest, folder, arrays, progress)
    if port is None:
        raise LinkError(f"{board['name']} is on a serial port: give --port{_ports()}")
    line = open_port(port, board["baud"])
    try:
        return run_serial(SerialLink(line, board["baud"]), manifest, arrays, progress)
    except OSError as error:  # SerialException is one
        raise LinkError(f"the serial port {port} is gone: {error}") from error
    finally:
        line.close()


def open_port(port: str, baud: int):
    """A serial port of pyserial; raises `LinkError` where it is missing or busy."""
    try:
        import serial
    except ImportError as error:
        raise ToolError("pyserial is missing: pip install 'hwgen[boards]'") from error
    try:
        line = serial.Serial(port, baud, timeout=POLL, exclusive=True)
    except (OSError, ValueError) as error:
        if "lock" in str(error) or getattr(error, "errno", None) in BUSY:
            raise LinkError(f"the serial port {port} is busy: close what uses it") from error
        reason = getattr(error, "strerror", None) or str(error)
        reason = reason.rpartition("] ")[2] or reason
        raise LinkError(f"can't open the serial port {port}: {reason}{_ports()}") from error
    with suppress(AttributeError, OSError, ValueError):  # of USB adapters, on Linux
        line.set_low_latency_mode(True)
    return line


BUSY = (11, 16)  # EAGAIN, EBUSY


def _ports() -> str:
    """The ports of this machine."""
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        return ""
    found = [port.device for port in comports()]
    return f"; there are {', '.join(found)}" if found else "; this machine has none"
