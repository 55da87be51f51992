"""What exporters leave: nodes that do nothing, pairs that undo each other."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from hwgen.frontend.editor import attribute, kind
from hwgen.frontend.rewrite.sight import Sight

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)  # the hardware has neither


def cast(sight: Sight, node: onnx.NodeProto) -> bool:
    """Cast to the type the tensor has, or between float32 and float64."""
    source, to = sight.element(node.input[0]), attribute(node, "to")
    if source != to and not (source in FLOATS and to in FLOATS):
        return False
    return sight.bypass(node, node.input[0])


def identity(sight: Sight, node: onnx.NodeProto) -> bool:
    """Identity; Dropout, but in training mode or where its mask is read."""
    training = sight.scalar(node.input[2]) if len(node.input) > 2 and node.input[2] else 0
    if training != 0 or any(sight.used(name) for name in node.output[1:]):
        return False
    return sight.bypass(node, node.input[0])


def transpose(sight: Sight, node: onnx.NodeProto) -> bool:
    """Transpose of a Transpose that nobody else reads."""
    first = sight.maker(node.input[0], "Transpose")
    orders = None if first is None else [attribute(n, "perm") for n in (first, node)]
    if orders is None or None in orders or sight.reader(node.input[0], "Transpose") is None:
        return False
    order = [orders[0][k] for k in orders[1]]
    if order == sorted(order):
        return sight.bypass(node, first.input[0])
    sight.drop(node, first)
    sight.editor.taken.discard(node.name)
    sight.add("Transpose", [first.input[0]], node.name, node.output[0], perm=order)
    return True


def not_a_number(sight: Sight, node: onnx.NodeProto) -> bool:
    """Where(IsNaN(x), 0, x) with x a Softmax: torch's zeros for rows that attend to nothing."""
    test = sight.maker(node.input[0], "IsNaN")
    x = node.input[2]
    zero = sight.array(node.input[1])
    if test is None or test.input[0] != x or zero is None or np.any(zero):
        return False
    return sight.maker(x, "Softmax") is not None and sight.bypass(node, x)


def twin(sight: Sight, node: onnx.NodeProto) -> bool:
    """A node that computes what another does."""
    for other, _ in sight.readers[node.input[0]]:
        alike = kind(other) == kind(node) and other.attribute == node.attribute
        if other is node or not alike or _inputs(sight, other) != _inputs(sight, node):
            continue
        if sight.bypass(node, other.output[0]):
            return True
    return False


def _inputs(sight: Sight, node: onnx.NodeProto) -> list:
    """A node's inputs, those of constants by what they hold."""
    arrays = [sight.array(name) for name in node.input]
    return [n if a is None else a.tolist() for n, a in zip(node.input, arrays, strict=True)]


RULES = {
    "Cast": cast,
    "Identity": identity,
    "Dropout": identity,
    "Transpose": transpose,
    "Where": not_a_number,
    "Sub": twin,
    "ReduceMean": twin,
}
