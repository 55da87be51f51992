"""Weights with zero points, of few bits and with scales in blocks, against onnxruntime."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx.numpy_helper import to_array

import hwgen
from hwgen import golden
from hwgen.errors import ConfigError, ModelError
from hwgen.frontend import load
from hwgen.ir import Linear
from tests.frontend.test_ops import check
from tests.qdq import Builder
from tests.small import raw

KINDS = ["INT8", "UINT8", "INT4", "UINT4"]


def layer(b: Builder, op: str, kind: str, block: int, zero: bool = True) -> tuple[str, tuple]:
    """A layer of packed weights on a quantized input; its output, and the input's shape."""
    if op == "Conv":
        x, size = b.quantize(b.input(1, 6, 5, 4), 0.03, -7), (6, 5, 4)
        w = b.packed(kind, 4, 6, 3, 3, block=block, axis=1 if block > 0 else 0, zero=zero)
        return b.op("Conv", x, w, b.bias(4), pads=[1] * 4), size
    x, size = b.quantize(b.input(1, 24), 0.03, 90, np.uint8), (24,)
    if op == "MatMul":
        w = b.packed(kind, 24, 7, block=block, axis=0 if block > 0 else 1, zero=zero)
        return b.op("MatMul", x, w), size
    w = b.packed(kind, 7, 24, block=block, axis=1 if block > 0 else 0, zero=zero)
    return b.op("Gemm", x, w, b.bias(7), transB=1), size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("block", [-1, 0, 4, 5])
def test_zero_points(op: str, kind: str, block: int) -> None:
    """Per tensor, per channel, and per block, the last of which is short."""
    b = Builder(21 if block else 23, seed=len(kind) + block)
    y, size = layer(b, op, kind, block)
    check(b.model(b.quantize(y, 0.15, 3)), size)


@pytest.mark.parametrize("block", [-1, 0, 8])
@pytest.mark.parametrize("kind", ["INT2", "UINT2"])
def test_two_bits(kind: str, block: int) -> None:
    """From opset 25 on."""
    b = Builder(25, seed=block + 1)
    y, size = layer(b, "MatMul", kind, block)
    model = b.model(b.quantize(y, 0.15, 3))
    model.ir_version = 13
    check(model, size)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("inputs", "block"), [(64, 16), (52, 32)])
