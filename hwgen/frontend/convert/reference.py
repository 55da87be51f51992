"""The model in ONNX's reference evaluator, with the ops ONNX does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from hwgen.errors import ModelError
from hwgen.formats import Block, parse
from hwgen.formats.codec import WHOLE
from hwgen.frontend.convert.dialects import bounds, own_quantized
from hwgen.frontend.convert.editor import HWGEN, QONNX
from hwgen.frontend.ops_qonnx import DOMAINS as QONNX_DOMAINS
from hwgen.frontend.ops_qonnx import MODES
from hwgen.frontend.ops_quantize import along


class Quantize(OpRun):
    """hwgen.Quantize(x, scale), attribute `format`; blocks, whose axis the layer behind knows, stay
    as they are."""

    op_domain = HWGEN

    def _run(self, x, scale, format=None):
        fmt = parse(format)
        return (x if isinstance(fmt, Block) else own_quantized(x, scale, fmt),)


class QuantizeLinear(OpRun):
    """Of integers, in every opset and in onnxruntime's own domain."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=1, output_dtype=0, block_size=0, **_):
        kind = np.dtype(np.uint8) if zero is None else zero.dtype
        if zero is None and output_dtype:
            kind = helper.tensor_dtype_to_np_dtype(output_dtype)
        digits = kind.name.lstrip("uint")
        low, high = bounds(int(digits), not kind.name.startswith("u"), False)
        zero = np.zeros((), np.float32) if zero is None else zero.astype(np.float32)
        scale, zero = (along(a, axis, x.shape, block_size) for a in (scale, zero))
        return (np.clip(np.rint(x / scale) + zero, low, high).astype(kind),)


class DequantizeLinear(OpRun):
    """The same."""

    op_domain = ""

    def _run(self, codes, scale, zero=None, axis=1, block_size=0, **_):
        zero = np.zeros((), np.int64) if zero is None else zero.astype(np.int64)
        scale, zero = (along(a, axis, codes.shape, block_size) for a in (scale, zero))
        return (((codes.astype(np.int64) - zero) * scale).astype(np.float32),)


class Quant(OpRun):
    """QONNX's Quant(x, scale, zero point, bits)."""

    op_domain = QONNX

    def _run(self, x, scale, zero, bits, signed=None, narrow=None, rounding_mode=None):
        low, high = bounds(int(np.ravel(bits)[0]), signed in (None, 1), bool(narrow))
        whole = WHOLE[MODES[(rounding_mode or "ROUND").upper()]]
        codes = np.clip(whole(x / scale + zero), low, high)
        return (((codes - zero) * scale).astype(np.float32),)


class BipolarQuant(OpRun):
    """QONNX's BipolarQuant(x, scale)."""

    op_domain = QONNX

    def _run(self, x, scale):
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)


def _own_ops() -> list[type[OpRun]]:
    """The ops in all domains they are known by."""
    found: list[type[OpRun]] = [Quantize, QuantizeLinear, DequantizeLinear]
    for domain in QONNX_DOMAINS:
        for op in (Quant, BipolarQuant):
            found.append(type(op.__name__, (op,), {"op_domain": domain}))
        found.append(type("IntQuant", (Quant,), {"op_domain": domain}))
    return found


def evaluator(model: onnx.ModelProto, *ops: type[OpRun]) -> ReferenceEvaluator:
    """An evaluator of a float model or of a converted one, with further `ops`; quantizers of
    onnxruntime's own domain become those of ONNX."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.domain == "com.microsoft" and node.op_type in (
            "QuantizeLinear",
            "DequantizeLinear",
        ):
            node.domain = ""
    try:
        return ReferenceEvaluator(copy, new_ops=[*_own_ops(), *ops])
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(f"the model can't be run for calibration: {error}") from error


def run(
    session: ReferenceEvaluator, names: Sequence[str], feed: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The tensors `names` of one sample; raises `ModelError` where an op can't be run."""
    try:
        with np.errstate(all="ignore"):
            return list(session.run(list(names), dict(feed)))
    except (
        RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError,
        ArithmeticError, NotImplementedError,
    ) as error:  # fmt: skip
        text = (str(error) or repr(error)).splitlines()[0][:200]
        raise ModelError(f"the model can't be run for calibration: {text}") from error
