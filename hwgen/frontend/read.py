"""Reading ONNX files without trusting them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from hwgen.errors import ModelError

DOMAINS = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
# onnxruntime's optimizer puts these among ONNX's ops, which has them since an opset, or never.
STRAYS = {"SimplifiedLayerNormalization": 1 << 31, "LayerNormalization": 17}
OLDEST_OPSET = 9  # the last with Upsample; QuantizeLinear came with 10


def read(source: str | Path | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """The model, checked, with its external data loaded.

    Raises `ModelError` where the file can't be read, is no ONNX model or breaks the specification.
    """
    folder, name = None, "the model"
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        if isinstance(source, str | Path):
            path = Path(source)
            folder, name = path.parent, str(path)
            try:
                source = path.read_bytes()
            except OSError as error:
                raise ModelError(f"can't read {path}: {error.strerror or error}") from error
        try:
            model = onnx.load_model_from_string(source)
        except (DecodeError, ValueError) as error:
            raise ModelError(f"{name} is no ONNX model, or it is cut short") from error
    if not model.graph.node:
        raise ModelError(f"{name} is no ONNX model, or its graph is empty")
    if not model.graph.output:
        raise ModelError("the model has no outputs")
    _external(model, folder)
    _strays(model, _opsets(model))
    outputs = [value.type.tensor_type for value in model.graph.output]
    shapeless = [kind for kind in outputs if not kind.HasField("shape")]
    try:
        for kind in shapeless:  # the checker wants a shape, nobody else does
            kind.shape.SetInParent()
        onnx.checker.check_model(model)
        _names(model)
    except (onnx.checker.ValidationError, UnicodeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"the model breaks the ONNX specification: {' '.join(lines)[:300]}"
        ) from error
    for kind in shapeless:
        kind.ClearField("shape")
    return model


def _names(model: onnx.ModelProto) -> None:
    """Raise `UnicodeError` where a name is no UTF-8: protobuf gives such a name as bytes."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.initializer)
    names = [graph.name, *(value.name for value in values)]
    for node in graph.node:
        names += [node.name, *node.input, *node.output, *(a.name for a in node.attribute)]
    for name in names:
        if isinstance(name, bytes):
            name.decode()


def _opsets(model: onnx.ModelProto) -> int | None:
    """The version of ONNX's own opset."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = max((versions[d] for d in DOMAINS if d in versions), default=None)
    newest = onnx.defs.onnx_opset_version()
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise ModelError(
            f"the model uses opset {version}; opsets {OLDEST_OPSET} to {newest} are known: "
            "convert it with onnx.version_converter or upgrade the onnx package"
        )
    return version


def _strays(model: onnx.ModelProto, opset: int | None) -> None:
    """Give onnxruntime's ops its domain."""
    found = [
        node for node in model.graph.node
        if node.op_type in STRAYS and node.domain in DOMAINS
        and (opset or 0) < STRAYS[node.op_type]
    ]  # fmt: skip
    for node in found:
        node.domain = MICROSOFT
    if found and MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))


def _external(model: onnx.ModelProto, folder: Path | None) -> None:
    """Load external tensors that lie inside the model's folder; refuse all others."""
    for tensor in model.graph.initializer:
        if not external_data_helper.uses_external_data(tensor):
            continue
        try:
            location = external_data_helper.ExternalDataInfo(tensor).location
        except ValueError as error:
            raise ModelError(f"initializer {tensor.name!r}: {error}") from error
        if folder is None:
            raise ModelError(
                f"initializer {tensor.name!r} is stored in {location!r}: give the path of "
                f"the model, not its bytes"
            )
        path = (folder / location).resolve()
        if Path(location).is_absolute() or not path.is_relative_to(folder.resolve()):
            raise ModelError(
                f"initializer {tensor.name!r} is stored in {location!r}, outside the model's "
                f"folder; refused"
            )
        if not path.is_file():
            raise ModelError(
                f"initializer {tensor.name!r}: its external data file {location!r} is missing"
            )
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(
                f"initializer {tensor.name!r}: can't read {location!r}: {error}"
            ) from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def node_names(graph: onnx.GraphProto) -> list[str]:
    """Unique names; an unnamed node is called by its op and place."""
    names: list[str] = []
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        stem = node.name or f"{node.op_type}_{number}"
        name = stem if stem not in taken else f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names


def input_shape(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of a model input, batch 1: `given`, or what the model says. Raises `ModelError`."""
    dims = value.type.tensor_type.shape.dim
    declared = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    size = list(given) if given is not None else declared
    if given is not None:
        fits = len(given) == len(declared) and all(
            d in (None, g) or k == 0 for k, (d, g) in enumerate(zip(declared, given, strict=False))
        )
        if not fits:
            raise ModelError(
                f"--shape {value.name}={list(given)} does not fit the model's {declared}"
            )
    if size and size[0] is None:
        size[0] = 1
    if not size or any(d is None or d < 1 for d in size):
        raise ModelError(
            f"input {value.name!r} has shape {size}: fix it, e.g. --shape {value.name}=1,64"
        )
    if len(size) > 1 and size[0] != 1:
        raise ModelError(
            f"input {value.name!r} has a fixed batch of {size[0]}: export it with batch 1 or "
            f"dynamic, "
            f"or give --shape {value.name}={','.join(map(str, [1, *size[1:]]))}"
        )
    return tuple(size)
