"""Small models and files of them, right and wrong."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.qdq import Builder


def raw(b: Builder, *outputs: str, domain: str = "") -> onnx.ModelProto:
    """A model that ONNX's shape inference need not understand."""
    values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, (1, 5)) for o in outputs]
    graph = helper.make_graph(b.nodes, "test", b.inputs, values, b.initializers)
    opsets = [helper.make_opsetid("", b.opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def dense(b: Builder, inputs: int = 12, outputs: int = 5, **attributes) -> str:
    x = b.quantize(b.input(1, inputs), 0.03)
    return b.op("Gemm", x, b.weights(inputs, outputs), b.bias(outputs), **attributes)


def good() -> onnx.ModelProto:
    b = Builder()
    return b.model(b.quantize(dense(b), 0.1))


def write(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
