"""Tables of arithmetics: accuracy of whole models, and cells of one multiplier with its sum.

Models are d01, d02 and d03 of the folder $HWGEN_MODELS (`d01_*_float.onnx`, with the inputs and
labels of `d01_*.npz`), or else the float models in models/. Gate areas need a liberty file,
$HWGEN_LIBERTY. Tables of which nothing was left out are written into docs/arithmetic.md.

accuracy: each float model is converted with scales from the first 64 inputs; the golden model
computes the others. Cells are accuracy / error / error without gain. The error is the mean of
|output - float model's output| over the mean of |float model's output|; without gain: after the
outputs are divided by the one factor that fits them best. Hardware and golden model are compared on
8 inputs.

layer: the unit of a dense layer of 32 inputs, one output and one multiplier (pe = simd = 1) as the
conversion makes it: weight memory, multiplier, accumulator, stream handshake; without the
quantizers around it.

mac: a multiplier, a register and a sum with one register, one product a cycle (rtl.arith.mac);
exact sums are wide enough for 256 products.

Cells are LUT / FF / DSP; LUTs of ecp5 are LUT4 and two for each carry cell.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from amaranth.lib import wiring
from onnx import TensorProto, helper, numpy_helper

import hwgen
from hwgen import engines, golden
from hwgen.cost.schedule import interval, schedule
from hwgen.design import Design, bundle_of
from hwgen.emit.verilog import unit_sources
from hwgen.errors import HwgenError
from hwgen.formats import Block, parse_arithmetic
from hwgen.golden.host import encode
from hwgen.rtl.arith.mac import Mac
from hwgen.rtl.build import build
from hwgen.synth import GATES, Options, run
from tests.conftest import SHIPPED
from tests.merge import merge

ARITHMETICS = (
    *("int8", "int4", "fixed<8,4>", "ternary"),
    *("e4m3fn", "e5m2", "e3m2", "e2m1", "e4m3fn+exact", "bf16"),
    *("mxfp8", "mxfp4", "mxint8"),
    *("e4m3fn:lmul", "e4m3fn:pam", "bf16:lmul", "bf16:pam"),
    *("bf16+an-1-1", "bf16+an-1-2", "bf16+an-2-2"),
)
PAGE = Path(__file__).parent.parent / "docs" / "arithmetic.md"
TABLES = ("accuracy", "layer", "mac")
TOP = "unit"
CALIBRATE = 64
SAMPLES = 8
SLOWER = 32  # times the interval of the longest stream: small designs, quick to compile
TOGETHER = 5  # designs in one simulator
INPUTS = 32  # of the layer that is synthesized: a block of OCP MX
TERMS = 256  # of the sums that an exact accumulator is wide enough for


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

    def score(self, outputs: np.ndarray) -> tuple[float, float, float]:
        """Of the inputs behind those of calibration: accuracy, mean relative error against the
        float model, and that error after the one factor for all outputs that fits them best."""
        outputs = outputs.reshape(len(outputs), -1)[-len(self.inputs) + CALIBRATE :]
        reference, labels = self.reference[CALIBRATE:], self.labels[CALIBRATE:]
        gain = (outputs * reference).sum() / np.square(reference).sum()
        errors = (np.abs(v - reference).mean() for v in (outputs, outputs / gain))
        first, second = (float(error / np.abs(reference).mean()) for error in errors)
        return float((outputs.argmax(1) == labels).mean()), first, second


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


@dataclass
class Column:
    """A model's designs, and its cells of the table, by arithmetic."""

    model: Model
    cells: dict[str, str] = field(default_factory=dict)
    designs: dict[str, Design] = field(default_factory=dict)

    def judge(self, arithmetics: Sequence[str]) -> None:
        """Accuracy and errors, from the golden model."""
        for name in arithmetics:
            try:
                design = self.model.design(name)
                outputs = next(iter(design.golden(self.model.inputs[CALIBRATE:]).values()))
            except HwgenError as error:
                self.cells[name] = "error"
                self._report(name, str(error).splitlines()[0][:150])
                continue
            accuracy, *errors = self.model.score(outputs)
            percent = (f"{100 * error:.1f} %" for error in errors)
            self.cells[name] = " / ".join([f"{accuracy:.3f}", *percent])
            self.designs[name] = design
            self._report(name, self.cells[name])

    def simulate(self) -> None:
        """Hardware against golden model."""
        names = list(self.designs)
        for start in range(0, len(names), TOGETHER):
            group = names[start : start + TOGETHER]
            designs = [self.designs[name] for name in group]
            equal = hardware(designs, self.model.inputs[-SAMPLES:])
            for name, same in zip(group, equal, strict=True):
                verdict = "equals" if same else "DIFFERS from"
                self._report(name, f"hardware {verdict} the golden model")
                self.cells[name] += "" if same else ", hardware differs"

    def _report(self, name: str, text: str) -> None:
        print(f"{self.model.name} {name}: {text}", flush=True)


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


def layer_unit(arithmetic: str) -> wiring.Component:
    """A dense layer with one multiplier; raises `HwgenError`."""
    calibrate = np.random.default_rng(1).normal(0, 1, (CALIBRATE, INPUTS)).astype(np.float32)
    fold = {"lane": {"pe": 1, "simd": 1}}
    design = hwgen.compile(dense_model(), arith=arithmetic, calibrate=calibrate, overrides=fold)
    (node,) = [n for n in design.graph.nodes if n.name == "lane"]
    return build(node, design.graph)


def single(arithmetic: str) -> bool:
    """Whether products are of two numbers; of blocks they are of whole blocks."""
    return not isinstance(parse_arithmetic(arithmetic).x, Block)


