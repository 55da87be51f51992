"""One arithmetic unit as Verilog, with a testbench that checks it against the golden model."""

from __future__ import annotations

import json
from importlib import metadata, resources

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Value

from hwgen.emit.names import identifier
from hwgen.emit.unit_kinds import KINDS, Unit
from hwgen.errors import ConfigError
from hwgen.formats import parse_arithmetic


def unit_files(
    spec: str, kind: str, stages: int = 0, lanes: int = 4
) -> tuple[dict[str, str], Unit]:
    """Files by name: Verilog of one module, test vectors, testbench, Makefile, manifest.

    Raises `ConfigError` for an arithmetic or a kind that is not there.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    arith = parse_arithmetic(spec)
    unit = KINDS[kind](arith, stages, lanes)
    name = identifier(f"{kind}_{arith}")
    component = unit.component
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    ports = {port: Value.cast(getattr(component, port)).shape() for port in (*unit.operands, "o")}
    manifest = {
        "unit": kind,
        "arithmetic": str(arith),
        "top": name,
        "latency": unit.latency,
        "ports": {
            **{port: {"bits": 1} for port in ("clk", "rst", "i_ce") if unit.latency},
            **{
                port: {"bits": s.width, "signed": s.signed}
                | ({"format": unit.formats[port]} if port in unit.formats else {})
                for port, s in ports.items()
            },
        },
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
