"""Attention's golden function: bit for bit against its definition in plain Python, and in numbers
against ONNX's reference evaluator and float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hwgen.formats import Float, decode, encode, parse, parse_arithmetic
from hwgen.frontend.attention_form import Operand, masked_form
from hwgen.golden.attention import attention
from hwgen.golden.multiply import product
from hwgen.ir import Attention, Grid, Mask
from hwgen.ir.interpolation import Interpolation, interpolation
from tests.frontend.test_attention_form import banded

F, PLACES, UP = 4, 5, 9  # bits of a fraction, of the reciprocal's argument and result
ARITHMETICS = [None, "e4m3fn", "e4m3fn:lmul", "bf16", "e5m2:pam", "fp16", "bf16:lmul"]


# --- the definition, one number at a time --------------------------------------------------------


def multiplied(node: Attention, grid: Grid | None, a: int, b: int) -> int:
    """A product in units of the least, or of the grid."""
    if node.arithmetic is None:
        return int(a) * int(b)
    arith = node.arithmetic
    number = Fraction(float(product(arith, np.array(a), np.array(b))))
    if grid is None:
        unit = arith.x.unit + (arith.w.unit if arith.multiplier == "exact" else 0)
        steps = number / Fraction(2) ** unit
        assert steps.denominator == 1
        return int(steps)
    most = 1 << grid.bits - 1
    return max(-most, min(most - 1, math.floor(number / Fraction(2) ** grid.exponent)))


def weight(node: Attention, f: int, less: int) -> tuple[int, int]:
    """p_j and what l counts of it; `less` is n_j - N'."""
    e = int(node.exponential(np.array(f)))
    if node.arithmetic is None:
        return e >> -less, e >> -less
    fmt = node.arithmetic.x
    b = less - 1 + fmt.bias
    p = (b << fmt.man) + e if b >= 1 else ((1 << fmt.man) + e) >> (1 - b)
    return p, math.floor(Fraction(float(decode(fmt, np.array(p)))) * 2**node.weight_bits)


def attends(node: Attention, h: int, i: int, j: int) -> bool:
    if node.mask is not None:
        return bool(node.mask.allowed[h % len(node.mask.allowed), i, j])
    return i - node.left <= j <= i or i < j <= i + node.right or j < node.leading


def score(node: Attention, h: int, i: int, j: int, q, k) -> int:
    """t_j."""
    s = sum(multiplied(node, node.score_grid, a - node.zero, b) for a, b in zip(q, k, strict=True))
    biased = node.mask is not None and node.mask.bias is not None
    bias = int(node.mask.bias[h % len(node.mask.bias), i, j]) if biased else 0
    half = 1 << node.shift - 1
    return (s * node.multiplier + (bias << node.shift) + half) >> node.shift


def quotient(node: Attention, l: int, o: int) -> int:
    most, bits = max(l.bit_length() - 1, node.weight_bits - 1), node.reciprocal.bits
    below = (l << bits >> most) % (1 << bits)
    r = int(node.reciprocal(np.array(below)))
    return max(node.low, min(node.high, (o * r + (1 << most + node.up - 1)) >> most + node.up))


def row(node: Attention, h: int, i: int, q, slots: dict[int, int], k, v) -> list[int]:
    """Row i of head h, its keys and values in slots."""
    top, l, o = None, 0, [0] * v.shape[1]
    for c in node.visits(i, h, len(k)):
        held = [slots[s] for s in range(c * node.lanes, (c + 1) * node.lanes) if s in slots]
        scores = [(j, score(node, h, i, j, q, k[j])) for j in held if attends(node, h, i, j)]
        if not scores:
            continue
        new = max(t >> node.fraction for _, t in scores)
        new = new if top is None else max(new, top)
        away = 0 if top is None else new - top
        top, l, o = new, l >> away, [x >> away for x in o]
        for j, t in scores:
            p, steps = weight(node, t % (1 << node.fraction), (t >> node.fraction) - new)
            l += steps
            o = [x + multiplied(node, node.value_grid, p, e) for x, e in zip(o, v[j], strict=True)]
    return [quotient(node, l, x) for x in o]


