"""Codes to beats and back: the bytes of tdata."""

from __future__ import annotations

import numpy as np

from hwgen.engines.bundle import Port
from hwgen.errors import SimulationError


def _row(port: Port) -> int:
    """Elements that begin a new beat: a row, or the whole sample where beats hold several rows."""
    return port.channels if port.lanes <= port.channels else port.elements


def pack(codes: np.ndarray, port: Port) -> np.ndarray:
    """(samples, elements) int64 to (samples * words, beat bytes) uint8."""
    row = _row(port)
    rows = np.asarray(codes, dtype="<i8").reshape(-1, row)
    padded = np.pad(rows, ((0, 0), (0, -row % port.lanes)))
    lanes = padded.reshape(-1, port.lanes).astype("<i8")
    data = lanes.view(np.uint8).reshape(len(lanes), port.lanes, 8)[:, :, : port.lane_bytes]
    return np.ascontiguousarray(data).reshape(len(lanes), -1)


def unpack(beats: np.ndarray, port: Port) -> np.ndarray:
    """The reverse; raises `SimulationError` where an unused lane is not zero or a lane holds no
    code."""
    size = port.lane_bytes
    data = beats.reshape(len(beats), port.lanes, size)
    wide = np.zeros((*data.shape[:2], 8), dtype=np.uint8)
    wide[:, :, :size] = data
    if port.fmt.signed and size < 8:
        wide[:, :, size:] = np.where(data[:, :, -1:] & 0x80, 0xFF, 0)
    lanes = wide.view("<i8")[..., 0]
    row = _row(port)
    rows = lanes.reshape(-1, -(-row // port.lanes) * port.lanes)
    if rows[:, row:].any():
        raise SimulationError(
            f"{port.prefix}tdata: an unused lane of the last beat of a row is not zero"
        )
    if rows.size and not port.fmt.min <= rows.min() <= rows.max() <= port.fmt.max:
        raise SimulationError(f"{port.prefix}tdata: a lane is not extended from {port.fmt}")
    return rows[:, :row].reshape(-1, port.elements)
