"""compile(): from a model and a configuration to the design that users hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from hwgen import energy, engines, golden, synth
from hwgen.config import Config
from hwgen.cost.figures import Figures
from hwgen.cost.model import estimate
from hwgen.cost.schedule import interval, schedule
from hwgen.cost.timing import timing
from hwgen.emit.manifest import manifest
from hwgen.emit.names import identifier
from hwgen.emit.save import npz, save
from hwgen.emit.top import instances
from hwgen.emit.verilog import verilog
from hwgen.engines.bench import bench_files
from hwgen.engines.bundle import bundle_of
from hwgen.errors import ConfigError, ModelError
from hwgen.formats import Arithmetic, random_codes
from hwgen.frontend import load, read
from hwgen.frontend.convert import Arrays, Options, convert, seen_formats
from hwgen.golden.compare import differing
from hwgen.golden.host import decode, encode
from hwgen.golden.sequences import encode_sequences, split
from hwgen.ir import Attention, Fork, Graph, Linear, Pool, Product, Queue, Requantize, Resize
from hwgen.passes.fold import multipliers
from hwgen.passes.pipeline import lower
from hwgen.synth import Progress, quiet

MODEL, CONFIG, MANIFEST, VECTORS = "model.onnx", "config.toml", "manifest.json", "vectors.npz"


@dataclass(frozen=True)
class Predicted:
    """Clock cycles before any simulation: `interval` per sample, `latency` of a lone sample, both
    exact or nearly so. A sample of a stream is a row of a sequence.

    `nodes`: the least interval of each node by name.
    """

    interval: int
    latency: int
    nodes: dict[str, int]


@dataclass(frozen=True)
class Mismatch:
    """The first code in which hardware and golden model differ; `sample` counts the rows of all
    sequences in a stream."""

    sample: int
    output: str
    index: tuple[int, ...]
    got: int
    expected: int
    node: str

    def __str__(self) -> str:
        return (
            f"input {self.sample}, output {self.output!r} {list(self.index)}: "
            f"{self.got} in hardware, {self.expected} in the golden model (node {self.node})"
        )


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation gave: `outputs` as arrays by ONNX name (in a stream lists of arrays where
    sequences have different lengths), `codes` (samples, elements) in stream order, cycles."""

    outputs: dict
    codes: dict[str, np.ndarray]
    interval: float | int | None
    latency: int
    cycles: int
    mismatch: Mismatch | None


