"""The ONNX node that a lowering function works with."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Arithmetic, parse_arithmetic
from hwgen.frontend.values import (
    Blocked,
    Codes,
    Constant,
    Deferred,
    Hosted,
    Maker,
    Real,
    Scores,
    Tokens,
    Value,
    picked,
)

if TYPE_CHECKING:
    from hwgen.frontend.context import Context

ARITH = "hwgen.arith"  # key of the metadata of nodes


class Node:
    """An ONNX node with its inputs' values. Attributes that nothing reads are refused by
    `unread`."""

    def __init__(
        self,
        name: str,
        proto: onnx.NodeProto,
        inputs: list[Value | None],
        opset: int,
        context: Context,
    ) -> None:
        self.name, self.op, self.inputs, self.opset, self.context = (
            name,
            proto.op_type,
            inputs,
            opset,
            context,
        )
        self.outputs = len(proto.output)
        self.names, self.results = list(proto.input), list(proto.output)
        self._attributes = {a.name: a for a in proto.attribute}
        self._metadata = {entry.key: entry.value for entry in proto.metadata_props}

    @property
    def arith(self) -> Arithmetic | None:
        """The arithmetic that a conversion noted in the node's metadata."""
        text = self._metadata.get(ARITH)
        if text is None:
            return None
        try:
            return parse_arithmetic(text)
        except ConfigError as error:
            raise ModelError(f"its metadata {ARITH}: {error}") from error

    def having(self, *inputs: Value | None, **attributes) -> Node:
        """The same node with other inputs, and other attributes where any are given."""
        other = copy(self)
        other.inputs = list(inputs)
        if attributes:
            other._attributes = {k: helper.make_attribute(k, v) for k, v in attributes.items()}
        return other

    def attribute(self, name: str, default=None):
        """An attribute's value."""
        found = self._attributes.pop(name, None)
        if found is None:
            return default
        value = helper.get_attribute_value(found)
        return value.decode() if isinstance(value, bytes) else value

    def peek(self, name: str, default=None):
        """An attribute's value, which stays unread."""
        found = self._attributes.get(name)
        return default if found is None else helper.get_attribute_value(found)

    def has(self, name: str) -> bool:
        """Whether an attribute is there and not 0."""
        found = self._attributes.get(name)
        return found is not None and helper.get_attribute_value(found) != 0

    def unread(self) -> list[str]:
        """Attributes nothing has read."""
        return sorted(self._attributes)

    def input(self, k: int) -> Value | None:
        """Input `k`, None where it is left out."""
        return self.inputs[k] if k < len(self.inputs) else None

    def real(self, k: int) -> Real:
        """Input `k`, which must be quantized."""
        value = self.input(k)
        if isinstance(value, Deferred):
            return picked(self._rounded(value.maker), value.ids)
        if isinstance(value, Scores):
            return picked(value.product(), value.ids)
        if isinstance(value, Hosted) and value.hardware is not None:
            return value.hardware()
        if isinstance(value, Hosted):
            raise ModelError(
                f"reads the result of {value.operations[0][0]}, which the host computes; that is "
                "supported at the end of the model"
                + ("; along the last axis hardware does" * (value.operations[0][0] == "Softmax"))
            )
        if isinstance(value, Blocked):
            raise ModelError(value.unread)
        if isinstance(value, Tokens):
            raise ModelError(
                f"reads the integers of input {value.name!r} ({value.dtype}), which only index "
                "tables; give the input a type of at most 16 bits, or put a Gather behind it"
            )
        if isinstance(value, Codes):
            raise ModelError(
                f"input {k} holds integers ({value.fmt}), whose arithmetic is not supported; put "
                f"a DequantizeLinear before it"
            )
        if not isinstance(value, Real):
            raise ModelError(
                f"input {k} is not quantized; quantize the model with QuantizeLinear and "
                "DequantizeLinear pairs, for example with "
                "onnxruntime.quantization.quantize_static, or let hwgen do it: --arith int8 "
                "--calibrate X.npz"
            )
        return value

    def _rounded(self, maker: Maker) -> Real:
        """A result in fixed point that holds all its numbers."""
        target = self.context.carrier(maker.result, maker.name, *maker.reach)
        return maker.codes(target).real(target.scale)

    def constant(self, k: int, what: str) -> np.ndarray:
        """Input `k`, which must be a constant."""
        value = self.input(k)
        if not isinstance(value, Constant):
            raise ModelError(f"its {what} must be a constant")
        return value.array
