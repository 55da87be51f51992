"""From ONNX nodes to graph nodes: one walk over the model, one function per op (tables in
ops_*.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Fixed
from hwgen.frontend import (
    constants,
    ops_arithmetic,
    ops_attention,
    ops_floats,
    ops_functions,
    ops_layers,
    ops_layout,
    ops_norm,
    ops_pool,
    ops_qonnx,
    ops_qoperator,
    ops_quantize,
    ops_transposed,
    standin,
)
from hwgen.frontend.context import Context
from hwgen.frontend.floats import narrowed
from hwgen.frontend.node import Node
from hwgen.frontend.read import DOMAINS, input_shape, node_names, read
from hwgen.frontend.rewrite import canonical
from hwgen.frontend.values import (
    Blocked,
    Codes,
    Constant,
    Deferred,
    Hosted,
    Input,
    Mapped,
    Real,
    Scaled,
    Scores,
    Stream,
    Tokens,
    Unknown,
    Value,
    shape,
)
from hwgen.ir import Graph, Linear, OutputPort

LOWER = {
    **ops_quantize.LOWER,
    **ops_layers.LOWER,
    **ops_transposed.LOWER,
    **ops_arithmetic.LOWER,
    **ops_layout.LOWER,
    **ops_pool.LOWER,
    **ops_functions.LOWER,
    **ops_qoperator.LOWER,
    **ops_qonnx.LOWER,
    **ops_floats.LOWER,
    **ops_norm.LOWER,
    **ops_attention.LOWER,
}
ADVICE = {
    "DynamicQuantizeLinear": "quantize statically, with onnxruntime.quantization.quantize_static",
}


@dataclass(frozen=True)
class Row:
    """What `hwgen inspect` says of one ONNX node."""

    name: str
    op: str
    shapes: tuple[tuple[int, ...], ...]
    format: str
    maps_to: str
    reason: str = ""


@dataclass
class Walk:
    """The state of one walk."""

    model: onnx.ModelProto
    context: Context
    refused: Mapping[str, str]  # reasons by name, of nodes that could not be rewritten
    values: dict[str, Value] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @cached_property
    def inferred(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Element types and shapes by ONNX's own inference; asked for only where a node fails."""
        return standin.inferred(self.model, self.values)


def load(
    source: str | Path | bytes | onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    name: str | None = None,
    formats: Mapping[str, Fixed] | None = None,
) -> Graph:
    """The unfolded graph of a quantized model: every layer wholly parallel, one element per word.

    `shapes` replaces input shapes; `formats`: of tensors that the model leaves in float. Raises
    one `ModelError` that lists everything that can't be mapped.
    """
    walk = walk_model(read(source), shapes or {}, name, formats or {})
    if bad := [row for row in walk.rows if row.reason]:
        lines = [f"{len(bad)} of {len(walk.rows)} nodes can't be mapped to hardware:"]
        lines += [f"  {row.name} ({row.op}): {row.reason}" for row in bad]
        if unchecked := sum(not row.reason and not row.maps_to for row in walk.rows):
            lines.append(f"  nodes behind these that were not checked: {unchecked}")
        raise ModelError("\n".join(lines))
    if unknown := set(formats or {}) - set(walk.context.graph.islands):
        raise ConfigError(
            f"formats: {sorted(unknown)} are no tensors left in float; those are "
            f"{', '.join(walk.context.graph.islands) or 'none'}"
        )
    walk.context.finish()
    walk.context.graph.verify()
    return walk.context.graph


def survey(
    source: str | Path | bytes | onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None
) -> list[Row]:
    """What every node maps to, or why it can't."""
    return walk_model(read(source), shapes or {}, None, {}).rows


def walk_model(
    model: onnx.ModelProto, shapes: Mapping, name: str | None, formats: Mapping[str, Fixed]
) -> Walk:
    """Lower every node, as far as that can be done."""
    model, refused = canonical(model, shapes)
    graph = model.graph
    versions = [entry.version for entry in model.opset_import if entry.domain in DOMAINS]
    opset = max(versions, default=onnx.defs.onnx_opset_version())
    walk = Walk(model, Context(Graph(name or graph.name or "model"), formats=formats), refused)
    for tensor in graph.initializer:
        try:
            walk.values[tensor.name] = Constant(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"initializer {tensor.name!r} can't be read: {error}") from error
    if graph.sparse_initializer:
        raise ModelError("sparse initializers are not supported; store them dense")
    _inputs(walk, graph, shapes)
    names = node_names(graph)
    for number, proto in enumerate(graph.node):
        _node(walk, proto, names[number], opset)
    if not any(row.reason for row in walk.rows):
        _outputs(walk, graph)
    return walk


def _inputs(walk: Walk, graph: onnx.GraphProto, shapes: Mapping) -> None:
    real = [value for value in graph.input if value.name not in walk.values]
    if unknown := set(shapes) - {value.name for value in real}:
        raise ModelError(
            f"--shape: the model has no input {sorted(unknown)}; it has {[v.name for v in real]}"
        )
    for value in real:
        if value.type.WhichOneof("value") != "tensor_type":
            raise ModelError(f"input {value.name!r} is no tensor")
        size = input_shape(value, shapes.get(value.name))
        constants.check_elements(size, f"input {value.name!r}")
        ids = np.arange(int(np.prod(size))).reshape(size)
        dtype = _dtype(value)
        if dtype in (np.float32, np.float64, np.float16):
            walk.values[value.name] = Input(value.name, ids.shape, ids)
        elif fmt := (ops_quantize.FORMATS | ops_quantize.FLOATS).get(dtype.name):
            tensor = walk.context.input_port(value.name, ids, dtype, fmt)
            walk.values[value.name] = Codes(Stream(tensor, ids), fmt)
        elif dtype in (np.int64, np.int32):
            walk.values[value.name] = Tokens(value.name, ids.shape, dtype, ids)
        else:
            raise ModelError(
                f"input {value.name!r} has type {dtype}; float32, {ops_quantize.NAMES} are "
                f"supported, and int64 and int32 for indices"
            )