@pytest.mark.parametrize("zero", [False, True])
def test_matmul_nbits(bits: int, inputs: int, block: int, zero: bool) -> None:
    """What onnxruntime's quantizer of weights writes; the bias is its own input."""
    b = Builder(seed=bits)
    blocks, outputs = -(-inputs // block), 5
    packed = [b.rng.integers(0, 256, (outputs, blocks, block * bits // 8)).astype(np.uint8)]
    packed += [b.rng.uniform(0.05, 0.4, (outputs, blocks)).astype(np.float32) / (1 << bits)]
    names = [b.constant(a) for a in packed]
    zeros = b.rng.integers(0, 256, (outputs, -(-blocks * bits // 8))).astype(np.uint8)
    names += [b.constant(zeros) if zero else "", "", b.bias(outputs)]
    sizes = {"K": inputs, "N": outputs, "bits": bits, "block_size": block}
    x = b.quantize(b.input(1, inputs), 0.03, 5)
    y = b.op("MatMulNBits", x, *names, domain="com.microsoft", **sizes)
    check(raw(b, b.quantize(y, 0.3), domain="com.microsoft"), (inputs,))


def exact_sums(codes, scales, x) -> list[Fraction]:
    """sum of x * codes * scales of one output, in rationals."""
    scales = [Fraction(float(v)) for v in np.broadcast_to(scales, codes.shape)]
    return [
        sum(int(v) * int(c) * s for v, c, s in zip(row, codes, scales, strict=True)) for row in x
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 6, 24])
def test_sums_of_scales_are_exact(block: int) -> None:
    """Every code, against rational arithmetic."""
    b = Builder(21, seed=block)
    x = b.quantize(b.input(1, 24), 0.03)
    y = b.op("MatMul", x, b.packed("INT4", 24, 3, block=block, spread=64))
    graph = load(b.model(b.quantize(y, 0.02)))
    values = {i.name: i for i in b.initializers}
    codes, scales, zeros = (to_array(values[n]).astype(float) for n in b.nodes[2].input)
    codes = codes - np.repeat(zeros, block, axis=0)[:24]
    scales = np.repeat(scales, block, axis=0)[:24]
    inputs = np.random.default_rng(2).integers(-128, 128, (50, 24))
    got = golden.run(graph, {"x": inputs})[graph.outputs[0].name]
    for k in range(3):
        sums = exact_sums(codes[:, k], scales[:, k], inputs)
        ratio = Fraction(float(np.float32(0.03))) / Fraction(float(np.float32(0.02)))
        expected = [min(max(round(v * ratio), -128), 127) for v in sums]
        assert got[:, k].tolist() == expected


@pytest.mark.parametrize(("block", "layers"), [(1, 1), (2, 2), (8, 2), (24, 1), (10, 2)])
def test_form_of_blocks(block: int, layers: int) -> None:
    """Blocks are summed on their own where that is less work; one scale per output is one layer."""
    b = Builder(21)
    y = b.op("MatMul", b.quantize(b.input(1, 24), 0.03), b.packed("INT4", 24, 3, block=block))
    linears = [n for n in load(b.model(y)).nodes if isinstance(n, Linear)]
    assert len(linears) == layers


def test_scale_per_input_channel() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 24), 0.03)
    check(b.model(b.quantize(b.op("MatMul", x, b.weights(24, 5, channel=0)), 0.15)), (24,))
    b = Builder()
    x = b.quantize(b.input(1, 6, 4, 4), 0.03, 3)
    y = b.op("Conv", x, b.weights(4, 6, 3, 3, channel=1, zero=True), pads=[1] * 4)
    check(b.model(b.quantize(y, 0.15)), (6, 4, 4))


def test_common_divisors_become_scale() -> None:
    """Ternary weights that a quantizer has scaled to 127 are ternary again."""
    b = Builder()
    x = b.quantize(b.input(1, 24), 0.03)
    codes = b.rng.choice([-127, 0, 127], (24, 5)).astype(np.int8)
    w = b.op("DequantizeLinear", b.constant(codes), b.constant(np.float32(0.01)))
    model = b.model(b.quantize(b.op("MatMul", x, w), 0.3))
    (linear,) = [n for n in load(model).nodes if isinstance(n, Linear)]
    assert set(np.unique(linear.weight)) == {-1, 0, 1}
    check(model, (24,))


def refused(b: Builder, y: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(raw(b, y))


def test_refusals() -> None:
    b = Builder(21)
    x = b.quantize(b.input(1, 24), 0.03)
    codes, two = b.constant(np.ones((24, 5), np.int8)), b.constant(np.ones((2, 5), np.float32))
    y = b.op("MatMul", x, b.op("DequantizeLinear", codes, two, axis=0, block_size=8))
    refused(b, y, r"\[2, 5\] don't fit blocks of 8 along axis 0 of \[24, 5\]")
    b = Builder(21)
    x = b.quantize(b.input(1, 24), 0.03)
    codes = b.constant(np.ones((24, 5), np.int8))
    far = b.constant(np.resize([1e-30, 1, 1e30], (24, 5)).astype(np.float32))
    y = b.op("MatMul", x, b.op("DequantizeLinear", codes, far, axis=0, block_size=1))
    refused(b, y, "so far apart that exact sums need more than 62 bits")
    b = Builder(21)
    x = b.quantize(b.input(1, 24), 0.03)
    y = b.quantize(b.op("MatMul", x, b.packed("INT4", 24, 5, block=8, spread=1e4)), 0.1, 100)
    with pytest.raises(ConfigError, match="requant_bits=32 needs an offset of more than 62 bits"):
        hwgen.compile(b.model(y), config={"requant_bits": 32})
