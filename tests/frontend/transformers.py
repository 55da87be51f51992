"""Small models with the ops that onnxruntime's optimizer and ONNX's opset 23 make of
transformers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.qdq import Builder

N, M, C, HEADS = 6, 5, 12, 2  # queries, keys of another sequence, width
MICROSOFT = "com.microsoft"
Made = Callable[[Builder], str | tuple[str, ...]]


def built(make: Made, opset: int = 17) -> onnx.ModelProto:
    """The model of one input x (1, N, C)."""
    b = Builder(opset)
    b.input(1, N, C)
    outputs = make(b)
    outputs = (outputs,) if isinstance(outputs, str) else outputs
    values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph(b.nodes, "test", b.inputs, values, b.initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def numbers(b: Builder, *size: int) -> str:
    return b.constant((b.rng.normal(0, 1, size) / 2).astype(np.float32))


def integers(b: Builder, *values, kind=np.int32) -> str:
    return b.constant(np.array(values, kind))


def several(b: Builder, kind: str, count: int, *inputs: str, **attributes) -> list[str]:
    """A node of several outputs."""
    first = b.op(kind, *inputs, **attributes)
    b.nodes[-1].output.extend(b.name("other") for _ in range(count - 1))
    return [first, *b.nodes[-1].output[1:]]


def contrib(b: Builder, kind: str, *inputs: str, **attributes) -> str:
    return b.op(kind, *inputs, domain=MICROSOFT, **attributes)


def rows(b: Builder, width: int = C) -> str:
    return b.op("MatMul", "x", numbers(b, C, width))


def other(b: Builder, width: int = C) -> str:
    """Rows of another sequence, which depend on the input."""
    mixed = b.op("MatMul", numbers(b, 1, M, N), "x")
    return b.op("MatMul", mixed, numbers(b, C, width))


# --- normalizations -------------------------------------------------------------------------------


def mean(b: Builder, x: str) -> str:
    if b.opset >= 18:
        return b.op("ReduceMean", x, integers(b, -1, kind=np.int64))
    return b.op("ReduceMean", x, axes=[2])


def norm(b: Builder, square: str, quotient: str, centered: bool, affine: str = "ab") -> str:
    """In single steps; `square` and `quotient` name the ops, `affine` has an "a" for a factor and
    a "b" for a summand."""
    x = rows(b)
    d = b.op("Sub", x, mean(b, x)) if centered else x
    v = {
        "Pow": lambda: b.op("Pow", d, b.constant(np.float32(2))),
        "Mul": lambda: b.op("Mul", d, d),
        "twice": lambda: b.op("Pow", b.op("Sub", x, mean(b, x)), b.constant(np.float32(2))),
    }[square]()
    s = b.op("Add", b.constant(np.array([1e-3], np.float32)), mean(b, v))
    y = {
        "Div": lambda: b.op("Div", d, b.op("Sqrt", s)),
        "Reciprocal": lambda: b.op("Mul", b.op("Reciprocal", b.op("Sqrt", s)), d),
        "one": lambda: b.op("Mul", d, b.op("Div", b.constant(np.float32(1)), b.op("Sqrt", s))),
        "Pow": lambda: b.op("Mul", d, b.op("Pow", s, b.constant(np.float32(-0.5)))),
    }[quotient]()
    if "a" in affine:
        y = b.op("Mul", numbers(b, 1, C), y)
    if "b" in affine:
        y = b.op("Add", y, b.op("Cast", numbers(b, C), to=TensorProto.FLOAT))
    return b.op("Relu", y)


def skip(b: Builder, simple: bool, bias: bool, total: bool):
    kind = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    inputs = ["x", rows(b), numbers(b, C)]
    inputs += [] if simple else [numbers(b, C)]
    inputs += [numbers(b, C)] if bias else []
    found = several(b, kind, 4, *inputs, domain=MICROSOFT, epsilon=1e-3)
    return (found[0], found[3]) if total else found[0]


def simplified(b: Builder) -> str:
    return b.op("SimplifiedLayerNormalization", rows(b), numbers(b, C), axis=-1, epsilon=1e-3)


NORMS = {
    f"{'layer' if c else 'root'}_{s}_{q}_{a}": (lambda b, c=c, s=s, q=q, a=a: norm(b, s, q, c, a))
    for s, q, c, a in (
        ("Pow", "Div", True, "ab"), ("Mul", "Reciprocal", True, "ab"), ("twice", "one", True, "a"),
        ("Pow", "Pow", True, "b"), ("Mul", "Div", True, ""), ("Pow", "one", False, "ab"),
        ("Mul", "Reciprocal", False, "a"), ("Pow", "Div", False, ""), ("Pow", "Pow", False, "a"),
    )
}  # fmt: skip
SKIPS = {
    "skip": lambda b: skip(b, False, False, False),
    "skip_bias_total": lambda b: skip(b, False, True, True),
    "skip_root": lambda b: skip(b, True, True, False),
    "skip_root_total": lambda b: skip(b, True, False, True),
    "simplified": simplified,
    "bias_gelu": lambda b: contrib(b, "BiasGelu", rows(b), numbers(b, C)),
    "fast_gelu": lambda b: contrib(b, "FastGelu", rows(b), numbers(b, C)),
}

# --- attention ------------------------------------------------------------------------------------


def multi_head(b: Builder, *inputs: str, **attributes) -> str:
    return contrib(b, "MultiHeadAttention", *inputs, num_heads=HEADS, **attributes)


def whole(b: Builder, **attributes) -> str:
    inputs = rows(b), numbers(b, C, 3 * C), numbers(b, 3 * C)
    return contrib(b, "Attention", *inputs, num_heads=HEADS, **attributes)


def masked(b: Builder, mask: str) -> str:
    inputs = rows(b), numbers(b, C, 3 * C), numbers(b, 3 * C), mask
    return contrib(b, "Attention", *inputs, num_heads=HEADS)


def values_of_other_size(b: Builder) -> str:
    inputs = "x", numbers(b, C, 32), numbers(b, 32)
    sizes = {"qkv_hidden_sizes": [12, 12, 8]}
    return contrib(b, "Attention", *inputs, num_heads=HEADS, **sizes)


def packed(b: Builder, count: int, apart: bool) -> str:
    """Keys and values, and queries too with a `count` of 3, in one tensor of heads; or `apart`."""
    both = rows(b, count * C)
    both = b.op("Reshape", both, integers(b, 1, N, HEADS, count, -1, kind=np.int64))
    if not apart:
        return multi_head(b, *([] if count == 3 else [rows(b)]), both)
    whole = integers(b, 0, 0, -1, kind=np.int64)
    parts = [
        b.op("Reshape", b.op("Gather", both, b.constant(np.int64(k)), axis=3), whole)
        for k in range(count)
    ]
    return multi_head(b, *([] if count == 3 else [rows(b)]), *parts)


def headed_keys(b: Builder) -> str:
    shape = integers(b, 1, M, HEADS, -1, kind=np.int64)
    k, v = (
        b.op("Transpose", b.op("Reshape", other(b), shape), perm=[0, 2, 1, 3]) for _ in range(2)
    )
    return multi_head(b, rows(b), k, v)


def angles(b: Builder, count: int, half: int) -> tuple[str, str]:
    """Cosines and sines."""
    angle = np.arange(count)[:, None] * 0.7 ** np.arange(half)
    return b.constant(np.cos(angle).astype("f")), b.constant(np.sin(angle).astype("f"))


def grouped(b: Builder, rotary: bool = False, whole: bool = False, **attributes) -> str:
    """Four heads of queries, two of keys; `whole`: in one tensor."""
    size = 16  # the least onnxruntime rotates
    inputs = [rows(b, 8 * size), "", ""] if whole else [rows(b, w * size) for w in (4, 2, 2)]
    inputs += ["", "", integers(b, N - 1), integers(b, N)]
    if rotary:
        inputs += angles(b, N + 2, size // 2)
    found = several(
        b, "GroupQueryAttention", 3, *inputs, domain=MICROSOFT, num_heads=4, kv_num_heads=2,
        do_rotary=int(rotary), **attributes,
    )  # fmt: skip
    return found[0]


def rotated(b: Builder, places: str, **attributes) -> str:
    cos, sin = angles(b, N + 2, 3 if not attributes.get("rotary_embedding_dim") else 2)
    inputs = rows(b), places, cos, sin
    return contrib(b, "RotaryEmbedding", *inputs, **attributes)


CONTRIB: dict[str, Made] = {
    "three": lambda b: multi_head(b, rows(b), other(b), other(b), numbers(b, 3 * C), scale=0.7),
    "causal": lambda b: multi_head(b, rows(b), rows(b), rows(b), unidirectional=1),
    "biased": lambda b: multi_head(
        b, rows(b), rows(b), rows(b), "", "", numbers(b, 1, HEADS, N, N), unidirectional=1
    ),
    "lengths": lambda b: multi_head(b, rows(b), other(b), other(b), "", integers(b, 3)),
    "headed_keys": headed_keys,
    "whole": whole,
    "whole_causal": lambda b: whole(b, unidirectional=1),
    "padded": lambda b: masked(b, integers(b, [1, 1, 0, 1, 1, 0])),
    "masked": lambda b: masked(b, b.constant(np.tri(N, k=1, dtype=np.int32)[None])),
    "values": values_of_other_size,
    "grouped": grouped,
    "grouped_window": lambda b: grouped(b, local_window_size=2, scale=0.4),
    "grouped_rotary": lambda b: grouped(b, True, whole=True),
    "grouped_interleaved": lambda b: grouped(b, True, rotary_interleaved=1),
    "rotary": lambda b: rotated(b, integers(b, 0, kind=np.int64)),
    "rotary_from": lambda b: rotated(b, integers(b, 2, kind=np.int64), interleaved=1),
    "rotary_part": lambda b: rotated(
        b, b.constant(np.arange(N)[None]), num_heads=2, rotary_embedding_dim=4
    ),
}


def standard(b: Builder, keys: int = HEADS, mask: str = "", **attributes) -> str:
    """ONNX's Attention of rows."""
    size = C // HEADS
    inputs = rows(b), other(b, keys * size), other(b, keys * size)
    inputs += (mask,) if mask else ()
    return b.op("Attention", *inputs, q_num_heads=HEADS, kv_num_heads=keys, **attributes)


