"""Mutations of ONNX files: attributes, shapes, types, edges, constants, ops, lost bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

INTEGERS = (-(2**63), -(2**40), -3, -2, -1, 0, 1, 2, 3, 5, 7, 100, 2**40)
FLOATS = (0.0, -1.0, 1e-45, 1e-40, 0.5, 3e38, float("nan"), float("inf"))
TYPES = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64, bool)


def attribute(graph: onnx.GraphProto, r: random.Random) -> None:
    """Change, shorten, lengthen or remove an attribute."""
    node = r.choice([n for n in graph.node if n.attribute] or list(graph.node))
    if not node.attribute:
        return
    place = r.randrange(len(node.attribute))
    found = node.attribute[place]
    if r.random() < 0.2:
        del node.attribute[place]
    elif found.type == onnx.AttributeProto.INT:
        found.i = r.choice(INTEGERS)
    elif found.type == onnx.AttributeProto.FLOAT:
        found.f = r.choice(FLOATS)
    elif found.type == onnx.AttributeProto.STRING:
        found.s = r.choice([b"", b"NOTSET", b"SAME_UPPER", b"FLOOR", b"\xff"])
    elif found.type == onnx.AttributeProto.INTS and found.ints:
        values = list(found.ints)
        values[r.randrange(len(values))] = r.choice(INTEGERS)
        del found.ints[:]
        found.ints.extend(r.choice([values, values[:-1], [*values, 1]]))


def constant(graph: onnx.GraphProto, r: random.Random) -> None:
    """Change the shape, type or numbers of an initializer."""
    if not graph.initializer:
        return
    tensor = r.choice(graph.initializer)
    array = numpy_helper.to_array(tensor)
    kind = r.randrange(7)
    if kind == 0:
        array = r.choice([array[None], array.reshape(-1), array.reshape(-1)[:0]])
    elif kind == 1:
        with np.errstate(all="ignore"):
            array = array.astype(r.choice(TYPES))
    elif kind == 2:
        array = np.concatenate([array.reshape(-1)] * 2)
    elif kind == 3 and array.ndim:
        array = array[:-1]
    elif kind == 4 and array.dtype.kind == "f":
        array = np.full_like(array, r.choice(FLOATS))
    elif kind == 5 and array.dtype.kind == "f":
        array = -array
    elif array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        array = np.full_like(array, r.choice([0, 1, limits.min, limits.max]))
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def edge(graph: onnx.GraphProto, r: random.Random) -> None:
    """Swap inputs, leave one out, or read another value."""
    node = r.choice([n for n in graph.node if n.input])
    place = r.randrange(len(node.input))
    if r.random() < 0.2:
        node.input[place] = ""
    elif r.random() < 0.3:
        other = r.randrange(len(node.input))
        node.input[place], node.input[other] = node.input[other], node.input[place]
    else:
        names = [t.name for t in graph.initializer] + [i.name for i in graph.input]
        names += [o for n in graph.node for o in n.output]
        node.input[place] = r.choice(names)


def operator(graph: onnx.GraphProto, r: random.Random) -> None:
    """Another op."""
    names = (
        "Relu Identity Shape Softmax ArgMax Flatten Transpose ReduceMean Squeeze Cast Gather Concat"
    )
    names += " Slice Split Pad Resize Sigmoid Neg Max Expand MatMulInteger QLinearConv Erf Foo"
    r.choice(graph.node).op_type = r.choice([n.op_type for n in graph.node] + names.split())


def shape(graph: onnx.GraphProto, r: random.Random) -> None:
    """Another type or dimension of an input or output."""
    value = r.choice([*graph.input, *graph.output]).type.tensor_type
    if r.random() < 0.3 or not value.shape.dim:
        value.elem_type = r.randrange(24)
    else:
        r.choice(value.shape.dim).dim_value = r.choice([-1, 0, 1, 2, 7, 2**31])


def lost(graph: onnx.GraphProto, r: random.Random) -> None:
    """A node, an initializer or an output that is not there."""
    part = r.choice([graph.node, graph.initializer, graph.output, graph.input])
    if part:
        del part[r.randrange(len(part))]


MUTATIONS: tuple[Callable, ...] = (attribute, constant, constant, edge, edge, operator, shape, lost)


def mutated(content: bytes, seed: int) -> bytes:
    """A file with one to three mutations; one in ten is cut, or has a wrong byte."""
    r = random.Random(seed)
    if r.random() < 0.1:
        place = r.randrange(len(content))
        cut = content[:place]
        return cut if r.random() < 0.5 else cut + bytes([r.randrange(256)]) + content[place + 1 :]
    model = onnx.load_model_from_string(content)
    for _ in range(r.choice([1, 1, 2, 3])):
        r.choice(MUTATIONS)(model.graph, r)
    return model.SerializeToString()
