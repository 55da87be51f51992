"""Many units in one simulator: every pair of operands goes through all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module, Signal, Value
from amaranth.lib import wiring

from hwgen.engines.fast import LIBRARY, OPTIONS
from hwgen.engines.tools import cached, check_compiler, run

HARNESS = """#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
extern "C" void simulate(int64_t items, const uint64_t *operands, uint64_t *results) {
    VerilatedContext context;
    Vtop top{&context};
    for (int64_t item = 0; item < items; item++) {
        top.clk = 0;
        OPERANDS
        top.eval();
        RESULTS
        top.clk = 1;
        top.eval();
    }
    top.final();
}
"""


def simulate(
    units: Mapping[str, wiring.Component], operands: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Results (int64) by unit: each takes those of `operands` it has ports for, one after another,
    on every clock.

    Registers are at `unit.stages`, 0 where a unit has no such attribute; clock enables are 1.
    Operands of more bits than a port are cut; signed results are sign-extended.
    """
    depths = {name: getattr(unit, "stages", 0) for name, unit in units.items()}
    names = list(operands)
    items = len(operands[names[0]])
    given = np.stack([np.asarray(operands[n], dtype=np.int64) for n in names])
    given = np.concatenate([given, np.repeat(given[:, -1:], max(depths.values()), axis=1)], axis=1)
    given = np.ascontiguousarray(given.T)
    results = np.zeros((len(given), len(units)), dtype=np.int64)
    library = ctypes.CDLL(str(_build(units, names) / LIBRARY))
    pointers = (ctypes.c_void_p(a.ctypes.data) for a in (given, results))
    library.simulate(ctypes.c_int64(len(given)), *pointers)
    found = {}
    for k, (name, unit) in enumerate(units.items()):
        values, shape = results[depths[name] :, k][:items], Value.cast(unit.o).shape()
        away = 64 - shape.width
        found[name] = (values << away) >> away if shape.signed else values
    return found


def _build(units: Mapping[str, wiring.Component], names: list[str]) -> Path:
    m = Module()
    clock = ClockDomain("sync", reset_less=True)
    m.domains += clock
    inputs = {name: Signal(64, name=name) for name in names}
    outputs = [Signal(64, name=f"o{k}") for k in range(len(units))]
    for k, (unit, output) in enumerate(zip(units.values(), outputs, strict=True)):
        m.submodules[f"unit{k}"] = unit
        m.d.comb += output.eq(Value.cast(unit.o).as_unsigned())
        for port in unit.signature.members:
            if port != "o":
                m.d.comb += Value.cast(getattr(unit, port)).eq(
                    1 if port == "i_ce" else inputs[port]
                )
    ports = [clock.clk, *inputs.values(), *outputs]
    text = verilog.convert(m, name="top", ports=ports, emit_src=False)
    moves = {
        "OPERANDS": [f"top.{name} = operands[{k}];" for k, name in enumerate(names)]
        + [f"operands += {len(names)};"],
        "RESULTS": [f"results[{k}] = top.o{k};" for k in range(len(outputs))]
        + [f"results += {len(outputs)};"],
    }
    harness = HARNESS
    for name, lines in moves.items():
        harness = harness.replace(name, "\n        ".join(lines))

    def make(folder: Path) -> None:
        check_compiler()
        (folder / "top.v").write_text(text)
        (folder / "harness.cpp").write_text(harness)
        options = [*OPTIONS, "--top-module", "top", "-o", f"../{LIBRARY}"]
        run(["verilator", *options, "top.v", "harness.cpp"], folder)

    return cached({"top.v": text, "harness.cpp": harness, "options": " ".join(OPTIONS)}, make)
