"""Values as operands of nodes: constants, weights, one-term activations."""

from __future__ import annotations

from fractions import Fraction

from hwgen.errors import ModelError
from hwgen.frontend.values import Constant, Numbers, Real, Scaled, Stream, Value, exact, uniform


def weights(value: Value | None, what: str = "weights") -> Scaled:
    """Quantized constants."""
    if isinstance(value, Scaled):
        if not value.codes.size:
            raise ModelError(f"its {what} are empty: {list(value.codes.shape)}")
        return value
    if isinstance(value, Constant):
        raise ModelError(
            f"its {what} are not quantized; quantize them to at most 16 bits with a "
            "DequantizeLinear behind, or let hwgen do it: --arith int8"
        )
    raise ModelError(f"its {what} must be constants, not computed by the network")


def numbers(value: Value | None) -> Numbers:
    """A constant of any kind as exact numbers."""
    if isinstance(value, Scaled):
        return value.values()
    if isinstance(value, Constant):
        return exact(value.array)
    raise ModelError("must be a constant")


def one_term(value: Real) -> tuple[Stream, Fraction, Fraction]:
    """(stream, scale, zero point) of a value that is (codes - zero point) * scale; the zero point
    of bipolar codes is 1/2."""
    if len(value.terms) != 1:
        raise ModelError(
            "reads a sum that is not quantized; put QuantizeLinear and DequantizeLinear "
            "behind the Add"
        )
    if value.clamped:
        raise ModelError(
            "reads an activation that is not quantized; put QuantizeLinear and "
            "DequantizeLinear between"
        )
    (term,) = value.terms
    scale = uniform(term.scale, "the scale of its input")
    offset = uniform(value.offset, "the offset of its input")
    if scale == 0:
        raise ModelError("reads a value whose scale is zero; remove it")
    return term.stream, scale, -offset / scale
