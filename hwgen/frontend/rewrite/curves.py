"""Functions of one number in single steps: GELU by erf or tanh, known by their values."""

from __future__ import annotations

import math

import numpy as np
import onnx

from hwgen.frontend.read import MICROSOFT
from hwgen.frontend.rewrite.region import region
from hwgen.frontend.rewrite.sight import Sight

STEPS = frozenset("Mul Add Sub Div Neg Pow Erf Tanh".split())
NAMES = ("Gelu", "FastGelu")
X = np.linspace(-8, 8, 257, dtype=np.float32)
SINCE = 20  # the opset of Gelu; it is onnxruntime's before


def curve(op: str, x: np.ndarray) -> np.ndarray:
    """onnxruntime's Gelu, x/2 * (1 + erf(x / sqrt(2))), and FastGelu, which has tanh(sqrt(2/pi) *
    (x + 0.044715 * x**3)) for erf; in float64."""
    x = x.astype(np.float64)
    if op == "Gelu":
        return x * (1 + np.vectorize(math.erf, "d")(x / math.sqrt(2))) / 2
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def in_steps(sight: Sight, node: onnx.NodeProto) -> bool:
    """A curve that ends in a product; a factor may be last."""
    found = region(sight, node, STEPS)
    if found is None or not {"Erf", "Tanh"} & {part.op_type for part in found.nodes}:
        return False
    arrays = [sight.array(name) for part in found.nodes for name in part.input]
    if any(a is not None and a.size > 1 for a in arrays):
        return False
    values, root = found.run(sight, X).reshape(X.shape), node
    after = sight.reader(node.output[0], "Mul")
    for name in () if after is None else after.input:
        if (factor := sight.scalar(name)) is not None and not _named(values):
            values, root = values * factor, after
    if not (op := _named(values)):
        return False
    sight.drop(node, root)
    own = sight.editor.opset < SINCE
    attributes = {} if own else {"approximate": "none" if op == "Gelu" else "tanh"}
    sight.add(
        op if own else "Gelu", [found.source], node.name, root.output[0],
        MICROSOFT if own else "", **attributes,
    )  # fmt: skip
    return True


def _named(values: np.ndarray) -> str:
    """The curve that has these values."""
    return next((op for op in NAMES if np.allclose(values, curve(op, X), atol=2e-6)), "")


RULES = {"Mul": in_steps}