def defined(node: Attention, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One sequence: (N, H*D), (M, G*D), (M, G*E) -> (N, H*E)."""
    q = q.reshape(len(q), node.heads, -1)
    k, v = (x.reshape(len(x), node.groups, -1) for x in (k, v))
    slots: dict[int, int] = {}
    rows, come = [], 0
    for i in range(len(q)):
        for j in range(come, min(i + node.right, len(k) - 1) + 1):
            ring = (j - node.leading) % (node.slots - node.leading) if j >= node.leading else 0
            slots[j if j < node.leading else node.leading + ring] = j
            come = j + 1
        groups = [h // (node.heads // node.groups) for h in range(node.heads)]
        rows.append(
            [row(node, h, i, q[i, h], slots, k[:, g], v[:, g]) for h, g in enumerate(groups)]
        )
    return np.array(rows).reshape(len(q), -1)


def table(function, bits: int, high: int) -> Interpolation:
    return interpolation(lambda x: np.minimum(function(x), high), bits, 0.5)


def random_node(rng: np.random.Generator, kind: int, stateful: bool, masked: bool):
    """A node and the sizes N, M, D, E of its inputs."""
    n, m, depth, width = (int(x) for x in rng.integers((1, 1, 1, 1), (11, 11, 5, 5)))
    groups, shared, lanes = (int(x) for x in rng.integers((1, 1, 1), (3, 3, 6)))
    left, right, leading, spare = (int(x) for x in rng.integers(0, (5, 5, 5, 3)))
    arith, name = None, ARITHMETICS[kind]
    exponential = table(lambda f: 2.0 ** (7 + f / (1 << F)), F, 255)
    fields: dict = {"zero": int(rng.integers(-3, 4)), "up": UP - 2}
    if name is not None:
        arith = parse_arithmetic(name)
        man = arith.x.man
        exponential = table(lambda f: 2.0**man * (2.0 ** (f / (1 << F)) - 1), F, 1 << man)
        fields = {"arithmetic": arith, "up": UP - 8}
        if arith.x.bits > 8 or rng.random() < 0.3:
            fields |= {"score_grid": Grid(exponent=-6, bits=9)}
            fields |= {"value_grid": Grid(exponent=-12, bits=14), "up": UP - 2}
    if stateful or not masked:
        n = m
    else:
        size = (int(rng.choice([1, groups * shared])), n, m)
        bias = rng.integers(-40, 40, size) if rng.random() < 0.7 else None
        fields["mask"] = Mask(allowed=rng.random(size) < 0.6, bias=bias)
        right, leading, left, spare = m - 1, 0, m, 0
    right = 0 if stateful else right
    slots = m if "mask" in fields else leading + left + right + 1 + spare
    multiplier, shift = (int(x) for x in rng.integers((-9, 1), (30, 9)))
    node = Attention(
        name="a",
        inputs=("q", "k", "v"),
        outputs=("y",),
        heads=groups * shared,
        groups=groups,
        multiplier=multiplier,
        shift=shift,
        fraction=F,
        exponential=exponential,
        weight_bits=8,
        reciprocal=table(lambda x: 2.0**UP / (1 + x / (1 << PLACES)), PLACES, 1 << UP),
        low=-500,
        high=400,
        left=left,
        right=right,
        leading=leading,
        slots=slots,
        lanes=lanes,
        stateful=stateful,
        **fields,
    )
    return node, (n, m, depth, width)


@pytest.mark.parametrize("kind", range(len(ARITHMETICS)), ids=map(str, ARITHMETICS))
def test_definition(kind: int) -> None:
    for seed in range(24):
        rng = np.random.default_rng((kind, seed))
        stateful, masked = seed % 3 == 2, seed % 3 == 1
        node, (n, m, depth, width) = random_node(rng, kind, stateful, masked)
        sizes = ((2, n, node.heads * depth), (2, m, node.groups * depth))
        sizes = (*sizes, (2, m, node.groups * width))
        if node.arithmetic is None:
            q, k, v = (rng.integers(-8, 8, size) for size in sizes)
        else:
            q, k, v = (encode(node.arithmetic.x, rng.normal(0, 2, size)) for size in sizes)
        expected = np.stack([defined(node, *x) for x in zip(q, k, v, strict=True)])
        if stateful:  # two sequences one after another, the second perhaps without an end
            last = np.zeros((2, n), np.int64)
            last[:, -1] = 1, seed % 2
            q, k, v = (x.reshape(-1, 1, x.shape[2]) for x in (q, k, v))
            got = attention(node, q, k, v, last.reshape(-1, 1)).reshape(expected.shape)
        else:
            got = attention(node, q, k, v)
        np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")


# --- numbers -------------------------------------------------------------------------------------

# rows, keys, heads, groups, elements of a head of q and of v, lanes
SIZES = [
    (12, 12, 2, 2, 4, 4, 12),
    (16, 16, 4, 2, 16, 16, 3),
    (8, 24, 3, 1, 8, 8, 8),
    (40, 40, 1, 1, 64, 32, 16),
    (9, 9, 6, 3, 2, 5, 1),
]
ENDS = {  # keys before and behind, leading ones
    "all": (99, 99, 0),
    "itself": (0, 0, 0),
    "past": (4, 0, 0),
    "window": (3, 2, 0),
    "ahead": (0, 3, 0),
    "leading": (2, 0, 3),
}
SIGHTS = [*ENDS, "causal", "alibi", "random"]


def mask(sight: str, heads: int, rows: int, keys: int, rng: np.random.Generator) -> np.ndarray:
    """An additive mask (heads or 1, rows, keys)."""
    allowed = banded(rows, keys, *ENDS.get(sight, (rows, 0, 0)))[None]
    bias = np.zeros((1, rows, keys))
    if sight == "alibi":
        slopes = 2.0 ** -np.arange(heads)[:, None, None]
        bias = -slopes * np.abs(np.arange(keys) - np.arange(rows)[:, None])
    if sight == "random":
        allowed = rng.random((heads, rows, keys)) < 0.4
        allowed[:, :, 0] = True
    return np.where(allowed, bias, -np.inf)


def operands(name: str, rng: np.random.Generator, sizes) -> list[tuple[np.ndarray, Operand]]:
    """Codes of normal random numbers, and what they stand for."""
    made, fmt = [], parse(name)
    for size in sizes:
        x = rng.normal(0, 1, size)
        if isinstance(fmt, Float):
            codes = encode(fmt, x)
            reach = float(np.abs(decode(fmt, codes)).max())
            operand = Operand(fmt=fmt, scale=Fraction(1), least=-reach, most=reach)
        else:
            zero = 0 if fmt.signed else 1 << fmt.bits - 1
            scale = Fraction(1, 1 << fmt.bits - 3)  # of numbers from -4 to 4
            codes = np.clip(np.rint(x / float(scale)) + zero, fmt.min, fmt.max).astype(np.int64)
            operand = Operand(fmt=fmt, scale=scale, zero=zero, least=fmt.min, most=fmt.max)
        made.append((codes, operand))
    return made


def numbers(codes: np.ndarray, operand: Operand) -> np.ndarray:
    whole = codes if not isinstance(operand.fmt, Float) else decode(operand.fmt, codes)
    return (whole - operand.zero) * float(operand.scale)


def split(x: np.ndarray, heads: int) -> np.ndarray:
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def reference(q, k, v, bias: np.ndarray, factor: float) -> np.ndarray:
    """ONNX's Attention (opset 23) of (S, heads or groups, rows, elements), in float64."""
    names = ["q", "k", "v", "bias"]
    values = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, None) for n in [*names, "y"]]
    node = helper.make_node("Attention", names, ["y"], scale=factor)
    graph = helper.make_graph([node], "test", values[:4], values[4:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, (q, k, v, bias), strict=True)))[0]