class Design:
    """A compiled model: golden model, hardware and figures. Made by `compile` or `Design.load`."""

    def __init__(self, model: onnx.ModelProto, graph: Graph, config: Config) -> None:
        self.model, self.graph, self.config = model, graph, config

    # --- before any simulation -------------------------------------------------------------------

    @cached_property
    def predicted(self) -> Predicted:
        """Cycles by the timing model."""
        plan = schedule(self.graph, paced=False)
        nodes = {n.name: max(p.firings for p in timing(n, self.graph)) for n in self.graph.nodes}
        last = {t for port in self.graph.outputs for t in (port.tensor, port.ends) if t}
        latency = max(int(plan.words[tensor][-1]) for tensor in last) + 1
        return Predicted(interval(self.graph), latency, nodes)

    def golden(self, inputs, cache: golden.Cache | None = None) -> dict:
        """What the hardware will give, by ONNX output name.

        `inputs`: arrays by ONNX input name, or one array for the only input; the leading axis is
        samples. Of a stream: (sequences, rows, ...), or a list of arrays (rows, ...) of any
        lengths, and so the outputs. `cache`: results of layers, shared with other designs that are
        given the same inputs.
        """
        codes = self._codes(inputs)
        return self._arrays(golden.run(self.graph, codes, cache=cache), codes)

    def _codes(self, inputs) -> dict[str, np.ndarray]:
        """Codes of all inputs, and in a stream the ends of sequences."""
        return (encode_sequences if self.graph.ends else encode)(self.graph, inputs)

    def _arrays(self, results: dict, codes: dict) -> dict:
        """Outputs from the codes `results`, as sequences where `codes` of inputs are."""
        arrays = decode(self.graph, results)
        return split(arrays, codes[self.graph.ends]) if self.graph.ends else arrays

    @property
    def sample(self) -> str:
        """What a sample is called."""
        return "row" if self.graph.ends else "inference"

    @property
    def multipliers(self) -> int:
        """Multipliers of all layers."""
        return multipliers(self.graph)

    def approximated(self) -> dict[str, tuple[int, int]]:
        """For each approximate requantization: codes that differ from exact ones, of all it may be
        given."""
        return {
            n.name: differing(n) for n in self.graph.nodes if isinstance(n, Requantize) and n.bits
        }

    # --- hardware --------------------------------------------------------------------------------

    @cached_property
    def sources(self) -> dict[str, str]:
        """Verilog and memory files by name."""
        return verilog(self.graph)

    def verilog(self) -> str:
        """The Verilog text."""
        return "".join(text for name, text in self.sources.items() if name.endswith(".v"))

    def simulate(
        self, inputs, engine: str = "fast", stall: int | None = None, wave: Path | None = None
    ) -> Simulation:
        """Run the Verilog on `inputs` (as for `golden`), back to back, and compare with the golden
        model.

        `engine`: "fast" or "cocotb"; `stall`: a seed for random gaps; `wave`: a file for waveforms
        (FST).
        """
        codes = self._codes(inputs)
        expected = golden.run(self.graph, codes)
        result = engines.run(
            bundle_of(self.graph, self.sources),
            codes,
            ends=codes.get(self.graph.ends),
            engine=engine,
            stall=stall,
            wave=wave,
            watchdog=self._watchdog,
        )
        return Simulation(
            self._arrays(result.codes, codes),
            result.codes,
            result.interval,
            result.latency,
            result.cycles,
            self._compare(result.codes, expected),
        )

    @property
    def _watchdog(self) -> int:
        return 4 * self.predicted.latency + 4 * self.predicted.interval + 1000

    def estimate(self, target: str = "ecp5") -> Figures:
        """Area of each node and in sum without synthesis, for "ecp5", "xcup" ("xilinx") or "asic",
        whose energy and longest path are estimated too; `source` says how far such figures are off.

        Raises `ConfigError` for other targets.
        """
        return replace(estimate(self.graph, target), latency=self.predicted.latency)

    def synthesize(
        self,
        target: str = "ecp5",
        device: str | None = None,
        liberty: str | Path | None = None,
        delay: int | None = None,
        whole: bool = False,
        place: bool = False,
        limit: float | None = None,
        jobs: int | None = None,
        progress: Progress = quiet,
    ) -> Figures:
        """What the Verilog takes of a target: of each node, and in sum.

        `target`: a family of FPGAs, or "asic" for gates of the cell library `liberty`, sized for
        paths of `delay` ps. `device`: a chip of the family. `whole`: the design flat, without
        nodes. `place`: placed and routed too, in `limit` seconds. `jobs`: processes at once.
        `progress`: called with what is being done, how many are done, and of how many.

        Raises `ConfigError`, `ToolError`.
        """
        top = identifier(self.graph.name)
        nodes = instances(self.graph)
        names = {instance: node.name for instance, node in nodes.items()}
        figures = synth.run(
            self.sources,
            top,
            synth.Options(target, device, liberty, delay, whole, place, limit, jobs),
            names,
            progress,
        )
        cycles = self.predicted.nodes
        parts = {n: replace(f, cycles=cycles.get(n)) for n, f in figures.nodes.items()}
        predicted = self.predicted
        return replace(figures, cycles=predicted.interval, latency=predicted.latency, nodes=parts)

    def energy(
        self,
        inputs,
        target: str = "ecp5",
        liberty: str | Path | None = None,
        delay: int | None = None,
        device: str | None = None,
        period: float | None = None,
        progress: Progress = quiet,
    ) -> Figures:
        """Energy per inference (of a stream: per row) on `inputs`, as for `golden`, in nJ: of each
        node by class, and in sum. All inputs are simulated, in gates or in Verilog.

        `target`: a family of FPGAs and its `device`, or "asic" for gates of the cell library
        `liberty`, sized for paths of `delay` ps and clocked every `period` ns.

        Raises `ConfigError`, `InputError`, `ToolError`, and `SimulationError` where hardware
        differs from the golden model.
        """
        return energy.measure(
            self, inputs, energy.How(target, device, liberty, delay, period), progress
        )

    def session(self) -> engines.Session:
        """A simulation of a stream into which rows go one by one, each when it is known."""
        if not self.graph.ends:
            raise ConfigError(f"{self.config.name} is no stream: compile it with stream=True")
        bundle = bundle_of(self.graph, self.sources)
        return engines.Session(self.graph, bundle, self._watchdog)

    def _compare(self, got: dict, expected: dict) -> Mismatch | None:
        producer = self.graph.producer()
        for port in self.graph.outputs:
            a, b = got[port.name], expected[port.name]
            if a.shape != b.shape:
                raise ModelError(f"output {port.name!r}: {a.shape} codes, expected {b.shape}")
            wrong = np.argwhere(a != b)
            if len(wrong):
                sample, element = (int(v) for v in wrong[0])
                place = np.argwhere(port.index == element)[0]
                maker = producer[port.tensor]
                while isinstance(maker, Fork | Queue | Resize) and maker.input in producer:
                    maker = producer[maker.input]
                node = maker.name.removesuffix(".requantize")
                values = int(a[sample, element]), int(b[sample, element])
                return Mismatch(sample, port.name, tuple(int(v) for v in place), *values, node)
        return None

    # --- on disk ---------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write Verilog, memory files, manifest, model, resolved configuration and testbench; all
        or nothing."""
        save(Path(folder), self.files())

    def files(self) -> dict[str, str | bytes]:
        """What `save` writes, by name."""
        data = self.model.SerializeToString(deterministic=True)
        predicted = {
            "interval": self.predicted.interval,
            "latency": self.predicted.latency,
            "nodes": self.predicted.nodes,
        }
        digest = hashlib.sha256(data).hexdigest()
        return {
            **self.sources,
            **bench_files(),
            MODEL: data,
            CONFIG: self.config.dump(),
            MANIFEST: manifest(self.graph, list(self.sources), digest, predicted),
            VECTORS: self._vectors(),
        }

    def _vectors(self) -> bytes:
        """Random codes and what the golden model makes of them, for the testbench."""
        rng = np.random.default_rng(0)
        codes = {}
        for port in self.graph.inputs:
            tensor = self.graph.tensors[port.tensor]
            codes[port.name] = random_codes(tensor.fmt, rng, (4, tensor.elements))
        arrays = {f"in_{k}": codes[p.name] for k, p in enumerate(self.graph.inputs)}
        if self.graph.ends:  # sequences of two rows
            codes[self.graph.ends] = np.array([[0], [1], [0], [1]])
            arrays["ends"] = codes[self.graph.ends].ravel()
        results = golden.run(self.graph, codes)
        arrays |= {f"out_{k}": results[p.name] for k, p in enumerate(self.graph.outputs)}
        return npz(arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Design:
        """The design of a folder that `save` wrote; its Verilog is the folder's."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            other = " (what hwgen explore wrote: hwgen report shows it)"
            what = other if (folder / "points.jsonl").is_file() else ""
            raise ModelError(f"{folder} is no hwgen design: it has no {MANIFEST}{what}")
        design = compile(folder / MODEL, Config.read(folder / CONFIG))
        try:
            names = json.loads((folder / MANIFEST).read_text())["files"]
            if any(Path(name).name != name for name in names):
                raise ModelError(f"{folder / MANIFEST} lists files outside its folder")
            design.sources = {name: (folder / name).read_text() for name in names}
        except OSError as error:
            raise ModelError(f"can't read {error.filename}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{folder} is no hwgen design, or it is damaged: {error}") from error
        return design


