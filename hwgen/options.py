"""Options that commands share, and the design that they give."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hwgen.errors import ConfigError

NUMBER = re.compile("[0-9]{1,9}")
WORDS = ("arith", "memory")  # keys of nodes whose values are no numbers

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx")]
Source = Annotated[Path, typer.Argument(metavar="MODEL.onnx|DIR")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", metavar="x=1,64", help="Shape of an input.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NODE.pe=4",
        help="pe, simd, lanes, heads, memory, requant_bits or arith.",
    ),
]
Arith = Annotated[
    str | None, typer.Option(metavar="SPEC", help="Arithmetic to convert to, such as int8.")
]
Calibrate = Annotated[
    Path | None, typer.Option(metavar="X.npz", help="Inputs that give a conversion its scales.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="design.toml", help="Configuration.")
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Rows of sequences one by one, of any length.")
]
Cycles = Annotated[int | None, typer.Option(help="Cycles per inference to reach.")]
Inputs = Annotated[Path, typer.Option("--inputs", metavar="X.npz", help="Arrays by input name.")]
Liberty = Annotated[
    Path | None, typer.Option("--liberty", metavar="FILE", help="Cell library of gates.")
]
Macs = Annotated[int | None, typer.Option(help="Multipliers to use at most.")]


def shapes_of(options: list[str] | None) -> dict[str, list[int]]:
    """Shapes by input name of --shape."""
    shapes = {}
    for option in options or []:
        name, _, dims = option.rpartition("=")
        if not name or not all(NUMBER.fullmatch(d) and int(d) for d in dims.split(",")):
            raise ConfigError(f"--shape {option}: write it as NAME=1,64")
        shapes[name] = [int(d) for d in dims.split(",")]
    return shapes


def design_of(source: Path, *options):
    """The design of a folder, or of a model and a command's options."""
    from hwgen.design import Design

    if not source.is_dir():
        return compiled_of(source, *options)
    if any(option not in (None, False, []) for option in options):
        raise ConfigError(f"{source} is a built design: give options to `hwgen build`")
    return Design.load(source)


def compiled_of(model: Path, config, cycles, macs, set_, shape, arith, calibrate, stream):
    """The design of a command's options."""
    from hwgen.config import Config
    from hwgen.design import compile as compile_model

    overrides, resolved = overrides_of(set_), Config.of(config)
    own = any("arith" in keys for keys in overrides.values()) or any(resolved.arithmetics)
    arrays = calibration_of(model, calibrate)
    shapes, rows = shapes_of(shape), stream or None
    design = compile_model(model, resolved, cycles, macs, overrides, shapes, arith, arrays, rows)
    if calibrate and not (arith or own or design.graph.islands):
        raise ConfigError("--calibrate is for a conversion: give an arithmetic with --arith too")
    return design


def calibration_of(model: Path, calibrate: Path | None):
    """The arrays of --calibrate by input name."""
    from hwgen.frontend import read
    from hwgen.frontend.convert import input_names
    from hwgen.samples import read_arrays

    if calibrate is None:
        return None
    return read_arrays(calibrate, input_names(read(model)))[0]


def overrides_of(options: list[str] | None) -> dict[str, dict[str, int | str]]:
    """Settings by node of --set."""
    overrides: dict[str, dict[str, int | str]] = {}
    for option in options or []:
        target, _, value = option.rpartition("=")
        node, _, key = target.rpartition(".")
        text = key in WORDS and value
        if not node or not (text or NUMBER.fullmatch(value)):
            wrong = (
                "it names no node"
                if value and not node
                else f"{key} must be a positive integer, not {value!r}"
                if value and key and key not in WORDS
                else "it has no value"
            )
            raise ConfigError(f"--set {option}: {wrong}; write it as NODE.pe=4 or NODE.arith=int8")
        overrides.setdefault(node, {})[key] = value if text else int(value)
    return overrides
