"""Quantizers put into a float model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from hwgen.formats import Arithmetic, Block, Exponent, Fixed, Float, Int
from hwgen.frontend.convert import scaling
from hwgen.frontend.convert.demands import CARRIED, Demand, Plan, Spec
from hwgen.frontend.convert.prepare import output_axis, weights_of
from hwgen.frontend.convert.scaling import Mode, Seen
from hwgen.frontend.editor import HWGEN, QONNX, Editor, kind
from hwgen.frontend.node import ARITH

SPARE = 1.25  # times what was seen is held


@dataclass
class Inserter:
    """Puts quantizers where a plan wants them."""

    editor: Editor
    plan: Plan
    seen: Mapping[str, Seen]
    mode: Mode = "max"
    per_channel: bool = True
    made: dict[tuple[str, Spec], str] = field(default_factory=dict)

    def run(self, arith: Callable[[str], Arithmetic | None]) -> None:
        """Insert them all, and note each node's arithmetic in its metadata."""
        groups = defaultdict(list)
        for demand in self.plan.demands:
            groups[demand.anchor].append(demand)
        results = self._open()
        for anchor, demands in groups.items():
            self._group(anchor, demands)
        for name, spec in results:
            first = groups[name][0].spec if name in groups else spec
            self._result(name, first)
        for demand in self.plan.demands:
            if demand.block is not None:
                self._block(*demand.edges[0], demand.block)
        for node in self.plan.carriers:
            arithmetic = arith(node.name)
            for entry in [e for e in node.metadata_props if e.key == ARITH]:
                node.metadata_props.remove(entry)
            node.metadata_props.add(key=ARITH, value=str(arithmetic))
            if weights_of(self.editor, node) is not None:
                self._weights(node, arithmetic)

    # --- activations -----------------------------------------------------------------------------

    def _open(self) -> list[tuple[str, Spec]]:
        """The plan's results that reach an output of the model and nothing quantizes on the way."""
        demanded = {(id(d.edges[0][0]), d.edges[0][1]) for d in self.plan.demands}
        free = set(self.editor.outputs)
        for node in reversed(self.editor.nodes):
            if any(output in free for output in node.output):
                free |= {name for k, name in enumerate(node.input) if (id(node), k) not in demanded}
        return [(name, spec) for name, spec in self.plan.results if name in free]

    def _group(self, anchor: str, demands: list[Demand]) -> None:
        """Serve the demands for one tensor: one quantizer there, or one for each format, in front
        of its readers."""
        if len({demand.spec for demand in demands}) == 1:
            result = self._quantizer(anchor, demands[0].spec, anchor)
            for demand in demands:
                node, k = demand.edges[-1]
                node.input[k] = result
            return
        maker = self.editor.producers().get(anchor)
        # A port has one format, so have joined tensors; and padding is with a code.
        shared = maker is None or kind(maker) == "Concat" or any(d.padded for d in demands)
        if shared:
            result = self._quantizer(anchor, CARRIED, anchor)
            for demand in demands:
                node, k = demand.edges[-1]
                node.input[k] = result
        for demand in demands:
            if not (shared and demand.spec == CARRIED):
                node, k = demand.edges[0]
                node.input[k] = self._quantizer(node.input[k], demand.spec, anchor)

    def _result(self, name: str, spec: Spec) -> None:
        """Quantize a tensor for all its readers that don't read it quantized."""
        editor = self.editor
        quantizers = {id(editor.producers()[made]) for made in self.made.values()}
        result = self._quantizer(name, spec, name)
        own = {id(node) for node in self._makers(name, result)}
        for node, k in editor.readers()[name]:
            if id(node) not in quantizers | own:
                node.input[k] = result
        if name in editor.outputs:
            editor.rename(name, editor.fresh(f"{name}_real"))
            editor.add("Identity", [result], f"{name}_copy")
            editor.nodes[-1].output[0] = name

    def _makers(self, source: str, result: str) -> list[onnx.NodeProto]:
        """The nodes between a tensor and its quantized form."""
        producers, found, name = self.editor.producers(), [], result
        while name != source:
            found.append(producers[name])
            name = producers[name].input[0]
        return found

    def _quantizer(self, source: str, spec: Spec, observed: str) -> str:
        """The tensor `source` quantized, with the limits of `observed`."""
        if (source, spec) in self.made:
            return self.made[source, spec]
        fmt, seen = spec.fmt, self.seen.get(observed)
        assert isinstance(fmt, Int | Fixed | Float)
        scale, zero = (
            scaling.carrier(fmt, seen)
            if spec.carrier and isinstance(fmt, Int)
            else scaling.activation(fmt, seen, self.mode, spec.products)
        )
        stem = f"{source}_{fmt}"
        if isinstance(fmt, Float):
            if spec.bounded:
                most = float(scaling.power_of_two(SPARE * seen.most, 1))
                source = self.editor.clip(source, -most, most, f"{stem}_range")
            result = self._float(source, scale, str(fmt), stem)
        elif isinstance(fmt, Int) and fmt.bits == 8 and self.editor.opset >= 10:
            result = self._linear(source, scale, zero, fmt, stem)
        else:
            result = self._quant(source, scale, zero, fmt, stem)
        self.made[source, spec] = result
        return result

    def _linear(self, source: str, scale: np.float32, zero: int, fmt: Int, stem: str) -> str:
        dtype = np.int8 if fmt.signed else np.uint8
        editor = self.editor
        grid = [
            editor.constant(np.array(scale), f"{stem}_scale"),
            editor.constant(np.array(zero, dtype=dtype), f"{stem}_zero"),
        ]
        codes = editor.add("QuantizeLinear", [source, *grid], f"{stem}_quantize")
        return editor.add("DequantizeLinear", [codes, *grid], f"{stem}_dequantize")

    def _quant(self, source: str, scale, zero: int, fmt: Int | Fixed, stem: str) -> str:
        editor = self.editor
        numbers = (scale, "scale"), (np.float32(zero), "zero"), (np.float32(fmt.bits), "bits")
        grid = [editor.constant(np.asarray(v), f"{stem}_{s}") for v, s in numbers]
        attributes = {"signed": int(fmt.signed), "narrow": 0, "rounding_mode": "ROUND"}
        return editor.add("Quant", [source, *grid], f"{stem}_quantize", QONNX, **attributes)

    def _float(self, source: str, scale, name: str, stem: str) -> str:
        grid = self.editor.constant(np.asarray(scale, dtype=np.float32), f"{stem}_scale")
        return self.editor.add("Quantize", [source, grid], f"{stem}_quantize", HWGEN, format=name)

    def _block(self, node: onnx.NodeProto, k: int, block: Block) -> None:
        """Blocks of an activation, along the reduction axis of the layer that reads them."""
        node.input[k] = self._float(node.input[k], 1, str(block), f"{node.input[k]}_{block}")

    # --- weights ---------------------------------------------------------------------------------

    def _weights(self, node: onnx.NodeProto, arithmetic: Arithmetic) -> None:
        fmt, array = arithmetic.w, weights_of(self.editor, node)
        axis = output_axis(node, array) if self.per_channel else None
        stem = f"{node.input[1]}_{fmt}"
        if isinstance(fmt, Block):
            node.input[1] = self._float(node.input[1], 1, str(fmt), stem)
        elif isinstance(fmt, Float):
            products = arithmetic.multiplier != "exact"
            scales = scaling.weight_scales(fmt, array, axis, self.mode, products)
            shaped = _along(scales, axis, array.ndim)
            node.input[1] = self._float(node.input[1], shaped, str(fmt), stem)
        else:
            assert not isinstance(fmt, Exponent)
            if self.editor.opset < 13 and not fmt.signed and isinstance(fmt, Int):
                axis = None  # a Quant has one zero point
            node.input[1] = self._integers(
                scaling.integer_weights(fmt, array, axis, self.mode), fmt, axis, array.ndim, stem
            )

    def _integers(self, w: scaling.Weights, fmt, axis: int | None, rank: int, stem: str) -> str:
        """Codes behind a DequantizeLinear; below opset 13, which knows no axes, in a Quant."""
        editor = self.editor
        alone = w.scale.size == 1
        scale = w.scale.reshape(()) if alone else w.scale
        if (editor.opset < 13 and not alone) or editor.opset < 10:
            values = (w.codes - int(w.zero[0])) * _along(w.scale, axis, rank)
            source = editor.constant(values.astype(np.float32), f"{stem}_values")
            # Codes of one bit may be -1 and 1.
            wide = Int(max(2, fmt.bits), fmt.signed or fmt.bits == 1)
            return self._quant(source, _along(w.scale, axis, rank), int(w.zero[0]), wide, stem)
        ends = int(w.codes.min()), int(w.codes.max())
        kinds = ((np.int8, -128, 127), (np.uint8, 0, 255))
        fitting = [kind for kind, least, most in kinds if least <= ends[0] and ends[1] <= most]
        dtype = np.dtype(fitting[0] if fitting else np.int32)
        if w.zero.any() and dtype == np.int32:  # which has no zero points
            w = scaling.Weights(w.codes - _along(w.zero, axis, rank), w.scale, w.zero * 0)
        names = [
            editor.constant(w.codes.astype(dtype), f"{stem}_codes"),
            editor.constant(scale, f"{stem}_scale"),
        ]
        if w.zero.any():
            zero = w.zero.reshape(()) if alone else w.zero
            names.append(editor.constant(zero.astype(dtype), f"{stem}_zero"))
        extra: dict[str, Any] = {} if alone else {"axis": axis}
        return editor.add("DequantizeLinear", names, f"{stem}_dequantize", **extra)


def _along(array: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """A vector along an axis of a tensor; one number as it is."""
    if axis is None or array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if k == axis else 1 for k in range(rank)])
