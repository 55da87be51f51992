"""Frames as bytes: the same that hwgen.rtl.link.frames builds in hardware, in Python."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hwgen.protocol import CHECK, ESCAPE, FLIP, HEADER, PAYLOAD, START


@dataclass(frozen=True)
class Frame:
    """`kind`: command or status; `about`: the stream of a command, or the command of an answer."""

    sequence: int
    kind: int
    about: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line."""
        length = len(self.payload).to_bytes(2, "little")
        body = bytes([self.sequence, self.kind, self.about]) + length + self.payload
        body += zlib.crc32(body).to_bytes(CHECK, "little")
        line = bytearray([START])
        for byte in body:
            line += bytes([ESCAPE, byte ^ FLIP]) if byte in (START, ESCAPE) else bytes([byte])
        return bytes(line)


class Decoder:
    """Bytes to frames; `damaged` counts those that were dropped."""

    def __init__(self) -> None:
        self.damaged = 0
        self._body: bytearray | None = None
        self._escaped = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in these bytes."""
        found = []
        for byte in data:
            if byte == START:
                self.damaged += bool(self._body)
                self._body, self._escaped = bytearray(), False
            elif self._body is not None and byte == ESCAPE and not self._escaped:
                self._escaped = True
            elif self._body is not None:
                self._body.append(byte ^ FLIP if self._escaped else byte)
                self._escaped = False
                found += self._ended()
        return found

    def _ended(self) -> list[Frame]:
        """The frame, if it is whole; else none."""
        body = self._body
        if len(body) < HEADER:
            return []
        length = int.from_bytes(body[3:HEADER], "little")
        if length <= PAYLOAD and len(body) < HEADER + length + CHECK:
            return []
        self._body = None
        check = int.from_bytes(body[-CHECK:], "little")
        if length > PAYLOAD or zlib.crc32(body[:-CHECK]) != check:
            self.damaged += 1
            return []
        return [Frame(body[0], body[1], body[2], bytes(body[HEADER:-CHECK]))]
