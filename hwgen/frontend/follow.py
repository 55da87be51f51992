"""Where the numbers of an ONNX model are in the graph that was made of it, and what they should be:
onnxruntime's, or the reference evaluator's."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx

from hwgen.formats import Fixed
from hwgen.frontend.convert.reference import evaluator, run
from hwgen.frontend.convert.strip import strip
from hwgen.frontend.editor import Editor
from hwgen.frontend.lower import walk_model
from hwgen.frontend.read import read
from hwgen.frontend.values import Codes, Numbers, Real

# Ops whose results are shown elsewhere: behind a DequantizeLinear, or in another order.
SKIPPED = frozenset(
    "QuantizeLinear Reshape Flatten Transpose Squeeze Unsqueeze Identity Dropout".split()
)


@dataclass(frozen=True, eq=False)
class Followed:
    """An ONNX value: clip(sum of terms + offset, low, high). Each term is a tensor of the graph,
    the place in its stream of every element, in ONNX shape, and a scale of the code's number."""

    node: str
    op: str
    terms: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    offset: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def follow(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]],
    formats: Mapping[str, Fixed],
) -> dict[str, Followed]:
    """By name, the values of a model's nodes that are numbers or codes in the graph that `load`
    makes of it with the same arguments, in the model's order."""
    walk = walk_model(read(model), shapes, None, formats)
    place = walk.context.place
    walk.context.finish()
    kept, found = walk.context.graph.tensors, {}
    for node, row in zip(walk.model.graph.node, walk.rows, strict=True):
        for name in node.output if row.op not in SKIPPED else ():
            value = walk.values.get(name)
            if isinstance(value, Codes):
                value = value.real(Fraction(1))
            if not isinstance(value, Real) or any(t.stream.tensor not in kept for t in value.terms):
                continue
            terms = tuple(
                (t.stream.tensor, place[t.stream.tensor][t.stream.ids], _floats(t.scale))
                for t in value.terms
            )
            ends = (None if v is None else _floats(v) for v in (value.low, value.high))
            found[name] = Followed(row.name, row.op, terms, _floats(value.offset), *ends)
    return found


def _floats(numbers: Numbers) -> np.ndarray:
    return np.asarray(numbers).astype(np.float64)


def unquantized(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The float model that a quantized one stands for, and what its tensors that are gone are
    called there. Raises `ModelError` where quantizers are part of what it computes."""
    editor = Editor(model)
    alias = strip(editor)
    return editor.finish(), alias


def results(
    model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str]:
    """What tensors of a model hold for `feeds` (samples, *shape with batch 1): (samples, *shape) by
    name, of those there are; and who computed them: onnxruntime where it is installed and knows all
    ops, else ONNX's reference evaluator."""
    editor = Editor(model)
    made = {o for node in editor.nodes for o in node.output}
    wanted = [n for n in dict.fromkeys(names) if n in made]
    ready = editor.finish([n for n in wanted if n not in editor.outputs])
    session, who = _session(ready)
    samples = len(next(iter(feeds.values())))
    rows = [session({n: a[k] for n, a in feeds.items()}, wanted) for k in range(samples)]
    found = {n: np.stack([row[j] for row in rows]) for j, n in enumerate(wanted)}
    return found | {n: a for n, a in feeds.items() if n in names}, who


def _session(model: onnx.ModelProto):
    """What runs one sample, and its name."""
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common class
            if not type(error).__module__.startswith("onnxruntime"):
                raise
        else:
            version = f"onnxruntime {onnxruntime.__version__}"
            return lambda feed, names: session.run(names, feed), version
    reference = evaluator(model)
    version = f"ONNX {onnx.__version__}'s reference evaluator"
    return lambda feed, names: run(reference, names, feed), version


__all__ = ["Followed", "follow", "results", "unquantized"]
