"""What the host does before and after: arrays to codes, codes to arrays."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np

from hwgen.errors import InputError
from hwgen.formats import Float, Int
from hwgen.formats import decode as from_float
from hwgen.formats import encode as to_float
from hwgen.ir import Graph, InputPort, OutputPort
from hwgen.ir.functions import FUNCTIONS, apply

# Rounding of float64 arrays by the name of the mode.
ROUND: dict[str, Callable] = {
    "half_even": np.rint,
    "half_up": lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v),
    "half_down": lambda v: np.copysign(np.ceil(np.abs(v) - 0.5), v),
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda v: np.copysign(np.ceil(np.abs(v)), v),
}


def encode(graph: Graph, inputs: dict[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
    """Codes (samples, elements) of every input port, in stream order.

    `inputs`: arrays by ONNX input name, or one array for the only input; the leading axis is
    samples. Raises `InputError` for a wrong name, shape or type.
    """
    ports = {port.name: port for port in graph.inputs}
    if not isinstance(inputs, dict):
        if len(ports) != 1:
            raise InputError(
                f"the model has several inputs ({', '.join(ports)}): give arrays by name"
            )
        inputs = {next(iter(ports)): inputs}
    for name in inputs:
        if name not in ports:
            near = difflib.get_close_matches(name, ports, 1) or sorted(ports)
            raise InputError(f"the model has no input {name!r}; did you mean {near[0]!r}?")
    if missing := [name for name in ports if name not in inputs]:
        raise InputError(f"inputs missing: {', '.join(missing)}")
    codes = {name: _encode(port, _array(name, inputs[name]), graph) for name, port in ports.items()}
    counts = {name: len(a) for name, a in codes.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"inputs have different numbers of samples: {counts}")
    return codes


def _array(name: str, value) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"input {name!r} must be an array with rows of equal length") from error


def _encode(port: InputPort, array: np.ndarray, graph: Graph) -> np.ndarray:
    shape = port.index.shape
    samples = _samples(port, array, shape)
    if port.rows is not None:
        return _in_stream(port, _indices(port, samples))
    if port.scale is None:
        if array.dtype.kind not in "iu" and array.dtype != port.dtype:
            raise InputError(f"input {port.name!r} takes {port.dtype}, not {array.dtype}")
        fmt = graph.tensors[port.tensor].fmt
        codes = _bits(samples).astype(np.int64)
        if isinstance(fmt, Float) and not np.isfinite(from_float(fmt, codes)).all():
            raise InputError(f"input {port.name!r} holds NaN or infinity")
        if codes.size and not fmt.min <= codes.min() <= codes.max() <= fmt.max:
            raise InputError(f"input {port.name!r} must be within {fmt.min} ... {fmt.max}")
    else:
        if array.dtype.kind not in "fiu":
            raise InputError(f"input {port.name!r} takes {port.dtype}, not {array.dtype}")
        with np.errstate(over="ignore"):  # what is too large for float32 is clamped too
            values = samples.astype(np.float32)
        if np.isnan(values).any():
            raise InputError(f"input {port.name!r} holds NaN")
        fmt = graph.tensors[port.tensor].fmt
        with np.errstate(over="ignore"):
            divided = (values / port.scale).astype(np.float64)
        if isinstance(fmt, Float):
            return _in_stream(port, to_float(fmt, divided))
        with np.errstate(over="ignore"):
            scaled = ROUND[port.rounding](divided)
        low, high = (
            limit if bound is None else bound
            for bound, limit in ((port.low, fmt.min), (port.high, fmt.max))
        )
        codes = np.clip(scaled + port.zero_point, low, high).astype(np.int64)
    return _in_stream(port, codes)


def _indices(port: InputPort, samples: np.ndarray) -> np.ndarray:
    """Indices from 0 of a table."""
    if samples.dtype.kind not in "iu":
        raise InputError(f"input {port.name!r} takes {port.dtype}, not {samples.dtype}")
    outside = np.argwhere((samples < -port.rows) | (samples >= port.rows))
    if len(outside):
        place = tuple(outside[0])
        raise InputError(
            f"input {port.name!r}: sample {place[0]} holds the index {samples[place]}, outside a "
            f"table of {port.rows} rows"
        )
    indices = samples.astype(np.int64)
    return np.where(indices < 0, indices + port.rows, indices)


def _bits(array: np.ndarray) -> np.ndarray:
    """Integers as they are; of other types their bits."""
    return array if array.dtype.kind in "iu" else array.view(f"u{array.dtype.itemsize}")


def _of_bits(codes: np.ndarray, port: OutputPort) -> np.ndarray:
    """Numbers of the port's type from their bits; integers of types that NumPy does not keep so."""
    if port.dtype.name.startswith(("int", "uint")):
        return codes.astype(port.dtype)
    return codes.astype(f"u{port.dtype.itemsize}").view(port.dtype)


