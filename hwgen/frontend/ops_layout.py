"""Ops that only move elements or ask for shapes, and those the host does at the end."""

from __future__ import annotations

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.constants import scalar_list
from hwgen.frontend.context import Node
from hwgen.frontend.values import Codes, Constant, Hosted, Real, Value, rearrange, shape


def _moved(node: Node, move) -> Value:
    value = node.input(0)
    try:
        return rearrange(value, move)
    except (ValueError, OverflowError) as error:
        raise ModelError(f"can't give {list(shape(value))} that shape") from error


def reshape(node: Node) -> Value:
    """Reshape; 0 keeps a dimension, -1 is what is left."""
    wanted = scalar_list(node.input(1), "shape")
    size = shape(node.input(0))
    if not node.attribute("allowzero", 0):
        if any(v == 0 and k >= len(size) for k, v in enumerate(wanted)):
            raise ModelError(f"keeps a dimension that {list(size)} does not have")
        wanted = [size[k] if v == 0 else v for k, v in enumerate(wanted)]
    return _moved(node, lambda a: a.reshape(wanted))


def flatten(node: Node) -> Value:
    """Flatten to two dimensions."""
    axis = node.attribute("axis", 1)
    size = shape(node.input(0))
    if not -len(size) <= axis <= len(size):
        raise ModelError(f"axis {axis} is outside a tensor of {len(size)} dimensions")
    axis = axis + len(size) if axis < 0 else axis
    head = int(np.prod(size[:axis]))
    return _moved(node, lambda a: a.reshape(head, -1))


def transpose(node: Node) -> Value:
    """Transpose."""
    order = node.attribute("perm", None)
    return _moved(node, lambda a: a.transpose(order))


def squeeze(node: Node) -> Value:
    """Squeeze; axes as an attribute or an input."""
    axes = node.attribute("axes", None)
    if node.input(1) is not None:
        axes = scalar_list(node.input(1), "axes")
    return _moved(node, lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


def unsqueeze(node: Node) -> Value:
    """Unsqueeze; axes as an attribute or an input."""
    axes = node.attribute("axes", None)
    if axes is None:
        axes = scalar_list(node.input(1), "axes")
    return _moved(node, lambda a: np.expand_dims(a, tuple(axes)))


def identity(node: Node) -> Value:
    """Identity, and Dropout in evaluation mode."""
    node.attribute("ratio")
    node.attribute("seed")
    if (
        node.op == "Dropout"
        and node.input(2) is not None
        and node.constant(2, "training_mode").any()
    ):
        raise ModelError("is in training mode; export the model in evaluation mode")
    return node.input(0)


def shape_of(node: Node) -> Value:
    """Shape: a constant, batch 1."""
    size = list(shape(node.input(0)))
    start, end = node.attribute("start", 0), node.attribute("end", len(size))
    return Constant(np.array(size[start:end], dtype=np.int64))


def size_of(node: Node) -> Value:
    """Size: a constant."""
    return Constant(np.array(np.prod(shape(node.input(0))), dtype=np.int64))


def softmax(node: Node) -> Value:
    """Softmax at the end of the model, on the host."""
    rank = len(shape(node.input(0)))
    axis = node.attribute("axis", -1 if node.opset >= 13 else 1)
    if node.opset < 13 and axis not in (rank - 1, -1):
        raise ModelError(
            "Softmax over several axes (opset below 13) is not supported; use opset 13"
        )
    return _hosted(node, {"axis": axis, "rank": rank})


def argmax(node: Node) -> Value:
    """ArgMax at the end of the model, on the host."""
    return _hosted(
        node,
        {
            "axis": node.attribute("axis", 0),
            "rank": len(shape(node.input(0))),
            "keepdims": node.attribute("keepdims", 1),
            "select_last_index": node.attribute("select_last_index", 0),
        },
    )


def _hosted(node: Node, attributes: dict) -> Value:
    value = node.input(0)
    axis, rank = attributes["axis"], attributes["rank"]
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} is outside a tensor of {rank} dimensions")
    if axis in (0, -rank) and rank > 1:
        raise ModelError("works across the batch; choose another axis")
    operation = (node.op, attributes)
    if isinstance(value, Hosted):
        return Hosted(value.value, (*value.operations, operation))
    if isinstance(value, Real | Codes):
        return Hosted(value, (operation,))
    raise ModelError("its input is not quantized")


LOWER = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Identity": identity,
    "Dropout": identity,
    "Shape": shape_of,
    "Size": size_of,
    "Softmax": softmax,
    "ArgMax": argmax,
}
