"""Nodes that quantize to floats and give real numbers: QONNX's FloatQuant and our own Quantize."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Block, Float, Int, decode, encode, parse
from hwgen.frontend.node import Node
from hwgen.frontend.operands import one_term
from hwgen.frontend.ops_quantize import to_codes
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Blocked,
    Constant,
    Real,
    Scaled,
    Term,
    Value,
    check_scale,
    exact,
)

CARRIER_BITS = 16  # of the integers that blocks are made of


def float_quant(node: Node) -> Value:
    """FloatQuant(x, scale, exponent bits, mantissa bits, exponent bias, largest value).

    Source: https://github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops. The largest value
    decides how many codes stand for infinity and NaN.
    """
    exp, man, bias, most = (
        float(node.constant(k, what).item())
        for k, what in enumerate(
            ("exponent bits", "mantissa bits", "exponent bias", "largest value"), start=2
        )
    )
    if node.attribute("rounding_mode", "ROUND").upper() not in ("ROUND", "HALF_EVEN"):
        raise ModelError("rounds floats not to the nearest even; use rounding_mode ROUND")
    if not node.attribute("has_subnormal", 1) or not node.attribute("saturation", 1):
        raise ModelError("only FloatQuant with has_subnormal=1 and saturation=1 is supported")
    node.attribute("has_inf", 0), node.attribute("has_nan", 0)
    if any(v != round(v) for v in (exp, man, bias)):
        raise ModelError("the bits and the bias of a FloatQuant must be whole numbers")
    return quantized(node, _format(int(exp), int(man), int(bias), most))


def _format(exp: int, man: int, bias: int, most: float) -> Float:
    """The float whose largest number is `most`."""
    tried = []
    for specials in ("none", "fn", "ieee"):
        try:
            fmt = Float(exp, man, bias, specials)
        except ConfigError as error:
            tried.append(str(error))
            continue
        largest = float(decode(fmt, fmt.largest_code))
        if largest == most:
            return fmt
        tried.append(f"{largest:g}")
    raise ModelError(
        f"its largest value is {most:g}; floats of {exp} exponent and {man} mantissa bits with "
        f"bias {bias} end at: {', '.join(tried)}"
    )


def quantize(node: Node) -> Value:
    """Quantize(x, scale), format=NAME: decode(encode(x / scale)) * scale, saturating.

    Blocks are made of what a layer reads, along its sums.
    """
    try:
        fmt = parse(node.attribute("format", ""))
    except ConfigError as error:
        raise ModelError(str(error)) from error
    if not isinstance(fmt, Float | Block):
        raise ModelError(f"quantizes to {fmt}, which is neither a float nor in blocks")
    return quantized(node, fmt)


def quantized(node: Node, fmt: Float | Block) -> Value:
    """Input 0 quantized to a float or blocks by the scale at input 1."""
    scales = node.constant(1, "scale")
    scale = check_scale(exact(scales))
    scale = scale.reshape(()) if scale.size == 1 else scale
    value = node.input(0)
    if isinstance(value, Constant):
        with np.errstate(over="ignore"):
            divided = (value.array.astype(np.float32) / scales.astype(np.float32)).astype(float)
        if np.isnan(divided).any():
            raise ModelError("quantizes constants that are not numbers; mend the model's weights")
        if isinstance(fmt, Block):
            if not np.isfinite(divided).all():
                raise ModelError("quantizes infinity to blocks; mend the model's weights")
            return Scaled(divided, scale, fmt)
        return Scaled(encode(fmt, divided), scale, fmt)
    if scale.ndim:
        raise ModelError("quantizes activations per channel; quantize them per tensor")
    if isinstance(fmt, Block):
        return _blocked(node, fmt, Fraction(scale.item()))
    codes = to_codes(node, value, Target(Fraction(scale.item()), 0, fmt))
    return Real((Term(codes.stream, scale),))


def _blocked(node: Node, fmt: Block, scale: Fraction) -> Blocked:
    """Activations that a layer makes blocks of: integers times a power of two, so that they say
    the exponents."""
    real = node.real(0)
    stream, unit, zero = one_term(real)
    codes = node.context.graph.tensors[stream.tensor].fmt
    ratio = unit / scale
    top, bottom = ratio.numerator, ratio.denominator
    power = not (top & (top - 1) or bottom & (bottom - 1))
    if not isinstance(codes, Int) or codes.bits > CARRIER_BITS or zero or not power:
        raise ModelError(
            f"makes {fmt} of {codes}; quantize its input to int{CARRIER_BITS} or fewer bits with "
            "zero point 0 and a scale that is a power of two, and that to blocks"
        )
    first = top.bit_length() - bottom.bit_length() - fmt.emax
    if first < -fmt.scale.bias or first + codes.bits > fmt.scale.bias:
        raise ModelError(f"makes {fmt} of numbers in units of {float(ratio):g}; scale them")
    return Blocked(real, fmt)


LOWER = {"hwgen.Quantize": quantize} | {
    f"{domain}.FloatQuant": float_quant
    for domain in ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
}
