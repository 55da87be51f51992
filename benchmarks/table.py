"""One table of arithmetics: accuracy of whole models, and cells of one lane.

    python -m benchmarks.table [--models d01,d02] [--arithmetics int8 bf16] [--no-simulation]
                               [--no-synthesis] [--delay 3000] [--jobs 2] [--page FILE]

Models are d01, d02 and d03 of the folder $HWGEN_MODELS (`d01_*_float.onnx`, inputs and labels from
the `.npz` of the same number), or else the float models in models/. The gate areas need a liberty
file, $HWGEN_LIBERTY. A run of all models and arithmetics writes the table into docs/arithmetic.md;
any run prints it.

What is measured:

- Accuracy and error: each float model is converted with scales from the first CALIBRATE inputs; the
  golden model computes the others. The error is the mean of |output - float model's output| over
  the mean of |float model's output|.
- Whether hardware and golden model are equal on SAMPLES inputs, several designs in one simulator.
- One lane: the unit of a dense layer with INPUTS inputs, one output and one multiplier (pe = simd
  = 1), as the conversion makes it: memory of its weights, multiplier, accumulator, stream handshake;
  not the quantizers around it.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from amaranth.back import verilog
from onnx import TensorProto, helper, numpy_helper

import hwgen
from hwgen import engines, golden
from hwgen.cost.timing import interval, schedule
from hwgen.design import Design, bundle_of
from hwgen.errors import HwgenError
from hwgen.golden.host import encode
from hwgen.ir import Graph, Linear
from hwgen.rtl.build import build
from tests.conftest import SHIPPED
from tests.merge import merge
from tests.yosys import ECP5, XCUP, luts, run_yosys, synthesize

ARITHMETICS = (
    *("int8", "int4", "fixed<8,4>", "ternary"),
    *("e4m3fn", "e5m2", "e3m2", "e2m1", "e4m3fn+exact", "bf16"),
    *("mxfp8", "mxfp4", "mxint8"),
    *("e4m3fn:lmul", "e4m3fn:pam", "bf16:lmul", "bf16:pam"),
    *("bf16+an-1-1", "bf16+an-1-2", "bf16+an-2-2"),
)
PAGE = Path(__file__).parent.parent / "docs" / "arithmetic.md"
BEGIN, END = "<!-- made by `make table`: begin -->", "<!-- made by `make table`: end -->"
CALIBRATE = 64
SAMPLES = 8
SLOWER = 32  # times the interval of the longest stream: small designs, quick to compile
TOGETHER = 5  # designs in one simulator
INPUTS = 32  # of the lane: a block of OCP MX


@dataclass(frozen=True, eq=False)
class Model:
    """A float model with inputs and labels."""

    name: str
    path: Path
    inputs: np.ndarray
    labels: np.ndarray

    @cached_property
    def reference(self) -> np.ndarray:
        """What the float model gives."""
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [session.run(None, {name: x[None]})[0].ravel() for x in self.inputs]
        return np.stack(outputs).astype(np.float64)

    def design(self, arithmetic: str) -> Design:
        """Converted, with few multipliers; raises `HwgenError`."""
        calibrate = self.inputs[:CALIBRATE]
        compiled = hwgen.compile(self.path, arith=arithmetic, calibrate=calibrate)
        cycles = SLOWER * compiled.predicted.interval
        return hwgen.compile(self.path, arith=arithmetic, calibrate=calibrate, cycles=cycles)

    def score(self, outputs: np.ndarray) -> tuple[float, float]:
        """Accuracy, and mean relative error against the float model, of the inputs behind those of
        calibration."""
        outputs = outputs.reshape(len(outputs), -1)
        reference, labels = self.reference[CALIBRATE:], self.labels[CALIBRATE:]
        error = np.abs(outputs - reference).mean() / np.abs(reference).mean()
        return float((outputs.argmax(1) == labels).mean()), float(error)


def models(only: Sequence[str] = ()) -> list[Model]:
    """d01, d02 and d03 of $HWGEN_MODELS, or the shipped float models; of the names given."""
    if folder := os.environ.get("HWGEN_MODELS"):
        found = {}
        for name in ("d01", "d02", "d03"):
            (path,) = Path(folder).glob(f"{name}_*_float.onnx")
            found[name] = path, next(Path(folder).glob(f"{name}_*.npz"))
    else:
        paths = sorted(SHIPPED.glob("*_float.onnx"))
        stems = [path.stem.removesuffix("_float") for path in paths]
        found = {s: (p, SHIPPED / f"{s}.npz") for s, p in zip(stems, paths, strict=True)}
    if unknown := set(only) - set(found):
        raise SystemExit(f"no model {', '.join(sorted(unknown))}: there are {', '.join(found)}")
    chosen = []
    for name, (path, arrays) in found.items():
        if not only or name in only:
            with np.load(arrays) as data:
                chosen.append(Model(name, path, data["inputs"], data["labels"]))
    return chosen


# --- whole models --------------------------------------------------------------------------------


def hardware(designs: Sequence[Design], inputs: np.ndarray) -> list[bool]:
    """Whether each design's Verilog gives the golden model's codes, all in one simulation."""
    graph = merge([design.graph for design in designs])
    codes = {}
    for number, design in enumerate(designs):
        own = encode(design.graph, inputs)
        codes |= {f"n{number}_{name}": array for name, array in own.items()}
    plan = schedule(graph, paced=False)
    last = max(int(plan.words[port.tensor][-1]) for port in graph.outputs)
    watchdog = 4 * (last + interval(graph)) + 1000
    got = engines.run(bundle_of(graph), codes, watchdog=watchdog).codes
    expected = golden.run(graph, codes)
    equal = {name: np.array_equal(got[name], array) for name, array in expected.items()}
    return [
        all(same for name, same in equal.items() if name.startswith(f"n{number}_"))
        for number in range(len(designs))
    ]


def accuracies(model: Model, arithmetics: Sequence[str], simulate: bool) -> dict[str, str]:
    """The cells of a model's column."""
    cells, designs = {}, {}
    for arithmetic in arithmetics:
        try:
            design = model.design(arithmetic)
            outputs = next(iter(design.golden(model.inputs[CALIBRATE:]).values()))
        except HwgenError as error:
            cells[arithmetic] = "error"
            print(f"{model.name} {arithmetic}: {_short(error)}", flush=True)
            continue
        accuracy, error = model.score(outputs)
        cells[arithmetic] = f"{accuracy:.3f}, {100 * error:.1f} %"
        designs[arithmetic] = design
        print(f"{model.name} {arithmetic}: {cells[arithmetic]}", flush=True)
    names = list(designs) if simulate else []
    for start in range(0, len(names), TOGETHER):
        group = names[start : start + TOGETHER]
        equal = hardware([designs[name] for name in group], model.inputs[-SAMPLES:])
        for name, same in zip(group, equal, strict=True):
            verdict = "equals" if same else "DIFFERS from"
            print(f"{model.name} {name}: hardware {verdict} the golden model", flush=True)
            cells[name] += "" if same else ", hardware differs"
    return cells


