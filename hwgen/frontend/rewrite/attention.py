"""Ops that hold whole attention layers, in their parts."""

from __future__ import annotations

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import attribute
from hwgen.frontend.rewrite.attend import (
    attend,
    band,
    check,
    cut,
    fixed,
    hidden,
    merge,
    split,
    summed,
)
from hwgen.frontend.rewrite.rotary import at, rotate, tables
from hwgen.frontend.rewrite.sight import Sight

FAINT = -1000.0  # a mask's filter value that hides nothing is greater


def multi_head(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's MultiHeadAttention: queries, keys and values projected already."""
    known = ("num_heads", "scale", "mask_filter_value", "unidirectional")
    inputs = check(sight, node, known, 1, past=(6, 7, 8, 9))
    heads, bias = attribute(node, "num_heads"), fixed(sight, inputs[3], "bias")
    end, found = 0, []
    for x, part in zip(_unpacked(sight, inputs, node.name), PARTS, strict=True):
        size = sight.size(x, [3, 4])
        if len(size) == 4:  # in heads already
            found.append(x)
            continue
        end += size[2]
        if bias is not None:
            constant = sight.constant(bias[end - size[2] : end], f"{node.name}_{part}_bias")
            x = sight.add("Add", [x, constant], f"{node.name}_{part}_bias")
        found.append(split(sight, x, heads, f"{node.name}_{part}"))
    _masked(sight, node, found, inputs[4], inputs[5])
    return True


PARTS = ("query", "key", "value")


def _unpacked(sight: Sight, inputs: list[str], name: str) -> list[str]:
    """Queries, keys and values; the packed ones are (B, N, heads, 2 or 3, D)."""
    first = 0 if not inputs[1] else 1
    found = inputs[:first]
    if inputs[2]:
        return inputs[:3]
    count = sight.size(inputs[first], [5])[3]
    whole = sight.constant(np.array([0, 0, -1]), f"{name}_shape")
    for k in range(count):
        place, part = sight.constant(np.int64(k), f"{name}_place"), PARTS[3 - count + k]
        alone = sight.add("Gather", [inputs[first], place], f"{name}_{part}_part", axis=3)
        found.append(sight.add("Reshape", [alone, whole], f"{name}_{part}_row"))
    return found


def _masked(sight: Sight, node: onnx.NodeProto, heads: list[str], padding: str, bias: str) -> None:
    """The rest of onnxruntime's two ops: masks, attention, one row of all heads."""
    q, k, v = heads
    (_, _, queries, size), keys = sight.size(q, [4]), sight.size(k, [4])[2]
    masks = [_padding(sight, node, padding, queries, keys), fixed(sight, bias, "attention_bias")]
    if attribute(node, "unidirectional", 0):
        masks.append(band(queries, keys, None, 0))
    scale = attribute(node, "scale", 0.0) or size**-0.5
    sight.drop(node)
    y = attend(sight, node, q, k, v, scale, summed(masks))
    merge(sight, y, node.name, node.output[0])


def _padding(
    sight: Sight, node: onnx.NodeProto, name: str, queries: int, keys: int
) -> np.ndarray | None:
    """The mask of onnxruntime's masks of keys: their number, 0 and 1 for each key, or for each
    query and key."""
    mask = fixed(sight, name, "mask")
    if mask is None:
        return None
    if attribute(node, "mask_filter_value", -10000.0) > FAINT:
        raise ModelError("its mask_filter_value is too near to zero to hide a key")
    if mask.shape == (1,):
        return hidden(np.arange(keys) < mask)
    if mask.shape in ((1, keys), (1, queries, keys)):
        return hidden(mask.reshape(-1, keys) != 0)
    raise ModelError(f"a mask of shape {list(mask.shape)} is not supported")


def packed_weights(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's Attention: one matrix of weights projects to queries, keys and values."""
    known = (
        "num_heads", "scale", "mask_filter_value", "unidirectional", "qkv_hidden_sizes",
        "past_present_share_buffer",
    )  # fmt: skip
    x, weights, bias, padding, _, added, *_ = check(sight, node, known, 1, past=(4, 6))
    name, heads = node.name, attribute(node, "num_heads")
    matrix, vector = fixed(sight, weights, "matrix of weights"), fixed(sight, bias, "bias")
    sizes = attribute(node, "qkv_hidden_sizes") or [matrix.shape[1] // 3] * 3
    found = []
    for part, end, size in zip(PARTS, np.cumsum(sizes), sizes, strict=True):
        constant = sight.constant(matrix[:, end - size : end], f"{name}_{part}_weights")
        y = sight.add("MatMul", [x, constant], f"{name}_{part}")
        if vector is not None:
            constant = sight.constant(vector[end - size : end], f"{name}_{part}_bias")
            y = sight.add("Add", [y, constant], f"{name}_{part}_bias")
        found.append(split(sight, y, heads, f"{name}_{part}"))
    _masked(sight, node, found, padding, added)
    return True


def grouped(sight: Sight, node: onnx.NodeProto) -> bool:
    """onnxruntime's GroupQueryAttention, causal; the lengths of sequences are those of the inputs:
    others are refused where they are constants."""
    known = (
        "num_heads", "kv_num_heads", "scale", "local_window_size", "do_rotary",
        "rotary_interleaved", "causal", "qk_norm_epsilon",
    )  # fmt: skip
    inputs = check(
        sight, node, known, 1, past=(3, 4, 11, 12, 13, 14, 15, 16), smooth_softmax=-1,
        k_quant_type="NONE", v_quant_type="NONE",
    )  # fmt: skip
    name, heads = node.name, attribute(node, "num_heads")
    groups = attribute(node, "kv_num_heads")
    sources, (_, rows, width) = inputs[:3], sight.size(inputs[0], [3])
    if not inputs[1]:
        size = width // (heads + 2 * groups)
        ends = np.cumsum([heads * size, groups * size, groups * size]).tolist()
        sources = [
            cut(sight, inputs[0], low, high, f"{name}_{part}_part")
            for low, high, part in zip([0, *ends[:-1]], ends, PARTS, strict=True)
        ]
    counts = (heads, groups, groups)
    q, k, v = (
        split(sight, x, n, f"{name}_{part}")
        for x, n, part in zip(sources, counts, PARTS, strict=True)
    )
    _, _, keys, _ = sight.size(k, [4])
    for given, length in ((inputs[5], keys - 1), (inputs[6], keys)):
        if (array := sight.array(given)) is not None and (array != length).any():
            raise ModelError(f"its lengths say {array.ravel()[0]}, its keys {length}; set them")
    q, k = _rotated(sight, node, q, k, inputs[7:10])
    window = attribute(node, "local_window_size", -1)
    masks = [fixed(sight, inputs[10], "attention_bias")]
    if attribute(node, "causal", 1):
        masks.append(band(rows, keys, None if window < 0 else window - 1, 0))
    scale = attribute(node, "scale", 0.0) or sight.size(q, [4])[3] ** -0.5
    sight.drop(node)
    merge(sight, attend(sight, node, q, k, v, scale, summed(masks)), name, node.output[0])
    return True


def _rotated(
    sight: Sight, node: onnx.NodeProto, q: str, k: str, inputs: list[str]
) -> tuple[str, str]:
    """Queries and keys, rotated if the node asks for it."""
    if not attribute(node, "do_rotary", 0):
        return q, k
    places = fixed(sight, inputs[2], "position_ids")
    start = 0 if places is None else int(places.ravel()[0])
    cos, sin = (fixed(sight, x, "cache of angles") for x in inputs[:2])
    found = []
    for x, part in ((q, "query"), (k, "key")):
        rows, size = sight.size(x, [4])[2:]
        angles = [at(a, np.arange(start, start + rows)) for a in (cos, sin)]
        table = tables(angles, size, attribute(node, "rotary_interleaved", 0))
        found.append(rotate(sight, x, table, f"{node.name}_{part}_rotated"))
    return found[0], found[1]


def standard(sight: Sight, node: onnx.NodeProto) -> bool:
    """ONNX's Attention, of (B, N, H*D) or (B, H, N, D)."""
    known = (
        "is_causal", "q_num_heads", "kv_num_heads", "scale", "softmax_precision",
        "qk_matmul_output_mode", "left_window_size", "right_window_size",
    )  # fmt: skip
    inputs = check(sight, node, known, 1, past=(4, 5, 6))
    name, rank = node.name, len(sight.size(inputs[0], [3, 4]))
    counts = [attribute(node, f"{s}_num_heads") for s in ("q", "kv", "kv")]
    q, k, v = (
        split(sight, x, n, f"{name}_{part}") if rank == 3 else x
        for x, n, part in zip(inputs[:3], counts, PARTS, strict=True)
    )
    (_, _, queries, size), keys = sight.size(q, [4]), sight.size(k, [4])[2]
    mask = fixed(sight, inputs[3], "mask")
    if mask is not None:
        if mask.shape[-1] != keys:
            raise ModelError(f"its mask of shape {list(mask.shape)} does not fit {keys} keys")
        mask = hidden(mask) if mask.dtype == bool else mask
    left, right = (attribute(node, f"{s}_window_size", -1) for s in ("left", "right"))
    right = 0 if attribute(node, "is_causal", 0) else right
    ends = [None if n < 0 else n for n in (left, right)]
    window = None if ends == [None, None] else band(queries, keys, *ends)
    scale = attribute(node, "scale", size**-0.5)
    sight.drop(node)
    y = attend(
        sight, node, q, k, v, scale, summed([mask, window]), node.output[0] if rank == 4 else ""
    )
    if rank == 3:
        merge(sight, y, name, node.output[0])
    return True


RULES = {
    "Attention": standard,
    "com.microsoft.Attention": packed_weights,
    "com.microsoft.MultiHeadAttention": multi_head,
    "com.microsoft.GroupQueryAttention": grouped,
}
