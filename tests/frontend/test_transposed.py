"""Transposed convolutions against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.errors import ModelError
from hwgen.frontend import load
from hwgen.ir import Linear
from tests.frontend.test_ops import check, conv
from tests.qdq import Builder
from tests.small import raw

CASES: dict[str, tuple] = {
    "plain": ((1, 3, 5, 4), (3, 4, 3, 3), {}),
    "double": ((1, 3, 5, 4), (3, 4, 2, 2), {"strides": [2, 2]}),
    "kernel3": (
        (1, 3, 5, 4),
        (3, 4, 3, 3),
        {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]},
    ),
    "kernel4": ((1, 3, 5, 4), (3, 4, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
    "odd": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "pads": [1] * 4}),
    "uneven": ((1, 3, 5, 4), (3, 4, 3, 2), {"strides": [3, 2], "pads": [1, 0, 0, 1]}),
    "gaps": ((1, 3, 5, 4), (3, 4, 1, 2), {"strides": [3, 4]}),
    "dilation": (
        (1, 3, 5, 4),
        (3, 4, 3, 2),
        {"strides": [2, 3], "dilations": [2, 3], "pads": [1, 0, 0, 1]},
    ),
    "dilation_alone": ((1, 3, 5, 4), (3, 4, 3, 2), {"strides": [2, 1], "dilations": [3, 2]}),
    "groups": ((1, 4, 5, 4), (4, 3, 3, 3), {"strides": [2, 2], "group": 2}),
    "depthwise": ((1, 4, 5, 4), (4, 1, 3, 3), {"strides": [2, 2], "group": 4, "pads": [1] * 4}),
    "wide_pads": ((1, 3, 5, 4), (3, 4, 2, 2), {"strides": [2, 2], "pads": [3, 2, 2, 1]}),
    "shape": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8]}),
    "shape_and_more": (
        (1, 3, 5, 4),
        (3, 4, 3, 3),
        {"strides": [3, 2], "output_shape": [14, 7], "output_padding": [1, 0]},
    ),
    "same_upper": ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same_lower": ((1, 3, 5, 4), (3, 4, 3, 4), {"strides": [2, 3], "auto_pad": "SAME_LOWER"}),
    "valid": ((1, 3, 5, 4), (3, 4, 3, 4), {"strides": [2, 3], "auto_pad": "VALID"}),
    "line": ((1, 3, 9), (3, 4, 4), {"strides": [2], "pads": [1, 1]}),
    "line_groups": ((1, 4, 9), (4, 4, 3), {"strides": [2], "group": 2, "output_padding": [1]}),
}


def transposed(b: Builder, x: str, weights: tuple, channel: int | None, **attributes) -> str:
    w = b.weights(*weights, channel=channel, zero=True)
    bias = b.bias(weights[1] * attributes.get("group", 1))
    return b.op("ConvTranspose", x, w, bias, **attributes)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channel", [None, 1])
@pytest.mark.parametrize("zero", [0, -13])
def test_conv_transpose(case: str, channel: int | None, zero: int) -> None:
    shape, weights, attributes = CASES[case]
    b = Builder(seed=3)
    x = b.quantize(b.input(*shape), 0.03, zero)
    y = transposed(b, x, weights, channel, **attributes)
    check(b.model(b.quantize(y, 0.1537, 5)), shape[1:])


@pytest.mark.parametrize("case", ["kernel3", "odd", "groups"])
def test_between_layers(case: str) -> None:
    """In front of a convolution, and behind another; Relu; no bias."""
    _, weights, attributes = CASES[case]
    b = Builder()
    x = b.quantize(conv(b, b.quantize(b.input(1, 2, 5, 4), 0.03), (weights[0], 2, 1, 1)), 0.1, 9)
    y = b.op("Relu", b.op("ConvTranspose", x, b.weights(*weights), **attributes))
    y = b.quantize(y, 0.1537, -128)
    channels = weights[1] * attributes.get("group", 1)
    check(b.model(b.quantize(conv(b, y, (3, channels, 3, 3)), 0.517)), (2, 5, 4))


def test_a_quantized_bias() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 3, 5, 4), 0.03)
    codes = b.constant(np.array([300, -200, 100, 50], np.int32))
    bias = b.op("DequantizeLinear", codes, b.constant(np.float32(0.01)))
    y = b.op("ConvTranspose", x, b.weights(3, 4, 2, 2, channel=1), bias, strides=[2, 2])
    check(b.model(b.quantize(y, 0.1537)), (3, 5, 4))


def test_no_zero_is_multiplied() -> None:
    """Where the stride divides the kernel, there are as many products as weights for each pixel."""
    b = Builder()
    x = b.quantize(b.input(1, 3, 5, 4), 0.03)
    y = b.op("ConvTranspose", x, b.weights(3, 4, 2, 2), strides=[2, 2])
    nodes = load(b.model(b.quantize(y, 0.1))).nodes
    assert [n.weight.size for n in nodes if isinstance(n, Linear)] == [3 * 4 * 2 * 2]


@pytest.mark.parametrize(
    ("size", "weights", "attributes", "says"),
    [
        ((1, 3, 5, 4), (4, 4, 3, 3), {}, "don't fit an input of 3 channels in 1 groups"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"group": 2}, "don't fit an input of 3 channels in 2"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"kernel_shape": [2, 2]}, "don't fit"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2]}, "needs 2 numbers for each attribute"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"pads": [0, 0, 0, -1]}, "has negative pads"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"pads": [9, 9, 9, 9]}, "its pads leave nothing"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"auto_pad": "NEAR"}, "auto_pad='NEAR'"),
        ((1, 3, 5, 4), (3, 4, 3), {}, "1-D and 2-D are supported"),
        ((1, 3, 5, 4, 4), (3, 4, 3, 3, 3), {}, "1-D and 2-D are supported"),
        ((1, 3, 5, 4), (3, 4, 3, 3), {"output_shape": [1 << 14, 1 << 14]}, "64 million"),
    ],
)
def test_refusals(size, weights, attributes: dict, says: str) -> None:
    b = Builder()
    x = b.quantize(b.input(*size), 0.03)
    y = b.op("ConvTranspose", x, b.weights(*weights), **attributes)
    with pytest.raises(ModelError, match=says):
        load(raw(b, b.quantize(y, 0.1)))


def test_refused_scales_and_bias() -> None:
    b = Builder()
    x = b.quantize(b.input(1, 3, 5, 4), 0.03)
    y = b.op("ConvTranspose", x, b.weights(3, 4, 2, 2, channel=0))
    with pytest.raises(ModelError, match="a scale per input channel"):
        load(raw(b, b.quantize(y, 0.1)))
    y = b.op("ConvTranspose", x, b.weights(3, 4, 2, 2), b.bias(3))
    with pytest.raises(ModelError, match="the bias does not fit 4 outputs"):
        load(raw(b, b.quantize(y, 0.1)))
