"""Small networks of floats: QDQ's Builder with our own Quantize."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from hwgen.formats import parse, parse_arithmetic
from tests.qdq import Builder


class FloatBuilder(Builder):
    """A Builder whose layers compute in an arithmetic."""

    def __init__(self, arithmetic: str, seed: int = 0) -> None:
        super().__init__(21, seed)
        self.arithmetic = parse_arithmetic(arithmetic)

    def rounded(self, x: str, scale: float, fmt: object = None) -> str:
        """A value quantized to a float, of the activations unless said."""
        fmt = str(fmt or self.arithmetic.x)
        scale = 1.0 if parse(fmt).bits > 8 else scale
        name = self.op("Quantize", x, self.constant(np.float32(scale)), format=fmt)
        self.nodes[-1].domain = "hwgen"
        return name

    def matrix(self, *shape: int, channel: int | None = None) -> str:
        """Random weights, with a scale for each place of the axis `channel`."""
        values = self.rng.normal(0, 0.5, shape).astype(np.float32)
        size = [n if k == channel else 1 for k, n in enumerate(shape)]
        scale = 2.0 ** self.rng.integers(-5, -2, size) if channel is not None else 2.0**-4
        if self.arithmetic.w.bits > 8:
            scale = 1.0
        names = self.constant(values), self.constant(np.asarray(scale, dtype=np.float32))
        name = self.op("Quantize", *names, format=str(self.arithmetic.w))
        self.nodes[-1].domain = "hwgen"
        return name

    def layer(self, kind: str, *inputs: str, **attributes) -> str:
        """A layer in the arithmetic."""
        output = self.op(kind, *inputs, **attributes)
        entry = self.nodes[-1].metadata_props.add()
        entry.key, entry.value = "hwgen.arith", str(self.arithmetic)
        return output

    def model(self, *outputs: str, kind: int = onnx.TensorProto.FLOAT) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(o, kind, ["n", *"abc"[:1]]) for o in outputs]
        graph = helper.make_graph(self.nodes, "test", self.inputs, values, self.initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("hwgen", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 10
        return model
