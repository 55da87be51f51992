"""Transposed convolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from hwgen.errors import ModelError
from hwgen.frontend.blocks import operand
from hwgen.frontend.constants import check_elements
from hwgen.frontend.node import Node
from hwgen.frontend.operands import weights
from hwgen.frontend.ops_layers import conv, per_output
from hwgen.frontend.values import Numbers, Value, rearrange


@dataclass(frozen=True)
class Axis:
    """One axis of a transposed convolution.

    Input i goes to the outputs i * stride + tap * dilation - before. So output j * stride + phase
    reads the inputs j + offset, offset = (phase + before - tap * dilation) / stride, of those taps
    where that is whole: for each phase a convolution of stride 1.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    output: int

    @property
    def steps(self) -> int:
        """Outputs of each phase; of some phases the last one may be too many."""
        return -(-self.output // self.stride)

    @property
    def reads(self) -> list[tuple[int, int, int]]:
        """(phase, tap, offset) of all weights."""
        sums = [
            (phase, tap, phase + self.before - tap * self.dilation)
            for phase, tap in product(range(self.stride), range(self.kernel))
        ]
        return [(p, tap, n // self.stride) for p, tap, n in sums if n % self.stride == 0]

    @property
    def window(self) -> tuple[int, int]:
        """The first and last offset read, with those that keep the padding from being negative."""
        offsets = [offset for _, _, offset in self.reads]
        return min([0, *offsets]), max([self.size - self.steps, *offsets])

    @property
    def pads(self) -> tuple[int, int]:
        """Padding of the input before and after."""
        first, last = self.window
        return -first, self.steps + last - self.size


def conv_transpose(node: Node) -> Value:
    """ConvTranspose in one or two dimensions: a Conv of stride 1 that gives all phases as channels,
    which then lie between each other."""
    x, w = operand(node), weights(node.input(1))
    rank = w.codes.ndim - 2
    if rank not in (1, 2) or x.ids.ndim != rank + 2:
        raise ModelError(
            f"convolves {list(x.ids.shape)} with weights {list(w.codes.shape)}; 1-D and 2-D are "
            f"supported"
        )
    inputs, outputs, *kernel = w.codes.shape
    groups = node.attribute("group", 1)
    declared = node.attribute("kernel_shape", kernel)
    if list(declared) != kernel or groups < 1 or inputs % groups or inputs != x.ids.shape[1]:
        raise ModelError(
            f"the weights {list(w.codes.shape)} don't fit an input of {x.ids.shape[1]} channels "
            f"in {groups} groups"
        )
    axes = _axes(node, x.ids.shape[2:], kernel)
    check_elements((groups * outputs, *(axis.output for axis in axes)), "its output")
    strides, steps = [axis.stride for axis in axes], [axis.steps for axis in axes]

    def each(a: np.ndarray) -> np.ndarray:
        """What every group and phase has of an array of (groups, outputs) or (1, outputs)."""
        spread = a.reshape(-1, *[1] * rank, outputs)
        return np.broadcast_to(spread, (groups, *strides, outputs)).reshape(-1)

    scale: Numbers = w.scale
    if scale.ndim:
        scale = each(per_output(scale, 1, outputs)).reshape(-1, *[1] * (rank + 1))
    bias = node.input(2)
    if bias is not None:
        try:
            bias = rearrange(bias, each)
        except ValueError as error:
            raise ModelError(f"the bias does not fit {groups * outputs} outputs") from error
    befores, afters = zip(*(axis.pads for axis in axes), strict=True)
    phases = conv(
        node.having(
            node.input(0), replace(w, codes=_phases(w.codes, groups, axes), scale=scale), bias,
            group=groups, pads=[*befores, *afters],
        )
    )  # fmt: skip
    order = [0, 1, 2 + rank, *(k for axis in range(rank) for k in (3 + rank + axis, 2 + axis))]
    full = (1, groups * outputs, *(axis.steps * axis.stride for axis in axes))
    kept = (slice(None), slice(None), *(slice(axis.output) for axis in axes))
    return rearrange(
        phases,
        lambda a: (
            a.reshape(1, groups, *strides, outputs, *steps).transpose(order).reshape(full)[kept]
        ),
    )


def _phases(codes: np.ndarray, groups: int, axes: list[Axis]) -> np.ndarray:
    """Weights (inputs, outputs per group, kernel...) as those of the Conv: (groups * phases *
    outputs per group, inputs per group, window...)."""
    inputs, outputs, *kernel = codes.shape
    by_group = codes.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    windows = [axis.window for axis in axes]
    strides = [axis.stride for axis in axes]
    taps = [last - first + 1 for first, last in windows]
    result = np.zeros((groups, *strides, *by_group.shape[1:3], *taps), dtype=codes.dtype)
    for reads in product(*(axis.reads for axis in axes)):
        phase, tap, offset = zip(*reads, strict=True)
        place = [n - first for n, (first, _) in zip(offset, windows, strict=True)]
        result[:, *phase, :, :, *place] = by_group[:, :, :, *tap]
    return result.reshape(-1, inputs // groups, *taps)


def _axes(node: Node, sizes: tuple[int, ...], kernel: list[int]) -> list[Axis]:
    """The axes, from the node's attributes."""
    rank = len(kernel)
    ones = [1] * rank
    strides, dilations = (node.attribute(k, ones) for k in ("strides", "dilations"))
    extra = node.attribute("output_padding", [0] * rank)
    pads = node.attribute("pads", [0] * 2 * rank)
    wanted, auto = node.attribute("output_shape", None), node.attribute("auto_pad", "NOTSET")
    lists = (strides, dilations, extra, pads[:rank], pads[rank:], wanted or ones)
    if any(len(values) != rank for values in lists):
        raise ModelError(f"needs {rank} numbers for each attribute, one for each axis")
    if min(*strides, *dilations, *kernel) < 1 or min(*extra, *pads) < 0:
        raise ModelError("has negative pads, or a stride, dilation or kernel below 1")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"auto_pad={auto!r} is not known")
    if auto == "VALID":
        pads = [0] * 2 * rank
    if auto.startswith("SAME") and not wanted:
        wanted = [n * stride for n, stride in zip(sizes, strides, strict=True)]
    axes = []
    for k, size in enumerate(sizes):
        full = strides[k] * (size - 1) + extra[k] + (kernel[k] - 1) * dilations[k] + 1
        before, output = pads[k], full - pads[k] - pads[k + rank]
        if wanted:
            output, cut = wanted[k], max(0, full - wanted[k])
            before = cut // 2 if auto == "SAME_UPPER" else cut - cut // 2
        if output < 1:
            raise ModelError("its pads leave nothing of its output")
        axes.append(Axis(size, kernel[k], strides[k], dilations[k], before, output))
    return axes


LOWER = {"ConvTranspose": conv_transpose}
