"""What the dialects' quantizers mean: constants decoded, QOperator nodes written as QDQ."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from hwgen.errors import ModelError
from hwgen.formats import Block, Float, decode, encode, parse
from hwgen.formats.codec import WHOLE
from hwgen.formats.names import Format
from hwgen.frontend.editor import HWGEN, Editor, attribute, kind
from hwgen.frontend.ops_qonnx import DOMAINS as QONNX_DOMAINS
from hwgen.frontend.ops_qonnx import MODES
from hwgen.frontend.ops_quantize import along

QUANTIZE = {"QuantizeLinear", "com.microsoft.QuantizeLinear"}
DEQUANTIZE = {"DequantizeLinear", "com.microsoft.DequantizeLinear"}
QUANT = {f"{d}.{op}" for d in QONNX_DOMAINS for op in ("Quant", "IntQuant")}
BIPOLAR = {f"{d}.BipolarQuant" for d in QONNX_DOMAINS}
TRUNC = {f"{d}.Trunc" for d in QONNX_DOMAINS}
FLOAT = {f"{d}.FloatQuant" for d in QONNX_DOMAINS}
OWN = f"{HWGEN}.Quantize"
# QOperator: the float op, inputs of (codes, scale, zero point) and of the output's scale and zero
# point, the place of a bias, the domain of the quantized op.
MS = "com.microsoft."
PAIR = ((0, 1, 2), (3, 4, 5))
OPERATORS: dict[str, tuple[str, tuple[tuple[int, int, int], ...], int, int | None]] = {
    "QLinearConv": ("Conv", PAIR, 6, 8),
    "QLinearMatMul": ("MatMul", PAIR, 6, None),
    f"{MS}QGemm": ("Gemm", PAIR, 7, 6),
    f"{MS}QLinearAdd": ("Add", PAIR, 6, None),
    f"{MS}QLinearMul": ("Mul", PAIR, 6, None),
    f"{MS}QLinearAveragePool": ("AveragePool", PAIR[:1], 3, None),
    f"{MS}QLinearGlobalAveragePool": ("GlobalAveragePool", PAIR[:1], 3, None),
    f"{MS}QLinearSigmoid": ("Sigmoid", PAIR[:1], 3, None),
    f"{MS}QLinearLeakyRelu": ("LeakyRelu", PAIR[:1], 3, None),
    f"{MS}QLinearSoftmax": ("Softmax", PAIR[:1], 3, None),
    f"{MS}QLinearConcat": ("Concat", (), 0, None),
}
QUANTIZED_ONLY = ("channels_last", "opset")  # attributes the float ops don't have


def dequantized(node: onnx.NodeProto, arrays: list[np.ndarray | None]) -> np.ndarray:
    """DequantizeLinear of constants (codes, scale, zero point), as float32."""
    codes, scale = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
    zero = np.zeros(()) if len(arrays) < 3 or arrays[2] is None else arrays[2].astype(np.float64)
    axis, block = attribute(node, "axis", 1), attribute(node, "block_size", 0)
    scale, zero = (along(a, axis, codes.shape, block) for a in (scale, zero))
    return ((codes - zero) * scale).astype(np.float32)


def bounds(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and greatest code of a QONNX Quant."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return low + (narrow and signed), high - (narrow and not signed)


def limits(node: onnx.NodeProto, bits: np.ndarray) -> tuple[int, int]:
    """The same of a node, by its attributes."""
    signed, narrow = (bool(attribute(node, k, d)) for k, d in (("signed", 1), ("narrow", 0)))
    return bounds(int(np.ravel(bits)[0]), signed, narrow)


def quantized(node: onnx.NodeProto, x: np.ndarray, arrays: list[np.ndarray | None]) -> np.ndarray:
    """What QONNX's Quant, BipolarQuant, FloatQuant or our Quantize makes of numbers; `arrays`: its
    other inputs. Float32; numbers that would be in blocks stay as they are."""
    op, x = kind(node), np.asarray(x, dtype=np.float32)
    scale = np.asarray(arrays[0], dtype=np.float32)
    if op == OWN:
        own = parse(attribute(node, "format"))
        return x if isinstance(own, Block) else own_quantized(x, scale, own)
    if op in BIPOLAR:
        return np.where(x >= 0, scale, -scale).astype(np.float32)
    if op in FLOAT:
        exp, man, bias, most = (float(np.ravel(a)[0]) for a in arrays[1:5])
        fmt = Float(int(exp), int(man), int(bias), "none")
        y = np.clip(decode(fmt, encode(fmt, x / scale)), -most, most)
        return (y * scale).astype(np.float32)
    zero = np.asarray(arrays[1], dtype=np.float32)
    low, high = limits(node, arrays[2])
    whole = WHOLE[MODES[attribute(node, "rounding_mode", "ROUND").upper()]]
    return ((np.clip(whole(x / scale + zero), low, high) - zero) * scale).astype(np.float32)


def own_quantized(x: np.ndarray, scale: np.ndarray, fmt: Format) -> np.ndarray:
    """hwgen.Quantize to floats: decode(encode(x / scale)) * scale, float32; numbers too large
    become the largest."""
    return (decode(fmt, encode(fmt, x / scale)) * scale).astype(np.float32)


def expand(editor: Editor) -> None:
    """Write QOperator nodes as DequantizeLinear, the float op and QuantizeLinear."""
    before, editor.nodes = editor.nodes, []
    for node in before:
        if kind(node) in OPERATORS:
            _expand(editor, node)
        elif node.op_type in ("MatMulInteger", "ConvInteger", "MatMulNBits", "QMoE"):
            raise ModelError(
                f"node {node.name!r}: {node.op_type} can't be converted to another arithmetic; "
                "start from the float model"
            )
        else:
            editor.nodes.append(node)


def _expand(editor: Editor, node: onnx.NodeProto) -> None:
    op, operands, out, bias = OPERATORS[kind(node)]
    given = [*node.input, *[""] * 9]
    if op == "Concat":
        operands = tuple((k, k + 1, k + 2) for k in range(2, len(node.input), 3))
    if attribute(node, "channels_last", 0):
        raise ModelError(f"node {node.name!r}: channels_last=1 is not supported")
    names = [
        _pair(editor, node, [given[k] for k in places], weights=number == 1)
        for number, places in enumerate(operands)
    ]
    if bias is not None and given[bias]:
        names.append(_bias(editor, node, given, bias))
    kept = [a for a in node.attribute if a.name not in QUANTIZED_ONLY]
    final = node.output[0]
    made = helper.make_node(op, names, [final], name=node.name)
    made.attribute.extend(kept)
    editor.nodes.append(made)
    if given[out]:  # QGemm without an output scale gives real numbers
        made.output[0] = editor.fresh(f"{final}_real")
        target = [made.output[0], *(n for n in given[out : out + 2] if n)]
        name = editor.fresh(f"{node.name}_quantize")
        editor.nodes.append(helper.make_node("QuantizeLinear", target, [final], name=name))


def _pair(editor: Editor, node: onnx.NodeProto, names: list[str], weights: bool) -> str:
    """The real numbers of codes, scale and zero point; of weights, per output channel."""
    axis = {"QLinearConv": 0, "QLinearMatMul": -1}.get(node.op_type, 1)
    if node.op_type == "QGemm" and attribute(node, "transB", 0):
        axis = 0
    extra: dict[str, Any] = {"axis": axis} if weights and editor.opset >= 13 else {}
    return editor.add(
        "DequantizeLinear", [n for n in names if n], f"{node.name}_dequantize", **extra
    )


def _bias(editor: Editor, node: onnx.NodeProto, given: list[str], place: int) -> str:
    """Codes times the scales of both operands, and alpha of a QGemm."""
    arrays = [editor.constants.get(given[k]) for k in (place, 1, 4)]
    if any(a is None for a in arrays):
        raise ModelError(f"node {node.name!r}: its bias and scales must be constants")
    codes, x, w = (np.ravel(a).astype(np.float64) for a in arrays)
    values = codes * x * w * attribute(node, "alpha", 1.0)
    return editor.constant(values.astype(np.float32), f"{node.name}_bias")
