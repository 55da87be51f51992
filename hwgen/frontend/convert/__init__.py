"""From a float or quantized model to one quantized in a chosen arithmetic."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from hwgen.errors import ConfigError, ModelError, some
from hwgen.formats import Arithmetic, Exponent, Fixed
from hwgen.frontend.convert.calibrate import Arrays, input_names, observe, samples
from hwgen.frontend.convert.demands import LINEAR, Plan, Planner, bears
from hwgen.frontend.convert.dialects import OPERATORS, expand
from hwgen.frontend.convert.insert import Inserter
from hwgen.frontend.convert.prepare import prepare, weights_of
from hwgen.frontend.convert.scaling import Mode, Seen
from hwgen.frontend.convert.strip import fold, strip
from hwgen.frontend.editor import Editor, kind
from hwgen.frontend.rewrite import rewrite
from hwgen.ir import Graph

SPARED = 2  # bits for which a format that holds all there can be is not given up


@dataclass(frozen=True)
class Options:
    """How to convert: `arith` of all nodes, None for what the file says; `nodes`: that of some, by
    name.

    `scale`: "max", the largest magnitude seen, or "mse", a search for the least square error.
    `per_channel`: a scale for each output channel of integer and float weights. `shapes` by input
    name.
    """

    arith: Arithmetic | None = None
    nodes: Mapping[str, Arithmetic] = field(default_factory=dict)
    scale: Mode = "max"
    per_channel: bool = True
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def of(self, name: str) -> Arithmetic | None:
        """The arithmetic of a node."""
        return self.nodes.get(name, self.arith)


def convert(
    model: onnx.ModelProto, options: Options, calibrate: Arrays | None = None
) -> onnx.ModelProto:
    """The model with quantizers of the arithmetics that `options` names.

    `calibrate`: arrays (samples, ...) by input name, or one for the only input; needed where a
    scale depends on activations. Quantizers the file has are removed first; without an arithmetic
    for all nodes they stay, and nodes with one of their own quantize again. Each layer's arithmetic
    is in its metadata. Raises `ConfigError` for nodes that have no arithmetic, `ModelError` for
    models that can't be converted, `InputError` for wrong arrays.
    """
    for arithmetic in (options.arith, *options.nodes.values()):
        for fmt in () if arithmetic is None else (arithmetic.x, arithmetic.w):
            if isinstance(fmt, Exponent):
                raise ConfigError(f"{arithmetic}: {fmt} is a format of scales alone")
    editor, whole = _prepared(model, options)

    def chosen(node: onnx.NodeProto) -> bool:
        return options.of(node.name) is not None and bears(editor, node)

    _check_names(editor, options)
    prepare(editor, chosen, whole)
    plan = Planner(editor, options.of).run()
    _check_layers(editor, chosen)
    seen = _seen(editor, plan, options, calibrate)
    Inserter(editor, plan, seen, options.scale, options.per_channel).run(options.of)
    return editor.finish()


def arithmetic_nodes(model: onnx.ModelProto, options: Options) -> list[str]:
    """The nodes that can be given an arithmetic of their own where `options.arith` is that of all
    others, by the names that `convert` knows them by."""
    editor, _ = _prepared(model, options)
    return [n.name for n in editor.nodes if bears(editor, n)]


def _prepared(model: onnx.ModelProto, options: Options) -> tuple[Editor, bool]:
    """The model in one form, and whether all of it is to be quantized anew."""
    editor = Editor(model)
    whole = options.arith is not None
    named = [n for n in editor.nodes if n.name in options.nodes]
    if whole or any(kind(n) in OPERATORS for n in named):
        expand(editor)
    fold(editor, quantized_too=whole)
    if whole:
        strip(editor)
    _, refused = rewrite(editor, options.shapes)
    if refused:
        lines = [f"  {name}: {reason}" for name, reason in refused.items()]
        raise ModelError("\n".join([f"{len(lines)} nodes can't be converted:", *lines]))
    return editor, whole


def _check_names(editor: Editor, options: Options) -> None:
    """Refuse an arithmetic of a node that has none."""
    able = [n.name for n in editor.nodes if bears(editor, n)]
    for name in options.nodes:
        if name not in able:
            near = difflib.get_close_matches(name, able, 1)
            alike = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"no node {name!r} computes in an arithmetic; {alike}these do: {some(able)}"
            )


def _check_layers(editor: Editor, chosen: Callable[[onnx.NodeProto], bool]) -> None:
    """Refuse float layers that get no arithmetic."""
    for node in editor.nodes:
        if kind(node) in LINEAR and not chosen(node) and weights_of(editor, node) is not None:
            raise ConfigError(
                f"node {node.name!r} is not quantized and has no arithmetic; give one for the "
                "whole model too: --arith SPEC, or arith= in Python"
            )


def _seen(editor: Editor, plan: Plan, options: Options, arrays: Arrays | None) -> dict[str, Seen]:
    """What calibration sees of the tensors whose scale depends on it."""
    wanted = [(d.anchor, d.spec) for d in plan.demands] + plan.results
    names = dict.fromkeys(name for name, spec in wanted if spec.calibrated)
    specs = {"fixed-point" if s.carrier else str(s.fmt) for _, s in wanted if s.calibrated}
    if not names:
        return {}
    mixed = len({spec for _, spec in wanted}) > 1
    names |= dict.fromkeys(name for name, _ in wanted) if mixed else {}
    if arrays is None:
        raise ConfigError(
            f"scales of {', '.join(sorted(specs))} activations depend on what the model computes: "
            "give calibration inputs with --calibrate X.npz, or calibrate= in Python"
        )
    return observe(editor, list(names), samples(editor.model, arrays, options.shapes))


def seen_formats(
    model: onnx.ModelProto, graph: Graph, arrays: Arrays, shapes: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """Formats of the tensors left in float: what holds all that the tensor can be, or, where that
    costs more than SPARED bits, what calibration sees with a quarter to spare."""
    editor = Editor(model)
    names = [name for name in graph.islands if name in editor.producers()]
    formats = {}
    for name, seen in observe(editor, names, samples(model, arrays, shapes)).items():
        fmt = graph.islands[name].fmt
        finest = Fixed.holding(1.25 * seen.most, fmt.bits) if seen.most else fmt
        formats[name] = str(finest if finest.frac > fmt.frac + SPARED else fmt)
    return formats


__all__ = ["Arrays", "Options", "arithmetic_nodes", "convert", "input_names", "seen_formats"]
