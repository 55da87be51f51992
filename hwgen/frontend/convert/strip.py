"""From a quantized model to the float model it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from hwgen.errors import ModelError
from hwgen.frontend import constants
from hwgen.frontend.convert.dialects import (
    BIPOLAR,
    DEQUANTIZE,
    FLOAT,
    OWN,
    QUANT,
    QUANTIZE,
    TRUNC,
    bounds,
    dequantized,
    limits,
    quantized,
)
from hwgen.frontend.editor import Editor, attribute, kind
from hwgen.frontend.read import DOMAINS
from hwgen.frontend.values import Constant

# Ops that move elements of their first input, or choose among them: what they give has the same
# quantization.
MOVES = frozenset(
    "Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Gather DepthToSpace Expand Resize "
    "Upsample Identity Dropout MaxPool".split()
)
KEPT = QUANTIZE | DEQUANTIZE | QUANT | BIPOLAR | FLOAT | {OWN}
POSITIVE = frozenset("Relu Sigmoid HardSigmoid Softmax Abs".split())
KEEPS_SIGN = MOVES | frozenset("Concat AveragePool GlobalAveragePool ReduceMean Pad".split())


@dataclass(frozen=True)
class Grid:
    """What codes stand for: (code - zero) * scale, codes within [low, high]."""

    scale: np.ndarray
    zero: np.ndarray
    low: float
    high: float

    @property
    def reach(self) -> tuple[float, float]:
        """The least and greatest number; of grids per channel, none."""
        if self.scale.size > 1 or self.zero.size > 1:
            return -np.inf, np.inf
        scale, zero = float(self.scale.item()), float(self.zero.item())
        return (self.low - zero) * scale, (self.high - zero) * scale


def fold(editor: Editor, quantized_too: bool = True) -> None:
    """Compute every node that depends on constants alone; quantizers where `quantized_too`."""
    kept = []
    editor.sort()
    for node in editor.nodes:
        skipped = not quantized_too and kind(node) in KEPT
        results = None if skipped else folded(editor, node)
        if results is None:
            kept.append(node)
        else:
            editor.constants |= dict(zip(node.output, results, strict=False))
    editor.nodes = kept


def folded(editor: Editor, node: onnx.NodeProto) -> list[np.ndarray] | None:
    """What a node of constants gives; None where it depends on more."""
    op, arrays = kind(node), [editor.constants.get(i) if i else None for i in node.input]
    if not all(a is not None or not i for a, i in zip(arrays, node.input, strict=True)):
        return None
    if op in DEQUANTIZE:
        return [dequantized(node, arrays)]
    if op in KEPT - QUANTIZE:
        return [quantized(node, arrays[0], arrays[1:])]
    values = [None if a is None else Constant(a) for a in arrays]
    if node.domain not in DOMAINS or not constants.foldable(node, values):
        return None
    try:
        made = constants.fold(node, values, editor.opset)
    except ModelError as error:
        raise ModelError(f"node {node.name!r}: {error}") from error
    return [value.array for value in made if isinstance(value, Constant)]


@dataclass
class _Strip:
    editor: Editor
    alias: dict[str, str] = field(default_factory=dict)  # what stands in for a tensor
    grids: dict[str, Grid] = field(default_factory=dict)  # of tensors that hold codes
    positive: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)  # the model's inputs, moved or not

    def run(self) -> None:
        editor = self.editor
        self.inputs = set(editor.inputs)
        editor.sort()
        before, editor.nodes = editor.nodes, []
        for node in before:
            old = list(node.input)
            for k, name in enumerate(old):
                node.input[k] = self.alias.get(name, name)
            self._node(node, kind(node), old)
        self._name_outputs()

    def _node(self, node: onnx.NodeProto, op: str, old: list[str]) -> None:
        first, source = (old[0], node.input[0]) if old else ("", "")
        result = node.output[0]
        if op in QUANTIZE:
            self.grids[result] = self._grid(node)
            self.alias[result] = source
        elif op in DEQUANTIZE and first in self.grids:
            self.alias[result] = self._dequantize(node, self.grids[first], source)
        elif op == "Clip" and first in self.grids:
            self.grids[result] = self._narrowed(node, self.grids[first])
            self.alias[result] = source
        elif op in QUANT:
            scale, zero, bits = (self._constant(node, k) for k in (1, 2, 3))
            grid = Grid(scale, zero, *limits(node, bits))
            self.alias[result] = self._limited(node, grid, source)
        elif op in FLOAT | {OWN}:
            self.alias[result] = source
        elif op in BIPOLAR | TRUNC:
            raise ModelError(
                f"node {node.name!r}: {node.op_type} of activations is part of what the model "
                "computes, so the model can't be converted to another arithmetic"
            )
        else:
            self._keep(node, op, old, first, source)

    def _keep(self, node, op: str, old: list[str], first: str, source: str) -> None:
        codes = [name for name in old if name in self.grids]
        if codes and op not in MOVES | {"Concat", "Pad", "Shape"}:
            raise ModelError(
                f"node {node.name!r}: {node.op_type} computes with codes, so the model can't be "
                "converted to another arithmetic; start from the float model"
            )
        self.editor.nodes.append(node)
        signs = {i in self.positive for i in node.input if i not in self.editor.constants}
        for output in node.output:
            if codes and op != "Shape":
                self.grids[output] = self.grids[first]
            if source in self.inputs and op in MOVES:
                self.inputs.add(output)
            if op in POSITIVE or (op == "Clip" and self._floor(node) >= 0):
                self.positive.add(output)
            elif op in KEEPS_SIGN | {"Min", "Mul", "Add"} and signs == {True}:
                fixed = [self.editor.constants[i] for i in node.input if i in self.editor.constants]
                if op in KEEPS_SIGN or all((c >= 0).all() for c in fixed):
                    self.positive.add(output)

    def _floor(self, node: onnx.NodeProto) -> float:
        """The lower limit of a Clip."""
        least = attribute(node, "min", -np.inf)
        if len(node.input) > 1 and node.input[1] in self.editor.constants:
            least = np.ravel(self.editor.constants[node.input[1]])[0]
        return float(least)

    def _constant(self, node: onnx.NodeProto, k: int) -> np.ndarray:
        array = self.editor.constants.get(node.input[k])
        if array is None:
            raise ModelError(f"node {node.name!r}: input {k} must be a constant")
        return array

    def _grid(self, node: onnx.NodeProto) -> Grid:
        """The codes of a QuantizeLinear."""
        scale = self._constant(node, 1)
        given = len(node.input) > 2 and node.input[2]
        zero = self._constant(node, 2) if given else np.zeros((), np.uint8)
        name = zero.dtype.name
        if not given and (output := attribute(node, "output_dtype", 0)):
            name = onnx.TensorProto.DataType.Name(output).lower()
        if name.startswith("float"):
            return Grid(scale, zero.astype(np.float64), -np.inf, np.inf)
        digits = name.lstrip("uint")
        if not digits.isdigit():
            raise ModelError(f"node {node.name!r}: quantizes to {name}, which is not supported")
        reach = bounds(int(digits), not name.startswith("u"), False)
        return Grid(scale, zero.astype(np.float64), *reach)

    def _narrowed(self, node: onnx.NodeProto, grid: Grid) -> Grid:
        """The codes a Clip leaves."""
        ends = [attribute(node, "min", grid.low), attribute(node, "max", grid.high)]
        for k in (1, 2):
            if len(node.input) > k and node.input[k]:
                ends[k - 1] = float(np.ravel(self._constant(node, k))[0])
        return Grid(grid.scale, grid.zero, max(grid.low, ends[0]), min(grid.high, ends[1]))

    def _dequantize(self, node: onnx.NodeProto, grid: Grid, source: str) -> str:
        scale = self._constant(node, 1)
        zero = self._constant(node, 2) if len(node.input) > 2 else np.zeros(())
        zero = zero.astype(np.float64)
        if not (np.array_equal(scale, grid.scale) and np.array_equal(zero, grid.zero)):
            raise ModelError(
                f"node {node.name!r}: its scale or zero point is not that of the QuantizeLinear "
                "before it, so the model can't be converted to another arithmetic"
            )
        return self._limited(node, grid, source)

    def _limited(self, node: onnx.NodeProto, grid: Grid, source: str) -> str:
        """The tensor, behind a Clip where the quantizer's range is what cuts off negative numbers:
        quantizers leave out a Relu in front of such a range."""
        low, high = grid.reach
        if low < 0 or source in self.positive or source in self.inputs:
            return source
        result = self.editor.clip(source, low, high, f"{node.name}_range")
        self.positive.add(result)
        return result

    def _name_outputs(self) -> None:
        """The model's outputs keep their names."""
        editor, producers = self.editor, self.editor.producers()
        for value in editor.model.graph.output:
            name = value.name
            if name in self.grids:  # codes become numbers
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            source = self.alias.get(name)
            if source is None:
                continue
            if source in producers and source not in editor.outputs:
                editor.rename(source, name)
                self.alias = {k: name if v == source else v for k, v in self.alias.items()}
                self.alias[source] = name
                producers = editor.producers()
            else:
                editor.add("Identity", [source], f"{name}_copy")
                editor.nodes[-1].output[0] = name


def strip(editor: Editor) -> dict[str, str]:
    """Remove every quantizer; constants become the numbers they stood for. Returns what stands in
    for tensors that are gone.

    Where a quantizer's range starts at zero and nothing before it does, a Clip to that range stays.
    """
    fold(editor)
    stripping = _Strip(editor)
    stripping.run()
    editor.sort()
    return stripping.alias
