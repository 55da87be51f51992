"""Casts against ONNX's reference evaluator, whose `saturate` this codec follows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hwgen.formats import encode, parse
from tests.formats.oracles import same_numbers, wide_inputs

SATURATING = {
    "e4m3fn": TensorProto.FLOAT8E4M3FN,
    "e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ,
    "e5m2": TensorProto.FLOAT8E5M2,
    "e5m2fnuz": TensorProto.FLOAT8E5M2FNUZ,
}
OTHERS = {
    "e2m1": TensorProto.FLOAT4E2M1,
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
}
KINDS = {**SATURATING, **OTHERS}


def evaluate(op: str, x: np.ndarray, kind: int, scale: float = 1.0, **attributes) -> np.ndarray:
    """What the node makes of float32 `x`."""
    inputs = ["x"] if op == "Cast" else ["x", "scale"]
    attributes["to" if op == "Cast" else "output_dtype"] = kind
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", kind, list(x.shape))],
        [helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])][: len(inputs) - 1],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    onnx.checker.check_model(model)
    with np.errstate(over="ignore", invalid="ignore"):
        return ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("source", ["fp16", "bf16"])
@pytest.mark.parametrize("saturate", [1, 0])
@pytest.mark.parametrize("name", SATURATING)
def test_cast(name: str, saturate: int, source: str) -> None:
    values = wide_inputs(source)
    wanted = evaluate("Cast", values, KINDS[name], saturate=saturate)
    same_numbers(name, encode(parse(name), values, saturate=bool(saturate)), wanted)


@pytest.mark.parametrize("name", ["e2m1", "fp16", "bf16"])
def test_cast_that_never_saturates(name: str) -> None:
    """FP4 has nothing beyond its largest number; the wide floats overflow to infinity."""
    values = wide_inputs("bf16")
    values = values[~np.isnan(values)]
    wanted = evaluate("Cast", values, KINDS[name])
    same_numbers(name, encode(parse(name), values, saturate=False), wanted)


@pytest.mark.parametrize("saturate", [1, 0])
@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"fp16", "bf16"}))
def test_quantize_linear(name: str, saturate: int) -> None:
    values = wide_inputs("fp16")
    values = values[np.isfinite(values)]
    wanted = evaluate("QuantizeLinear", values, KINDS[name], 0.37, saturate=saturate)
    scaled = values / np.float32(0.37)
    same_numbers(name, encode(parse(name), scaled, saturate=bool(saturate)), wanted)