def _node(walk: Walk, proto: onnx.NodeProto, name: str, opset: int) -> None:
    """Lower one node; a failure becomes the reason in its row."""
    inputs = [walk.values.get(i, Unknown()) if i else None for i in proto.input]
    before = len(walk.context.graph.nodes)
    reason, outputs = "", []
    try:
        if name in walk.refused:
            raise ModelError(walk.refused[name])
        node = Node(name, proto, inputs, opset, walk.context)
        outputs = _lower(node, proto)
    except ModelError as error:
        reason = str(error)
    for k, output in enumerate(o for o in proto.output if o):
        value = outputs[k] if k < len(outputs) else Unknown()
        if isinstance(value, Unknown) and not all(_fixed(v) for v in inputs):
            value = standin.stand_in(walk.context, *walk.inferred.get(output, (0, ())))
        walk.values[output] = value
    made = [
        f"Linear {n.arithmetic}" if isinstance(n, Linear) and n.arithmetic else type(n).__name__
        for n in walk.context.graph.nodes[before:]
    ]
    known = [v for v in outputs if not isinstance(v, Unknown)]
    walk.rows.append(
        Row(
            name,
            proto.op_type,
            tuple(tuple(shape(v)) for v in known),
            ", ".join(_format(v) for v in known),
            " + ".join(made) or ("" if reason else _folded(known)),
            reason,
        )
    )


def _fixed(value: Value | None) -> bool:
    """Whether a value does not depend on the model's inputs, as far as is known."""
    return value is None or isinstance(value, Constant | Scaled | Unknown)


def _lower(node: Node, proto: onnx.NodeProto) -> list[Value]:
    """The values of a node's outputs."""
    standard = proto.domain in DOMAINS
    op = proto.op_type if standard else f"{proto.domain}.{proto.op_type}"
    if op not in LOWER:
        if standard and constants.foldable(proto, node.inputs):
            return constants.fold(proto, node.inputs, node.opset)
        raise ModelError(
            f"the op {op} is not supported; {ADVICE.get(op, 'remove it or replace it')}"
        )
    if any(isinstance(value, Unknown) for value in node.inputs):
        return [Unknown()]
    if standard and constants.foldable(proto, node.inputs):
        return constants.fold(proto, node.inputs, node.opset)
    try:
        result = LOWER[op](node)
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise ModelError(
            f"its attributes or inputs don't fit the op {op}: {str(error).splitlines()[0]}"
        ) from error
    if isinstance(result, list):
        return result
    if left := node.unread():
        raise ModelError(f"the attribute {left[0]!r} is not supported; export the model without it")
    used = [output for output in proto.output if output]
    if len(used) > 1:
        raise ModelError(f"only the first output is supported; {used[1]!r} is not")
    return [result]


def _format(value: Value) -> str:
    if isinstance(value, Codes | Blocked):
        return str(value.fmt)
    if isinstance(value, Tokens):
        return "index"
    if isinstance(value, Constant):
        return str(value.array.dtype)
    return (
        "real"
        if isinstance(value, Real | Input | Mapped | Deferred | Scores)
        else "host"
        if isinstance(value, Hosted)
        else "constant"
    )


def _folded(values: Sequence[Value]) -> str:
    if values and isinstance(values[0], Hosted):
        return "host"
    return "folded" if values else ""


def _outputs(walk: Walk, graph: onnx.GraphProto) -> None:
    """An output port per model output."""
    for value in graph.output:
        result: Value = walk.values.get(value.name, Unknown())
        operations: tuple = ()
        if isinstance(result, Mapped):
            if result.operations is None:
                raise ModelError(
                    f"output {value.name!r}: the host has no name for what {result.name} gives; "
                    "quantize it"
                )
            result = Hosted(result.real, result.operations)
        if isinstance(result, Deferred | Scores):
            result = Node(value.name, onnx.NodeProto(), [result], 0, walk.context).real(0)
        if isinstance(result, Hosted):
            operations = result.operations
            result = result.value
        if isinstance(result, Codes):
            port = walk.context.code_port(value.name, result)
        elif isinstance(result, Blocked):
            raise ModelError(f"output {value.name!r} {result.unread}")
        elif isinstance(result, Real):
            port = walk.context.real_port(value.name, narrowed(walk.context, value.name, result))
        else:
            raise ModelError(
                f"output {value.name!r} does not depend on a quantized input: quantize the "
                "model, for example with onnxruntime.quantization.quantize_static, or remove "
                "the output if it is a constant"
            )
        port = replace(port, host=operations)
        walk.context.graph.outputs.append(_typed(port, value))


def _typed(port: OutputPort, value: onnx.ValueInfoProto) -> OutputPort:
    return replace(port, dtype=_dtype(value)) if value.type.tensor_type.elem_type else port


def _dtype(value: onnx.ValueInfoProto) -> np.dtype:
    kind = value.type.tensor_type.elem_type
    try:
        return helper.tensor_dtype_to_np_dtype(kind)
    except KeyError as error:
        raise ModelError(f"{value.name!r} has an unknown element type: {kind}") from error
