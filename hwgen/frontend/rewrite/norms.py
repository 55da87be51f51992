"""Normalizations of the last axis: LayerNormalization and RMSNormalization, which are hwgen's own
ops in opsets that lack them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import attribute
from hwgen.frontend.rewrite.sight import Sight

LAYER, ROOT = "LayerNormalization", "RMSNormalization"
SINCE = {LAYER: 17, ROOT: 23}


@dataclass
class Parts:
    """x / sqrt(mean(x**2) + epsilon), or the same of x - mean(x)."""

    x: str
    epsilon: float
    centered: bool


def put(sight: Sight, op: str, inputs: list[str], epsilon: float, name: str, output: str) -> None:
    """Add a normalization whose output has a name already."""
    sight.add(op, inputs, name, output, sight.own(op, SINCE[op]), axis=-1, epsilon=float(epsilon))


def decomposed(sight: Sight, node: onnx.NodeProto) -> bool:
    """A normalization in single steps; `node` is the one that divides, and gives its name."""
    parts = next(
        (p for d, s in _quotients(sight, node) if (p := _parts(sight, d, s)) is not None), None
    )
    size = None if parts is None else sight.shape(parts.x)
    if parts is None or not size:
        return False
    root, gamma, beta = node, np.ones(size[-1], np.float32), None
    if found := _affine(sight, root, "Mul", size):
        root, gamma = found
    if parts.centered and (found := _affine(sight, root, "Add", size)):
        root, beta = found
    if not sight.private(root, parts.x):
        return False
    arrays = [(gamma, "scale")] if beta is None else [(gamma, "scale"), (beta, "bias")]
    names = [sight.constant(a.astype(np.float32), f"{node.name}_{n}") for a, n in arrays]
    sight.drop(root, node)
    op = LAYER if parts.centered else ROOT
    put(sight, op, [parts.x, *names], parts.epsilon, node.name, root.output[0])
    return True


def _quotients(sight: Sight, node: onnx.NodeProto):
    """(d, s) with d / sqrt(s) what the node gives."""
    if node.op_type == "Div":
        if s := _root(sight, node.input[1], 0.5):
            yield node.input[0], s
        return
    for d, factor in sight.sides(node):
        inverse = sight.maker(factor, "Reciprocal", "Div")
        if inverse is not None and (
            inverse.op_type == "Reciprocal" or sight.scalar(inverse.input[0]) == 1
        ):
            if s := _root(sight, inverse.input[-1], 0.5):
                yield d, s
        elif s := _root(sight, factor, -0.5):
            yield d, s


def _root(sight: Sight, name: str, power: float) -> str | None:
    """What a tensor is the power of."""
    node = sight.maker(name, "Sqrt", "Pow")
    if node is None:
        return None
    fits = power == 0.5 if node.op_type == "Sqrt" else sight.scalar(node.input[1]) == power
    return node.input[0] if fits else None


def _parts(sight: Sight, d: str, s: str) -> Parts | None:
    """What d / sqrt(s) normalizes."""
    total = sight.maker(s, "Add")
    for v, epsilon in () if total is None else sight.sides(total):
        if (number := sight.scalar(epsilon)) is None or (square := _mean_of(sight, v)) is None:
            continue
        power = sight.maker(square, "Pow", "Mul")
        if power is None or power.input[0] != d:
            continue
        second = power.input[1]
        if second != d if power.op_type == "Mul" else sight.scalar(second) != 2:
            continue
        minus = sight.maker(d, "Sub")
        if minus is not None and _mean_of(sight, minus.input[1]) == minus.input[0]:
            return Parts(minus.input[0], number, True)
        return Parts(d, number, False)
    return None


def _mean_of(sight: Sight, name: str) -> str | None:
    """The tensor whose mean over the last axis, which stays, this is."""
    node = sight.maker(name, "ReduceMean")
    if node is None or attribute(node, "keepdims", 1) != 1:
        return None
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and (array := sight.array(node.input[1])) is not None:
        axes = array.ravel().tolist()
    size = sight.shape(node.input[0])
    last = axes and size and list(axes) in ([-1], [len(size) - 1])
    return node.input[0] if last else None


def _affine(
    sight: Sight, node: onnx.NodeProto, op: str, size: tuple[int, ...]
) -> tuple[onnx.NodeProto, np.ndarray] | None:
    """The node behind that multiplies or adds a constant of the last axis, and the constant."""
    after = sight.reader(node.output[0], op)
    for name in () if after is None else after.input:
        array = sight.array(name)
        if array is None or array.ndim > len(size) or array.size not in (1, size[-1]):
            continue
        if array.shape[-1:] in ((), (1,), size[-1:]):
            return after, np.broadcast_to(array.ravel(), size[-1:])
    return None


def alone(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's LayerNormalization and SimplifiedLayerNormalization."""
    last = len(sight.size(node.input[0], range(1, 9))) - 1
    if attribute(node, "axis", -1) not in (-1, last):
        raise ModelError("normalizes more than the last axis, which is not supported")
    _unused(sight, node, node.output[1:])
    sight.drop(node)
    epsilon = attribute(node, "epsilon", 1e-5)
    op = LAYER if node.op_type == LAYER else ROOT
    put(sight, op, list(node.input), epsilon, node.name, node.output[0])
    return True


def skip(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's sum of two tensors (and a bias) with a normalization behind it."""
    inputs = [*node.input, "", ""]
    simple = node.op_type == "SkipSimplifiedLayerNormalization"
    gamma, beta, bias = (inputs[2], "", inputs[3]) if simple else inputs[2:5]
    _unused(sight, node, node.output[1:3])
    total = node.output[3] if len(node.output) > 3 else ""
    sight.drop(node)
    terms = [inputs[0], inputs[1]]
    if bias:
        terms = [sight.add("Add", terms, f"{node.name}_skip"), bias]
    name = sight.editor.fresh(f"{node.name}_sum")
    total = sight.add("Add", terms, name, total or sight.editor.fresh(f"{name}_output"))
    scales = [gamma, beta] if beta else [gamma]
    epsilon = attribute(node, "epsilon", 1e-12)
    put(sight, ROOT if simple else LAYER, [total, *scales], epsilon, node.name, node.output[0])
    return True


def _unused(sight: Sight, node: onnx.NodeProto, outputs) -> None:
    if used := [name for name in outputs if name and sight.used(name)]:
        raise ModelError(f"its output {used[0]!r} is of use in training alone; don't read it")


RULES = {"Div": decomposed, "Mul": decomposed}
CONTRIB = {
    "com.microsoft.LayerNormalization": alone,
    "com.microsoft.SimplifiedLayerNormalization": alone,
    "com.microsoft.SkipLayerNormalization": skip,
    "com.microsoft.SkipSimplifiedLayerNormalization": skip,
}
