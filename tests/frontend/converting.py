"""Small float models, and conversions of them against ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx

import hwgen
from hwgen.formats import parse_arithmetic
from hwgen.frontend import read
from hwgen.frontend.convert import Options, convert
from hwgen.frontend.convert.reference import evaluator
from tests.qdq import Builder

SIZE = (3, 8, 8)


def evaluated(proto: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session, name = evaluator(proto), proto.graph.input[0].name
    return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in inputs])


def samples(count: int = 12, size: tuple[int, ...] = SIZE, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, *size)).astype(np.float32)


def converted(proto, arith: str, inputs: np.ndarray | None = None, **options) -> onnx.ModelProto:
    return read(convert(read(proto), Options(parse_arithmetic(arith), **options), inputs))


def check(proto: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """The golden model gives what the reference evaluator does, but at ties."""
    got = next(iter(hwgen.compile(proto).golden(inputs).values()))
    expected = evaluated(proto, inputs)
    away = np.abs(got.reshape(expected.shape) - expected)
    assert (away > 1e-3 * np.abs(expected).max()).mean() < 0.02
    return got.reshape(expected.shape)


def weights(b: Builder, *size: int) -> str:
    fan = np.prod(size[1:]) if len(size) == 4 else size[0]
    return b.constant((b.rng.normal(0, 1, size) / np.sqrt(fan)).astype(np.float32), "w")


def conv(b: Builder, x: str, *size: int, **attributes) -> str:
    return b.op("Conv", x, weights(b, *size), b.bias(size[0]), **attributes)


def scalar(b: Builder, value: float) -> str:
    return b.constant(np.float32(value))


def channels(b: Builder, count: int) -> str:
    return b.constant(b.rng.uniform(0.5, 2, (count, 1, 1)).astype(np.float32))


def normalized(b: Builder, x: str, count: int) -> str:
    numbers = [b.constant(b.rng.uniform(0.5, 2, count).astype(np.float32)) for _ in range(4)]
    return b.op("BatchNormalization", x, *numbers)


def residual(b: Builder, x: str) -> str:
    y = b.op("Relu", conv(b, x, 4, 3, 3, 3, pads=[1] * 4))
    z = b.op("Add", conv(b, y, 4, 2, 3, 3, pads=[1] * 4, group=2), y)
    return conv(b, b.op("Relu", z), 2, 4, 1, 1, strides=[2, 2])


def pooled(b: Builder, x: str) -> str:
    y = b.op("MaxPool", conv(b, x, 4, 3, 3, 3), kernel_shape=[2, 2], strides=[2, 2])
    y = b.op("AveragePool", b.op("Relu", y), kernel_shape=[2, 2])
    y = b.op("Flatten", b.op("MaxPool", y, kernel_shape=[2, 1]))
    return b.op("Gemm", y, weights(b, 8, 5), b.bias(5))


def prepared_input(b: Builder, x: str) -> str:
    y = b.op("Div", b.op("Sub", x, channels(b, 3)), channels(b, 3))
    return conv(b, y, 4, 3, 3, 3)


def sums_at_the_end(b: Builder, x: str) -> str:
    return b.op("Relu", b.op("Add", conv(b, x, 4, 3, 1, 1), conv(b, x, 4, 3, 1, 1)))


def sums_then_normalized(b: Builder, x: str) -> str:
    y = b.op("Sub", conv(b, x, 4, 3, 1, 1), conv(b, x, 4, 3, 1, 1))
    return conv(b, b.op("Relu", normalized(b, y, 4)), 2, 4, 1, 1)


def gated(b: Builder, x: str) -> str:
    y = conv(b, x, 4, 3, 1, 1)
    gate = b.op("Sigmoid", conv(b, b.op("GlobalAveragePool", y), 4, 4, 1, 1))
    return conv(b, b.op("Mul", y, gate), 2, 4, 1, 1)


def swish(b: Builder, x: str) -> str:
    y = conv(b, x, 4, 3, 1, 1)
    y = b.op("Mul", y, b.op("Sigmoid", y))
    z = b.op("Clip", b.op("Add", y, scalar(b, 3)), scalar(b, 0), scalar(b, 6))
    return conv(b, b.op("Mul", y, b.op("Div", z, scalar(b, 6))), 2, 4, 1, 1)


def joined(b: Builder, x: str) -> str:
    y = b.op("Relu", conv(b, x, 4, 3, 1, 1))
    y = b.op("Relu", normalized(b, b.op("Concat", x, y, axis=1), 7))
    return conv(b, b.op("Concat", y, y, axis=1), 2, 14, 1, 1)


def moved(b: Builder, x: str) -> str:
    y = b.op("Relu", normalized(b, conv(b, x, 4, 3, 1, 1), 4))
    ints = [b.constant(np.array(v, dtype=np.int64)) for v in ([0, 0, 1, 1, 0, 0, 1, 1], [1, 2, -1])]
    y = b.op("Reshape", b.op("Pad", y, ints[0]), ints[1])
    y = b.op("MatMul", b.op("Transpose", y, perm=[0, 2, 1]), weights(b, 2, 5))
    y = b.op("Transpose", y, perm=[0, 2, 1])
    return b.op("Softmax", y, axis=1)


def transposed(b: Builder, x: str) -> str:
    y = b.op("ConvTranspose", x, weights(b, 3, 2, 3, 3), b.bias(2), strides=[2, 2])
    return b.op("Tanh", b.op("HardSwish", normalized(b, y, 2)))


MODELS = {
    f.__name__: f
    for f in (
        residual, pooled, prepared_input, sums_at_the_end, sums_then_normalized, gated, joined,
        moved, transposed, swish,
    )
}  # fmt: skip


def model(make, *size, opset: int = 17) -> onnx.ModelProto:
    b = Builder(opset=opset)
    return b.model(make(b, b.input(1, *(size or SIZE))))
