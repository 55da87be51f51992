"""Products of two activations, softmax, and attention, which is found by what they read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Arithmetic, Float, decode
from hwgen.frontend import ops_arithmetic, ops_layers, ops_layout
from hwgen.frontend.attention_form import Operand, masked_form, note
from hwgen.frontend.constants import check_elements
from hwgen.frontend.floats import arithmetic_of
from hwgen.frontend.islands import settled
from hwgen.frontend.node import Node
from hwgen.frontend.normalize_form import softmax_form
from hwgen.frontend.operands import numbers, one_term
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    LOWEST,
    Codes,
    Constant,
    Deferred,
    Maker,
    Real,
    Scaled,
    Scores,
    Stream,
    Term,
    Value,
    exact,
    rearrange,
    shape,
)
from hwgen.ir import Attention, Product, Softmax

NARROW = 8  # bits of floats whose scales let them use all their numbers


def matmul(node: Node) -> Value:
    """MatMul: a layer, where an input is constant; scores, or what attention gives."""
    first, second = node.input(0), node.input(1)
    if isinstance(second, Constant | Scaled):
        return ops_layers.matmul(node)
    if isinstance(first, Constant | Scaled) and len(shape(first)) == 2 and len(shape(second)) > 1:
        swapped = [rearrange(v, lambda a: np.swapaxes(a, -1, -2)) for v in (second, first)]
        return rearrange(ops_layers.matmul(node.having(*swapped)), lambda a: np.swapaxes(a, -1, -2))
    if isinstance(first, Scores) and first.softmax and not isinstance(second, Scores):
        return attention(node, first)
    return scores(node)


def scores(node: Node) -> Scores:
    """q @ k of two activations."""
    q, k = settled(node, 0, floats=True), settled(node, 1, floats=True)
    a, b = q.ids.shape, k.ids.shape
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ModelError(f"multiplies {list(a)} and {list(b)}")
    try:
        size = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
    except ValueError as error:
        raise ModelError(f"multiplies {list(a)} and {list(b)}") from error
    check_elements(size, "its output")
    ids = np.arange(int(np.prod(size))).reshape(size)
    made = cache(lambda: product(node, q, k))
    return Scores(q, k, Fraction(1), None, ids, made, node.name, arith=node.arith)


def product(node: Node, q: Real, k: Real) -> Real:
    """The product on its own: a Product for all matrices of the stack."""
    context = node.context
    (x, x_scale, x_zero), (y, y_scale, y_zero) = one_term(q), one_term(k)
    if any(isinstance(context.graph.tensors[s.tensor].fmt, Float) for s in (x, y)):
        raise ModelError("multiplies two tensors of floats; quantize both to integers")
    stack = np.broadcast_shapes(x.ids.shape[:-2], y.ids.shape[:-2])
    (rows, inner), columns = x.ids.shape[-2:], y.ids.shape[-1]
    first = np.broadcast_to(x.ids, (*stack, rows, inner)).reshape(-1, inner)
    second = np.broadcast_to(y.ids, (*stack, inner, columns)).swapaxes(-1, -2).reshape(-1, inner)
    tensors = [context.rows(stream, ids, node.name) for stream, ids in ((x, first), (y, second))]
    ends = [
        np.abs([v - z for v in context.reach[t]]).max()
        for t, z in zip(tensors, (int(x_zero), int(y_zero)), strict=True)
    ]
    bound = np.array(int(ends[0]) * int(ends[1]) * inner)
    size = (len(first), columns)
    result = context.tensor(f"{node.name}_product", size, -bound, bound)
    context.add(
        Product(
            name=context.unique(node.name),
            inputs=tuple(tensors),
            outputs=(result,),
            batches=int(np.prod(stack)),
            zeros=(int(x_zero), int(y_zero)),
        )
    )
    ids = np.arange(size[0] * columns).reshape(*stack, rows, columns)
    return Real((Term(Stream(result, ids), exact(x_scale * y_scale)),))


def _apart(weights: Scores, v: Real) -> str:
    """Why these are not the parts of attention; nothing where they are."""
    size, values = weights.ids.shape, v.ids.shape
    if not weights.whole:
        return "the weights have moved since their softmax"
    if len(values) < 2 or size[-1] != values[-2] or size[:-2] != values[:-2]:
        return f"weights {list(size)} do not fit values {list(values)}"
    if size != (*weights.q.ids.shape[:-1], weights.k.ids.shape[-1]):
        return "queries and keys have other heads than their scores"
    return ""


@dataclass(frozen=True)
class Heads:
    """Elements of queries, keys and values as (heads or groups, rows, elements of a head), and
    which head of the model each of the queries' is."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    order: np.ndarray