def headed(b: Builder, **attributes) -> str:
    """ONNX's Attention of heads, four to two."""
    inputs = [
        b.op(
            "Transpose",
            b.op("Reshape", rows(b, 3 * n), integers(b, 1, N, n, 3, kind=np.int64)),
            perm=[0, 2, 1, 3],
        )
        for n in (4, 2, 2)
    ]
    return b.op("Attention", *inputs, **attributes)


def embedded(b: Builder, headed: bool, **attributes) -> str:
    x, heads = rows(b), {"num_heads": HEADS}
    if headed:
        shape = integers(b, 1, N, HEADS, -1, kind=np.int64)
        x, heads = b.op("Transpose", b.op("Reshape", x, shape), perm=[0, 2, 1, 3]), {}
    half = attributes.get("rotary_embedding_dim", C // HEADS) // 2
    cos, sin = angles(b, N, half)
    places = b.constant(np.arange(N)[None])
    return b.op("RotaryEmbedding", x, cos, sin, places, **heads, **attributes)


STANDARD: dict[str, Made] = {
    "plain": standard,
    "float_mask": lambda b: standard(b, 1, numbers(b, 1, HEADS, N, M), scale=0.3),
    "bool_mask": lambda b: standard(b, 2, b.constant(np.tri(N, M, 1, dtype=bool)), is_causal=1),
    "groups": lambda b: headed(b, is_causal=1),
    "rotary": lambda b: embedded(b, False),
    "rotary_interleaved": lambda b: embedded(b, True, interleaved=1),
    "rotary_part": lambda b: embedded(b, True, rotary_embedding_dim=4),
}

# --- rotary embedding and GELU in single steps ----------------------------------------------------


def part(b: Builder, x: str, low: int, high: int, step: int = 1) -> str:
    return b.op("Slice", x, *(integers(b, v, kind=np.int64) for v in (low, high, -1, step)))


def twice(b: Builder, half: int, repeat: Callable = np.tile) -> tuple[str, str]:
    angle = np.arange(N)[:, None] * 0.7 ** np.arange(half)
    cos, sin = (
        repeat(f(angle), 2) if repeat is np.tile else repeat(f(angle), 2, axis=1)
        for f in (np.cos, np.sin)
    )
    return b.constant(cos.astype("f")), b.constant(sin.astype("f"))


def halves(b: Builder, width: int = C) -> str:
    """As Llama has it, of the first elements of rows."""
    x = rows(b)
    y = x if width == C else part(b, x, 0, width)
    cos, sin = twice(b, width // 2)
    minus = b.op("Neg", part(b, y, width // 2, 1 << 40))
    turned = b.op("Concat", minus, part(b, y, 0, width // 2), axis=-1)
    y = b.op("Add", b.op("Mul", sin, turned), b.op("Mul", y, cos))
    return y if width == C else b.op("Concat", y, part(b, x, width, C), axis=2)


def products(b: Builder) -> str:
    """As onnxruntime and ONNX define it."""
    x, (cos, sin) = rows(b), angles(b, N, C // 2)
    first, second = several(b, "Split", 2, x, axis=-1)
    a, z = (
        b.op(op, b.op("Mul", first, u), b.op("Mul", second, v))
        for op, u, v in (("Sub", cos, sin), ("Add", sin, cos))
    )
    return b.op("Concat", a, z, axis=-1)


def pairs(b: Builder) -> str:
    """As GPT-J has it."""
    x, (cos, sin) = rows(b), twice(b, C // 2, np.repeat)
    even, odd = part(b, x, 0, C, 2), part(b, x, 1, C, 2)
    axes = integers(b, -1, kind=np.int64)
    columns = [b.op("Unsqueeze", y, axes) for y in (b.op("Neg", odd), even)]
    turned = b.op("Concat", *columns, axis=-1)
    turned = b.op("Reshape", turned, integers(b, 0, 0, -1, kind=np.int64))
    return b.op("Add", b.op("Mul", x, cos), b.op("Mul", turned, sin))


ROTARY: dict[str, Made] = {
    "halves": halves,
    "part": lambda b: halves(b, 8),
    "products": products,
    "pairs": pairs,
}


def gelu(b: Builder, late: bool) -> str:
    """By the error function; the factor 1/2 first or last."""
    x, half = rows(b), b.constant(np.float32(0.5))
    y = b.op("Erf", b.op("Div", x, b.constant(np.float32(2**0.5))))
    y = b.op("Add", b.constant(np.float32(1)), y)
    return b.op("Mul", b.op("Mul", x, y), half) if late else b.op("Mul", y, b.op("Mul", half, x))


def gelu_tanh(b: Builder, power: bool) -> str:
    """x**3 by Pow or by products."""
    x = rows(b)
    number = lambda value: b.constant(np.float32(value))  # noqa: E731
    cube = b.op("Pow", x, number(3)) if power else b.op("Mul", x, b.op("Mul", x, x))
    y = b.op("Add", x, b.op("Mul", number(0.044715), cube))
    y = b.op("Tanh", b.op("Mul", y, number((2 / np.pi) ** 0.5)))
    return b.op("Mul", b.op("Mul", x, number(0.5)), b.op("Add", y, number(1)))


CURVES: dict[str, Made] = {
    "erf_late": lambda b: gelu(b, True),
    "erf_early": lambda b: gelu(b, False),
    "tanh_pow": lambda b: gelu_tanh(b, True),
    "tanh_products": lambda b: gelu_tanh(b, False),
}

# --- what is refused ------------------------------------------------------------------------------


def past(b: Builder) -> str:
    k = b.input(1, HEADS, 3, C // HEADS, name="past")
    return multi_head(b, rows(b), rows(b), rows(b), "", "", "", k, k)


def masked_by_data(b: Builder) -> str:
    bias = b.op("Unsqueeze", rows(b, N), integers(b, 1, kind=np.int64))
    return multi_head(b, rows(b), rows(b), rows(b), "", "", bias)


def keys_out(b: Builder) -> tuple[str, ...]:
    found = several(
        b, "MultiHeadAttention", 2, rows(b), rows(b), rows(b), domain=MICROSOFT, num_heads=HEADS
    )
    return found[0], found[1]


def short(b: Builder) -> str:
    """Lengths that leave out keys."""
    x = [rows(b, w * 4) for w in (4, 2, 2)]
    inputs = [*x, "", "", integers(b, 2), integers(b, 3)]
    return contrib(b, "GroupQueryAttention", *inputs, num_heads=4, kv_num_heads=2)


REFUSED: dict[str, tuple[Made, str]] = {
    "past": (past, r"its input 'past' holds state; export the model without past state"),
    "mask": (masked_by_data, r"its attention_bias 'unsqueeze_\d+' depends on the model's inputs"),
    "keys": (keys_out, r"its output 'other_\d+' holds state or scores"),
    "lengths": (short, r"its lengths say 2, its keys 5; set them"),
    "faint": (
        lambda b: multi_head(
            b, rows(b), rows(b), rows(b), "", integers(b, 3), mask_filter_value=-1.0
        ),
        r"its mask_filter_value is too near to zero to hide a key",
    ),
    "lengths_of_batches": (
        lambda b: multi_head(b, rows(b), rows(b), rows(b), "", integers(b, 3, 0, 6, 0, 6)),
        r"a mask of shape \[5\] is not supported",
    ),
    "softcap": (lambda b: grouped(b, softcap=3.0), r"the attribute softcap=3.0 is not supported"),
    "heads": (
        lambda b: contrib(
            b, "GroupQueryAttention", *(rows(b, 3 * w) for w in (3, 2, 2)), "", "",
            num_heads=3, kv_num_heads=2,
        ),
        r"has 3 heads of queries, which 2 of keys can't be shared by",
    ),
    "weights": (
        lambda b: contrib(b, "Attention", "x", rows(b), num_heads=HEADS),
        r"its matrix of weights 'matmul_\d+' depends on the model's inputs",
    ),
    "angles": (
        lambda b: contrib(
            b, "RotaryEmbedding", "x", integers(b, 0, kind=np.int64), *angles(b, 3, 6)
        ),
        r"has angles for 3 places, not for place 5",
    ),
    "training": (
        lambda b: tuple(
            several(b, "SkipLayerNormalization", 2, "x", rows(b), numbers(b, C), domain=MICROSOFT)
        ),
        r"its output 'other_\d+' is of use in training alone",
    ),
}  # fmt: skip