def compile(
    model: str | Path | onnx.ModelProto,
    config: Config | str | Path | Mapping | None = None,
    cycles: int | None = None,
    macs: int | None = None,
    overrides: Mapping[str, Mapping[str, int | str]] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    arith: str | Arithmetic | None = None,
    calibrate: Arrays | None = None,
    stream: bool | None = None,
) -> Design:
    """Compile a quantized ONNX model, or any in the arithmetic `arith`.

    `config`: a Config, a TOML file or a mapping with its keys. `cycles`: interval to reach;
    `macs`: multipliers to use at most; without either the fewest multipliers whose interval is no
    longer than the longest stream. `overrides`: {node: {"pe": n, "simd": n, "arith": text}}.
    `shapes`: {input: shape}. `calibrate`: inputs as for `Design.golden`, from which a conversion
    takes scales, and tensors left in float their range; nothing else reads them. `stream`: rows of
    sequences one by one, of any length.

    Raises `HwgenError`.
    """
    resolved = Config.of(config).with_options(cycles, macs, overrides, shapes, arith, stream)
    proto, graph, resolved = imported(model, resolved, calibrate)
    lower(graph, resolved)
    return Design(proto, graph, resolved)


def imported(
    model: str | Path | onnx.ModelProto, resolved: Config, calibrate: Arrays | None
) -> tuple[onnx.ModelProto, Graph, Config]:
    """The model converted, its graph before any pass, and the configuration resolved."""
    proto = converted(read(model), resolved, calibrate)
    name = resolved.name or (
        Path(model).stem if isinstance(model, str | Path) else proto.graph.name
    )
    resolved = resolved.converted().named(identifier(name or "model"))
    graph = load(proto, resolved.shapes, resolved.name, resolved.fixed)
    if calibrate is not None and graph.islands:
        formats = seen_formats(proto, graph, calibrate, resolved.shapes) | dict(resolved.formats)
        resolved = replace(resolved, formats=formats)
        graph = load(proto, resolved.shapes, resolved.name, resolved.fixed)
    check_nodes(resolved, proto, graph)
    return proto, graph, resolved


def check_nodes(config: Config, proto: onnx.ModelProto, graph: Graph) -> None:
    """Raise `ConfigError` for settings of nodes that a model, or its graph before any pass, has
    not."""
    config.check_nodes(
        (n.name for n in graph.nodes),
        (n.name for n in proto.graph.node),
        (n.name for n in graph.nodes if isinstance(n, Linear | Pool | Product | Attention)),
    )


def converted(proto: onnx.ModelProto, config: Config, calibrate: Arrays | None) -> onnx.ModelProto:
    """The model in the arithmetics that the configuration names; as it is where it names none."""
    arith, nodes = config.arithmetics
    if arith is None and not nodes:
        return proto
    per_channel = config.per_channel is not False
    options = Options(arith, nodes, config.scale or "max", per_channel, config.shapes)
    return read(convert(proto, options, calibrate))


__all__ = [
    "Design",
    "Mismatch",
    "Predicted",
    "Simulation",
    "bundle_of",
    "compile",
    "converted",
    "imported",
    "npz",
]