def modelled(arith, q, k, v, bias: np.ndarray, factor: float) -> np.ndarray:
    """The same of codes in float64, with the products of an arithmetic and weights in its format;
    weights are fractions of the power of two above the largest."""
    shared = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)
    s = product(arith, q[:, :, :, None], k[:, :, None]).sum(axis=4) * factor + bias
    t = s / math.log(2)
    p = 2.0 ** (t - np.floor(t.max(axis=3, keepdims=True)) - 1)
    total = product(arith, encode(arith.x, p)[..., None], v[:, :, None]).sum(axis=3)
    return total / decode(arith.x, encode(arith.x, p)).sum(axis=3)[..., None]


def error(name: str, sight: str, size) -> tuple[np.ndarray, Attention]:
    """|y - exact| over the reach of v's numbers, of some samples, and the node."""
    rows, keys, heads, groups, depth, width, visit = size
    rng = np.random.default_rng((len(name), SIGHTS.index(sight), *size))
    arith = None if "int" in name else parse_arithmetic(name)
    sizes = ((4, rows, heads * depth), (4, keys, groups * depth), (4, keys, groups * width))
    made = operands(name.partition(":")[0], rng, sizes)
    factor, bias = Fraction(1 / math.sqrt(depth)), mask(sight, heads, rows, keys, rng)
    codes, given = [c for c, _ in made], [o for _, o in made]
    form = masked_form("a", *given, factor=factor, depth=depth, bias=bias, arithmetic=arith)
    node = Attention(
        name="a", inputs=("q", "k", "v"), outputs=("y",), heads=heads, groups=groups,
        lanes=visit, **form.fields,
    )  # fmt: skip
    got = attention(node, *codes) * float(form.scale) + float(form.offset)
    bias = np.broadcast_to(bias, (4, heads, rows, keys))
    if arith is None or arith.multiplier == "exact":
        parts = [numbers(*m) for m in made]
        oracle = reference
    else:
        parts, oracle = codes, lambda *x: modelled(arith, *x)
    q, k, v = (split(x, n) for x, n in zip(parts, (heads, groups, groups), strict=True))
    exact = oracle(q, k, v, bias, float(factor)).swapaxes(1, 2).reshape(got.shape)
    return np.abs(got - exact) / (given[2].reach * float(given[2].scale)), node


