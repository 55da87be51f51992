"""The description of a generated design that programs read: manifest.json."""

from __future__ import annotations

import json
import math
from importlib import metadata

import numpy as np

from hwgen.emit.names import identifier
from hwgen.emit.top import Port, top_ports
from hwgen.ir import Graph, InputPort, OutputPort
from hwgen.passes.fold import folds, multipliers
from hwgen.rtl.axi import lane_bytes

CONVENTION = (
    "lanes of whole bytes, sign-extended, lane 0 lowest; up to `channels` lanes every row of "
    "`channels` elements "
    "starts a new beat, with more the rows are packed; unused lanes are zero; tlast ends "
    "each sample; "
    "`layout`[k] is the place in the flattened ONNX tensor of stream element k (null: the "
    "same order)"
)
STREAM = (
    "a sample is one row of a sequence; tlast comes with the last beat of a sequence's last row "
    "alone, and clears the state"
)


def manifest(graph: Graph, files: list[str], model_hash: str, predicted: dict) -> str:
    """JSON text: ports, shapes, formats, scales, lane order, versions, the model's SHA-256; keys
    sorted."""
    inputs, outputs = top_ports(graph)
    content = {
        "top": identifier(graph.name),
        "files": sorted(files),
        "clock": "aclk",
        "reset": "aresetn (active low, synchronous)",
        "error": "tlast_error (sticky until reset)",
        "convention": CONVENTION,
        "stream": None if graph.ends is None else {"rows": STREAM, "longest": graph.longest},
        "inputs": [_input(p, q) for p, q in zip(inputs, graph.inputs, strict=True)],
        "outputs": [_output(p, q) for p, q in zip(outputs, graph.outputs, strict=True)],
        "predicted": predicted,
        "multipliers": multipliers(graph),
        "folds": folds(graph),
        "recognized": graph.notes,
        "fixed_point": {
            island.tensor: {
                "format": str(island.fmt),
                "low": island.low,
                "high": island.high,
                "headroom_bits": island.headroom if math.isfinite(island.headroom) else None,
                "error": island.error,
            }
            for island in graph.islands.values()
        },
        "versions": {
            name: metadata.version(name) for name in ("hwgen", "amaranth", "onnx", "numpy")
        },
        "model_sha256": model_hash,
    }
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _stream(port: Port, index: np.ndarray) -> dict:
    tensor = port.tensor
    place = np.argsort(index.ravel())
    return {
        "name": port.name,
        "prefix": port.prefix,
        "shape": list(index.shape),
        "stream_shape": list(tensor.shape),
        "layout": None if (place == np.arange(place.size)).all() else place.tolist(),
        "format": str(tensor.fmt),
        "bits": tensor.fmt.bits,
        "signed": tensor.fmt.signed,
        "lanes": tensor.lanes,
        "lane_bits": 8 * lane_bytes(tensor),
        "channels": tensor.channels,
        "elements": tensor.elements,
        "words": tensor.words,
    }


def _input(port: Port, source: InputPort) -> dict:
    quantization = None
    if source.scale is not None:
        quantization = {
            "formula": f"code = clamp(round_{source.rounding}(x / scale) + zero_point, low, high)",
            "scale": _numbers(source.scale),
            "zero_point": _numbers(source.zero_point),
            "rounding": source.rounding,
            "low": port.tensor.fmt.min if source.low is None else source.low,
            "high": port.tensor.fmt.max if source.high is None else source.high,
        }
    rows = {} if source.rows is None else {"rows": source.rows}
    return {
        **_stream(port, source.index),
        "dtype": str(source.dtype),
        "quantization": quantization,
        **rows,
    }


def _output(port: Port, sink: OutputPort) -> dict:
    quantization = None
    if sink.scale is not None:
        quantization = {
            "formula": (
                "value = clip((code - zero_point) * scale + offset, low, high), then "
                "the host operations"
            ),
            "scale": _numbers(sink.scale),
            "zero_point": _numbers(sink.zero_point),
            "offset": _numbers(0.0 if sink.offset is None else sink.offset),
            "low": None if math.isinf(sink.clip[0]) else float(sink.clip[0]),
            "high": None if math.isinf(sink.clip[1]) else float(sink.clip[1]),
            "host": [[name, dict(attributes)] for name, attributes in sink.host],
        }
    return {**_stream(port, sink.index), "dtype": str(sink.dtype), "quantization": quantization}


def _numbers(values) -> list | float | int:
    """A number, or nested lists of numbers, as JSON writes them."""
    return np.asarray(values).tolist()
