"""The graph under construction, and what is known of its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Fixed, Float, Int, int_holding
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Constant,
    Numbers,
    Real,
    Scaled,
    Stream,
    Tokens,
    Value,
    exact,
    uniform,
)
from hwgen.ir import Graph, InputPort, Island, OutputPort, Reorder, Requantize, Select, Tensor
from hwgen.ir import Node as GraphNode

CARRIER = Int(16)  # of numbers that a model leaves in float


@dataclass
class Context:
    """The graph being built, and what is known of its tensors."""

    graph: Graph
    place: dict[str, np.ndarray | None] = field(default_factory=dict)  # id -> position; None: free
    reach: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # per channel
    unit: dict[str, Fraction] = field(default_factory=dict)  # of exact sums of floats' products
    most: dict[str, float] = field(default_factory=dict)  # largest of floats, if not the format's
    begun: dict[str, np.ndarray] = field(default_factory=dict)  # what rounded sums begin with
    formats: Mapping[str, Fixed] = field(default_factory=dict)  # of ONNX tensors left in float
    settled: dict[str, list[tuple[Value, Real]]] = field(default_factory=dict)  # in fixed point

    # --- numbers left in float -----------------------------------------------------------------

    def carrier(self, name: str, node: str, low: float, high: float) -> Target:
        """The fixed point of an ONNX tensor whose numbers are within [low, high], read by a node:
        what the configuration says, else 16 bits that hold them all."""
        fmt = self.formats.get(name)
        if fmt is None:
            fmt = Fixed.holding(max(abs(low), abs(high)), CARRIER.bits)
        self.graph.islands[name] = Island(name, node, fmt, low, high)
        return Target(Fraction(2) ** -fmt.frac, 0, Int(fmt.bits, fmt.signed))

    # --- tensors ---------------------------------------------------------------------------------

    def tensor(
        self,
        stem: str,
        size: tuple[int, ...],
        low: np.ndarray,
        high: np.ndarray,
        fmt: Int | Float | None = None,
    ) -> str:
        """A new tensor whose channels stay within [low, high] (arrays (C,))."""
        name = self.graph.fresh(stem)
        fmt = fmt or int_holding(min(0, int(np.min(low))), max(0, int(np.max(high))))
        self.graph.tensors[name] = Tensor(size, fmt)
        self.place[name] = np.arange(int(np.prod(size)))
        self.reach[name] = (
            np.broadcast_to(low, size[-1:]).astype(np.int64),
            np.broadcast_to(high, size[-1:]).astype(np.int64),
        )
        return name

    def add(self, node: GraphNode) -> None:
        """Append a node."""
        self.graph.nodes.append(node)

    def unique(self, name: str) -> str:
        """A name no graph node has."""
        taken = {node.name for node in self.graph.nodes}
        found, number = name, 1
        while found in taken:
            number += 1
            found = f"{name}_{number}"
        return found

    def positions(self, stream: Stream) -> np.ndarray | None:
        """Place in the stream of each element, in ONNX shape; None while the model's input has no
        order yet."""
        place = self.place[stream.tensor]
        return None if place is None else place[stream.ids]

    def settle(self, stream: Stream, order: np.ndarray, size: tuple[int, ...], name: str) -> str:
        """The tensor with the elements in `order` (ids, row-major in `size`); a Reorder where that
        is needed."""
        order = order.ravel()
        tensor = stream.tensor
        whole = self.graph.tensors[tensor].elements
        if self.place[tensor] is None and order.size == whole:
            place = np.empty(whole, dtype=np.int64)
            place[order] = np.arange(whole)
            self.place[tensor] = place
            self.graph.tensors[tensor] = replace(self.graph.tensors[tensor], shape=size)
            low, high = self.reach[tensor]
            self.reach[tensor] = (np.full(size[-1], low.min()), np.full(size[-1], high.max()))
        if self.place[tensor] is None:
            self.place[tensor] = np.arange(whole)
        places = self.place[tensor][order]
        if places.size == whole and (places == np.arange(whole)).all():
            return tensor
        return self._reordered(tensor, places, size, name)

    def _reordered(self, tensor: str, places: np.ndarray, size: tuple[int, ...], name: str) -> str:
        """A new tensor of the elements at `places` of the stream: some channels by a Select, others
        by a Reorder."""
        x, (low, high) = self.graph.tensors[tensor], self.reach[tensor]
        cut = slice(int(places[0]), int(places[0]) + size[-1])
        channels = np.arange(x.elements).reshape(-1, x.channels)[:, cut]
        if size[-1] < x.channels and np.array_equal(places, channels.ravel()):
            result = self.tensor(f"{tensor}_selected", size, low[cut], high[cut], x.fmt)
            self.add(
                Select(
                    name=self.unique(f"{name}.select"),
                    inputs=(tensor,),
                    outputs=(result,),
                    low=cut.start,
                    high=cut.stop,
                )
            )
            self._as_large(tensor, result)
            return result
        result = self.tensor(f"{tensor}_reordered", size, low.min(), high.max(), x.fmt)
        self.reorder(f"{name}.reorder", tensor, result, places)
        self._as_large(tensor, result)
        return result

    def _as_large(self, tensor: str, result: str) -> None:
        """Note that a tensor's floats are no larger than those of another."""
        if tensor in self.most:
            self.most[result] = self.most[tensor]

    def reorder(
        self, name: str, tensor: str, result: str, places: np.ndarray, fill: int = 0
    ) -> None:
        """Add a Reorder, of as many blocks of whole rows as have the same order."""
        x, y = self.graph.tensors[tensor], self.graph.tensors[result]
        common = math.gcd(x.rows, y.rows)
        for blocks in (n for n in range(common, 0, -1) if common % n == 0):
            rows, size = places.reshape(blocks, -1), x.elements // blocks
            order = np.where(rows < 0, -1, rows - size * np.arange(blocks)[:, None])
            inside = (rows < 0) | ((order >= 0) & (order < size))
            if inside.all() and (order == order[:1]).all():
                break
        self.add(
            Reorder(
                name=self.unique(name),
                inputs=(tensor,),
                outputs=(result,),
                order=order[0],
                fill=fill,
                blocks=blocks,
            )
        )

    def aligned(self, streams: Sequence[Stream], name: str) -> tuple[list[str], Stream]:
        """Tensors of one shape that hold the elements of streams of one ONNX shape in the same
        order, and the stream whose order that is."""
        complete = [s for s in streams if self._complete(s)]
        settled = [s for s in complete if self.place[s.tensor] is not None]
        first = (*settled, *complete, *streams)[0]
        lead = self.whole(first, name)
        if self.place[lead.tensor] is None:
            self.settle(lead, lead.ids, sample_shape(lead.ids), name)
        order = np.argsort(self.positions(lead).ravel())
        size = self.graph.tensors[lead.tensor].shape
        tensors = []
        for s in (lead if s is first else s for s in streams):
            tensors.append(self.rows(s, s.ids.ravel()[order].reshape(size), name))
        return tensors, lead

    def rows(self, stream: Stream, order: np.ndarray, name: str) -> str:
        """The same for a node that looks at whole rows: the tensor has those of `order`."""
        tensor = self.settle(stream, order, order.shape, name)
        if self.graph.tensors[tensor].channels != order.shape[-1]:
            tensor = self._reordered(tensor, np.arange(order.size), order.shape, name)
        return tensor

    def _complete(self, stream: Stream) -> bool:
        """Whether a stream is all elements of its tensor, each once."""
        count = self.graph.tensors[stream.tensor].elements
        return stream.ids.size == count == np.unique(stream.ids).size

    def order(self, stream: Stream) -> tuple[int, ...]:
        """The axes of a value, without the batch's, from the outermost in its stream to the
        innermost; where elements lie in no such order, as in ONNX with the channels last."""
        shape = sample_shape(stream.ids)
        axes = tuple(range(len(shape)))
        places = self.positions(stream)
        if places is None or len(shape) < 2:
            return axes
        places = places.reshape(shape)
        steps = [np.diff(places, axis=k).ravel()[:1] for k in axes]
        by_step = sorted(axes, key=lambda k: -int(steps[k][0]) if steps[k].size else -places.size)
        found = (axes, (*axes[1:], 0), tuple(by_step))
        increasing = (o for o in found if (np.diff(places.transpose(o).ravel()) > 0).all())
        return next(increasing, found[1])

    def whole(self, stream: Stream, name: str) -> Stream:
        """All elements of a tensor: of a new one, behind a Reorder, where the stream is only a
        part of its own or repeats elements of it."""
        if self._complete(stream):
            return stream
        axes = self.order(stream)
        ids = stream.ids.reshape(sample_shape(stream.ids)).transpose(axes)
        usual = range(len(axes)), (*range(1, len(axes)), 0)
        # What is in no order of ONNX is heads: rows of all of them.
        size = ids.shape if axes in map(tuple, usual) else (len(ids), ids[0].size)
        tensor = self.settle(stream, ids, size, name)
        back = np.arange(ids.size).reshape(ids.shape).transpose(np.argsort(axes))
        return Stream(tensor, back.reshape(stream.ids.shape))

    def partly(self, stream: Stream, name: str) -> Stream:
        """The same where most elements of its tensor are used, each once; else `whole`: a Reorder
        costs less than to requantize much that nothing reads."""
        used, elements = np.unique(stream.ids).size, self.graph.tensors[stream.tensor].elements
        if self.place[stream.tensor] is None or not elements < 2 * used == 2 * stream.ids.size:
            return self.whole(stream, name)
        return stream

    def channel_last(self, stream: Stream, name: str) -> tuple[str, tuple[int, int, int]]:
        """The tensor of a (1, C, H, W) or (1, C, L) value as an image (H, W, C)."""
        ids = stream.ids[..., None] if stream.ids.ndim == 3 else stream.ids
        if ids.ndim != 4:
            raise ModelError(f"needs a 3- or 4-dimensional input, not {list(stream.ids.shape)}")
        if len(ids) != 1:
            raise ModelError(f"reads a batch of {len(ids)}; export the model with batch 1")
        image = ids[0].transpose(1, 2, 0)
        return self.settle(stream, image, image.shape, name), image.shape

    def reached(self, tensor: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest codes at stream positions."""
        channel = positions % self.graph.tensors[tensor].channels
        low, high = self.reach[tensor]
        return low[channel], high[channel]

    def check_rounded(self, tensor: str) -> None:
        """Refuse exact sums of floats' products: what reads them needs them rounded."""
        if tensor in self.unit:
            raise ModelError("reads a layer's sums; quantize its input")

    # --- requantization --------------------------------------------------------------------------

    def by_channel(self, numbers: list[Numbers], stream: Stream) -> list[np.ndarray]:
        """Arrays over the ONNX shape as arrays (C,), or of the tensor's shape where rows differ.
        Elements that the stream leaves out take what suits."""
        size = self.graph.tensors[stream.tensor].shape
        elements = int(np.prod(size))
        channels = size[-1]
        result, compact = [], True
        places = self.positions(stream)
        for array in numbers:
            array = np.asarray(array)
            rows = np.full((elements // channels, channels), -1)
            rows.ravel()[places.ravel()] = 0
            if array.ndim:
                distinct = {v: k for k, v in enumerate(dict.fromkeys(array.ravel().tolist()))}
                numbered = np.array([distinct[v] for v in array.ravel()]).reshape(array.shape)
                rows.ravel()[places.ravel()] = np.broadcast_to(numbered, stream.ids.shape).ravel()
                array = exact(np.array(list(distinct), dtype=object))
            rows = np.where(rows < 0, np.maximum(rows.max(axis=0), 0), rows)
            compact &= bool((rows == rows[:1]).all())
            result.append((array.ravel(), rows.ravel()))
        if compact:
            return [values[codes[:channels]] for values, codes in result]
        return [values[codes].reshape(size) for values, codes in result]

    def requantize(self, value: Real, target: Target, name: str, output: str) -> Codes:
        """QuantizeLinear of a one-term value: codes = clamp(round(value / scale) + zero)."""
        (term,) = value.terms
        stream, zero, fmt = self.partly(term.stream, name), target.zero, target.fmt
        if self.place[stream.tensor] is None:
            self.settle(stream, stream.ids, sample_shape(stream.ids), name)
        multiplier, offset = term.scale / target.scale, value.offset / target.scale
        low, high = (
            exact(limit) if bound is None else target.code(bound)
            for bound, limit in ((value.low, target.least), (value.high, target.most))
        )
        if self._keeps(stream.tensor, multiplier, offset, zero, low, high):
            return Codes(stream, fmt)
        tensor = self.graph.tensors[stream.tensor]
        arrays = self.by_channel([multiplier, offset, low, high], stream)
        low, high = (a.astype(np.int64) for a in arrays[2:])
        x_low, x_high = (
            np.broadcast_to(a, low.shape).astype(np.int64) for a in self.reach[stream.tensor]
        )
        least, most = (a.reshape(-1, tensor.channels) for a in (low, high))
        result = self.tensor(output, tensor.shape, least.min(axis=0), most.max(axis=0), fmt)
        self.add(
            Requantize(
                name=self.unique(name),
                inputs=(stream.tensor,),
                outputs=(result,),
                scale=arrays[0],
                offset=arrays[1],
                zero_point=zero,
                low=low,
                high=high,
                x_low=x_low,
                x_high=x_high,
                rounding=target.rounding,
            )
        )
        self.place[result] = self.place[stream.tensor]
        return Codes(Stream(result, stream.ids), fmt)

    def _keeps(self, tensor: str, multiplier, offset, zero: int, low, high) -> bool:
        """Whether requantization changes no code."""
        if not (np.all(multiplier == 1) and np.all(offset == -zero)):
            return False
        least, most = self.reach[tensor]
        return bool(np.all(low <= int(least.min())) and np.all(high >= int(most.max())))

    # --- ports -----------------------------------------------------------------------------------

    def input_port(
        self, name: str, ids: np.ndarray, dtype, fmt: Int | Float, target: Target | None = None
    ) -> str:
        """A model input as a stream of codes whose order nothing has fixed yet; without a target
        it holds codes."""
        if any(port.name == name for port in self.graph.inputs):
            raise ModelError(f"input {name!r} is quantized in two ways; quantize it once")
        tensor = self.free_tensor(name, ids.size, fmt)
        port = InputPort(name, tensor, ids, np.dtype(dtype))
        if target is not None:
            port = replace(
                port,
                scale=np.asarray(float(target.scale), dtype=np.float32),
                zero_point=target.zero,
                rounding=target.rounding,
                low=target.low,
                high=target.high,
            )
            self.reach[tensor] = (np.full(ids.size, target.least), np.full(ids.size, target.most))
        self.graph.inputs.append(port)
        return tensor

    def index_port(self, tokens: Tokens, rows: int) -> str:
        """A model input as a stream of indices of tables of so many rows."""
        for port in self.graph.inputs:
            if port.name == tokens.name:
                if port.rows != rows:
                    raise ModelError(
                        f"input {port.name!r} indexes tables of {port.rows} and of {rows} rows; "
                        "pad the shorter one"
                    )
                return port.tensor
        ids = np.arange(int(np.prod(tokens.shape))).reshape(tokens.shape)
        fmt = Int(max(1, (rows - 1).bit_length()), signed=False)
        tensor = self.input_port(tokens.name, ids, tokens.dtype, fmt)
        self.graph.inputs[-1] = replace(self.graph.inputs[-1], rows=rows)
        return tensor

    def free_tensor(self, stem: str, elements: int, fmt: Int | Float) -> str:
        """A new tensor whose order nothing has fixed yet."""
        tensor = self.graph.fresh(stem)
        self.graph.tensors[tensor] = Tensor((elements,), fmt)
        self.place[tensor] = None
        self.reach[tensor] = (np.full(elements, fmt.min), np.full(elements, fmt.max))
        return tensor

    def code_port(self, name: str, value: Codes) -> OutputPort:
        """An output whose codes the user gets."""
        dtype = np.dtype(f"{'' if value.fmt.signed else 'u'}int{8 if value.fmt.bits <= 8 else 16}")
        stream = self.whole(value.stream, name)
        return OutputPort(name, stream.tensor, stream.ids, dtype)

    def real_port(self, name: str, value: Real) -> OutputPort:
        """An output the host dequantizes."""
        if len(value.terms) != 1:
            raise ModelError(f"output {name!r} is a sum of quantized tensors; quantize the sum")
        (term,) = value.terms
        stream = self.whole(term.stream, name)
        offset = np.asarray(value.offset)
        ratios = (
            {Fraction(o) / Fraction(s) for o, s in np.broadcast(offset, term.scale)}
            if np.all(term.scale != 0)
            else set()
        )
        zero = 0
        if len(ratios) == 1 and next(iter(ratios)).denominator == 1:
            zero, offset = -int(next(iter(ratios))), None
        low = (
            -np.inf if value.low is None else float(uniform(value.low, "the output's lower limit"))
        )
        high = (
            np.inf if value.high is None else float(uniform(value.high, "the output's upper limit"))
        )
        return OutputPort(
            name,
            stream.tensor,
            stream.ids,
            np.dtype("float32"),
            scale=np.asarray(term.scale, dtype=np.float64),
            zero_point=zero,
            offset=None if offset is None else np.asarray(offset, dtype=np.float64),
            clip=(low, high),
        )

    def finish(self) -> None:
        """Fix the layout of inputs nothing has fixed, and turn ids into stream positions."""
        graph = self.graph
        for tensor, place in self.place.items():
            if place is None:
                self.place[tensor] = np.arange(graph.tensors[tensor].elements)
        graph.inputs = [replace(p, index=self.place[p.tensor][p.index]) for p in graph.inputs]
        graph.outputs = [replace(p, index=self.place[p.tensor][p.index]) for p in graph.outputs]
        self._drop_unused()

    def _drop_unused(self) -> None:
        """Remove nodes nothing reads, and inputs with them."""
        graph = self.graph
        wanted = {port.tensor for port in graph.outputs}
        kept = []
        for node in reversed(graph.nodes):
            if wanted & set(node.outputs):
                kept.append(node)
                wanted |= set(node.inputs)
        graph.nodes = kept[::-1]
        graph.inputs = [port for port in graph.inputs if port.tensor in wanted]
        for name in set(graph.tensors) - wanted:
            del graph.tensors[name]


def sample_shape(ids: np.ndarray) -> tuple[int, ...]:
    """The shape without its batch axis."""
    return (ids.shape[1:] if ids.shape[:1] == (1,) else ids.shape) or (1,)


def weights(value: Value | None, what: str = "weights") -> Scaled:
    """Quantized constants."""
    if isinstance(value, Scaled):
        if not value.codes.size:
            raise ModelError(f"its {what} are empty: {list(value.codes.shape)}")
        return value
    if isinstance(value, Constant):
        raise ModelError(
            f"its {what} are not quantized; quantize them to at most 16 bits with a "
            "DequantizeLinear behind"
        )
    raise ModelError(f"its {what} must be constants, not computed by the network")


def numbers(value: Value | None) -> Numbers:
    """A constant of any kind as exact numbers."""
    if isinstance(value, Scaled):
        return value.values()
    if isinstance(value, Constant):
        return exact(value.array)
    raise ModelError("must be a constant")


def one_term(value: Real) -> tuple[Stream, Fraction, Fraction]:
    """(stream, scale, zero point) of a value that is (codes - zero point) * scale; the zero point
    of bipolar codes is 1/2."""
    if len(value.terms) != 1:
        raise ModelError(
            "reads a sum that is not quantized; put QuantizeLinear and DequantizeLinear "
            "behind the Add"
        )
    if value.clamped:
        raise ModelError(
            "reads an activation that is not quantized; put QuantizeLinear and "
            "DequantizeLinear between"
        )
    (term,) = value.terms
    scale = uniform(term.scale, "the scale of its input")
    offset = uniform(value.offset, "the offset of its input")
    if scale == 0:
        raise ModelError("reads a value whose scale is zero; remove it")
    return term.stream, scale, -offset / scale
