"""Element types and shapes of a graph's tensors, by ONNX's own inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper, numpy_helper

from hwgen.errors import ModelError
from hwgen.frontend.editor import Editor
from hwgen.frontend.read import DOMAINS, input_shape

SMALL = 1024  # elements of constants that may be shapes
# Ops ONNX does not know whose output is like their first input.
ALIKE = frozenset(
    "Gelu FastGelu QuickGelu BiasGelu LayerNormalization RMSNormalization "
    "SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization "
    "RotaryEmbedding Quantize Quant IntQuant FloatQuant BipolarQuant Trunc".split()
)


def infer(
    editor: Editor, given: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    """(element type, shape) by name; batch 1 and the shapes `given`. A shape that is not known in
    all its dimensions is None."""
    model = onnx.ModelProto()
    model.opset_import.extend(editor.model.opset_import)
    model.ir_version = editor.model.ir_version
    graph = model.graph
    graph.node.extend(_standing_in(node) for node in editor.nodes)
    read = {i for node in editor.nodes for i in node.input}
    for name, array in editor.constants.items():
        if name in read and array.dtype.kind in "iub" and array.size <= SMALL:
            graph.initializer.append(numpy_helper.from_array(array, name))
        elif name in read:
            element = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, element, array.shape))
    for value in editor.model.graph.input:
        if value.name in editor.constants:
            continue
        graph.input.append(value)
        try:
            size = input_shape(value, given.get(value.name))
        except ModelError:  # said later, when the shape is needed
            continue
        kinds = graph.input[-1].type.tensor_type
        kinds.ClearField("shape")
        for count in size:
            kinds.shape.dim.add().dim_value = count
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {v.name: _type(v) for v in (*graph.input, *graph.value_info, *graph.output)}


def _standing_in(node: onnx.NodeProto) -> onnx.NodeProto:
    """An op of ONNX's for one it does not know."""
    if node.domain not in DOMAINS and node.op_type in ALIKE:
        return helper.make_node("Identity", node.input[:1], node.output[:1])
    if node.domain == "com.microsoft" and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return helper.make_node(node.op_type, node.input, node.output)
    return node


def _type(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...] | None]:
    tensor = value.type.tensor_type
    known = tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)
    return tensor.elem_type, tuple(d.dim_value for d in tensor.shape.dim) if known else None
