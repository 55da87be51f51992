"""From a model of N rows to one that a stream of rows goes through, with state in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Int, int_holding
from hwgen.ir import (
    Add,
    Attention,
    BlockQuantize,
    Concat,
    Convert,
    Curve,
    Embed,
    FloatAdd,
    Graph,
    InputPort,
    Linear,
    Lookup,
    Multiply,
    MultiThreshold,
    Node,
    Normalize,
    OutputPort,
    Pool,
    Positions,
    Reorder,
    Requantize,
    Rotate,
    Select,
    Softmax,
    Tensor,
    Thresholds,
    Window,
)

# They look at one element, or two at the same place.
ELEMENTWISE = (Requantize, Convert, MultiThreshold, Lookup, Curve, Add, Multiply, FloatAdd, Embed)
FLAT = (*ELEMENTWISE, Reorder, Concat)  # whatever the length of a row is
# They look at one row, if the rows of their input are whole.
ROWWISE = (Linear, Pool, Normalize, Softmax, Select, BlockQuantize)
ALONG = ("Softmax", "ArgMax")  # operations of the host that have an axis
MOST_BITS = 18  # of a number added at a place: enough for codes of 16 bits


def tokens(graph: Graph) -> None:
    """Turn the graph of N rows into that of one, in place: a sample is a row of a sequence.

    Every tensor is N times shorter. What depends on the place of a row becomes a `Positions`,
    causal attention keeps its keys and values, and whatever has state reads the ends of sequences.
    Raises one `ModelError` that lists everything that mixes rows.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(port.name for port in graph.inputs)
        raise ModelError(f"a stream has one input; the model has {names}")
    (source,) = graph.inputs
    rows = source.index.shape[_axis(source)]
    ends = graph.fresh("ends")
    graph.tensors[ends] = Tensor((1,), Int(1, signed=False))
    whole, nodes, graph.nodes = dict(graph.tensors), graph.nodes, []
    refused: list[str] = []
    mixed: set[str] = set()  # tensors of nodes that were refused, and what is made of them
    for node in nodes:
        try:
            if not mixed.intersection(node.inputs):
                graph.nodes += _node(graph, node, rows, whole, ends)
                continue
        except ModelError as error:
            refused.append(f"{node.name} ({type(node).__name__}): {error}")
        mixed |= set(node.outputs)
    given: list[InputPort | OutputPort] = [source]
    given += [port for port in graph.outputs if port.tensor not in mixed]
    ports: list[InputPort | OutputPort] = []
    for port in given:
        try:
            ports.append(replace(_port(port, rows), ends=ends))
        except ModelError as error:
            refused.append(str(error))
    if refused:
        lines = "".join(f"\n  {line}" for line in refused)
        raise ModelError(f"the model can't stream row by row; build it without --stream:{lines}")
    for name in whole.keys() - {ends}:
        graph.tensors[name] = replace(whole[name], shape=_shape(whole[name], rows))
    graph.inputs, graph.outputs = ports[:1], ports[1:]  # type: ignore[assignment]


def _axis(port: InputPort | OutputPort) -> int:
    """The axis of the rows: the first, or the one behind the batch."""
    return 1 if port.index.ndim > 1 and len(port.index) == 1 else 0


def _port(port: InputPort | OutputPort, rows: int):
    """The port of one row, whose index has shape (1, ...)."""
    axis, kind = _axis(port), "input" if isinstance(port, InputPort) else "output"
    index = np.moveaxis(port.index, axis, 0)
    size = index.size // len(index)
    step = np.arange(len(index)).reshape(-1, *[1] * (index.ndim - 1)) * size
    if len(index) != rows or not (index - step == index[:1]).all():
        raise ModelError(
            f"{kind} {port.name!r} {list(port.index.shape)}: must have the {rows} rows of the "
            "sequence along the axis behind the batch, in order"
        )
    found = {"index": index[0].reshape(1, *np.delete(port.index.shape, axis)[axis:])}
    for field in ("scale", "zero_point", "offset"):
        array = getattr(port, field, None)
        if np.ndim(array):
            array = np.moveaxis(np.broadcast_to(array, port.index.shape), axis, 0)
            if not (array == array[:1]).all():
                raise ModelError(f"{kind} {port.name!r}: its {field} differs from row to row")
            found[field] = array[0].reshape(found["index"].shape)
    for name, attributes in getattr(port, "host", ()):
        along = attributes.get("axis", -1)
        if name in ALONG and {along, along + port.index.ndim} & {0, axis}:
            raise ModelError(f"output {port.name!r}: its {name} goes along the sequence")
    return replace(port, **found)


