"""Tensors through a design beside a Zynq's processor, by DMA, with PYNQ on the board itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from hwgen.errors import LinkError, ToolError
from hwgen.host.run import Run, finish
from hwgen.host.serial_link import check_identity, registers_of
from hwgen.host.tensors import Tensors
from hwgen.protocol import REGISTERS

LIMIT = 20.0  # seconds for a tensor
RESET = 0x1


class DmaBoard:
    """A design in PYNQ's `overlay`: IPs `design`, `dma_in<k>` and `dma_out<k>`, as vivado_dma.tcl
    names them; `allocate(shape, dtype)` gives memory that DMA reaches."""

    def __init__(self, overlay, allocate: Callable) -> None:
        self._overlay, self._allocate = overlay, allocate

    def registers(self) -> dict[str, int]:
        """All registers by name."""
        design = self._overlay.design
        words = (int(design.read(4 * k)) for k in range(len(REGISTERS)))
        return registers_of(b"".join(word.to_bytes(4, "little") for word in words))

    def reset(self) -> None:
        """Reset the design."""
        self._overlay.design.write(4 * REGISTERS.index("control"), RESET)

    def tensor(self, inputs: list[bytes], sizes: list[int]) -> list[bytes]:
        """One tensor of every input in, one of every output out; raises `LinkError`."""
        buffers, channels, results = [], [], []
        for k, size in enumerate(sizes):
            buffer = self._allocate((size,), np.uint8)
            channel = getattr(self._overlay, f"dma_out{k}").recvchannel
            channel.transfer(buffer)
            buffers.append(buffer)
            channels.append((f"output {k}", channel))
            results.append((buffer, channel))
        for k, data in enumerate(inputs):
            buffer = self._allocate((len(data),), np.uint8)
            buffer[:] = np.frombuffer(data, dtype=np.uint8)
            if hasattr(buffer, "flush"):
                buffer.flush()
            channel = getattr(self._overlay, f"dma_in{k}").sendchannel
            channel.transfer(buffer)
            buffers.append(buffer)
            channels.append((f"input {k}", channel))
        self._wait(channels)
        got = []
        for buffer, channel in results:
            if hasattr(buffer, "invalidate"):
                buffer.invalidate()
            got.append(np.array(buffer[: channel.transferred]).tobytes())
        for buffer in buffers:
            if hasattr(buffer, "freebuffer"):
                buffer.freebuffer()
        return got

    @staticmethod
    def _wait(channels: list) -> None:
        end = time.monotonic() + LIMIT
        while late := [name for name, channel in channels if not channel.idle]:
            if time.monotonic() > end:
                raise LinkError(f"DMA of {', '.join(late)} has not ended after {LIMIT:g} s")


def run_dma(
    manifest: dict,
    folder: Path,
    arrays,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Run:
    """Send `arrays` through the design whose bitstream lies in `folder`; raises `HwgenError`."""
    try:
        pynq = import_module("pynq")
    except ImportError as error:
        raise ToolError(
            f"{manifest['board']['name']} is its own host: run this on the board, with PYNQ"
        ) from error
    path = folder / manifest["board"]["bitstream"]
    if not path.is_file():
        raise LinkError(f"there is no bitstream {path}: make it with build.tcl, in Vivado")
    return through(DmaBoard(pynq.Overlay(str(path)), pynq.allocate), manifest, arrays, progress)


def through(board: DmaBoard, manifest: dict, arrays, progress) -> Run:
    """Send `arrays` through a board, tensor by tensor."""
    tensors = Tensors(manifest)
    data, codes = tensors.encode(arrays)
    sizes = tensors.sizes(codes)
    board.reset()
    check_identity(board.registers(), manifest["board"]["identity"], "load its own bitstream")
    got: dict[str, list[bytes]] = {name: [] for name in sizes}
    count = len(next(iter(data.values())))
    begin = time.monotonic()
    for k in range(count):
        wanted = [lengths[k] for lengths in sizes.values()]
        results = board.tensor([parts[k] for parts in data.values()], wanted)
        for (name, parts), result, size in zip(got.items(), results, wanted, strict=True):
            if len(result) != size:
                raise LinkError(
                    f"output {name!r}: tensor {k} should have {size} bytes, not {len(result)}"
                )
            parts.append(result)
        progress("tensors", k + 1, count)
    seconds = time.monotonic() - begin
    outputs = {name: b"".join(parts) for name, parts in got.items()}
    return finish(tensors, outputs, codes, count, board.registers(), seconds)
