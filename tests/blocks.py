"""Converted models in ONNX's reference evaluator: layers whose operands are in blocks by their
definition, the reduction written out."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference.op_run import OpRun

from hwgen.formats import Block, decode_block, encode_block, parse
from hwgen.frontend.convert.reference import evaluator

DOMAIN = "tests"


def rounded(name: str, array: np.ndarray, axis: int) -> np.ndarray:
    """Numbers in blocks along an axis."""
    fmt = parse(name)
    return decode_block(fmt, *encode_block(fmt, array, axis), axis)


class Conv(OpRun):
    """Two dimensions; blocks run over kernel rows, kernel columns, channels of a group."""

    op_domain = DOMAIN

    def _run(
        self, x, w, bias=None, x_format=None, w_format=None, group=None, strides=None, pads=None,
        dilations=None, kernel_shape=None, auto_pad=None,
    ):  # fmt: skip
        group, pads = group or 1, pads or (0, 0, 0, 0)
        strides, dilations = strides or (1, 1), dilations or (1, 1)
        outputs, per_group, rows, columns = w.shape
        x = np.pad(x, ((0, 0), (0, 0), pads[::2], pads[1::2]))
        height, width = (
            (x.shape[2 + k] - dilations[k] * (w.shape[2 + k] - 1) - 1) // strides[k] + 1
            for k in (0, 1)
        )
        taps = [
            x[:, :, dilations[0] * r :, dilations[1] * c :][
                :, :, : strides[0] * height : strides[0], : strides[1] * width : strides[1]
            ]
            for r in range(rows)
            for c in range(columns)
        ]
        parts = []
        for g in range(group):
            chosen = [tap[:, g * per_group : (g + 1) * per_group] for tap in taps]
            patches = np.stack(chosen, 1).transpose(0, 3, 4, 1, 2)  # (N, H, W, taps, channels)
            patches = patches.reshape(*patches.shape[:3], -1)
            weights = w[g * outputs // group : (g + 1) * outputs // group]
            weights = weights.transpose(0, 2, 3, 1).reshape(len(weights), -1)
            product = rounded(x_format, patches, -1) @ rounded(w_format, weights, -1).T
            parts.append(product.transpose(0, 3, 1, 2))
        y = np.concatenate(parts, axis=1)
        y = y if bias is None else y + bias.reshape(-1, 1, 1)
        return (y.astype(np.float32),)


class Gemm(OpRun):
    """Without transA."""

    op_domain = DOMAIN

    def _run(
        self, x, w, bias=None, x_format=None, w_format=None, alpha=None, beta=None, transA=None,
        transB=None,
    ):  # fmt: skip
        assert not transA
        alpha, beta = (1.0 if v is None else v for v in (alpha, beta))
        w = w.T if transB else w
        y = alpha * (rounded(x_format, x, -1) @ rounded(w_format, w, 0))
        y = y if bias is None else y + beta * bias
        return (y.astype(np.float32),)


class MatMul(OpRun):
    """Rows by a constant matrix."""

    op_domain = DOMAIN

    def _run(self, x, w, x_format=None, w_format=None):
        y = rounded(x_format, x, -1) @ rounded(w_format, w, -2)
        return (y.astype(np.float32),)


def outputs(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """The only output of a converted model, sample by sample (samples, ...)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {node.output[0]: node for node in copy.graph.node}
    for node in copy.graph.node:
        made = [makers.get(name) for name in node.input[:2]]
        formats = [block_of(maker) for maker in made]
        if len(made) == 2 and all(formats):
            node.domain = DOMAIN
            for k, maker in enumerate(made):
                node.input[k] = maker.input[0]
            for key, value in zip(("x_format", "w_format"), formats, strict=True):
                node.attribute.append(onnx.helper.make_attribute(key, value))
    copy.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    session = evaluator(copy, Conv, Gemm, MatMul)
    name = model.graph.input[0].name
    return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in inputs])


def block_of(maker: onnx.NodeProto | None) -> str:
    """The format of a node that forms blocks; else nothing."""
    if maker is None or maker.op_type != "Quantize" or maker.domain != "hwgen":
        return ""
    (name,) = (a.s.decode() for a in maker.attribute if a.name == "format")
    return name if isinstance(parse(name), Block) else ""
