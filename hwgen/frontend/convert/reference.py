"""The model in ONNX's reference evaluator, with the ops ONNX does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_layer_normalization as layer_normalization
from onnx.reference.ops import op_rms_normalization as rms_normalization

from hwgen.errors import ModelError
from hwgen.formats import encode
from hwgen.frontend.convert.dialects import BIPOLAR, FLOAT, QUANT, bounds, dequantized, quantized
from hwgen.frontend.editor import HWGEN
from hwgen.frontend.ops_quantize import FLOATS, along
from hwgen.frontend.read import MICROSOFT
from hwgen.frontend.rewrite.curves import curve


class Quantize(OpRun):
    """Our own Quantize and QONNX's quantizers; blocks, whose axis the layer behind knows, stay as
    they are."""

    op_domain = HWGEN

    def _run(self, x, *arrays, **_):
        return (quantized(self.onnx_node, x, list(arrays)),)


class QuantizeLinear(OpRun):
    """In every opset and in onnxruntime's own domain."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=1, output_dtype=0, block_size=0, **_):
        kind = np.dtype(np.uint8) if zero is None else zero.dtype
        if zero is None and output_dtype:
            kind = helper.tensor_dtype_to_np_dtype(output_dtype)
        if fmt := FLOATS.get(kind.name):
            return (encode(fmt, x / along(scale, axis, x.shape)).astype(np.uint8).view(kind),)
        digits = kind.name.lstrip("uint")
        low, high = bounds(int(digits), not kind.name.startswith("u"), False)
        zero = np.zeros((), np.float32) if zero is None else zero.astype(np.float32)
        scale, zero = (along(a, axis, x.shape, block_size) for a in (scale, zero))
        return (np.clip(np.rint(x / scale) + zero, low, high).astype(kind),)


class DequantizeLinear(OpRun):
    """The same."""

    op_domain = ""

    def _run(self, codes, scale, zero=None, **_):
        return (dequantized(self.onnx_node, [codes, scale, zero]),)


class LayerNormalization(layer_normalization.LayerNormalization):
    """ONNX's, in opsets that lack it."""

    op_domain = HWGEN

    def _run(self, X, Scale, B=None, axis=-1, epsilon=1e-5, stash_type=1):
        return super()._run(X, Scale, B, axis, epsilon, stash_type)[:1]


class RMSNormalization(rms_normalization.RMSNormalization):
    """The same."""

    op_domain = HWGEN

    def _run(self, X, Scale, axis=-1, epsilon=1e-5, stash_type=1):
        return super()._run(X, Scale, axis, epsilon, stash_type)


class Gelu(OpRun):
    """onnxruntime's, by the error function."""

    op_domain = MICROSOFT

    def _run(self, x, **_):
        return (curve("Gelu", x).astype(x.dtype),)


class FastGelu(OpRun):
    """onnxruntime's, by tanh."""

    op_domain = MICROSOFT

    def _run(self, x, **_):
        return (curve("FastGelu", x).astype(x.dtype),)


class QuickGelu(OpRun):
    """onnxruntime's, by the sigmoid."""

    op_domain = MICROSOFT

    def _run(self, x, alpha=1.702, **_):
        return ((x / (1 + np.exp(-np.float32(alpha) * x))).astype(x.dtype),)


def _own_ops() -> list[type[OpRun]]:
    """The ops in all domains they are known by."""
    found: list[type[OpRun]] = [
        Quantize, QuantizeLinear, DequantizeLinear, LayerNormalization, RMSNormalization, Gelu,
        FastGelu, QuickGelu,
    ]  # fmt: skip
    for name in sorted(QUANT | BIPOLAR | FLOAT):
        domain, _, op = name.rpartition(".")
        found.append(type(op, (Quantize,), {"op_domain": domain}))
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
