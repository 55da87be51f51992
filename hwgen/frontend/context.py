"""The graph under construction, and what is known of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Fixed, Float, Int
from hwgen.frontend.layout import Layout, sample_shape
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Numbers,
    Real,
    Stream,
    Tokens,
    Value,
    exact,
    uniform,
)
from hwgen.ir import InputPort, Island, OutputPort, Requantize

CARRIER = Int(16)  # of numbers that a model leaves in float


@dataclass
class Context(Layout):
    """The graph being built, and what is known of its tensors' numbers."""

    unit: dict[str, Fraction] = field(default_factory=dict)  # of exact sums of floats' products
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