# --- one lane ------------------------------------------------------------------------------------


def dense_model() -> onnx.ModelProto:
    """A dense layer of INPUTS inputs and an output, with random weights."""
    weights = np.random.default_rng(0).normal(0, 0.5, (INPUTS, 1)).astype(np.float32)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", INPUTS), ("y", 1))
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="lane")
    graph = helper.make_graph([node], "lane", [x], [y], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def lane(arithmetic: str) -> tuple[Linear, Graph]:
    """The layer's node and its graph, one multiplier; raises `HwgenError`."""
    calibrate = np.random.default_rng(1).normal(0, 1, (CALIBRATE, INPUTS)).astype(np.float32)
    fold = {"lane": {"pe": 1, "simd": 1}}
    design = hwgen.compile(dense_model(), arith=arithmetic, calibrate=calibrate, overrides=fold)
    (node,) = [n for n in design.graph.nodes if isinstance(n, Linear)]
    return node, design.graph


def lane_sources(arithmetic: str) -> dict[str, str]:
    """The Verilog of a lane by file name; raises `HwgenError`."""
    unit = build(*lane(arithmetic))
    parts = {name: make() for name, make in getattr(unit, "parts", {}).items()}
    units = {**parts, "lane": unit}
    texts = {f"{k}.v": verilog.convert(u, name=k, emit_src=False) for k, u in units.items()}
    return {**texts, **getattr(unit, "files", {})}


def cells_of(sources: dict[str, str], flow: str, family: str) -> str:
    """LUT / FF / DSP of a flow."""
    with tempfile.TemporaryDirectory() as scratch:
        cells = synthesize(sources, "lane", flow, Path(scratch))
    registers = sum(n for cell, n in cells.items() if cell.startswith(("FD", "TRELLIS_FF")))
    multipliers = sum(n for cell, n in cells.items() if cell.startswith(("DSP48", "MULT18X18")))
    counts = luts(cells, family), registers, *([] if "-nodsp" in flow else [multipliers])
    return " / ".join(f"{n:,}" for n in counts)


def gates(sources: dict[str, str], liberty: Path, delay: int) -> str:
    """Area in the library's unit, with ABC's delay where that misses the target."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in sources.items():
            (folder / name).write_text(text)
        commands = [
            f"read_verilog {' '.join(name for name in sources if name.endswith('.v'))}",
            "synth -flatten -top lane",
            f"dfflibmap -liberty {liberty}",
            f"abc -liberty {liberty} -D {delay}",
            f"tee -q -o area.txt stat -liberty {liberty}",
        ]
        log = run_yosys(commands, folder)
        area = re.search(r"Chip area for (?:top )?module .*: ([\d.]+)", (folder / "area.txt").read_text())
    reached = re.findall(r"Delay = +([\d.]+) ps", log)
    text = f"{float(area[1]):,.0f}"
    late = bool(reached) and float(reached[-1]) > delay
    return f"{text} ({float(reached[-1]) / 1000:.1f} ns)" if late else text


FLOWS = (
    ("xcup LUT / FF / DSP", XCUP, "xilinx"),
    ("xcup without DSP", f"{XCUP} -nodsp", "xilinx"),
    ("ecp5 LUT / FF / DSP", ECP5, "ecp5"),
    ("ecp5 without DSP", f"{ECP5} -nodsp", "ecp5"),
)


def areas(arithmetic: str, delay: int) -> list[str]:
    """The cells of a row: of FLOWS, and the gate area where there is a library."""
    liberty = os.environ.get("HWGEN_LIBERTY")
    try:
        sources = lane_sources(arithmetic)
    except HwgenError as error:
        print(f"lane {arithmetic}: {_short(error)}", flush=True)
        return ["error"] * (len(FLOWS) + bool(liberty))
    found = [cells_of(sources, flow, family) for _, flow, family in FLOWS]
    found += [gates(sources, Path(liberty).absolute(), delay)] if liberty else []
    print(f"lane {arithmetic}: {' | '.join(found)}", flush=True)
    return found


# --- the table -----------------------------------------------------------------------------------


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:150]


def _rows(options: argparse.Namespace, arithmetics: Sequence[str]) -> Iterator[list[str]]:
    """The table's rows, the header first."""
    chosen = models(options.models)
    columns = [accuracies(model, arithmetics, options.simulation) for model in chosen]
    header, lanes = ["arithmetic", *(model.name for model in chosen)], [[]] * len(arithmetics)
    if options.synthesis:
        header += [title for title, _, _ in FLOWS]
        if os.environ.get("HWGEN_LIBERTY"):
            header.append(f"gates at {options.delay / 1000:g} ns")
        else:
            print("no gate areas: HWGEN_LIBERTY names no liberty file")
        with ThreadPoolExecutor(options.jobs) as pool:
            lanes = list(pool.map(lambda name: areas(name, options.delay), arithmetics))
    yield header
    yield ["float", *(f"{model.score(model.reference[CALIBRATE:])[0]:.3f}" for model in chosen)]
    for name, found in zip(arithmetics, lanes, strict=True):
        yield [f"`{name}`", *(column[name] for column in columns), *found]


def table(options: argparse.Namespace, arithmetics: Sequence[str]) -> str:
    """The table in Markdown."""
    header, *rows = _rows(options, arithmetics)
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["-"] * len(header), *rows))


def write(page: Path, text: str) -> None:
    """Put the table between the page's markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page} has no lines\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main() -> None:
    """The table, and where nothing was left out its page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {"type": lambda text: text.split(","), "default": []}
    parser.add_argument("--models", **names, help="names, with commas between them")
    parser.add_argument("--arithmetics", nargs="+", default=[], help="names; all unless given")
    parser.add_argument("--simulation", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--synthesis", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--delay", type=int, default=3000, help="ABC's target in picoseconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="syntheses at once")
    parser.add_argument("--page", type=Path, help="page to write to, whatever was left out")
    options = parser.parse_args()
    text = table(options, options.arithmetics or ARITHMETICS)
    print(f"\n{text}")
    limited = options.models or options.arithmetics or not options.simulation
    whole = os.environ.get("HWGEN_MODELS") and options.synthesis and not limited
    if options.page or whole:
        write(options.page or PAGE, text)


if __name__ == "__main__":
    main()
