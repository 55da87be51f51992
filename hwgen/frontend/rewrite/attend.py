"""The canonical form of attention: matrix products of heads, a constant mask, a Softmax."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import attribute
from hwgen.frontend.rewrite.sight import Sight

SEQUENCE = "export the model without past state (use_cache=False), for whole sequences"


def split(sight: Sight, x: str, heads: int, name: str) -> str:
    """(B, N, heads*D) to (B, heads, N, D)."""
    shape = sight.constant(np.array([0, 0, heads, -1]), f"{name}_shape")
    apart = sight.add("Reshape", [x, shape], f"{name}_split")
    return sight.add("Transpose", [apart], f"{name}_heads", perm=[0, 2, 1, 3])


def merge(sight: Sight, x: str, name: str, output: str) -> None:
    """(B, heads, N, D) to (B, N, heads*D)."""
    turned = sight.add("Transpose", [x], f"{name}_rows", perm=[0, 2, 1, 3])
    shape = sight.constant(np.array([0, 0, -1]), f"{name}_shape")
    sight.add("Reshape", [turned, shape], sight.editor.fresh(f"{name}_merge"), output)


def cut(sight: Sight, x: str, low: int, high: int, name: str) -> str:
    """Elements low ... high - 1 of the last axis."""
    limits = [sight.constant(np.array([k]), f"{name}_limit") for k in (low, high, -1)]
    return sight.add("Slice", [x, *limits], name)


def attend(
    sight: Sight,
    node: onnx.NodeProto,
    q: str,
    k: str,
    v: str,
    scale: float,
    bias: np.ndarray | None,
    output: str = "",
) -> str:
    """softmax(q * k' * scale + bias) * v of (B, H, N, D), (B, G, M, D), (B, G, M, E), with H a
    multiple of G; the Softmax is called like the node."""  # fmt: skip
    name, heads, groups = node.name, sight.size(q, [4])[1], sight.size(k, [4])[1]
    if heads % groups:
        raise ModelError(f"has {heads} heads of queries, which {groups} of keys can't be shared by")
    if groups < heads:
        owner = np.arange(heads) // (heads // groups)
        k, v = (
            sight.add("Gather", [x, sight.constant(owner, f"{name}_group")], n, axis=1)
            for x, n in ((k, f"{name}_key_groups"), (v, f"{name}_value_groups"))
        )
    turned = sight.add("Transpose", [k], f"{name}_key_turned", perm=[0, 1, 3, 2])
    scores = sight.add("MatMul", [q, turned], f"{name}_scores")
    factor = sight.constant(np.float32(scale), f"{name}_factor")
    scores = sight.add("Mul", [scores, factor], f"{name}_scaled")
    if bias is not None:
        added = sight.constant(bias.astype(np.float32), f"{name}_bias")
        scores = sight.add("Add", [scores, added], f"{name}_masked")
    weights = sight.editor.fresh(f"{name}_output")
    sight.add("Softmax", [scores], name, weights, axis=-1)
    return sight.add(
        "MatMul", [weights, v], sight.editor.fresh(f"{name}_values") if output else
        f"{name}_values", output,
    )  # fmt: skip


# --- masks: 0 where a query attends to a key, else -inf ------------------------------------------


def hidden(allowed: np.ndarray) -> np.ndarray:
    """The mask of what is allowed."""
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


def band(queries: int, keys: int, left: int | None, right: int | None) -> np.ndarray:
    """The mask of keys at most so far before and behind the query; None: however far."""
    distance = np.arange(keys) - np.arange(queries)[:, None]
    allowed = np.ones((queries, keys), bool)
    if left is not None:
        allowed &= distance >= -left
    if right is not None:
        allowed &= distance <= right
    return hidden(allowed)


def summed(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """All masks in one."""
    given = [mask for mask in masks if mask is not None]
    return sum(given[1:], given[0]) if given else None


def fixed(sight: Sight, name: str, what: str) -> np.ndarray | None:
    """A constant input; None where there is none. Raises `ModelError` for one that is no
    constant."""
    if not name:
        return None
    array = sight.array(name)
    if array is None:
        raise ModelError(
            f"its {what} {name!r} depends on the model's inputs; the hardware needs a constant: "
            "export the model with the mask or the positions it is to have"
        )
    return array


def check(
    sight: Sight,
    node: onnx.NodeProto,
    known: Collection[str],
    outputs: int,
    past: Collection[int] = (),
    **defaults: float | str,
) -> list[str]:
    """The node's inputs, filled up with names of none; raises `ModelError` for what can't be done:
    attributes that are neither known nor have the value of `defaults`, outputs of state behind the
    first `outputs`, and state at the inputs `past`."""  # fmt: skip
    for found in node.attribute:
        value = attribute(node, found.name)
        if found.name not in known and value != defaults.get(found.name, 0):
            raise ModelError(f"the attribute {found.name}={value} is not supported")
    if used := [name for name in node.output[outputs:] if name and sight.used(name)]:
        raise ModelError(f"its output {used[0]!r} holds state or scores; {SEQUENCE}")
    inputs = [*node.input, *[""] * 16]
    for k in past:
        size = sight.shape(inputs[k]) if inputs[k] else (0,)
        if size is None or 0 not in size:
            raise ModelError(f"its input {inputs[k]!r} holds state; {SEQUENCE}")
    return inputs
