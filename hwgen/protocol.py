"""What the host link's two sides agree on: frames, commands, registers. docs/boards.md explains."""

from __future__ import annotations

from enum import IntEnum

START, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
HEADER = 5  # bytes: sequence number, command or status, port or command, length (little endian)
PAYLOAD = 256  # bytes at most
CHECK = 4  # bytes of CRC-32
MAGIC = int.from_bytes(b"HWGN", "little")
VERSION = 0x0001_0000
IDENTITY = 16  # bytes
# Names in order of address, 4 bytes each.
REGISTERS = (
    *("magic", "version", "identity0", "identity1", "identity2", "identity3", "control", "status"),
    *("errors", "tensors_in", "tensors_out", "clock_khz", "cycles", "cycles_high", "busy"),
    "busy_high",
)
ERRORS = ("tlast", "crc", "cut", "stop_bit", "refused")  # from bit 0 up


class Command(IntEnum):
    """What a host may ask for."""

    SYNC = 1  # reset the design, forget the last sequence number
    WRITE = 2  # bytes for a stream
    END = 3  # the same, and the last one ends a tensor
    READ = 4  # bytes of a stream, at most as many as the payload's two bytes say
    GET = 5  # all registers
    SET = 6  # one register: its number, then four bytes


class Status(IntEnum):
    """What the link answers."""

    OK = 0
    LAST = 1  # the bytes end a tensor
    FULL = 2  # there is no room for so many bytes yet; none was taken
    REFUSED = 3  # no such command, stream or length
    AGAIN = 4  # a frame came damaged: send it again
