"""Pairs of ops that onnxruntime's optimizer makes one of."""

from __future__ import annotations

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import attribute
from hwgen.frontend.rewrite.sight import Sight


def biased(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's BiasGelu, and FastGelu with a bias: an Add, then Gelu or FastGelu."""
    if len(node.input) < 2 or not node.input[1]:
        return False
    op = "Gelu" if node.op_type == "BiasGelu" else node.op_type
    sight.drop(node)
    total = sight.add("Add", node.input, f"{node.name}_bias")
    sight.add(op, [total], node.name, node.output[0], node.domain)
    return True


def matmul(sight: Sight, node: onnx.NodeProto) -> bool:
    """FusedMatMul: a product of matrices that may be transposed, times a factor."""
    if any(attribute(node, f"transBatch{side}", 0) for side in "AB"):
        raise ModelError("transposes batches, which is not supported")
    inputs, factor = list(node.input), attribute(node, "alpha", 1.0)
    for k, side in enumerate("AB"):
        if attribute(node, f"trans{side}", 0):
            rank = len(sight.size(inputs[k], range(2, 9)))
            order = [*range(rank - 2), rank - 1, rank - 2]
            inputs[k] = sight.add(
                "Transpose", [inputs[k]], f"{node.name}_{side}_turned", perm=order
            )
    sight.drop(node)
    if factor == 1:
        sight.add("MatMul", inputs, node.name, node.output[0])
        return True
    inner = sight.editor.fresh(f"{node.name}_unscaled")
    sight.add("MatMul", inputs, node.name, inner)
    constant = sight.constant(np.float32(factor), f"{node.name}_factor")
    scaled = sight.editor.fresh(f"{node.name}_scaled")
    sight.add("Mul", [inner, constant], scaled, node.output[0])
    return True


RULES = {
    "com.microsoft.BiasGelu": biased,
    "com.microsoft.FastGelu": biased,
    "com.microsoft.FusedMatMul": matmul,
}