def _shape(x: Tensor, rows: int) -> tuple[int, ...]:
    """The shape of a row's part of a tensor."""
    return (x.shape[0] // rows, *x.shape[1:])


def _node(graph: Graph, node: Node, rows: int, whole: dict, ends: str) -> Iterator[Node]:
    """The nodes that do for a row what `node` does for all."""
    for name in (*node.inputs, *node.outputs):
        x = whole[name]
        flat = len(x.shape) == 1 and rows > 1 and not isinstance(node, FLAT)
        if x.shape[0] % rows or flat:
            raise ModelError(f"reads or makes {list(x.shape)} of all {rows} rows at once")
    x = whole[node.input]
    match node:
        case Requantize() | Convert() | MultiThreshold():
            yield from _constants(graph, node, rows, whole, ends)
        case Window():
            yield _window(node, rows)
        case Attention():
            if whole[node.inputs[1]].rows != rows:
                raise ModelError(f"{rows} rows attend to {whole[node.inputs[1]].rows} others")
            yield _attention(graph, node, rows, ends)
        case Rotate():
            yield _rotate(graph, node, ends)
        case Reorder():
            if node.blocks % rows == 0:
                yield replace(node, blocks=node.blocks // rows)
                return
            block = np.arange(node.blocks)[:, None] * (x.elements // node.blocks)
            order = np.where(node.order.ravel() < 0, -1, node.order.ravel() + block)
            order = order.reshape(rows, -1)
            step = np.arange(rows)[:, None] * (x.elements // rows)
            local = np.where(order < 0, -1, order - step)
            if (local != local[:1]).any() or local.max() >= x.elements // rows:
                raise ModelError("moves elements from row to row")
            yield replace(node, order=local[0], blocks=1)
        case Concat():
            sizes = [whole[name].elements // rows for name in node.inputs]
            if any(size % turn for size, turn in zip(sizes, node.turn, strict=True)):
                raise ModelError("joins sequences; only channels can be joined in a stream")
            yield node
        case _ if isinstance(node, ELEMENTWISE + ROWWISE):
            yield node
        case _:
            raise ModelError(f"reads all {rows} rows at once")


def _window(node: Window, rows: int) -> Window:
    """Windows that lie within their row's part of the image."""
    height, (out, _) = node.image[0], node.output_image
    tops = np.arange(out) * node.stride[0] - node.pads[0]
    part = np.arange(out) * rows // out * height // rows
    inside = (tops >= part) & (tops + node.reach[0] <= part + height // rows)
    if height % rows or out % rows or not inside.all():
        raise ModelError(f"its windows of {node.image} reach over several rows")
    return replace(node, image=(height // rows, *node.image[1:]))


def _attention(graph: Graph, node: Attention, rows: int, ends: str) -> Attention:
    """Causal attention that keeps its keys and values."""
    if node.mask is not None:
        raise ModelError("its mask is no band below the diagonal")
    if node.right > 0:
        raise ModelError(f"attends to {node.right} rows that come later; only causal ones stream")
    slots = node.slots
    if node.left >= rows - 1:  # the file does not say what a longer sequence forgets
        graph.longest[node.name] = rows
    else:
        slots = max(slots, node.leading + node.left + 1)
    return replace(node, stateful=True, slots=slots, inputs=(*node.inputs, ends))


def _rotate(graph: Graph, node: Rotate, ends: str) -> Rotate:
    """A rotation by the row's place; without state if it is the same at every place."""
    if all((table == table[:1]).all() for table in (node.first, node.second)):
        return replace(node, first=node.first[:1], second=node.second[:1])
    graph.longest[node.name] = len(node.first)
    return replace(node, stateful=True, inputs=(*node.inputs, ends))


def _constants(graph: Graph, node, rows: int, whole: dict, ends: str) -> Iterator[Node]:
    """A node with arrays of the whole tensor's shape: they are the same in every row, or the
    offsets are what a table adds."""
    x = whole[node.output]
    parts, differ = {}, set()

    def part(name: str, array, lead: int = 0):
        shape = np.shape(array)[:lead]
        if np.ndim(array) <= lead or math.prod(np.shape(array)[lead:]) != x.elements:
            return array
        split = np.reshape(array, (*shape, rows, -1))
        first = np.take(split, 0, axis=lead)
        if (split != np.expand_dims(first, lead)).any():
            differ.add(name)
        return first if x.shape[0] == rows else first.reshape(*shape, *_shape(x, rows))

    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Thresholds):
            split = (part("values", value.values, 1), part("falls", value.falls))
            parts[field.name] = Thresholds(values=split[0], falls=split[1])
        elif isinstance(value, np.ndarray):
            parts[field.name] = part(field.name, value)
    one = replace(node, **parts)
    if not differ:
        yield one
    elif isinstance(node, Requantize) and differ == {"offset"}:
        yield from _positions(graph, node, one, rows, ends)
    else:
        raise ModelError(f"its {', '.join(sorted(differ))} differ from row to row")


def _positions(
    graph: Graph, node: Requantize, one: Requantize, rows: int, ends: str
) -> Iterator[Node]:
    """A table of what is added at each place, and the Add; `one` has the first row's arrays."""
    plain = (one.scale, one.low, one.high)
    if any((a != a.flat[0]).any() for a in plain) or node.bits or node.rounding != "half_even":
        raise ModelError("adds a table of positions to a layer's sums; quantize them first")
    offset = node.offset.reshape(rows, -1)
    least = min(offset.flat)
    step, table = _steps(offset - least)
    graph.longest[node.name] = rows
    added = graph.fresh(f"{node.output}_positions")
    graph.tensors[added] = Tensor(
        _shape(graph.tensors[node.output], rows), int_holding(0, int(table.max()))
    )
    yield Positions(name=f"{node.name}.positions", inputs=(ends,), outputs=(added,), table=table)
    yield Add(
        name=node.name,
        inputs=(node.input, added),
        outputs=node.outputs,
        scale=(one.scale.flat[0], step),
        offset=least,
        zero_point=node.zero_point,
        low=int(one.low.flat[0]),
        high=int(one.high.flat[0]),
    )


def _steps(values: np.ndarray) -> tuple[Fraction, np.ndarray]:
    """The greatest number of which all values, none negative, are multiples, and how many times
    they are; rounded where that takes too many bits, as in a table that is not quantized."""
    common = math.lcm(*(Fraction(v).denominator for v in values.flat))
    step = Fraction(math.gcd(*(int(v * common) for v in values.flat)), common)
    step = max(step, Fraction(max(values.flat)) / ((1 << MOST_BITS) - 1))
    return step, np.array([round(v / step) for v in values.flat]).reshape(values.shape)
