"""Values in place of those a node could not give, so that one run finds what is wrong behind it
too."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from hwgen.formats import Int
from hwgen.frontend.context import Context
from hwgen.frontend.values import (
    Codes,
    Input,
    Real,
    Stream,
    Term,
    Tokens,
    Unknown,
    Value,
    exact,
    shape,
)

REAL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
UNSIGNED = (TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT4)
SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT4)
LARGEST = 1 << 24  # elements


def stand_in(context: Context, kind: int, size: tuple[int, ...]) -> Value:
    """A value of an ONNX element type and shape; Unknown where nothing of hwgen's is like that."""
    known = bool(size) and min(size) > 0 and math.prod(size) <= LARGEST
    if not known or kind not in REAL + UNSIGNED + SIGNED:
        return Unknown()
    ids = np.arange(math.prod(size)).reshape(size)
    fmt = Int(8, kind not in UNSIGNED)
    stream = Stream(context.free_tensor("unmapped", ids.size, fmt), ids)
    return Real((Term(stream, exact(1)),)) if kind in REAL else Codes(stream, fmt)


def inferred(
    model: onnx.ModelProto, values: Mapping[str, Value]
) -> dict[str, tuple[int, tuple[int, ...]]]:
    """(element type, shape) of the values of which ONNX's inference knows both."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.graph.input:
        if isinstance(value := values.get(entry.name), Input | Codes | Tokens):
            dims = entry.type.tensor_type.shape.dim
            for dim, size in zip(dims, shape(value), strict=True):
                dim.dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    found = {}
    for entry in (*graph.value_info, *graph.output):
        tensor = entry.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            sizes = tuple(d.dim_value for d in tensor.shape.dim)
            found[entry.name] = (tensor.elem_type, sizes)
    return found