def worst(node: Attention, keys: int) -> float:
    """The bound in the golden function's docstring."""
    w, mantissa = node.weight_bits, node.arithmetic.x.man if node.arithmetic else None
    lost = (keys + 2) * 2.0 ** (1 - w) + 2.0**-node.fraction
    step = 2.0 ** ((2 if w <= 12 else 4) - w) if mantissa is None else 2.0**-mantissa
    return 2 * (lost + 2 * step) + 2.0 ** (4 - w)


# The most that the root mean square of the errors over the reach of v may be: about 1.5 times the
# largest of these cases.
TYPICAL = {
    **{"int8": 2.0**-8, "uint8": 2.0**-8, "int4": 2.0**-7.5, "int16": 2.0**-15.5},
    **{"e4m3fn": 2.0**-7, "e4m3fn:lmul": 2.0**-7, "e5m2": 2.0**-6, "bf16": 2.0**-11.5},
    **{"fp16": 2.0**-14, "bf16:pam": 2.0**-11},
}


@pytest.mark.parametrize("name", TYPICAL)
def test_against_float64(name: str) -> None:
    for size in SIZES:
        for sight in SIGHTS:
            found, node = error(name, sight, size)
            assert found.max() <= worst(node, size[1]), (size, sight)
            assert np.sqrt(np.square(found).mean()) <= TYPICAL[name], (size, sight)
