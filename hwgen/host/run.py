"""Tensors through a board and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hwgen.errors import LinkError
from hwgen.host.serial_link import SerialLink, check_identity, errors_of
from hwgen.host.tensors import Tensors
from hwgen.protocol import PAYLOAD

STUCK = 20.0  # seconds without a byte that moves
MEANINGS = {
    "tlast": "the design saw the end of a tensor in a wrong place",
    "refused": "the link refused a command",
}


@dataclass(frozen=True, eq=False)
class Run:
    """`outputs` by ONNX name; `cycles` in which the design was busy; `seconds` in all; `clock` in
    Hz; frames `repeated` and answers `damaged`."""

    outputs: dict
    tensors: int
    cycles: int
    clock: int
    seconds: float
    repeated: int = 0
    damaged: int = 0


def run_serial(
    link: SerialLink,
    manifest: dict,
    arrays,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Run:
    """Send `arrays` (as for `Design.golden`) through the design on the board.

    Raises `InputError`, and `LinkError` where the board does not answer, holds another design, or
    gives tensors of a wrong length.
    """
    tensors = Tensors(manifest)
    data, codes = tensors.encode(arrays)
    link.sync()
    board = manifest["board"]
    remedy = f"load {board['bitstream']}: {board['program']}"
    check_identity(link.registers(), board["identity"], remedy)
    begin = time.monotonic()
    got = _stream(link, data, tensors.sizes(codes), progress)
    seconds = time.monotonic() - begin
    count = len(next(iter(data.values())))
    result = finish(tensors, got, codes, count, link.registers(), seconds)
    return replace(result, repeated=link.repeated, damaged=link.damaged)


def finish(
    tensors: Tensors,
    got: dict[str, bytes],
    codes: dict,
    count: int,
    registers: dict,
    seconds: float,
) -> Run:
    """The result, where the board's registers agree; raises `LinkError`."""
    if wrong := [MEANINGS[name] for name in errors_of(registers) if name in MEANINGS]:
        raise LinkError(f"{'; '.join(wrong)}: the outputs are not to be trusted")
    if registers["tensors_in"] != count or registers["tensors_out"] != count:
        raise LinkError(
            f"{count} tensors were sent, but the board counted {registers['tensors_in']} in and "
            f"{registers['tensors_out']} out"
        )
    outputs, clock = tensors.decode(got, codes), 1000 * registers["clock_khz"]
    return Run(outputs, count, registers["busy"], clock, seconds)


class _Inward:
    """Tensors that go in, piece by piece."""

    def __init__(self, tensors: list[bytes]) -> None:
        self._tensors, self._tensor, self._place = tensors, 0, 0

    @property
    def left(self) -> bool:
        return self._tensor < len(self._tensors)

    def send(self, link: SerialLink, stream: int) -> bool:
        """Whether the next piece was taken."""
        whole = self._tensors[self._tensor]
        piece = whole[self._place : self._place + PAYLOAD]
        end = self._place + len(piece) == len(whole)
        if not link.write(stream, piece, end):
            return False
        self._place = 0 if end else self._place + len(piece)
        self._tensor += end
        return True


class _Outward:
    """Tensors that come out."""

    def __init__(self, name: str, sizes: list[int]) -> None:
        self._name, self._sizes = name, sizes
        self.data, self.done, self._open = bytearray(), 0, 0

    @property
    def left(self) -> bool:
        return self.done < len(self._sizes)

    def receive(self, link: SerialLink, stream: int) -> bool:
        """Whether any bytes came."""
        piece, end = link.read(stream)
        self.data += piece
        self._open += len(piece)
        size = self._sizes[self.done]
        if end != (self._open == size) or self._open > size:
            raise LinkError(
                f"output {self._name!r}: tensor {self.done} should have {size} bytes, and "
                f"{'ends after' if end else 'goes on behind'} {self._open}"
            )
        self._open = 0 if end else self._open
        self.done += end
        return bool(piece)


def _stream(link: SerialLink, data, sizes, progress) -> dict[str, bytes]:
    """All bytes in, all bytes out, in turns so that neither side waits for the other."""
    inward = [_Inward(tensors) for tensors in data.values()]
    outward = [_Outward(name, lengths) for name, lengths in sizes.items()]
    total = len(next(iter(sizes.values())))
    moved = time.monotonic()
    while any(side.left for side in outward):
        moves = [side.send(link, k) for k, side in enumerate(inward) if side.left]
        moves += [side.receive(link, k) for k, side in enumerate(outward) if side.left]
        progress("tensors", min(side.done for side in outward), total)
        if any(moves):
            moved = time.monotonic()
        elif time.monotonic() - moved > STUCK:
            raise LinkError(
                f"the design is stuck: {min(side.done for side in outward)} of {total} tensors "
                "came out"
            )
    return {name: bytes(side.data) for name, side in zip(sizes, outward, strict=True)}
