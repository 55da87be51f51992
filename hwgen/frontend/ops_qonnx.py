"""The QONNX dialect: Quant and its kin, which quantize and dequantize in one node.

Semantics: https://github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import ROUND, Int
from hwgen.frontend.node import Node
from hwgen.frontend.ops_quantize import to_codes, unrounded
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Constant,
    Numbers,
    Real,
    Rounded,
    Scaled,
    Scores,
    Term,
    Value,
    check_scale,
    exact,
    uniform,
)

MOST_BITS = 16  # of an activation
MODES = {
    "ROUND": "half_even",
    "HALF_EVEN": "half_even",
    "HALF_UP": "half_up",
    "HALF_DOWN": "half_down",
    "CEIL": "ceil",
    "FLOOR": "floor",
    "UP": "up",
    "DOWN": "down",
    "ROUND_TO_ZERO": "down",
}


def _mode(node: Node, default: str) -> str:
    name = node.attribute("rounding_mode", default)
    if name.upper() not in MODES:
        raise ModelError(f"rounding_mode={name!r} is not known; use one of {', '.join(MODES)}")
    return MODES[name.upper()]


def _number(node: Node, place: int, what: str) -> int:
    """A whole number as a constant input."""
    array = node.constant(place, what)
    if array.size != 1 or float(array.ravel()[0]) != round(float(array.ravel()[0])):
        raise ModelError(f"its {what} must be one whole number")
    return int(array.ravel()[0])


def _format(node: Node, bits: int) -> tuple[Int, int, int]:
    """(format, least, most code) of `bits` by the attributes `signed` and `narrow`."""
    fmt, narrow = Int(bits, bool(node.attribute("signed", 1))), bool(node.attribute("narrow", 0))
    return fmt, fmt.min + (narrow and fmt.signed), fmt.max - (narrow and not fmt.signed)


def quant(node: Node) -> Value:
    """Quant(x, scale, zero point, bits): (clamp(round(x / scale + zero point)) - zero point) *
    scale."""
    mode = _mode(node, "ROUND")
    bits, zero = _number(node, 3, "bit width"), _number(node, 2, "zero point")
    if not 1 <= bits <= 32:
        raise ModelError(f"quantizes to {bits} bits; use 1 to 32")
    fmt, low, high = _format(node, bits)
    if low >= high:
        raise ModelError(f"quantizes to {low} ... {high}; use more bits")
    scales = node.constant(1, "scale")
    value = node.input(0)
    if isinstance(value, Constant):
        return _constant(value.array, scales, Target(Fraction(1), zero, fmt, low, high, mode))
    scale = check_scale(exact(scales))
    if scale.size != 1:
        raise ModelError("quantizes activations per channel; quantize them per tensor")
    if bits > MOST_BITS:
        raise ModelError(f"quantizes activations to {bits} bits; 1 to {MOST_BITS} are supported")
    target = Target(scale.ravel()[0], zero, fmt, low, high, mode)
    if isinstance(value, Scores):
        return unrounded(node, Rounded(value, target))
    return to_codes(node, value, target).real(target.scale, zero)


def _constant(array: np.ndarray, scales: np.ndarray, target: Target) -> Scaled:
    """Constants as the model's float32 arithmetic quantizes them."""
    values = array.astype(np.float32) / scales.astype(np.float32) + np.float32(target.zero)
    check_scale(exact(scales))
    rounded = [ROUND[target.rounding](v) for v in exact(values).ravel()]
    codes = np.clip(np.array(rounded, dtype=object), target.least, target.most) - target.zero
    scale: Numbers = exact(scales)
    scale = scale.reshape(()) if scale.size == 1 else scale
    return Scaled(codes.astype(np.int64).reshape(values.shape), scale)


def bipolar(node: Node) -> Value:
    """BipolarQuant(x, scale): scale where x >= 0, -scale elsewhere."""
    scales = node.constant(1, "scale")
    scale = check_scale(exact(scales))
    value = node.input(0)
    if isinstance(value, Constant):
        signs = np.where(value.array >= 0, 1, -1).astype(np.int64)
        return Scaled(signs, scale.reshape(()) if scale.size == 1 else scale)
    if scale.size != 1:
        raise ModelError("quantizes activations per channel; quantize them per tensor")
    # Codes 0 and 1: floor(x) + 1, clamped.
    codes = to_codes(node, value, Target(Fraction(1), 1, Int(1, False), rounding="floor"))
    factor = scale.ravel()[0]
    return Real((Term(codes.stream, exact(2 * factor)),), exact(-factor))


def trunc(node: Node) -> Value:
    """Trunc: codes of fewer bits.

    Version 1 (x, scale, zero point, input bits, output bits) drops the lowest bits and keeps the
    scale. Version 2 (x, scale, zero point, input bits, output scale, output bits) quantizes to the
    output scale.
    """
    mode, second = _mode(node, "FLOOR"), len(node.inputs) > 5
    scale, zero = check_scale(exact(node.constant(1, "scale"))), _number(node, 2, "zero point")
    before, after = _number(node, 3, "input bits"), _number(node, 5 if second else 4, "output bits")
    if scale.size != 1 or zero or not 1 <= after <= before or after > MOST_BITS:
        raise ModelError(
            f"needs one scale, zero point 0 and 1 to {MOST_BITS} output bits, fewer than before"
        )
    factor, (fmt, low, high) = scale.ravel()[0], _format(node, after)
    if not second:
        target = Target(factor * (1 << (before - after)), 0, fmt, rounding=mode)
        return to_codes(node, node.input(0), target).real(factor)
    new = uniform(check_scale(exact(node.constant(4, "output scale"))), "its output scale")
    ratio = new / factor
    if (ratio.numerator & (ratio.numerator - 1)) or (ratio.denominator & (ratio.denominator - 1)):
        raise ModelError("its output scale is no power of two times its scale; make it one")
    target = Target(new, 0, fmt, low, high, rounding=mode)
    return to_codes(node, node.input(0), target).real(new)


DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
LOWER = {
    f"{domain}.{name}": function
    for domain in DOMAINS
    for name, function in (
        ("Quant", quant),
        ("IntQuant", quant),
        ("BipolarQuant", bipolar),
        ("Trunc", trunc),
    )
}
