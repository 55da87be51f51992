"""Characterizes hwgen's units in gates of a cell library, $HWGEN_LIBERTY: area, delay and energy,
into hwgen/cost/units.json, which the model of costs reads. Part of `make calibrate`.

Energies are in pJ per operation, one a cycle, for two kinds of operands that change every cycle.
random: codes all as likely; addresses at random. real: what layers see: of x half zero and half
half-normal, as behind a Relu; w and addends normal; addresses one after another.

`mul`, `mac`, `fma`, `dot`: units of `hwgen unit`; a mac has a register behind its product and sums
of 64, a dot 4 lanes. `rom`: words of random bits as logic. `ram`: words in flip-flops, one written
and another read in every cycle. `register`: 8 bits.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from hwgen.cost.liberty import Library
from hwgen.emit.unit_kinds import KINDS
from hwgen.emit.verilog import unit_sources
from hwgen.energy import unit_energy
from hwgen.formats import Arithmetic, Float, Format, encode, parse_arithmetic, random_codes
from hwgen.synth import yosys
from hwgen.synth.library import DELAY, find_liberty

FILE = Path(__file__).parent.parent / "hwgen" / "cost" / "units.json"
CYCLES, TERMS, LANES = 1000, 64, 4
TOP = "unit"
INTEGERS = ("int2", "int4", "int8", "int16", "uint8xint8", "int8xint4", "int8xternary")
FLOATS = ("e2m1", "e3m2", "e2m3", "e4m3fn", "e5m2", "bf16", "fp16")
APPROXIMATE = ("e4m3fn:lmul", "e4m3fn:pam", "e5m2:lmul", "bf16:lmul", "bf16:pam", "fp16:lmul")
ROUNDED = ("bf16+fp32", "fp16+fp32", "bf16:lmul+fp32", "bf16:pam+fp32")
NORMALIZED = ("bf16+an-1-1", "bf16+an-1-2", "bf16+an-2-2")
UNITS = {
    "mul": (*INTEGERS, *FLOATS, *APPROXIMATE),
    "mac": (*INTEGERS, "e2m1", "e3m2", "e4m3fn", "e4m3fn:lmul", *ROUNDED, *NORMALIZED),
    "fma": ("bf16+bf16", "fp16+fp16", "bf16+fp32"),
    "dot": ("int8", "int4", "e2m1", "e4m3fn"),
}
MEMORIES = ((16, 8), (64, 8), (256, 8), (64, 32))  # words, bits
REGISTER = """module unit(input clk, input [7:0] i, output reg [7:0] o);
  always @(posedge clk) o <= i;
endmodule
"""
ROM = """module unit(input [{high}:0] i_address, output [{top}:0] o);
  reg [{top}:0] memory [0:{last}];
  initial $readmemh("memory.hex", memory);
  assign o = memory[i_address];
endmodule
"""
RAM = """module unit(input clk, input [{high}:0] i_write, input [{high}:0] i_read,
            input [{top}:0] i, output [{top}:0] o);
  reg [{top}:0] memory [0:{last}];
  always @(posedge clk) memory[i_write] <= i;
  assign o = memory[i_read];
endmodule
"""


@dataclass(frozen=True)
class Case:
    """A unit's Verilog and memory files, and operands (cycles,) by port: "random" and "real"."""

    sources: Mapping[str, str]
    operands: Mapping[str, Mapping[str, np.ndarray]]


def codes(fmt: Format, real: bool, relu: bool, seed: int) -> np.ndarray:
    """Operands of a format."""
    rng = np.random.default_rng(seed)
    if not real:
        return random_codes(fmt, rng, (CYCLES,))
    numbers = rng.normal(size=CYCLES)
    numbers = np.maximum(numbers, 0) if relu else numbers
    if isinstance(fmt, Float):
        return encode(fmt, numbers)
    deviation = fmt.max / min(fmt.bits, 4)
    return np.clip(np.rint(numbers * deviation), fmt.min, fmt.max).astype(np.int64)


