"""Tensors to the bytes of streams and back, from a manifest alone."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path

import numpy as np

from hwgen.engines.beats import pack, unpack
from hwgen.engines.bundle import Port
from hwgen.errors import LinkError, ModelError, SimulationError
from hwgen.formats import Float, Int, parse
from hwgen.golden.host import decode, encode
from hwgen.golden.sequences import encode_sequences, split
from hwgen.ir import Graph, InputPort, OutputPort, Tensor

MANIFEST = "manifest.json"
ENDS = "(ends)"


def read_manifest(folder: Path) -> dict:
    """The manifest of a folder that `hwgen deploy` wrote; raises `ModelError`."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except OSError as error:
        raise ModelError(
            f"{folder} is no folder of `hwgen deploy`: can't read {MANIFEST}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ModelError(f"{folder / MANIFEST} is damaged: {error}") from error
    if not isinstance(content, dict) or "board" not in content:
        raise ModelError(f"{folder} is for no board: make it with `hwgen deploy`")
    return content


class Tensors:
    """What a design takes and gives, by its manifest.

    `inputs`, `outputs`: the streams.
    """

    def __init__(self, manifest: dict) -> None:
        try:
            self._graph = graph = Graph(manifest["top"])
            sides = manifest["inputs"], manifest["outputs"]
            self.inputs, self.outputs = ([_port(s) for s in side] for side in sides)
            for stream in (*sides[0], *sides[1]):
                fmt, shape = _format(stream), tuple(stream["stream_shape"])
                graph.tensors[stream["prefix"]] = Tensor(shape, fmt, stream["lanes"])
            ends = ENDS if manifest["stream"] else None
            graph.longest = manifest["stream"]["longest"] if ends else {}
            graph.inputs = [_input(stream, ends) for stream in sides[0]]
            graph.outputs = [_output(stream, ends) for stream in sides[1]]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the manifest is damaged: {error!r}") from error

    @property
    def names(self) -> list[str]:
        """Of the inputs."""
        return [port.name for port in self.inputs]

    def encode(self, arrays) -> tuple[dict[str, list[bytes]], dict[str, np.ndarray]]:
        """Bytes of every tensor by input: those that tlast ends; and the codes, for `decode`.

        `arrays`: as for `Design.golden`. Raises `InputError`.
        """
        graph = self._graph
        codes = (encode_sequences if graph.ends else encode)(graph, arrays)
        rows = self._rows(codes)
        found = {}
        for port in self.inputs:
            beats = pack(codes[port.name], port).reshape(-1)
            cuts = np.cumsum(rows)[:-1] * port.words * port.beat_bytes
            found[port.name] = [part.tobytes() for part in np.split(beats, cuts)]
        return found, codes

    def sizes(self, codes: dict[str, np.ndarray]) -> dict[str, list[int]]:
        """Bytes of each tensor that will come, by output."""
        rows = self._rows(codes)
        return {p.name: [n * p.words * p.beat_bytes for n in rows] for p in self.outputs}

    def _rows(self, codes: dict[str, np.ndarray]) -> list[int]:
        """Samples between one tlast and the next."""
        ends = codes.get(ENDS)
        if ends is None:
            return [1] * len(next(iter(codes.values())))
        return np.diff(np.flatnonzero(ends) + 1, prepend=0).tolist()

    def decode(self, data: dict[str, bytes], codes: dict[str, np.ndarray]) -> dict:
        """Arrays by output name of all bytes that came; raises `LinkError`."""
        found = {}
        for port in self.outputs:
            beats = np.frombuffer(data[port.name], dtype=np.uint8).reshape(-1, port.beat_bytes)
            try:
                found[port.name] = unpack(beats, port)
            except SimulationError as error:
                raise LinkError(f"the board gave no codes: {error}") from error
        arrays = decode(self._graph, found)
        return split(arrays, codes[ENDS]) if self._graph.ends else arrays


def _port(stream: dict) -> Port:
    numbers = (stream[key] for key in ("lanes", "channels", "elements", "words"))
    return Port(stream["name"], stream["prefix"], _format(stream), *numbers)


def _format(stream: dict) -> Int | Float:
    fmt = parse(stream["format"])
    if not isinstance(fmt, Int | Float):
        raise ValueError(f"no stream has the format {fmt}")
    return fmt


def _index(stream: dict) -> np.ndarray:
    places = np.arange(math.prod(stream["shape"]))
    if stream["layout"] is not None:
        places[np.array(stream["layout"])] = places.copy()
    return places.reshape(stream["shape"])


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:  # bfloat16, int4...
        import_module("ml_dtypes")
        return np.dtype(name)


def _input(stream: dict, ends: str | None) -> InputPort:
    common = stream["name"], stream["prefix"], _index(stream), _dtype(stream["dtype"])
    quantization = stream["quantization"]
    if quantization is None:
        return InputPort(*common, rows=stream.get("rows"), ends=ends)
    scale = np.array(quantization["scale"], dtype=np.float32)
    zero = np.array(quantization["zero_point"])
    rounding, low, high = (quantization[key] for key in ("rounding", "low", "high"))
    return InputPort(*common, scale, zero, rounding, low, high, stream.get("rows"), ends)


def _output(stream: dict, ends: str | None) -> OutputPort:
    common = stream["name"], stream["prefix"], _index(stream), _dtype(stream["dtype"])
    quantization = stream["quantization"]
    if quantization is None:
        return OutputPort(*common, ends=ends)
    low, high = quantization["low"], quantization["high"]
    return OutputPort(
        *common,
        np.array(quantization["scale"]),
        quantization["zero_point"],
        np.array(quantization["offset"]),
        (-math.inf if low is None else low, math.inf if high is None else high),
        tuple((name, attributes) for name, attributes in quantization["host"]),
        ends,
    )
