"""Normalization of rows."""

from __future__ import annotations

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float
from hwgen.frontend.islands import settled
from hwgen.frontend.node import Node
from hwgen.frontend.normalize_form import normalize_form
from hwgen.frontend.operands import one_term
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Deferred,
    Maker,
    Real,
    Stream,
    Value,
    shape,
)
from hwgen.ir import Normalize


class NormalizeMaker(Maker):
    """(x - mean) / deviation * gamma + beta, or x / root mean square * gamma."""

    def __init__(self, node: Node, x: Real, centered: bool, gamma, beta, epsilon: float) -> None:
        self.name, self.result = node.name, node.results[0]
        self._node, self._centered, self._epsilon = node, centered, epsilon
        self._gamma, self._beta = gamma, beta
        self._stream, self._scale, self._zero = one_term(x)
        # The numbers of a row of C elements lie within the root of C.
        far = np.abs(gamma) * np.sqrt(gamma.size)
        self.reach = float((beta - far).min()), float((beta + far).max())
        self._made: dict[Target, Codes] = {}

    def codes(self, target: Target) -> Codes:
        """A Normalize in the target's format; floats from one in fixed point."""
        if target not in self._made:
            self._made[target] = self._normalize(target)
        return self._made[target]

    def _normalize(self, target: Target) -> Codes:
        context, stream = self._node.context, self._stream
        if isinstance(target.fmt, Float):
            carrier = context.carrier(self.result, self.name, *self.reach)
            real = self.codes(carrier).real(carrier.scale)
            return to_codes(self._node, real, target)
        ids = stream.ids.reshape(-1, stream.ids.shape[-1])
        tensor = context.rows(stream, ids, self.name)
        fields = normalize_form(
            centered=self._centered,
            scale=self._scale,
            zero=int(self._zero),
            epsilon=self._epsilon,
            gamma=self._gamma,
            beta=self._beta,
            target=target,
        )
        low, high = np.array(fields["low"]), np.array(fields["high"])
        result = context.tensor(f"{self.name}_normalized", ids.shape, low, high, target.fmt)
        name = context.unique(self.name)
        context.add(Normalize(name=name, inputs=(tensor,), outputs=(result,), **fields))
        return Codes(Stream(result, np.arange(ids.size).reshape(stream.ids.shape)), target.fmt)


def _normalization(node: Node, centered: bool) -> Value:
    x = settled(node, 0)
    size = shape(x)
    axis = node.attribute("axis", -1)
    node.attribute("stash_type", 1)
    epsilon = node.attribute("epsilon", 1e-5)
    if axis not in (-1, len(size) - 1):
        raise ModelError(f"normalizes over axis {axis} of {list(size)}; only the last is supported")
    gamma, beta = np.ones(size[-1]), np.zeros(size[-1])
    if node.input(1) is not None:
        gamma = np.broadcast_to(node.constant(1, "scale"), size[-1:]).astype(np.float64)
    if centered and node.input(2) is not None:
        beta = np.broadcast_to(node.constant(2, "bias"), size[-1:]).astype(np.float64)
    maker = NormalizeMaker(node, x, centered, gamma, beta, float(epsilon))
    return Deferred(maker, np.arange(x.ids.size).reshape(size))


LOWER = {
    "LayerNormalization": lambda node: _normalization(node, True),
    "RMSNormalization": lambda node: _normalization(node, False),
    "SimplifiedLayerNormalization": lambda node: _normalization(node, False),
    "hwgen.LayerNormalization": lambda node: _normalization(node, True),
    "hwgen.RMSNormalization": lambda node: _normalization(node, False),
}
