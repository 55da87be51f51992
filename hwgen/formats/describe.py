"""Formats and arithmetics as rows of text, for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwgen.errors import ConfigError
from hwgen.formats.arithmetic import (
    MULTIPLIERS,
    Approximate,
    Arithmetic,
    parse_arithmetic,
)
from hwgen.formats.block import Block
from hwgen.formats.codec import EXACT_BITS, decode
from hwgen.formats.fixed import Fixed
from hwgen.formats.float import SPECIALS, Exponent, Float
from hwgen.formats.integer import Int
from hwgen.formats.names import NAMES, Format, parse
from hwgen.formats.ternary import Bipolar, Ternary

Row = tuple[str, ...]
COLUMNS = 8  # of a table of values: as many as fit 100 characters
# Families of formats without a name of their own: example, parameters, meaning.
FAMILIES = (
    ("int8, uint4", "1 to 32 bits", "two's complement, unsigned"),
    ("fixed<16,8>, ufixed<8,4>", "bits, bits behind the point", "an integer times 2**-8, 2**-4"),
    ("float<4,3,7,fn>", "exponent and mantissa bits, bias, specials", "3 to 32 bits"),
    ("block<e2m1,16>", "element, size", "elements that share a scale of e8m0"),
)


@dataclass(frozen=True)
class Description:
    """What `hwgen formats NAME` shows.

    `facts`: rows (what, value). `values`: of a format of 8 bits or fewer, rows of the first code in
    hexadecimal and COLUMNS numbers in 4 significant digits; of a float without the codes that
    differ in the sign alone.
    """

    title: str
    facts: list[Row]
    values: list[Row]


def catalogue() -> list[Row]:
    """Every short name: (name, bits, layout, largest number, least above zero, specials)."""
    return [
        (name, *_summary(fmt)) if str(fmt) == name else (name, "", f"as {fmt}", "", "", "")
        for name, fmt in NAMES.items()
    ]


def describe(text: str) -> Description:
    """Of a format or an arithmetic; raises `ConfigError` for what is neither."""
    try:
        fmt = parse(text)
    except ConfigError:
        arithmetic = parse_arithmetic(text)
        return Description(str(arithmetic), _parts(arithmetic), [])
    return Description(str(fmt), _facts(fmt), _values(fmt))


def _summary(fmt: Format) -> Row:
    if isinstance(fmt, Block):
        return f"{fmt.element.bits} + {fmt.scale.bits}/{fmt.size}", _layout(fmt), "", "", ""
    _, largest, least = _ends(fmt)
    return str(fmt.bits), _layout(fmt), f"{largest:.6g}", f"{least:.6g}", _specials(fmt)


def _layout(fmt: Format) -> str:
    match fmt:
        case Float():
            return f"sign, {fmt.exp} exponent, {fmt.man} mantissa; bias {fmt.bias}"
        case Exponent():
            return f"{fmt.bits} exponent; bias {fmt.bias}"
        case Block():
            return f"{fmt.size} x {fmt.element} and a scale of {fmt.scale}"
        case Fixed():
            return f"{'signed' if fmt.signed else 'unsigned'} integer times 2**{-fmt.frac}"
        case Int():
            return "two's complement" if fmt.signed else "unsigned"
        case Ternary():
            return "-1, 0, 1 in two's complement"
        case Bipolar():
            return "1, -1 as codes 0, 1"


def _specials(fmt: Format) -> str:
    if isinstance(fmt, Float):
        return SPECIALS[fmt.specials]
    return "code 255: NaN; no zero, no sign" if isinstance(fmt, Exponent) else ""


def _ends(fmt: Float | Exponent | Int | Fixed | Ternary | Bipolar) -> tuple[float, float, float]:
    """The smallest and the largest number, and the least above zero."""
    if isinstance(fmt, Float):
        codes = [fmt.largest_code | fmt.sign, fmt.largest_code, 1]
    elif isinstance(fmt, Exponent):
        codes = [0, fmt.nan - 1, 0]
    elif isinstance(fmt, Bipolar):
        codes = [1, 0, 0]
    else:
        codes = [fmt.min, fmt.max, min(1, fmt.max)]
    low, high, least = (float(v) for v in decode(fmt, codes))
    return low, high, least


def _facts(fmt: Format) -> list[Row]:
    if isinstance(fmt, Block):
        return [
            ("layout", _layout(fmt)),
            ("bits per number", f"{fmt.element.bits + fmt.scale.bits / fmt.size:g}"),
            ("number", "element * 2**(scale - 127); scale 255: NaN"),
            (
                "scale",
                f"floor(log2 of the block's largest magnitude) + {fmt.scale.bias - fmt.emax}",
            ),
            *[(f"element: {what}", value) for what, value in _facts(fmt.number)],
        ]
    if isinstance(fmt, Int) and fmt.bits > EXACT_BITS:
        return [("bits", str(fmt.bits)), ("layout", _layout(fmt))]
    low, high, least = _ends(fmt)
    facts: list[Row] = [
        ("bits", str(fmt.bits)),
        ("layout", _layout(fmt)),
        ("range", f"{low:.10g} to {high:.10g}"),
    ]
    if isinstance(fmt, Float):
        digits = -(-fmt.bits // 4)
        codes = {
            "infinity": fmt.infinity,
            "NaN": fmt.nan,
            "largest": fmt.largest_code,
            "sign": fmt.sign,
        }
        facts += [
            ("smallest normal", f"2**{fmt.emin} = {2.0**fmt.emin:.10g}"),
            ("smallest subnormal", f"2**{fmt.unit} = {least:.10g}" if fmt.man else "none"),
            ("special values", SPECIALS[fmt.specials]),
            *[(f"code of {k}", f"0x{v:0{digits}x}") for k, v in codes.items() if v is not None],
            ("bits of an exact product", str(2 * fmt.span + 1)),
        ]
    elif special := _specials(fmt):
        facts.append(("special values", special))
    return facts


def _values(fmt: Format) -> list[Row]:
    if isinstance(fmt, Block):
        return _values(fmt.number)
    if fmt.bits > 8 or isinstance(fmt, Ternary | Bipolar):
        return []
    patterns = np.arange(1 << (fmt.bits - isinstance(fmt, Float)))
    codes = np.where(patterns > fmt.max, patterns - (1 << fmt.bits), patterns)
    texts = ["NaN" if np.isnan(v) else f"{v:.4g}" for v in decode(fmt, codes)]
    starts = range(0, len(texts), COLUMNS)
    return [(f"0x{k:02x}", *texts[k : k + COLUMNS]) for k in starts]


def _parts(arithmetic: Arithmetic) -> list[Row]:
    x, w = arithmetic.x, arithmetic.w
    rows = [("activations", f"{x}: {_layout(x)}"), ("weights", f"{w}: {_layout(w)}")]
    if isinstance(x, Block):
        rows.append(("products", "exact, times the blocks' scales"))
    else:
        rows.append(("products", MULTIPLIERS[arithmetic.multiplier]))
    match arithmetic.accumulator:
        case "int":
            return [*rows, ("sums", "int: integers as wide as range analysis finds")]
        case "exact":
            width = f"{arithmetic.exact_bits} bits and log2 of the number of terms"
            return [*rows, ("sums", f"exact: fixed point, {width}")]
        case Approximate(k, shift, bits) as an:
            return [
                *rows,
                ("sums", f"{an}: {bits} bits of significand, none rounded"),
                ("normalization", f"left by 0, {k} or {k + shift} bits, right by 1 on a carry"),
            ]
    return [*rows, ("sums", f"{arithmetic.accumulator}: every sum rounded")]
