"""Layers in blocks: what they compute, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import hwgen
from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Block, decode_block, encode_block, parse
from hwgen.frontend import load
from hwgen.golden import run
from tests.rtl.block_graphs import BlockBuilder


def rounded(fmt: Block, values: np.ndarray) -> np.ndarray:
    """Numbers as blocks along the last axis hold them."""
    return decode_block(fmt, *encode_block(fmt, values))


def reads(kernel: int, groups: int, image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (H', W', groups, kernel * kernel * C / groups), in (ky, kx, channel) order."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), axis=(1, 2))
    channels, height, width = windows.shape[:3]
    split = windows.reshape(groups, channels // groups, height, width, kernel, kernel)
    return split.transpose(2, 3, 0, 4, 5, 1).reshape(height, width, groups, -1)


@pytest.mark.parametrize("name", ["mxfp8", "mxfp4", "mxint8", "block<e2m1,5>"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution(name: str, groups: int) -> None:
    """Blocks run along (ky, kx, channel) of a group, and the sums are exact."""
    b, fmt = BlockBuilder(name, 3), parse(name)
    assert isinstance(fmt, Block)
    weight = b.rng.normal(0, 1, (4, 4 // groups, 3, 3)).astype(np.float32)
    x = b.carried(b.input(1, 4, 5, 6), 2.0**-8)
    w = b.in_blocks(b.constant(weight), fmt)
    graph = load(b.model(b.layer("Conv", x, w, group=groups)))
    codes = np.random.default_rng(1).integers(-(1 << 15), 1 << 15, (4, 5, 6))
    (port,) = graph.inputs
    got = run(graph, {port.name: codes.transpose(1, 2, 0).reshape(1, -1)})
    (output,) = graph.outputs
    sums = got[output.name][0].reshape(3, 4, groups, 4 // groups).astype(float)
    windows = rounded(fmt, reads(3, groups, codes * 2.0**-8))
    rows = weight.transpose(0, 2, 3, 1).reshape(groups, 4 // groups, -1).astype(float)
    wanted = np.einsum("yxgk,gok->yxgo", windows, rounded(fmt, rows))
    np.testing.assert_allclose(sums * float(np.ravel(output.scale)[0]), wanted, rtol=1e-12)


def dense(name: str, inputs: int = 40) -> BlockBuilder:
    b = BlockBuilder(name, 1)
    x = b.carried(b.input(1, inputs), 2.0**-8)
    b.layer("MatMul", x, b.spread(inputs, 3))
    return b


def test_weights_follow_the_stream() -> None:
    """A dense layer behind a convolution reads channels last; blocks lie in that order."""
    b, fmt = BlockBuilder("block<e2m1,4>", 2), parse("block<e2m1,4>")
    weight = b.rng.normal(0, 1, (24, 1)).astype(np.float32)
    y = b.quantize(b.input(1, 2, 3, 4), 2.0**-8, 0, np.int16)
    y = b.quantize(b.op("MaxPool", y, kernel_shape=[1, 1]), 2.0**-8, 0, np.int16)
    y = b.in_blocks(b.op("Flatten", y), fmt)
    graph = load(b.model(b.layer("MatMul", y, b.in_blocks(b.constant(weight), fmt))))
    codes = np.random.default_rng(1).integers(-999, 999, (2, 3, 4)).transpose(1, 2, 0).ravel()
    got = run(graph, {graph.inputs[0].name: codes[None]})[graph.outputs[0].name]
    rows = weight.reshape(2, 3, 4).transpose(1, 2, 0).ravel()
    wanted = rounded(fmt, codes * 2.0**-8) @ rounded(fmt, rows.astype(float))
    assert float(np.ravel(graph.outputs[0].scale)[0]) * got.item() == pytest.approx(wanted)


@pytest.mark.parametrize(("simd", "good"), [(32, 1), (8, 1), (1, 1), (5, 0), (40, 0)])
def test_words_never_cross_a_block(simd: int, good: int) -> None:
    b = dense("mxfp4")
    model, fold = b.model(b.nodes[-1].output[0]), {b.nodes[-1].name: {"simd": simd}}
    if good:
        hwgen.compile(model, overrides=fold)
    else:
        allowed = f"simd must divide its blocks: 1, 2, 4, 8, 16, 32, not {simd}"
        with pytest.raises(ConfigError, match=allowed):
            hwgen.compile(model, overrides=fold)


@pytest.mark.parametrize("op", ["Relu", "Flatten", "Sigmoid", "GlobalAveragePool", "Transpose"])
def test_only_layers_read_blocks(op: str) -> None:
    b = BlockBuilder("mxfp8")
    y = b.op(op, b.carried(b.input(1, 3, 4, 4), 2.0**-8))
    with pytest.raises(
        ModelError, match=r"reads activations in mxfp8, which only Conv, .* do; put"
    ):
        load(b.model(b.quantize(y, 0.1)))


def test_no_output_of_blocks() -> None:
    b = BlockBuilder("mxfp8")
    with pytest.raises(ModelError, match=r"output .* reads activations in mxfp8, which only"):
        load(b.model(b.carried(b.input(1, 3), 2.0**-8)))


@pytest.mark.parametrize(
    ("scale", "zero", "dtype"), [(0.1, 0, np.int16), (0.5, 3, np.int8), (0.5, 128, np.uint8)]
)
def test_blocks_are_made_of_fixed_point(scale: float, zero: int, dtype: type) -> None:
    b = BlockBuilder("mxfp8")
    y = b.in_blocks(b.quantize(b.input(1, 8), scale, zero, dtype), "mxfp8")
    with pytest.raises(ModelError, match=r"makes mxfp8 of u?int.*zero point 0 and a scale that is"):
        load(b.model(b.layer("MatMul", y, b.spread(8, 2))))


def test_both_operands_are_in_blocks() -> None:
    b = BlockBuilder("mxfp8")
    x = b.carried(b.input(1, 8), 0.5)
    with pytest.raises(ModelError, match="multiplies mxfp8 by integers; quantize its input and"):
        load(b.model(b.layer("MatMul", x, b.weights(8, 2))))
    b = BlockBuilder("mxfp8")
    x = b.quantize(b.input(1, 8), 0.5)
    with pytest.raises(ModelError, match="multiplies int8 by mxfp8; quantize its input and its"):
        load(b.model(b.layer("MatMul", x, b.spread(8, 2))))
    b = BlockBuilder("mxfp8")
    w = b.in_blocks(b.constant(np.ones((8, 2), np.float32)), "mxint8")
    y = b.layer("MatMul", b.carried(b.input(1, 8), 0.5), w)
    with pytest.raises(ModelError, match="multiplies mxfp8 by mxint8: blocks of floats by blocks"):
        load(b.model(y))


def test_weights_too_far_apart() -> None:
    b = BlockBuilder("block<e4m3fn,1>")
    values = b.constant(np.array([[1e30], [1e-20]], np.float32))
    y = b.layer("MatMul", b.carried(b.input(1, 2), 0.5), b.in_blocks(values, "block<e4m3fn,1>"))
    with pytest.raises(ModelError, match=r"exact sums of its blocks need 2\d\d bits, 160 are"):
        load(b.model(y))


def test_a_bias_in_blocks() -> None:
    b = BlockBuilder("mxfp8")
    x = b.carried(b.input(1, 8), 0.5)
    y = b.layer("Gemm", x, b.spread(8, 2), b.in_blocks(b.bias(2), "mxfp8"))
    with pytest.raises(ModelError, match="constants in mxfp8, which only weights of layers can"):
        load(b.model(y))


def test_transposed_convolution() -> None:
    """Nearly what float gives, in blocks of many bits."""
    b = BlockBuilder("block<int16,8>", 4)
    weight = b.rng.normal(0, 1, (2, 3, 3, 3)).astype(np.float32)
    x = b.carried(b.input(1, 2, 4, 4), 2.0**-8)
    y = b.layer("ConvTranspose", x, b.in_blocks(b.constant(weight), "block<int16,8>"))
    design = hwgen.compile(b.model(y))
    values = b.rng.integers(-999, 999, (1, 2, 4, 4)) * 2.0**-8
    (got,) = design.golden(values.astype(np.float32)).values()
    wanted = np.zeros((3, 6, 6))
    for row, column in np.ndindex(4, 4):
        patch = np.einsum("c,cokl->okl", values[0, :, row, column], weight)
        wanted[:, row : row + 3, column : column + 3] += patch
    np.testing.assert_allclose(got[0], wanted, atol=0.01)