def _heads(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Heads:
    """From elements in ONNX shape, keys (..., D, M); heads that read the same keys and values
    share a group."""
    stack = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (
        np.broadcast_to(a, (*stack, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
        for a in (q, k.swapaxes(-1, -2), v)
    )
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for head in range(len(q)):
        key = np.ascontiguousarray(k[head]).tobytes(), np.ascontiguousarray(v[head]).tobytes()
        groups.setdefault(key, []).append(head)
    members = list(groups.values())
    if len({len(m) for m in members}) > 1:  # groups of several sizes: every head its own
        members = [[head] for head in range(len(q))]
    order, first = np.concatenate(members), [m[0] for m in members]
    return Heads(q[order], k[first], v[first], order)


def _arithmetic(node: Node, weights: Scores, reals: tuple[Real, ...]) -> Arithmetic | None:
    """How floats are multiplied; None of integers."""
    tensors = node.context.graph.tensors
    x, w, values = (tensors[real.terms[0].stream.tensor].fmt for real in reals)
    if not any(isinstance(fmt, Float) for fmt in (x, w, values)):
        return None
    if not isinstance(x, Float) or not isinstance(w, Float) or w != values:
        raise ModelError(
            f"attends with queries in {x}, keys in {w} and values in {values}; quantize all three "
            "to integers, or all to floats, keys and values to the same"
        )
    found = arithmetic_of(node, x, w)
    if weights.arith not in (None, node.arith):
        raise ModelError(
            f"sums values in {node.arith}, its scores are in {weights.arith}; give both the same"
        )
    return found


def _operand(node: Node, real: Real, ids: np.ndarray) -> tuple[str, Operand]:
    """The tensor with rows of all heads of queries, keys or values, and what it stands for."""
    context = node.context
    stream, scale, zero = one_term(real)
    order = ids.transpose(1, 0, 2).reshape(ids.shape[1], -1)
    tensor = context.rows(stream, order, node.name)
    fmt = context.graph.tensors[tensor].fmt
    if isinstance(fmt, Float):
        if fmt.bits > NARROW and tensor not in context.most:
            raise ModelError(
                f"attends with {fmt} whose range is not known; put a Clip in front of its "
                "quantizer, or let hwgen convert the model: --arith SPEC --calibrate X.npz"
            )
        most = context.most.get(tensor) or float(decode(fmt, fmt.largest_code))
        return tensor, Operand(fmt=fmt, scale=scale, least=-most, most=most)
    low, high = context.reach[tensor]
    least, most = int(low.min()), int(high.max())
    return tensor, Operand(fmt=fmt, scale=scale, zero=int(zero), least=least, most=most)


def attention(node: Node, weights: Scores) -> Value:
    """softmax(q @ k * scale + bias) @ v: an Attention; the parts on their own where it is none."""
    context = node.context
    q, k, v = weights.q, weights.k, settled(node, 1, floats=True)
    if reason := _apart(weights, v):
        context.graph.notes[node.name] = f"built from its parts: {reason}"
        return scores(node)
    heads = _heads(q.ids, k.ids, v.ids)
    (_, rows, depth), (_, keys, width) = heads.q.shape, heads.v.shape
    arithmetic = _arithmetic(node, weights, (q, k, v))
    operands, streams = [], []
    for real, ids in ((q, heads.q), (k, heads.k), (v, heads.v)):
        tensor, operand = _operand(node, real, ids)
        operands.append(operand)
        streams.append(tensor)
    bias = np.zeros((rows, keys))
    if weights.bias is not None:
        size = weights.ids.shape
        bias = np.broadcast_to(weights.bias, size).reshape(-1, *size[-2:])[heads.order]
    form = masked_form(
        node.name,
        *operands,
        factor=weights.scale,
        depth=depth,
        bias=bias,
        arithmetic=arithmetic,
    )
    count = len(heads.order)
    low, high = np.array(form.fields["low"]), np.array(form.fields["high"])
    result = context.tensor(f"{node.name}_attention", (rows, count * width), low, high)
    name = context.unique(node.name)
    context.add(
        Attention(
            name=name,
            inputs=tuple(streams),
            outputs=(result,),
            heads=count,
            groups=len(heads.k),
            **form.fields,
        )
    )
    context.graph.notes[name] = note(form.fields, keys)
    back = np.argsort(heads.order)
    ids = np.arange(rows * count * width).reshape(rows, count, width).transpose(1, 0, 2)[back]
    stream = Stream(result, ids.reshape(*weights.ids.shape[:-1], width))
    return Real((Term(stream, exact(form.scale)),), exact(form.offset))


class SoftmaxMaker(Maker):
    """The softmax of rows."""

    reach = (0.0, 1.0)

    def __init__(self, node: Node, real: Real) -> None:
        self.name, self.result = node.name, node.results[0]
        self._context, self._real = node.context, real

    @cached_property
    def _finest(self) -> Real:
        """A Softmax."""
        context = self._context
        stream, scale, _ = one_term(self._real)
        ids = stream.ids.reshape(-1, stream.ids.shape[-1])
        tensor = context.rows(stream, ids, self.name)
        fields, unit = softmax_form(scale, ids.shape[-1])
        result = context.tensor(
            f"{tensor}_softmax", ids.shape, np.array(0), np.array(fields["high"])
        )
        name = context.unique(self.name)
        context.add(Softmax(name=name, inputs=(tensor,), outputs=(result,), **fields))
        places = np.arange(ids.size).reshape(stream.ids.shape)
        return Real((Term(Stream(result, places), exact(unit)),))

    def codes(self, target: Target) -> Codes:
        """Rounded to the target."""
        name = self._finest.terms[0].stream.tensor
        return self._context.requantize(
            self._finest, target, f"{self.name}.requantize", f"{name}_q"
        )


def softmax(node: Node) -> Value:
    """Softmax: of scores, so attention may come of it; else on the host at the end of the model, or
    in hardware along the last axis."""
    value = node.input(0)
    last = node.peek("axis", -1 if node.opset >= 13 else 1) in (-1, len(shape(value)) - 1)
    if isinstance(value, Scores) and not value.softmax and last:
        node.attribute("axis")
        made = value.product
        return replace(value, softmax=True, product=cache(lambda: _rows(node, made())))
    if isinstance(value, Scores | Deferred):
        value = node.real(0)
    hosted = ops_layout.softmax(node.having(value))
    if not last or len(hosted.operations) > 1 or not isinstance(value, Real):
        return hosted
    real = value
    return replace(hosted, hardware=cache(lambda: _rows(node, real)))


def _rows(node: Node, real: Real) -> Real:
    """The softmax along the last axis, in fixed point."""
    deferred = Deferred(SoftmaxMaker(node, settled(node.having(real), 0)), np.arange(real.ids.size))
    return node.having(replace(deferred, ids=deferred.ids.reshape(real.ids.shape))).real(0)


def where(node: Node) -> Value:
    """Where of a constant condition: scores and a mask, or elements of two tensors."""
    chosen = node.constant(0, "condition").astype(bool)
    values = node.input(1), node.input(2)
    for value, other, taken in ((*values, chosen), (*values[::-1], ~chosen)):
        if isinstance(value, Scores) and isinstance(other, Constant):
            if (np.broadcast_to(other.array, taken.shape)[~taken] > LOWEST).any():
                raise ModelError(f"replaces scores by numbers above {LOWEST:g}; add them instead")
            return value.plus(np.where(taken, 0.0, -np.inf))
    size = np.broadcast_shapes(chosen.shape, *map(shape, values))
    check_elements(size, "its output")
    kept: list[Value] = []
    for k, taken in ((1, chosen), (2, ~chosen)):
        factor = exact(np.broadcast_to(taken, size).astype(np.int64))
        if isinstance(node.input(k), Constant | Scaled):
            kept.append(Constant(np.where(taken, numbers(node.input(k)), 0)))
        else:
            part = rearrange(settled(node, k), lambda a: np.broadcast_to(a, size))
            assert isinstance(part, Real)
            kept.append(part.affine(factor, exact(0)))
    return ops_arithmetic.add(node.having(*kept))


LOWER = {"MatMul": matmul, "Softmax": softmax, "Where": where}
