"""Rotary position embedding: y = x * first + Gather(x, order) * second, with constant tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import attribute
from hwgen.frontend.rewrite.attend import check, fixed, merge, split
from hwgen.frontend.rewrite.region import Region, region
from hwgen.frontend.rewrite.sight import Sight


@dataclass(frozen=True)
class Table:
    """y[..., i, c] = x[..., i, c] * first[i, c] + x[..., i, order[c]] * second[i, c]."""

    first: np.ndarray
    second: np.ndarray
    order: np.ndarray


def tables(angles: list[np.ndarray], size: int, interleaved: int) -> Table:
    """The rotation of `size` elements by angles, whose cosines and sines are (N, R/2): of pairs
    (i, i + R/2) of the first R, or (2i, 2i + 1) if interleaved; the others stay."""
    cos, sin = angles
    rows, half = cos.shape
    if 2 * half > size:
        raise ModelError(f"its angles {list(cos.shape)} don't fit heads of {size} elements")
    places = np.arange(2 * half).reshape((half, 2) if interleaved else (2, half))
    a, b = places.T if interleaved else places
    first, second = np.ones((rows, size)), np.zeros((rows, size))
    order = np.arange(size)
    first[:, a] = first[:, b] = cos
    second[:, a], second[:, b] = -sin, sin
    order[a], order[b] = b, a
    return Table(first, second, order)


def at(angles: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of a cache of angles."""
    if places.max() >= len(angles):
        raise ModelError(f"has angles for {len(angles)} places, not for place {places.max()}")
    return angles[places]


def rotate(sight: Sight, x: str, table: Table, name: str, output: str = "") -> str:
    """Add the nodes; returns the output."""
    first, second = (
        sight.constant(a.astype(np.float32), f"{name}_table") for a in (table.first, table.second)
    )
    kept = sight.add("Mul", [x, first], f"{name}_kept")
    order = sight.constant(table.order, f"{name}_order")
    moved = sight.add("Gather", [x, order], f"{name}_moved", axis=-1)
    crossed = sight.add("Mul", [moved, second], f"{name}_crossed")
    return sight.add("Add", [kept, crossed], name, output)


def embedding(sight: Sight, node: onnx.NodeProto) -> bool:
    """RotaryEmbedding, ONNX's and onnxruntime's, of (B, N, H*D) or (B, H, N, D)."""
    known = ("interleaved", "num_heads", "rotary_embedding_dim")
    inputs = check(sight, node, known, 1, scale=1.0)
    x, cos, sin, places = inputs[:4]
    if node.domain == "com.microsoft":
        x, places, cos, sin = inputs[:4]
    size = sight.size(x, [3, 4])
    whole = len(size) == 3
    rows = size[1] if whole else size[2]
    angles = [fixed(sight, name, "cache of angles") for name in (cos, sin)]
    ids = fixed(sight, places, "position_ids")
    if ids is not None:
        chosen = ids.ravel() + np.arange(rows) if ids.size < rows else ids.ravel()
        angles = [at(a, chosen) for a in angles]
    angles = [a.reshape(-1, a.shape[-1]) for a in angles]
    if any(len(a) != rows for a in angles):
        raise ModelError(f"its angles {list(angles[0].shape)} don't fit {rows} rows")
    heads = attribute(node, "num_heads", 0) or size[-1] // (2 * angles[0].shape[1])
    width = size[-1] // heads if whole else size[-1]
    table = tables(angles, width, attribute(node, "interleaved", 0))
    sight.drop(node)
    if not whole:
        rotate(sight, x, table, node.name, node.output[0])
        return True
    y = rotate(sight, split(sight, x, heads, node.name), table, f"{node.name}_rotated")
    merge(sight, y, node.name, node.output[0])
    return True


LINEAR = frozenset(
    "Mul Add Sub Neg Slice Split Concat Gather Reshape Unsqueeze Squeeze Transpose".split()
)


def in_steps(sight: Sight, node: onnx.NodeProto) -> bool:
    """Whatever gives sums of two elements of a row by constant tables, as rotations of halves or of
    pairs do: found out on unit vectors."""
    found = region(sight, node, LINEAR)
    size = None if found is None else sight.shape(found.source)
    if found is None or not size or len(size) < 2 or sight.shape(found.result) != size:
        return False
    kinds = [part.op_type for part in found.nodes]
    if "Mul" not in kinds or sorted(kinds) == ["Add", "Gather", "Mul", "Mul"]:
        return False
    for part in found.nodes:  # nothing added, no product of two
        constants = sum(sight.array(name) is not None for name in part.input)
        if constants != {"Mul": 1, "Add": 0, "Sub": 0, "Concat": 0}.get(part.op_type, constants):
            return False
    table = _table(sight, found, size)
    if table is None:
        return False
    sight.drop(node)
    rotate(sight, found.source, table, node.name, found.result)
    return True


def _table(sight: Sight, found: Region, size: tuple[int, ...]) -> Table | None:
    """The tables of a region, if it is a rotation."""
    rows, width = size[-2:]
    try:
        units = [found.run(sight, np.broadcast_to(e, size)) for e in np.eye(width, dtype="f")]
    except (RuntimeError, ValueError, TypeError, IndexError):  # the lowering says what is wrong
        return None
    parts = np.stack([unit.reshape(-1, rows, width)[0] for unit in units], axis=-1)
    first = np.diagonal(parts, axis1=1, axis2=2)
    others = np.where(np.eye(width, dtype=bool), 0, parts)
    far = (others != 0).any(axis=0)
    if not far.any() or far.sum(axis=1).max() > 1:
        return None
    order = np.where(far.any(axis=1), far.argmax(axis=1), np.arange(width))
    table = Table(first, others[:, np.arange(width), order], order)
    x = np.random.default_rng(0).normal(0, 1, size).astype(np.float32)
    same = np.allclose(
        found.run(sight, x), x * table.first + x[..., order] * table.second, atol=1e-5
    )
    return table if same else None


CONTRIB = {"RotaryEmbedding": embedding, "com.microsoft.RotaryEmbedding": embedding}
RULES = dict.fromkeys(("Add", "Concat", "Reshape"), in_steps)
