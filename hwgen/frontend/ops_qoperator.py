"""The QOperator dialect: operators on codes, as onnxruntime's quantizer writes them.

Each is the float operator between DequantizeLinear and QuantizeLinear, with scales and zero points
as further inputs; so each lowers its inputs to real numbers, calls the float operator's function,
and quantizes its result. Inputs of com.microsoft's operators are those of
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend import ops_arithmetic, ops_functions, ops_layers, ops_layout, ops_pool
from hwgen.frontend.node import Node
from hwgen.frontend.ops_quantize import from_codes, on_host, target_of, to_codes
from hwgen.frontend.values import Constant, Scaled, Value, check_scale, exact


def _bias(node: Node, place: int, x: int, w: int) -> Scaled | None:
    """A bias of 32-bit codes, whose scale is the product of those at inputs `x` and `w`."""
    if node.input(place) is None:
        return None
    codes = node.constant(place, "bias").astype(np.int64)
    scales = [check_scale(exact(node.constant(k, "scale"))) for k in (x, w)]
    if scales[0].size != 1:
        raise ModelError("its activations have a scale per channel; quantize them per tensor")
    factor = scales[0].ravel()[0] * scales[1].reshape(-1)
    return Scaled(codes, factor if factor.size > 1 else factor.reshape(()))


def qlinear_conv(node: Node) -> Value:
    """QLinearConv."""
    x, w = from_codes(node, (0, 1, 2)), from_codes(node, (3, 4, 5), axis=0)
    y = ops_layers.conv(node.having(x, w, _bias(node, 8, 1, 4)))
    return to_codes(node, y, target_of(node, 6, 7))


def qlinear_matmul(node: Node) -> Value:
    """QLinearMatMul."""
    y = ops_layers.matmul(node.having(from_codes(node, (0, 1, 2)), from_codes(node, (3, 4, 5), -1)))
    return to_codes(node, y, target_of(node, 6, 7))


def qgemm(node: Node) -> Value:
    """QGemm; without an output scale it gives real numbers. Its bias has scale alpha * a * b."""
    alpha = exact(np.float32(node.attribute("alpha", 1.0)))
    x = from_codes(node, (0, 1, 2))
    transposed = bool(node.attribute("transB", 0))
    w = from_codes(node, (3, 4, 5), axis=0 if transposed else 1)
    if not isinstance(w, Scaled):
        raise ModelError("multiplies two activations; only constant weights are supported")
    bias = _bias(node, 6, 1, 4)
    if bias is not None:
        bias = Scaled(bias.codes, np.asarray(bias.scale * alpha))
    w = Scaled(w.codes, np.asarray(w.scale * alpha))
    w = w if transposed else ops_layers.transposed(w)
    y = ops_layers.gemm(node.having(x, w, bias), trans_b=True)
    return y if node.input(7) is None else to_codes(node, y, target_of(node, 7, 8))


def _binary(function: Callable[[Node], Value]) -> Callable[[Node], Value]:
    """QLinearAdd, QLinearMul: two operands of codes."""

    def lower(node: Node) -> Value:
        operands = (from_codes(node, (0, 1, 2)), from_codes(node, (3, 4, 5)))
        return to_codes(node, function(node.having(*operands)), target_of(node, 6, 7))

    return lower


def _unary(function: Callable[[Node], Value]) -> Callable[[Node], Value]:
    """Operators of one operand."""

    def lower(node: Node) -> Value:
        y = function(node.having(from_codes(node, (0, 1, 2))))
        return to_codes(node, y, target_of(node, 3, 4))

    return lower


def qlinear_concat(node: Node) -> Value:
    """QLinearConcat: output scale and zero point, then codes, scale and zero point of each
    operand."""
    places = range(2, len(node.inputs), 3)
    parts = [from_codes(node, (k, k + 1, k + 2)) for k in places]
    return to_codes(node, ops_layout.concat(node.having(*parts)), target_of(node, 0, 1))


def qlinear_softmax(node: Node) -> Value:
    """QLinearSoftmax, on the host."""
    y = ops_layout.softmax(node.having(from_codes(node, (0, 1, 2))))
    return on_host(y, target_of(node, 3, 4))


def _integers(node: Node, place: int, zero: int, axis: int) -> Value:
    """Codes at an input minus the zero point at another, as numbers."""
    one = Constant(np.ones((), dtype=np.float32))
    return from_codes(node.having(node.input(place), one, node.input(zero)), (0, 1, 2), axis)


def matmul_integer(node: Node) -> Value:
    """MatMulInteger: sums of products, as numbers."""
    return ops_layers.matmul(node.having(_integers(node, 0, 2, 0), _integers(node, 1, 3, -1)))


def conv_integer(node: Node) -> Value:
    """ConvInteger: sums of products, as numbers."""
    return ops_layers.conv(node.having(_integers(node, 0, 2, 0), _integers(node, 1, 3, 0)))


def matmul_nbits(node: Node) -> Value:
    """MatMulNBits: weights (N, K) of `bits` bits in blocks along K, packed from the lowest bits of
    bytes (N, blocks, block_size * bits / 8); scales (N, blocks); zero points packed likewise, each
    output's from a new byte, or half the range."""
    inputs, outputs, block = (node.attribute(k) for k in ("K", "N", "block_size"))
    bits, blocks = node.attribute("bits", 4), -(-inputs // block)
    node.attribute("accuracy_level")
    if node.input(4) is not None or node.attribute("weight_prepacked", 0):
        raise ModelError("has g_idx or prepacked weights; quantize it again without")

    def unpacked(place: int, what: str, count: int) -> np.ndarray:
        packed = node.constant(place, what)
        if packed.dtype != np.uint8:
            raise ModelError(f"its {what} are {packed.dtype}; packed uint8 are supported")
        planes = np.unpackbits(packed.reshape(outputs, -1), axis=1, bitorder="little")
        whole = planes[:, : planes.shape[1] // bits * bits].reshape(outputs, -1, bits)
        return (whole @ (1 << np.arange(bits)))[:, :count]

    def spread(array: np.ndarray) -> np.ndarray:
        return np.repeat(array.reshape(outputs, blocks), block, axis=1)[:, :inputs]

    codes = unpacked(1, "weights", inputs)
    if node.input(3) is None:
        codes = codes - (1 << (bits - 1))
    else:
        codes = codes - spread(unpacked(3, "zero points", blocks))
    w = Scaled(codes, spread(check_scale(exact(node.constant(2, "scale")))))
    return ops_layers.gemm(node.having(node.input(0), w, node.input(5)), trans_b=True)


def _channels_first(function: Callable[[Node], Value]) -> Callable[[Node], Value]:
    def lower(node: Node) -> Value:
        if node.attribute("channels_last", 0):
            raise ModelError("channels_last=1 is not supported; export channels first")
        return function(node)

    return lower


LOWER = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
    "com.microsoft.MatMulNBits": matmul_nbits,
    "com.microsoft.QLinearConcat": qlinear_concat,
    "com.microsoft.QGemm": qgemm,
    "com.microsoft.QLinearSoftmax": qlinear_softmax,
    "com.microsoft.QLinearAdd": _binary(ops_arithmetic.add),
    "com.microsoft.QLinearMul": _binary(ops_arithmetic.multiply),
    "com.microsoft.QLinearAveragePool": _channels_first(_unary(ops_pool.average_pool)),
    "com.microsoft.QLinearGlobalAveragePool": _channels_first(_unary(ops_pool.global_average_pool)),
    "com.microsoft.QLinearSigmoid": _unary(ops_functions.LOWER["Sigmoid"]),
    "com.microsoft.QLinearLeakyRelu": _unary(ops_functions.LOWER["LeakyRelu"]),
}
