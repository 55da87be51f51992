"""The three levels of figures side by side, and small networks beside those of other tools.

`python -m benchmarks levels` and `python -m benchmarks peers`; models of $HWGEN_MODELS, gates of
the library $HWGEN_LIBERTY.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import hwgen
from benchmarks.table import ARITHMETICS
from hwgen.cost.figures import Figures
from hwgen.design import Design
from hwgen.samples import accuracy
from tests.conftest import SHIPPED

SAMPLES = {"ecp5": 4, "xcup": 4, "asic": 1}  # simulated for energy, by target
# Models as their files say, and cycles; the float model goes through all arithmetics.
DESIGNS = (("d02", 4096), ("d05", 12288), ("d07", 4096))
CONVERTED = ("d01", 2048)

# Columns of model / synthesis by the fields of Figures, and of energy: model / activity.
FABRIC = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "block RAM": "bram"}
COLUMNS = {"ecp5": FABRIC, "xcup": FABRIC, "asic": {"area, um2": "area_um2", "FF": "ff"}}


def named(stem: str, kind: str) -> Path:
    """The model of $HWGEN_MODELS whose name begins so, of a kind."""
    found = sorted(Path(os.environ["HWGEN_MODELS"]).glob(f"{stem}_*.onnx"))
    return next(path for path in found if (kind == "float") == path.stem.endswith("float"))


def data(path: Path) -> dict[str, np.ndarray]:
    """Inputs and labels beside a model."""
    (arrays,) = sorted(path.parent.glob(f"{path.stem.split('_')[0]}_*.npz"))
    with np.load(arrays) as file:
        return {key: file[key] for key in ("inputs", "labels")}


def designs() -> Iterator[tuple[str, Design, np.ndarray]]:
    """Name, design and inputs of each row."""
    for stem, cycles in DESIGNS:
        path = named(stem, "quantized")
        yield stem, hwgen.compile(path, cycles=cycles), data(path)["inputs"]
    stem, cycles = CONVERTED
    path = named(stem, "float")
    inputs = data(path)["inputs"]
    for arith in ARITHMETICS:
        design = hwgen.compile(path, cycles=cycles, arith=arith, calibrate=inputs[:64])
        yield f"{stem} in {arith}", design, inputs


def header(target: str) -> list[str]:
    """Of the table of a target."""
    return ["design", "cycles", *COLUMNS[target], "energy, nJ"]


def levels(target: str, made: Sequence[tuple[str, Design, np.ndarray]]) -> Iterator[list[str]]:
    """Rows of the table of a target: what is modelled / what synthesis or simulation finds."""
    library = os.environ.get("HWGEN_LIBERTY") if target == "asic" else None
    for name, design, inputs in made:
        used = design.energy(inputs[: SAMPLES[target]], target, library)
        found = used if target == "asic" else design.synthesize(target)
        yield row(name, design.estimate(target), found, used)


def row(name: str, model: Figures, made: Figures, used: Figures) -> list[str]:
    """A line of a table."""
    pairs = [(getattr(model, k), getattr(made, k)) for k in COLUMNS[used.target].values()]
    cells = [f"{a:,.0f} / {b:,.0f}" for a, b in [*pairs, (model.energy_nj, used.energy_nj)]]
    return [name, f"{model.cycles:,}", *cells]


# --- other tools ---------------------------------------------------------------------------------

PEERS = ["network", "cycles", "accuracy", "xcup LUT / FF / DSP / BRAM of 18 Kib", "ecp5 LUT"]
PEERS += ["Verilog lines"]
NETWORKS = (("digits_mlp", (2048, 512, 64)), ("digits_cnn", (4608, 1024, 64)))


def peers() -> Iterator[list[str]]:
    """Rows of PEERS: hardware of handwritten digits in 8 bits, at three foldings."""
    for name, folds in NETWORKS:
        with np.load(SHIPPED / f"{name}.npz") as file:
            inputs, labels = file["inputs"], file["labels"]
        for cycles in folds:
            design = hwgen.compile(SHIPPED / f"{name}.onnx", cycles=cycles)
            right = accuracy(next(iter(design.golden(inputs).values())), labels)
            xcup, ecp5 = design.synthesize("xcup"), design.synthesize("ecp5")
            yield [
                *(name, f"{design.predicted.interval:,}", f"{right:.4f}"),
                " / ".join(f"{n:,}" for n in (xcup.lut, xcup.ff, xcup.dsp, xcup.bram)),
                *(f"{ecp5.lut:,}", f"{len(design.verilog().splitlines()):,}"),
            ]
