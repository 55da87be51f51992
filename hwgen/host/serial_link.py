"""Commands over a serial line, repeated until they are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from hwgen.errors import LinkError
from hwgen.host.frames import Decoder, Frame
from hwgen.protocol import ERRORS, MAGIC, PAYLOAD, REGISTERS, VERSION, Command, Status

TRIES = 12
WAIT = 0.5  # seconds for an answer, beyond the time of its bytes


class Line(Protocol):
    """What is used of a serial port of pyserial, whose `timeout` is short."""

    in_waiting: int

    def read(self, size: int = 1) -> bytes: ...  # noqa: D102
    def write(self, data: bytes, /) -> int | None: ...  # noqa: D102
    def reset_input_buffer(self) -> None: ...  # noqa: D102


class SerialLink:
    """A board's link. `repeated`: frames that were sent again; `damaged`: answers that came so."""

    def __init__(self, line: Line, baud: int, tries: int = TRIES, wait: float = WAIT) -> None:
        self._line, self._tries = line, tries
        self._wait = wait + 2 * 10 * 2 * (PAYLOAD + 16) / baud
        self._decoder = Decoder()
        self._sequence = time.time_ns() // 1000 & 0xFF
        self.repeated = 0

    @property
    def damaged(self) -> int:
        """Answers that were dropped."""
        return self._decoder.damaged

    def request(
        self, command: Command, about: int = 0, payload: bytes = b""
    ) -> tuple[Status, bytes]:
        """The answer to a command, which is done exactly once; raises `LinkError`."""
        self._sequence = self._sequence + 1 & 0xFF
        frame = Frame(self._sequence, command, about, payload).encode()
        for attempt in range(self._tries):
            self.repeated += attempt > 0
            self._line.write(frame)
            answer = self._answer(command)
            if answer is not None:
                if answer.kind == Status.REFUSED:
                    raise LinkError(
                        f"the board refuses {command.name} {about} of {len(payload)} bytes: is it "
                        "another version of hwgen's link?"
                    )
                return Status(answer.kind), answer.payload
        raise LinkError(
            f"no answer from the board in {self._tries} tries: is it on, is the bitstream "
            "loaded, is it this port, at this baud rate?"
        )

    def _answer(self, command: Command) -> Frame | None:
        """The answer to the last frame; None where it should be sent again."""
        end = time.monotonic() + self._wait
        while time.monotonic() < end:
            data = self._line.read(1)
            for frame in self._decoder.feed(data + self._line.read(self._line.in_waiting)):
                if frame.kind == Status.AGAIN:
                    return None
                if frame.sequence == self._sequence and frame.about == command:
                    return frame
        return None

    def sync(self) -> None:
        """Reset the design, and begin anew whatever happened before."""
        self._line.reset_input_buffer()
        self.request(Command.SYNC)

    def registers(self) -> dict[str, int]:
        """All registers by name, counters of 64 bits in one."""
        _, data = self.request(Command.GET)
        return registers_of(data)

    def write(self, stream: int, data: bytes, end: bool) -> bool:
        """Bytes for a stream, with `end` those that end a tensor; whether there was room."""
        status, _ = self.request(Command.END if end else Command.WRITE, stream, data)
        return status != Status.FULL

    def read(self, stream: int) -> tuple[bytes, bool]:
        """Bytes that a stream has, and whether they end a tensor."""
        status, data = self.request(Command.READ, stream, PAYLOAD.to_bytes(2, "little"))
        return data, status == Status.LAST


def registers_of(data: bytes) -> dict[str, int]:
    """Registers by name from their bytes."""
    words = {n: int.from_bytes(data[4 * k : 4 * k + 4], "little") for k, n in enumerate(REGISTERS)}
    for name in ("cycles", "busy"):
        words[name] += words.pop(f"{name}_high") << 32
    return words


def identity_of(registers: Mapping[str, int]) -> str:
    """The design's identity in hexadecimal."""
    return b"".join(registers[f"identity{k}"].to_bytes(4, "little") for k in range(4)).hex()


def check_identity(registers: Mapping[str, int], wanted: str, remedy: str) -> None:
    """Raise `LinkError` where another design is on the board."""
    if registers["magic"] != MAGIC or registers["version"] >> 16 != VERSION >> 16:
        raise LinkError(f"what is on the board has no link of this version of hwgen: {remedy}")
    found = identity_of(registers)
    if found != wanted:
        raise LinkError(f"another design is on the board: {found}, not {wanted}; {remedy}")


def errors_of(registers: Mapping[str, int]) -> list[str]:
    """Names of the error flags that are set."""
    return [name for k, name in enumerate(ERRORS) if registers["errors"] >> k & 1]
