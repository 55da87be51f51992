"""What makes a float model easier to quantize, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from hwgen.frontend.convert.strip import folded
from hwgen.frontend.editor import Editor, attribute, kind

# Ops with constant weights as their second input.
LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
STEADY = frozenset({"Relu", "Clip"})  # commute with MaxPool


def prepare(editor: Editor, chosen: Callable[[onnx.NodeProto], bool], whole: bool = True) -> None:
    """Fold normalizations into the layers before them, move Relu and Clip before MaxPool, and
    multiply instead of dividing by constants.

    `chosen`: the layers that will be converted; others stay as they are, and divisions too unless
    the `whole` model is converted.
    """
    _float_weights(editor, chosen)
    if whole:
        _multiply(editor)
    for node in [n for n in editor.nodes if kind(n) == "BatchNormalization"]:
        _fold_normalization(editor, node, chosen)
    readers, producers = editor.readers(), editor.producers()
    for node in editor.nodes:
        pool = producers.get(node.input[0]) if kind(node) in STEADY else None
        if pool is None or kind(pool) != "MaxPool" or len(pool.output) > 1:
            continue
        between, result = pool.output[0], node.output[0]
        if len(readers[between]) == 1 and between not in editor.outputs:
            node.input[0], node.output[0] = pool.input[0], between
            pool.input[0], pool.output[0] = between, result
            readers, producers = editor.readers(), editor.producers()
    editor.sort()


def _multiply(editor: Editor) -> None:
    """Write divisions as multiplications by float32 reciprocals, which are whole numbers times
    powers of two: exact arithmetic needs fewer bits for them."""
    for node in editor.nodes:
        divisor = editor.constants.get(node.input[1]) if kind(node) == "Div" else None
        if divisor is not None and divisor.dtype == np.float32 and divisor.all():
            node.op_type = "Mul"
            factor = (1 / divisor.astype(np.float64)).astype(np.float32)
            node.input[1] = editor.constant(factor, f"{node.input[1]}_reciprocal")


def weights_of(editor: Editor, node: onnx.NodeProto) -> np.ndarray | None:
    """The constant weights of a layer; None of any other node."""
    if kind(node) not in LINEAR or len(node.input) < 2:
        return None
    array = editor.constants.get(node.input[1])
    return None if array is None or array.dtype.kind != "f" else array


def output_axis(node: onnx.NodeProto, weights: np.ndarray) -> int | None:
    """The axis of a layer's weights that counts outputs; None where there is no such."""
    op = kind(node)
    if op == "Conv":
        return 0
    if op == "ConvTranspose":
        return 1
    if op == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return weights.ndim - 1 if weights.ndim > 1 else None


def _float_weights(editor: Editor, chosen: Callable[[onnx.NodeProto], bool]) -> None:
    """Give chosen layers their weights and biases as float constants."""
    producers = editor.producers()
    for node in editor.nodes:
        if kind(node) not in LINEAR or not chosen(node):
            continue
        for k in range(1, len(node.input)):
            made = producers.get(node.input[k])
            results = None if made is None else folded(editor, made)
            if results is not None:
                node.input[k] = editor.constant(results[0], f"{node.input[k]}_real")


def _fold_normalization(
    editor: Editor, node: onnx.NodeProto, chosen: Callable[[onnx.NodeProto], bool]
) -> None:
    """y = (layer(x) - mean) * factor + beta becomes a layer of other weights."""
    layer = editor.producers().get(node.input[0])
    arrays = [editor.constants.get(i) for i in node.input[1:5]]
    if layer is None or not chosen(layer) or any(a is None for a in arrays):
        return
    weights, alone = weights_of(editor, layer), len(editor.readers()[node.input[0]]) == 1
    shared = node.input[0] in editor.outputs or attribute(node, "training_mode", 0)
    plain = kind(layer) in ("Conv", "ConvTranspose") or (
        kind(layer) == "Gemm"
        and attribute(layer, "alpha", 1.0) == attribute(layer, "beta", 1.0) == 1
    )
    if weights is None or not alone or shared or not plain:
        return
    gamma, beta, mean, variance = (a.astype(np.float64) for a in arrays)
    factor = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    groups = attribute(layer, "group", 1) if kind(layer) == "ConvTranspose" else 1
    axis = output_axis(layer, weights)
    if weights.shape[axis] * groups != factor.size:
        return
    bias = np.zeros(1)
    if len(layer.input) > 2 and layer.input[2]:
        if layer.input[2] not in editor.constants:
            return
        bias = editor.constants[layer.input[2]].astype(np.float64)
    scaled = _by_output(weights.astype(np.float64), factor, axis, groups)
    shifted = (np.ravel(bias) - mean) * factor + beta
    name = layer.name
    parts = (scaled, "weight"), (shifted, "bias")
    made = [editor.constant(a.astype(np.float32), f"{name}_{s}") for a, s in parts]
    first = layer.input[0]
    del layer.input[:]
    layer.input.extend([first, *made])
    layer.output[0] = node.output[0]
    editor.nodes.remove(node)


def _by_output(weights: np.ndarray, factor: np.ndarray, axis: int, groups: int) -> np.ndarray:
    """Weights times a factor of each output; a transposed convolution has its groups along the
    inputs."""
    if groups == 1:
        return weights * factor.reshape([-1 if k == axis else 1 for k in range(weights.ndim)])
    parts = np.split(weights, groups, axis=0)
    each = np.split(factor, groups)
    scaled = [_by_output(w, f, axis, 1) for w, f in zip(parts, each, strict=True)]
    return np.concatenate(scaled, axis=0)