def mac_unit(arithmetic: str) -> wiring.Component:
    """A product, a register, a sum; raises `HwgenError`."""
    parsed = parse_arithmetic(arithmetic)
    whole = parsed.accumulator == "int"
    bits = parsed.x.bits + parsed.w.bits if whole else parsed.exact_bits
    return Mac(parsed, bits + TERMS.bit_length() - 1)


def cells_of(sources: dict[str, str], target: str, extra: str = "") -> tuple[int, int, int]:
    """LUTs, flip-flops and DSP blocks of a target."""
    found = run(sources, TOP, Options(target, whole=True, extra=extra))
    return found.lut, found.ff, found.dsp


def gates(sources: dict[str, str], liberty: Path, delay: int) -> str:
    """Area in the library's unit, with ABC's delay where that misses the target."""
    found = run(sources, TOP, Options(GATES, liberty=liberty, delay=delay, whole=True))
    missed = f" ({found.delay_ps / 1000:.1f} ns)" if found.delay_ps > delay else ""
    return f"{found.area_um2:,.0f}{missed}"


@dataclass(frozen=True)
class Synthesis:
    """What to synthesize with: ABC's target in picoseconds, and a liberty file, if there is one."""

    delay: int
    liberty: Path | None

    @property
    def header(self) -> list[str]:
        """Titles of the columns."""
        title = f"gate area at {self.delay / 1000:g} ns"
        return ["xcup", "xcup, no DSP", "ecp5", "ecp5, no DSP", *([title] if self.liberty else [])]

    def row(self, make: Callable[[str], wiring.Component], arithmetic: str) -> list[str]:
        """The cells of a unit's row."""
        try:
            sources = unit_sources(make(arithmetic), TOP)
        except HwgenError as error:
            print(f"{make.__name__} {arithmetic}: {str(error).splitlines()[0]}", flush=True)
            return ["error"] * len(self.header)
        found = []
        for target in ("xcup", "ecp5"):
            counts = cells_of(sources, target)
            plain = cells_of(sources, target, "-nodsp") if counts[2] else counts
            found += [" / ".join(f"{n:,}" for n in counts), f"{plain[0]:,}"]
        found += [gates(sources, self.liberty, self.delay)] if self.liberty else []
        print(f"{make.__name__} {arithmetic}: {' | '.join(found)}", flush=True)
        return found


# --- the table -----------------------------------------------------------------------------------


def _short_name(arithmetic: str) -> str:
    """The same for different names of one arithmetic."""
    return str(parse_arithmetic(arithmetic))


def _different(arithmetics: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_short_name, arithmetics)))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (header, ["-"] * len(header), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy_table(chosen: Sequence[Model], arithmetics: Sequence[str], simulate: bool) -> str:
    """Accuracy and error of every model in every arithmetic."""
    columns = [Column(model) for model in chosen]
    for column in columns:
        column.judge(_different(arithmetics))
    for column in columns if simulate else ():
        column.simulate()
    floats = [f"{model.score(model.reference)[0]:.3f}" for model in chosen]
    rows = [
        [f"`{name}`", *(column.cells[_short_name(name)] for column in columns)]
        for name in arithmetics
    ]
    return _table(["arithmetic", *(m.name for m in chosen)], [["float", *floats], *rows])


def area_table(synthesis: Synthesis, make, arithmetics: Sequence[str], jobs: int) -> str:
    """What a unit takes in every arithmetic."""
    names = _different(arithmetics)
    with ThreadPoolExecutor(jobs) as pool:
        cells = dict(
            zip(names, pool.map(lambda name: synthesis.row(make, name), names), strict=True)
        )
    rows = [[f"`{name}`", *cells[_short_name(name)]] for name in arithmetics]
    return _table(["arithmetic", *synthesis.header], rows)


def write(page: Path, name: str, text: str) -> None:
    """Put a table between the page's markers for it."""
    begin, end = (f"<!-- `make table`: {name}, {which} -->" for which in ("begin", "end"))
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no lines\n{begin}\n{end}")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def main() -> None:
    """The tables; where nothing was left out they go into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", nargs="+", default=[], help="names; all unless given")
    parser.add_argument("--arithmetics", nargs="+", default=[], help="names; all unless given")
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--no-simulation", action="store_true", help="golden model alone")
    parser.add_argument("--delay", type=int, default=8000, help="ABC's target in picoseconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="syntheses at once")
    options = parser.parse_args()
    arithmetics = options.arithmetics or ARITHMETICS
    liberty = os.environ.get("HWGEN_LIBERTY")
    synthesis = Synthesis(options.delay, Path(liberty).absolute() if liberty else None)
    if not liberty:
        print("no gate areas: the variable HWGEN_LIBERTY names no liberty file")
    simulate, jobs = not options.no_simulation, options.jobs
    run: dict[str, Callable[[], str]] = {
        "accuracy": lambda: accuracy_table(models(options.models), arithmetics, simulate),
        "layer": lambda: area_table(synthesis, layer_unit, arithmetics, jobs),
        "mac": lambda: area_table(synthesis, mac_unit, list(filter(single, arithmetics)), jobs),
    }
    limited = {
        "accuracy": options.models or not simulate or not os.environ.get("HWGEN_MODELS"),
        "layer": not liberty,
        "mac": not liberty,
    }
    for name in options.tables:
        text = run[name]()
        print(f"\n{text}", flush=True)
        if not (options.arithmetics or limited[name]):
            write(PAGE, name, text)


if __name__ == "__main__":
    main()
