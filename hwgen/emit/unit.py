"""One arithmetic unit as Verilog, with a testbench that checks it against the golden model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from typing import cast

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Value
from amaranth.lib import wiring

from hwgen.emit.names import identifier
from hwgen.errors import ConfigError
from hwgen.formats import Arithmetic, Block, Float, Format, Int, parse_arithmetic
from hwgen.golden.multiply import multiplied
from hwgen.rtl.arith.multiply import Multiplier

PAIRS = 1 << 16  # operands of at most so many pairs are all tried
RANDOM = 4096  # pairs of wider ones, besides corners


@dataclass(frozen=True)
class Unit:
    """A component with ports `o`, operands, and `i_ce` where it has a latency; what goes into it
    (codes by port, in order) and what must come out."""

    component: wiring.Component
    latency: int
    operands: Mapping[str, np.ndarray]
    expected: np.ndarray


def multiplier(arith: Arithmetic, stages: int) -> Unit:
    """A multiplier."""
    component = Multiplier(arith, stages)
    x, w = _pairs(arith.x, arith.w)
    return Unit(component, stages, {"i_x": x, "i_w": w}, multiplied(arith, x, w))


# What makes a unit of an arithmetic and a number of stages, by the name of its kind.
KINDS: dict[str, Callable[[Arithmetic, int], Unit]] = {"mul": multiplier}


def unit_files(spec: str, kind: str, stages: int) -> tuple[dict[str, str], Unit]:
    """Files by name: Verilog of one module, test vectors, testbench, Makefile, manifest.

    Raises `ConfigError` for an arithmetic or a kind that is not there.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    arith = parse_arithmetic(spec)
    unit = KINDS[kind](arith, stages)
    name = identifier(f"{kind}_{arith}")
    component = unit.component
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    ports = {port: Value.cast(getattr(component, port)).shape() for port in (*unit.operands, "o")}
    manifest = {
        "unit": kind,
        "arithmetic": str(arith),
        "top": name,
        "latency": unit.latency,
        "ports": {port: {"bits": s.width, "signed": s.signed} for port, s in ports.items()},
        "vectors": len(unit.expected),
        "hwgen": metadata.version("hwgen"),
    }
    columns = [*unit.operands.items(), ("o", unit.expected)]
    hexes = [_hex(values, ports[port].width) for port, values in columns]
    folder = resources.files("hwgen.sim")
    make = (folder / "unit.mk").read_text().replace("TOP", name)
    bench = (folder / "unit_bench.cpp").read_text()
    macros = {
        "LATENCY": str(unit.latency),
        "CLOCKED": str(int(unit.latency > 0)),
        "OPERANDS": " ".join(f"PORT({port})" for port in unit.operands),
    }
    defines = "".join(f"#define {macro} {value}\n" for macro, value in macros.items())
    files = {
        f"{name}.v": text,
        "vectors.txt": "".join(f"{' '.join(row)}\n" for row in zip(*hexes, strict=True)),
        "bench.cpp": bench,
        "unit.inc": defines,
        "Makefile": make,
        "manifest.json": json.dumps(manifest, indent=2, sort_keys=True) + "\n",
    }
    return files, unit


def _hex(values: np.ndarray, width: int) -> list[str]:
    digits = -(-width // 4)
    return [f"{int(v) & ((1 << width) - 1):0{digits}x}" for v in values]


def _pairs(x: Format, w: Format) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all pairs where they are few; else pairs of corners and random ones."""
    sides = [_range(f) for f in (x, w)]
    if np.prod([float(high - low + 1) for low, high in sides]) <= PAIRS:
        grid = np.meshgrid(*(np.arange(low, high + 1) for low, high in sides), indexing="ij")
        return grid[0].reshape(-1), grid[1].reshape(-1)
    rng = np.random.default_rng(0)
    edges = np.meshgrid(*(_corners(f) for f in (x, w)))
    found = [
        np.concatenate([edge.reshape(-1), rng.integers(low, high, RANDOM, endpoint=True)])
        for edge, (low, high) in zip(edges, sides, strict=True)
    ]
    return found[0], found[1]


def _range(fmt: Format) -> tuple[int, int]:
    """The least and the greatest code."""
    if isinstance(fmt, Block):
        raise ConfigError(f"{fmt}: name the format of a block's elements")
    if fmt.bits > 32:
        raise ConfigError(f"operands of a unit have at most 32 bits, not {fmt}")
    if not hasattr(fmt, "max"):  # ternary, bipolar
        return (-1, 1) if fmt.signed else (0, 1)
    return cast(Int, fmt).min, cast(Int, fmt).max


def _corners(fmt: Format) -> np.ndarray:
    """Codes at the edges: extremes, zeros, subnormals, infinity, NaN, one."""
    low, high = _range(fmt)
    edges = [low, high, 0]
    if isinstance(fmt, Float):
        places = [0, 1 << fmt.man, fmt.largest_code, fmt.bias << fmt.man]
        edges = [place | sign for place in places for sign in (0, fmt.sign)]
    near = {edge + step for edge in edges for step in (-1, 0, 1)}
    return np.array(sorted(v for v in near if low <= v <= high))