def unit_case(kind: str, arith: Arithmetic) -> Case:
    """A unit, and its operands of both kinds."""
    unit = KINDS[kind](arith, int(kind == "mac"), LANES)
    roles = {"i_x": (arith.x, True), "i_a": (arith.x, True), "i_w": (arith.w, False)}
    roles |= {"i_b": (arith.w, False), "i_c": (arith.accumulator, False)}
    fixed = {"i_ce": np.ones(CYCLES, dtype=np.int64)} if unit.latency else {}
    if "i_clear" in unit.operands:
        fixed["i_clear"] = (np.arange(CYCLES) % TERMS == 0).astype(np.int64)
    found = {}
    for name in ("random", "real"):
        found[name] = dict(fixed)
        for place, port in enumerate(unit.operands):
            if port in fixed:
                continue
            fmt, relu = roles[port]
            lanes = LANES if kind == "dot" else 1
            seeds = (10 * place + lane for lane in range(lanes))
            columns = [codes(fmt, name == "real", relu, seed) for seed in seeds]
            mask = (1 << fmt.bits) - 1
            found[name][port] = sum((v & mask) << fmt.bits * k for k, v in enumerate(columns))
    return Case(unit_sources(unit.component, TOP), found)


def memory_case(kind: str, words: int, bits: int) -> Case:
    """A memory, its address from a counter or at random."""
    rng = np.random.default_rng(0)
    names = {"high": words.bit_length() - 2, "top": bits - 1, "last": words - 1}
    contents, data = (rng.integers(0, 1 << bits, size) for size in (words, CYCLES))
    orders = {"random": rng.integers(0, words, CYCLES), "real": np.arange(CYCLES) % words}
    if kind == "rom":
        lines = "".join(f"{word:x}\n" for word in contents)
        sources = {"unit.v": ROM.format(**names), "memory.hex": lines}
        return Case(sources, {name: {"i_address": order} for name, order in orders.items()})
    operands = {
        name: {"i_write": order, "i_read": (order + words // 2) % words, "i": data}
        for name, order in orders.items()
    }
    return Case({"unit.v": RAM.format(**names)}, operands)


def cases(only: str) -> Iterator[tuple[str, Case]]:
    """All units by name."""
    for kind, specs in UNITS.items():
        for spec in specs:
            if only in f"{kind} {spec}":
                yield f"{kind} {spec}", unit_case(kind, parse_arithmetic(spec))
    for kind in ("rom", "ram"):
        for words, bits in MEMORIES:
            if only in f"{kind} {words}x{bits}":
                yield f"{kind} {words}x{bits}", memory_case(kind, words, bits)
    if only in "register 8":
        rng = np.random.default_rng(0)
        operands = {
            "random": {"i": rng.integers(0, 256, CYCLES)},
            "real": {"i": codes(parse_arithmetic("uint8").x, True, True, 0)},
        }
        yield "register 8", Case({"unit.v": REGISTER}, operands)


def figures(case: Case, library: Library) -> dict:
    """Of one unit."""
    found = {n: unit_energy(case.sources, TOP, library, v) for n, v in case.operands.items()}
    unit = found["real"]
    energies = {
        name: asdict(result.energy)
        | {"total": result.energy.total, "glitch_factor": result.energy.glitch_factor}
        for name, result in found.items()
    }
    sizes = {"area": unit.area, "delay": unit.delay, "cells": unit.cells, "flops": unit.flops}
    return sizes | {n: {k: float(f"{v:.4g}") for k, v in e.items()} for n, e in energies.items()}


def main() -> None:
    """Writes the file, unless some units are left out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.characterize", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", help="units with this in their name; writes nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="units at once")
    options = parser.parse_args()
    library = find_liberty(os.environ.get("HWGEN_LIBERTY"))
    named = dict(cases(options.only))
    units = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda case: figures(case, library), named.values())
        for name, result in zip(named, results, strict=True):
            units[name] = result | {
                "area": round(result["area"], 1),
                "delay": round(result["delay"], 3),
            }
            real = result["real"]
            print(
                f"{name}: {result['area']:,.0f}, {result['delay']:.2f} ns, {real['total']} pJ "
                f"({result['random']['total']} at random), glitches x{real['glitch_factor']}",
                flush=True,
            )
    source = {
        "library": library.name,
        "library_date": library.date,
        "voltage": library.voltage,
        "date": datetime.date.today().isoformat(),
        "hwgen": metadata.version("hwgen"),
        "yosys": yosys.version(),
        "abc_delay_ps": DELAY,
        "cycles": CYCLES,
    }
    if not options.only:
        rows = ",\n".join(f"{json.dumps(n)}: {json.dumps(unit)}" for n, unit in units.items())
        FILE.write_text(f'{{"source": {json.dumps(source)},\n"units": {{\n{rows}\n}}}}\n')


if __name__ == "__main__":
    main()
