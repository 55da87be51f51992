"""Builds small quantized ONNX models, the way onnxruntime's quantizer writes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Nodes and initializers under construction; every method returns a value's name."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes: list = []
        self.initializers: list = []
        self.inputs: list = []
        self.count = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: np.ndarray, stem: str = "c") -> str:
        name = self.name(stem)
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def input(self, *shape, name: str = "x", kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        output = self.name(kind.lower())
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=self.name(kind), **attributes)
        )
        return output

    def quantize(self, x: str, scale: float, zero: int = 0, dtype=np.int8) -> str:
        """QuantizeLinear and DequantizeLinear."""
        s, z = self.constant(np.float32(scale)), self.constant(np.array(zero, dtype=dtype))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z), s, z)

    def weights(self, *shape, channel: int | None = None, zero: bool = False, dtype=np.int8) -> str:
        """Random weights, per tensor or along the axis `channel`, with zero points where asked."""
        info = np.iinfo(dtype)
        codes = self.rng.integers(info.min, info.max + 1, shape).astype(dtype)
        count = 1 if channel is None else shape[channel]
        scale = self.rng.uniform(0.004, 0.03, count).astype(np.float32)
        zeros = (self.rng.integers(-20, 20, count) if zero else np.zeros(count)) + (
            dtype == np.uint8
        ) * 128
        zeros = zeros.astype(dtype)
        if channel is None:
            scale, zeros = scale[0], zeros[0]
        attributes = {} if channel is None else {"axis": channel}
        parts = [self.constant(a) for a in (codes, scale, zeros)]
        return self.op("DequantizeLinear", *parts, **attributes)

    def packed(
        self,
        kind: str,
        *shape: int,
        block: int,
        axis: int = 0,
        zero: bool = True,
        spread: float = 8,
    ) -> str:
        """Random weights of an ONNX type such as INT4, in blocks along an axis, whose scales differ
        by up to `spread`; `block` 0: one scale and zero point per place of the axis, -1: one."""
        bits = int(re.sub(r"\D", "", kind))
        low, high = (0, 1 << bits) if kind[0] == "U" else (-1 << (bits - 1), 1 << (bits - 1))
        scales = [-(-n // block) if k == axis else n for k, n in enumerate(shape)] if block else ()
        scales = {-1: (), 0: (shape[axis],)}.get(block, scales)
        scale = self.rng.uniform(1, spread, scales) * 0.3 / spread / (1 << (bits - 1))
        zeros = self.rng.integers(low, high, scales) if zero else np.full(scales, (low + high) // 2)
        codes = self.rng.integers(low, high, shape)
        names = [
            self._integers(kind, codes),
            self.constant(scale.astype(np.float32)),
            self._integers(kind, zeros),
        ]
        attributes = {"axis": axis} if block >= 0 else {}
        attributes |= {"block_size": block} if block > 0 else {}
        return self.op("DequantizeLinear", *names, **attributes)

    def _integers(self, kind: str, codes: np.ndarray) -> str:
        """An initializer, packed where the type has fewer than 8 bits."""
        name = self.name("c")
        code = getattr(TensorProto, kind)
        tensor = helper.make_tensor(name, code, np.shape(codes), np.ravel(codes).tolist())
        self.initializers.append(tensor)
        return name

    def bias(self, count: int) -> str:
        return self.constant(self.rng.normal(0, 1, count).astype(np.float32))

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(o, kind, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "test", self.inputs, values, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 10
        # The checker wants the outputs' shapes, which inference knows.
        inferred = onnx.shape_inference.infer_shapes(model)
        found = {v.name: v for v in [*inferred.graph.value_info, *inferred.graph.output]}
        del model.graph.output[:]
        model.graph.output.extend(found[o] for o in outputs)
        return model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """onnxruntime without graph optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def optimized(path: Path, result: Path) -> onnx.ModelProto:
    """The model with onnxruntime's fused ops, written to `result` on the way."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    options.optimized_model_filepath = str(result)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(result)


def oracle(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """onnxruntime's outputs, sample by sample."""
    runner = session(model)
    name = runner.get_inputs()[0].name
    return np.stack([runner.run(None, {name: sample[None]})[0][0] for sample in inputs])
