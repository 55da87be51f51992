"""The AXI4-Stream ports: misplaced tlast, reset in mid-tensor, unused lanes; in the units alone,
and in a whole design in its folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from hwgen import Design, golden
from hwgen.engines import Port
from hwgen.engines.beats import pack, unpack
from hwgen.formats import Int
from hwgen.ir import Tensor
from hwgen.rtl.axi import AxiSink, AxiSource
from tests.command import succeeds
from tests.qdq import Builder
from tests.small import write

# --- the units alone -----------------------------------------------------------------------------

TENSORS = {
    "one lane": Tensor((2, 3), Int(8)),
    "unused lane": Tensor((2, 5), Int(5), lanes=2),
    "whole rows": Tensor((3, 4), Int(11, signed=False), lanes=4),
    "packed rows": Tensor((3, 5), Int(8), lanes=10),
    "one word": Tensor((4,), Int(3), lanes=4),
    "wide": Tensor((2, 3), Int(17), lanes=2),
}


def port(x: Tensor) -> Port:
    return Port("x", "x_", x.fmt, x.lanes, x.channels, x.elements, x.words)


def as_int(beat: np.ndarray) -> int:
    return int.from_bytes(beat.tobytes(), "little")


def simulate(unit, bench) -> None:
    m = Module()
    m.domains.sync = ClockDomain()  # units of one word have no registers
    m.submodules.unit = unit
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def damaged(x: Tensor, rng: np.random.Generator) -> tuple[list, list]:
    """(beats with tlast, words that must come of them): samples that end early, late or right."""
    beats, words = [], []
    codes = rng.integers(x.fmt.min, x.fmt.max + 1, (12, x.elements))
    for number, sample in enumerate(pack(codes, port(x)).reshape(12, x.words, -1)):
        whole = [as_int(beat) for beat in sample]
        taken = int(rng.integers(1, x.words + 1)) if number % 3 == 1 else x.words
        more = [int(v) for v in rng.integers(100, size=1 + number % 4)] if number % 3 == 2 else []
        sent = whole[:taken] + more
        beats += [(data, k == len(sent) - 1) for k, data in enumerate(sent)]
        words += whole[:taken] + [0] * (x.words - taken)
    return beats, words


class Offer:
    """Beats (data, tlast) at the ports of a sink, with gaps; what is offered stays until taken."""

    def __init__(self, unit: AxiSink, beats: list, rng: np.random.Generator) -> None:
        self._unit, self._rng, self.waiting, self._offered = unit, rng, list(beats), False

    def begin(self, ctx) -> None:
        """The inputs of a cycle."""
        unit = self._unit
        if self.waiting and not self._offered and self._rng.random() < 0.7:
            self._offered = True
            ctx.set(unit.tdata, self.waiting[0][0])
            ctx.set(unit.tlast, self.waiting[0][1])
        ctx.set(unit.tvalid, self._offered)

    async def end(self, ctx) -> None:
        """The end of the cycle."""
        if ctx.get(self._unit.tvalid & self._unit.tready):
            self.waiting.pop(0)
            self._offered = False
        await ctx.tick()


def sink(x: Tensor, beats: list, rng: np.random.Generator) -> tuple[list[int], int]:
    """What a sink makes of beats: words as the integers of tdata, and its error flag."""
    unit = AxiSink(x)
    words: list[int] = []
    error = []
    word = Port("x", "x_", x.fmt, x.lanes, x.lanes, x.lanes, 1)

    async def bench(ctx) -> None:
        offer, idle = Offer(unit, beats, rng), 0
        while offer.waiting or idle < 50:
            offer.begin(ctx)
            ctx.set(unit.o.ready, rng.random() < 0.7)
            idle += 1
            if ctx.get(unit.o.valid & unit.o.ready):
                lanes = [ctx.get(unit.o.payload[lane]) for lane in range(x.lanes)]
                words.append(as_int(pack(np.array([lanes]), word)))
                idle = 0
            await offer.end(ctx)
        error.append(ctx.get(unit.o_error))

    simulate(unit, bench)
    return words, error[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", TENSORS)
def test_sink_recovers(case: str, seed: int) -> None:
    x = TENSORS[case]
    rng = np.random.default_rng(seed)
    beats, words = damaged(x, rng)
    assert sink(x, beats, rng) == (words, 1)


@pytest.mark.parametrize("case", TENSORS)
def test_sink_without_fault(case: str) -> None:
    x = TENSORS[case]
    rng = np.random.default_rng(0)
    words = [int(v) for v in rng.integers(0, 1 << (x.fmt.bits - 1), 5 * x.words)]
    beats = [(word, k % x.words == x.words - 1) for k, word in enumerate(words)]
    assert sink(x, beats, rng) == (words, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", TENSORS)
def test_sink_of_rows(case: str, seed: int) -> None:
    """Rows with the end of their sequence; one that ends early is filled up and ends it."""
    x = TENSORS[case]
    rng = np.random.default_rng(seed)
    unit = AxiSink(x, ends=True)
    beats, words, ends = [], [], []
    for number in range(30):
        taken = int(rng.integers(1, x.words + 1)) if number % 5 == 4 and seed else x.words
        last = taken < x.words or bool(rng.random() < 0.3)
        row = [int(v) for v in rng.integers(0, 1 << (x.fmt.bits - 1), taken)]
        beats += [(word, last and k == taken - 1) for k, word in enumerate(row)]
        words += row + [0] * (x.words - taken)
        ends.append(int(last))
    got: tuple[list[int], list[int]] = [], []

    async def bench(ctx) -> None:
        offer, idle = Offer(unit, beats, rng), 0
        while offer.waiting or idle < 50:
            offer.begin(ctx)
            idle += 1
            for stream, found in zip((unit.o, unit.ends), got, strict=True):
                ctx.set(stream.ready, rng.random() < 0.6)
                if ctx.get(stream.valid & stream.ready):
                    found.append(ctx.get(stream.payload[0]))
                    idle = 0
            await offer.end(ctx)
        assert ctx.get(unit.o_error) == (len(beats) < 30 * x.words)

    simulate(unit, bench)
    low = (1 << (x.fmt.bits - 1)) - 1  # of lane 0, whose sign is 0
    assert got == ([word & low for word in words], ends)


@pytest.mark.parametrize("case", TENSORS)
def test_source_pads_with_zeros(case: str) -> None:
    """Rubbish in the unused lanes of the words inside does not come out."""
    x = TENSORS[case]
    rng = np.random.default_rng(1)
    codes = rng.integers(x.fmt.min, x.fmt.max + 1, (3, x.elements))
    row = x.channels if x.lanes <= x.channels else x.elements
    lanes = np.full((3 * x.elements // row, -(-row // x.lanes) * x.lanes), x.fmt.max)
    lanes[:, :row] = codes.reshape(-1, row)
    lanes = lanes.reshape(-1, x.lanes)
    unit = AxiSource(x)
    beats: list[int] = []
    lasts: list[int] = []

    async def bench(ctx) -> None:
        waiting = lanes.tolist()
        while waiting:
            for lane, value in enumerate(waiting[0]):
                ctx.set(unit.i.payload[lane], value)
            ctx.set(unit.i.valid, rng.random() < 0.7)
            ctx.set(unit.tready, rng.random() < 0.7)
            if ctx.get(unit.tvalid & unit.tready):
                beats.append(ctx.get(unit.tdata))
                lasts.append(ctx.get(unit.tlast))
                assert ctx.get(unit.i.ready)
                waiting.pop(0)
            await ctx.tick()

    simulate(unit, bench)
    size = port(x).beat_bytes
    data = np.frombuffer(b"".join(b.to_bytes(size, "little") for b in beats), np.uint8)
    np.testing.assert_array_equal(unpack(data.reshape(-1, size), port(x)), codes)
    assert lasts == [int(k % x.words == x.words - 1) for k in range(3 * x.words)]


# --- a whole design ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small convolution whose input and output leave lanes unused."""
    b = Builder(seed=3)
    x = b.quantize(b.input(1, 3, 4, 3), 0.03, 5)
    y = b.op("Conv", x, b.weights(5, 3, 3, 3, channel=0), b.bias(5), pads=[1, 1, 1, 1])
    y = b.quantize(y, 0.1, -9)
    folder = tmp_path_factory.mktemp("streams")
    model = write(b.model(y), folder)
    (folder / "c.toml").write_text(f"cycles = 60\n[lanes]\nx = 2\n{y} = 3\n")
    succeeds("build", model, "-o", folder / "d", "--config", folder / "c.toml")
    manifest = json.loads((folder / "d" / "manifest.json").read_text())
    assert [p["lanes"] for p in manifest["inputs"] + manifest["outputs"]] == [2, 3]
    return folder / "d"


