"""Nodes whose inputs are all constants are computed here and now."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwgen.errors import ModelError
from hwgen.frontend.values import Constant, Value, check_scale, exact

# DequantizeLinear of a constant stays in integers; the rest are random or hold graphs.
KEPT = frozenset({"DequantizeLinear", "RandomNormal", "RandomUniform", "If", "Loop", "Scan"})
LARGEST = 1 << 26  # elements of a folded constant


def foldable(proto: onnx.NodeProto, inputs: Sequence[Value | None]) -> bool:
    """Whether the node depends on nothing but constants."""
    return proto.op_type not in KEPT and all(v is None or isinstance(v, Constant) for v in inputs)


def fold(proto: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> list[Value]:
    """The outputs, by ONNX's reference evaluator."""
    _check_size(proto, inputs)
    if proto.op_type == "QuantizeLinear":
        _check_quantizer(inputs)
    names = {
        name: value.array
        for name, value in zip(proto.input, inputs, strict=True)
        if isinstance(value, Constant)
    }
    graph = helper.make_graph(
        [proto],
        "constant",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in names.items()
        ],
        [helper.make_value_info(name, onnx.TypeProto()) for name in proto.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, names)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise ModelError(
            f"its constant inputs can't be computed: {(str(error) or repr(error))[:200]}"
        ) from error
    return [Constant(np.asarray(result)) for result in results]


def _check_size(proto: onnx.NodeProto, inputs: Sequence[Value | None]) -> None:
    """Refuse a constant that would not fit in memory."""
    if proto.op_type in ("ConstantOfShape", "Expand", "Tile", "Range") and inputs:
        last = inputs[-1].array if isinstance(inputs[-1], Constant) else np.ones(1)
        wanted = np.abs(np.asarray(last, dtype=np.float64))
        if not np.prod(np.maximum(wanted, 1)) < LARGEST:
            raise ModelError("makes a constant of more than 64 million elements")


def _check_quantizer(inputs: Sequence[Value | None]) -> None:
    """Refuse weights that no code stands for."""
    for k, value in enumerate(inputs[:2]):
        if isinstance(value, Constant):
            numbers = exact(value.array)
            if k == 1:
                check_scale(numbers)


def check_elements(size: Sequence[float], what: str) -> None:
    """Refuse a tensor that would not fit in memory."""
    if math.prod(size) > LARGEST:
        raise ModelError(f"{what} has more than 64 million elements: {[int(n) for n in size]}")


def scalar_list(value: Value | None, what: str) -> list[int]:
    """A constant list of integers (axes, shapes)."""
    if not isinstance(value, Constant):
        raise ModelError(f"its {what} must be a constant")
    return [int(v) for v in np.ravel(value.array)]


def from_proto(tensor: onnx.TensorProto) -> np.ndarray:
    """An attribute's tensor."""
    return numpy_helper.to_array(tensor)
