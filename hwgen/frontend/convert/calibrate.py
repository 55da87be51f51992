"""What tensors of a model hold on calibration inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from hwgen.errors import InputError, ModelError
from hwgen.frontend.convert.reference import evaluator, run
from hwgen.frontend.convert.scaling import Seen
from hwgen.frontend.editor import Editor, kind
from hwgen.frontend.read import input_shape

SAMPLES = 64  # used at most, spread over those given
VALUES = 1 << 14  # kept of a tensor for the search
UNHEARD = 16 * np.log(2)  # so far below the largest a weight of softmax has none of 16 bits left

Arrays = Mapping[str, np.ndarray] | np.ndarray


def input_names(model: onnx.ModelProto) -> list[str]:
    """The model's inputs, without those that are constants."""
    constants = {t.name for t in model.graph.initializer}
    return [v.name for v in model.graph.input if v.name not in constants]


def samples(
    model: onnx.ModelProto, arrays: Arrays, shapes: Mapping[str, Sequence[int]]
) -> list[dict[str, np.ndarray]]:
    """One dict of inputs, batch 1, for each of at most SAMPLES samples; raises `InputError`."""
    names = input_names(model)
    if not isinstance(arrays, Mapping):
        if len(names) != 1:
            raise InputError(f"calibration data must be a dict of arrays for the inputs {names}")
        arrays = {names[0]: arrays}
    if missing := [n for n in names if n not in arrays]:
        raise InputError(f"calibration has no array for input {', '.join(missing)}")
    values = {v.name: v for v in model.graph.input}
    feeds: dict[str, np.ndarray] = {}
    for name in names:
        size = input_shape(values[name], shapes.get(name))
        dtype = helper.tensor_dtype_to_np_dtype(values[name].type.tensor_type.elem_type)
        array = np.asarray(arrays[name])
        if array.ndim < 1 or array.shape[1:] not in (size, size[1:]) or not len(array):
            raise InputError(
                f"calibration data: input {name!r} must have shape (samples, "
                f"{', '.join(map(str, size[1:]))}), not {array.shape}"
                f"{': there are no samples' * (not array.size)}"
            )
        feeds[name] = array.reshape(-1, *size).astype(dtype)
    counts = {len(a) for a in feeds.values()}
    if len(counts) > 1:
        raise InputError(f"calibration has different numbers of samples: {sorted(counts)}")
    count = counts.pop()
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).astype(int))
    return [{name: a[k] for name, a in feeds.items()} for k in chosen]


def observe(editor: Editor, names: Sequence[str], feeds: list[dict]) -> dict[str, Seen]:
    """What tensors hold, by name; raises `ModelError` that names a node which gives NaN."""
    inner = [n for n in names if n not in editor.inputs]
    session = evaluator(editor.finish([n for n in inner if n not in editor.outputs]))
    weighed = _weighed(editor)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for feed in feeds:
        results = dict(zip(inner, run(session, inner, feed), strict=True)) if inner else {}
        for name in names:
            values = np.asarray(results.get(name, feed.get(name)), dtype=np.float64)
            values = _heard(values, weighed[name]) if name in weighed else values
            found[name].append(np.ravel(values))
    producers = editor.producers()
    seen = {}
    for name, parts in found.items():
        values = np.concatenate(parts)
        if not np.isfinite(values).all():
            maker = producers.get(name)
            what = f"input {name!r}" if maker is None else f"node {maker.name!r}"
            raise ModelError(
                f"{what} gives NaN or infinity on the calibration inputs; mend the model or the "
                "inputs" + ("; in a mask -1e4 stands for -inf" if (values == -np.inf).any() else "")
            )
        step = -(-values.size // VALUES)
        seen[name] = Seen(values[::step], float(values.min()), float(values.max()))
    return seen


def _weighed(editor: Editor) -> dict[str, int]:
    """Tensors that nothing but a softmax reads, and its axis."""
    readers = editor.readers()
    found = {}
    for node in editor.nodes:
        name = node.input[0] if node.input else ""
        alone = len(readers[name]) == 1 and name not in editor.outputs
        if kind(node) == "Softmax" and editor.opset >= 13 and alone:
            found[name] = next((a.i for a in node.attribute if a.name == "axis"), -1)
    return found


def _heard(values: np.ndarray, axis: int) -> np.ndarray:
    """Inputs of softmax, of which what is far below the largest weighs nothing: masks would take
    the whole range of a format."""
    return np.maximum(values, values.max(axis=axis, keepdims=True) - UNHEARD)