def _in_stream(port: InputPort, codes: np.ndarray) -> np.ndarray:
    """Codes in ONNX shape as (samples, elements) in stream order."""
    stream = np.empty((len(codes), port.index.size), dtype=np.int64)
    stream[:, port.index.ravel()] = codes.reshape(len(codes), -1)
    return stream


def _samples(port: InputPort, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(samples, *shape without its batch axis)."""
    inner = shape[1:] if shape[:1] == (1,) else shape
    for accepted in (inner, shape):
        if array.shape[1:] == accepted and array.ndim == len(accepted) + 1 and len(array):
            return array.reshape(len(array), *shape)
    raise InputError(
        f"input {port.name!r} must have shape ({', '.join(map(str, ('samples', *inner)))}), not "
        f"{array.shape}{': there are no samples' * (not array.size)}"
    )


def decode(graph: Graph, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by ONNX output name, leading axis samples, from codes (samples, elements) in stream
    order."""
    return {
        port.name: _decode(port, codes[port.name], graph.tensors[port.tensor].fmt)
        for port in graph.outputs
    }


def _decode(port: OutputPort, stream: np.ndarray, fmt: Int | Float) -> np.ndarray:
    samples = len(stream)
    shape = port.index.shape
    codes = stream[:, port.index.ravel()].reshape(samples, *shape)
    if port.scale is None:
        values = codes.astype(port.dtype) if port.dtype.kind in "iu" else _of_bits(codes, port)
    else:
        numbers = from_float(fmt, codes) if isinstance(fmt, Float) else codes.astype(np.float64)
        values = (numbers - port.zero_point) * port.scale
        if port.offset is not None:
            values = values + port.offset
        values = np.clip(values, *port.clip)
        # What the host computes from is float32.
        values = values.astype(np.float32 if port.host else port.dtype)
    if shape[:1] == (1,):
        values = values[:, 0]
    for name, attributes in port.host:
        values = HOST[name](values, attributes)
    return values


def _axis(values: np.ndarray, attributes: dict) -> int:
    """Axis counted in the ONNX array, whose batch axis is the samples here."""
    axis = attributes.get("axis", -1)
    return axis if axis < 0 else axis + values.ndim - attributes["rank"]


def _softmax(values: np.ndarray, attributes: dict) -> np.ndarray:
    axis = _axis(values, attributes)
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _argmax(values: np.ndarray, attributes: dict) -> np.ndarray:
    axis = _axis(values, attributes)
    if attributes.get("select_last_index"):
        found = values.shape[axis] - 1 - np.argmax(np.flip(values, axis), axis=axis)
    else:
        found = np.argmax(values, axis=axis)
    return np.expand_dims(found, axis) if attributes.get("keepdims", 1) else found


def _quantize(values: np.ndarray, attributes: dict) -> np.ndarray:
    """As QuantizeLinear, in float32."""
    limits = np.iinfo(attributes["dtype"])
    scaled = np.rint(values / np.float32(attributes["scale"])).astype(np.float64)
    codes = np.clip(scaled + attributes["zero_point"], limits.min, limits.max)
    return codes.astype(attributes["dtype"])


def _dequantize(values: np.ndarray, attributes: dict) -> np.ndarray:
    codes = values.astype(np.float64) - attributes["zero_point"]
    return (codes * attributes["scale"]).astype(np.float32)


def _function(op: str) -> Callable[[np.ndarray, dict], np.ndarray]:
    return lambda values, attributes: apply(op, values.astype(np.float64), attributes).astype(
        np.float32
    )


HOST = {
    "Softmax": _softmax,
    "ArgMax": _argmax,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    **{op: _function(op) for op in FUNCTIONS},
}