def run_in(folder: Path, *command: str, path: str = os.defpath) -> subprocess.CompletedProcess:
    """Run a command with little in its environment."""
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": path, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )


RUN = """
import run_bench
run_bench.find_verilator()
results = run_bench.PortsOnly().test(
    test_module="axi_bench", hdl_toplevel="{top}", hdl_toplevel_lang="verilog",
    build_dir="sim_build", test_dir=".", results_xml="axi.xml",
)
print("results:", *run_bench.get_results(results))
"""


@pytest.mark.model
def test_folder_of_a_design(built: Path, tmp_path: Path) -> None:
    """`make` reruns the testbench; then axi_bench.py on the simulation that it built."""
    folder = tmp_path / "d"
    shutil.copytree(built, folder)
    shadow = tmp_path / "bin"  # a machine need not have a program called `python`
    shadow.mkdir()
    (shadow / "python").write_text("#!/bin/sh\nexit 127\n")
    (shadow / "python").chmod(0o755)
    make = ("make", f"PYTHON={sys.executable}")
    done = run_in(folder, *make, path=f"{shadow}{os.pathsep}{os.defpath}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples equal" in done.stdout
    done = run_in(folder, *make, "STALL=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples equal" in done.stdout

    _write_case(folder)
    top = json.loads((folder / "manifest.json").read_text())["top"]
    done = run_in(folder, sys.executable, "-c", RUN.format(top=top))
    count = (Path(__file__).parent / "axi_bench.py").read_text().count("@cocotb.test()")
    assert f"results: {count} 0" in done.stdout, done.stdout + done.stderr

    with np.load(folder / "vectors.npz") as file:
        arrays = dict(file)
    arrays["out_0"][3, 7] ^= 1
    np.savez(folder / "vectors.npz", **arrays)
    done = run_in(folder, *make)
    assert done.returncode != 0
    assert re.search(r"1 codes differ, first at sample, element \[3, 7\]", done.stdout)
    assert run_in(folder, "make", "clean").returncode == 0
    ours = {"case.npz", "axi.xml"}
    assert {p.name for p in folder.iterdir()} - ours == {p.name for p in built.iterdir()}


def _write_case(folder: Path) -> None:
    """Samples, and what golden makes of them whole and cut."""
    design = Design.load(folder)
    (source,), (sink,) = design.graph.inputs, design.graph.outputs
    x = design.graph.tensors[source.tensor]
    codes = np.random.default_rng(5).integers(x.fmt.min, x.fmt.max + 1, (4, x.elements))
    beats = pack(codes[:1], port(x))
    cuts = []
    for place in range(x.words - 1):
        cut = beats.copy()
        cut[place + 1 :] = 0
        cuts.append(unpack(cut, port(x))[0])

    def results(inputs: np.ndarray) -> np.ndarray:
        return golden.run(design.graph, {source.name: inputs})[sink.name]

    np.savez(folder / "case.npz", codes=codes, good=results(codes), cut=results(np.array(cuts)))
