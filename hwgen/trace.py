"""Layer by layer: what golden gives beside the ONNX model's own results, and beside the float model
that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from hwgen import golden
from hwgen.design import Design
from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Float, decode
from hwgen.frontend.follow import Followed, follow, results, unquantized
from hwgen.golden.host import encode
from hwgen.ir import Tensor

THRESHOLD = 0.01  # of the relative error from which a layer is pointed out


@dataclass(frozen=True)
class Layer:
    """A value of the model: `tensor` by its ONNX name, the node that gives it, and its op.

    `max_error`, `mean_error`: of golden's numbers against the model's own, absolute; `error`: their
    root mean square, relative to that of the model's numbers. `float_error`: the same against the
    float model, None where that lacks the tensor. `low` ... `high`: numbers seen in golden;
    `least` ... `most`: those that can be represented, and `step`: the least magnitude that can;
    None of sums nothing has rounded.
    """

    tensor: str
    node: str
    op: str
    shape: tuple[int, ...]
    max_error: float
    mean_error: float
    error: float
    float_error: float | None
    low: float
    high: float
    least: float | None
    most: float | None
    step: float | None


@dataclass(frozen=True, eq=False)
class Trace:
    """Layers in the model's order, and who computed the `reference`; arrays (samples, *shape) by
    ONNX name: `golden`, the model's own (`model`), the float model's (`real`)."""

    layers: list[Layer]
    samples: int
    reference: str
    golden: dict[str, np.ndarray] = field(repr=False)
    model: dict[str, np.ndarray] = field(repr=False)
    real: dict[str, np.ndarray] = field(repr=False)

    def first(self, threshold: float = THRESHOLD, real: bool = False) -> Layer | None:
        """The first layer whose relative error against the model (`real`: the float model) exceeds
        a threshold."""
        for layer in self.layers:
            error = layer.float_error if real else layer.error
            if error is not None and error > threshold:
                return layer
        return None

    def as_dict(self, threshold: float = THRESHOLD) -> dict:
        """Everything but the arrays, and the tensors of the first layers beyond a threshold."""
        first, real = self.first(threshold), self.first(threshold, real=True)
        return {
            "samples": self.samples,
            "reference": self.reference,
            "threshold": threshold,
            "first": first and first.tensor,
            "first_float": real and real.tensor,
            "layers": [asdict(layer) for layer in self.layers],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, their names behind `golden:`, `model:` or `float:`."""
        sides = {"golden": self.golden, "model": self.model, "float": self.real}
        return {f"{side}:{name}": a for side, all in sides.items() for name, a in all.items()}


def trace(design: Design, inputs) -> Trace:
    """Follow `inputs`, as for `Design.golden`, through all layers.

    The reference is the design's ONNX model, of a converted design the converted one, in
    onnxruntime without optimizations, or in ONNX's reference evaluator. Raises `ConfigError` for a
    stream of sequences, `InputError`, and `ModelError` where the reference can't run the model.
    """
    graph, config = design.graph, design.config
    if graph.ends:
        raise ConfigError("a trace needs whole inferences: compile the model without stream")
    codes = encode(graph, inputs)
    kept: dict[str, np.ndarray] = {}
    golden.run(graph, codes, kept)
    followed = follow(design.model, config.shapes, config.fixed)
    places = {name: f for name, f in followed.items() if _there(f, kept, graph.tensors)}
    arrays = inputs if isinstance(inputs, dict) else {graph.inputs[0].name: inputs}
    feeds = {
        port.name: np.asarray(arrays[port.name]).reshape(-1, *port.index.shape).astype(port.dtype)
        for port in graph.inputs
    }
    model, who = results(design.model, list(places), feeds)
    real = _real(design, list(places), feeds)
    numbers, layers = {}, []
    for name, value in places.items():
        if name not in model:
            continue
        numbers[name] = _numbers(value, kept, graph.tensors)
        expected = model[name].astype(np.float64)
        layers.append(_layer(name, value, numbers[name], expected, real.get(name), graph.tensors))
    shown = {name: a for name, a in model.items() if name in numbers}
    samples = len(next(iter(feeds.values())))
    return Trace(layers, samples, who, numbers, shown, real)


def _there(value: Followed, kept: dict, tensors: dict[str, Tensor]) -> bool:
    """Whether passes have left all that a value consists of."""
    return all(
        name in kept and index.max(initial=0) < tensors[name].elements
        for name, index, _ in value.terms
    )


def _real(design: Design, names: list[str], feeds: dict) -> dict[str, np.ndarray]:
    """The float model's tensors, by the names of the quantized model's; none where quantizers are
    part of what the model computes."""
    try:
        proto, alias = unquantized(design.model)
        wanted = {name: alias.get(name, name) for name in names}
        found, _ = results(proto, list(wanted.values()), feeds)
    except ModelError:
        return {}
    return {name: found[source] for name, source in wanted.items() if source in found}


def _numbers(value: Followed, kept: dict, tensors: dict[str, Tensor]) -> np.ndarray:
    total = value.offset
    for name, index, scale in value.terms:
        fmt = tensors[name].fmt
        codes = kept[name].reshape(len(kept[name]), -1)[:, index.ravel()]
        codes = codes.reshape(-1, *index.shape)
        total = total + scale * (decode(fmt, codes) if isinstance(fmt, Float) else codes)
    return _clipped(value, np.asarray(total, dtype=np.float64))


def _clipped(value: Followed, numbers: np.ndarray) -> np.ndarray:
    low = -np.inf if value.low is None else value.low
    return np.clip(numbers, low, np.inf if value.high is None else value.high)


def _layer(
    name: str,
    value: Followed,
    got: np.ndarray,
    expected: np.ndarray,
    real: np.ndarray | None,
    tensors: dict[str, Tensor],
) -> Layer:
    expected = expected.reshape(got.shape)
    off = np.abs(got - expected)
    ends = tuple(_ends(value, tensors)) or (None, None, None)
    against = None if real is None else _relative(got, real.reshape(got.shape))
    return Layer(
        name,
        value.node,
        value.op,
        got.shape[1:],
        float(off.max()),
        float(off.mean()),
        _relative(got, expected),
        against,
        float(got.min()),
        float(got.max()),
        *ends,
    )


def _ends(value: Followed, tensors: dict[str, Tensor]) -> Iterator[float]:
    """The least and greatest number that a quantized value can be, and its step; nothing of
    sums."""
    if len(value.terms) != 1 or "uant" not in value.op:
        return
    name, _, scale = value.terms[0]
    fmt = tensors[name].fmt
    if isinstance(fmt, Float):
        most, step = decode(fmt, np.array([fmt.largest_code, 1]))
        codes = [-most, most, step]
    else:
        codes = [fmt.min, fmt.max, 1]
    ends = [scale * codes[0] + value.offset, scale * codes[1] + value.offset]
    yield float(np.min(ends))
    yield float(np.max(ends))
    yield float(np.min(np.abs(scale)) * codes[2])


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    off = float(np.sqrt(np.mean(np.square(got - expected, dtype=np.float64))))
    return off / size if size else (0.0 if not off else float("inf"))
