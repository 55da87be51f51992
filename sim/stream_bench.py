"""cocotb testbench of a generated design: streams vectors through it, checks the protocol,
compares every beat.

Runs beside manifest.json and vectors.npz: `in_<k>` and `out_<k>` hold the codes (samples,
elements) of input and output k of the manifest, `ends` (samples,), if it is there, whether tlast
comes with the sample's last beat. Environment: STALL, a seed for random gaps on both
sides; WATCHDOG, cycles without a transfer after which the design counts as stuck; RECORD, a file
that receives what came out.
"""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import Timer

RESET_CYCLES = 4
TAIL_CYCLES = 64


class Stream:
    """One AXI4-Stream port: its signals, and its beats as integers."""

    def __init__(self, dut, port: dict, rng: random.Random | None) -> None:
        prefix = port["prefix"]
        self.port, self.prefix, self.rng = port, prefix, rng
        self.data, self.valid, self.ready, self.last = (
            getattr(dut, prefix + name) for name in ("tdata", "tvalid", "tready", "tlast")
        )
        self.words = port["words"]
        self.moved = 0
        self.burst, self.is_open = 0, True

    def open(self) -> bool:
        """Whether the bench lets this port move in this cycle."""
        if self.rng is None:
            return True
        if self.burst == 0:
            self.is_open = self.rng.random() < 0.5
            self.burst = self.rng.choice((1, 2, 3, 12))
        self.burst -= 1
        return self.is_open


def row(port: dict) -> int:
    """Elements that begin a new beat."""
    return port["channels"] if port["lanes"] <= port["channels"] else port["elements"]


def to_beats(codes: np.ndarray, port: dict) -> list[int]:
    """Codes (samples, elements) as the integers of tdata."""
    rows = codes.reshape(-1, row(port))
    lanes = np.pad(rows, ((0, 0), (0, -row(port) % port["lanes"]))).reshape(-1, port["lanes"])
    size = -(-port["bits"] // 8)
    mask = (1 << 8 * size) - 1
    return [sum((int(v) & mask) << (8 * size * k) for k, v in enumerate(beat)) for beat in lanes]


def from_beats(beats: list[int], port: dict) -> np.ndarray:
    """The reverse; unused lanes must be zero, used ones extended."""
    size = -(-port["bits"] // 8)
    codes = []
    for number, beat in enumerate(beats):
        place = number % -(-row(port) // port["lanes"]) * port["lanes"]
        for lane in range(port["lanes"]):
            raw = (beat >> (8 * size * lane)) & ((1 << 8 * size) - 1)
            if port["signed"] and raw >> (8 * size - 1):
                raw -= 1 << 8 * size
            if place + lane < row(port):
                codes.append(raw)
            else:
                assert raw == 0, (
                    f"{port['prefix']}tdata: unused lane {lane} of beat {number} is {raw}"
                )
    return np.array(codes, dtype=np.int64).reshape(-1, port["elements"])


class Bench:
    """One run: every stream driven and watched in one loop, a cycle at a time."""

    def __init__(self, dut, manifest: dict, vectors, stall: int | None, watchdog: int) -> None:
        self.dut, self.watchdog = dut, watchdog
        ports = [*manifest["inputs"], *manifest["outputs"]]
        rngs = [None if stall is None else random.Random(stall * 64 + k) for k in range(len(ports))]
        streams = [Stream(dut, port, rng) for port, rng in zip(ports, rngs, strict=True)]
        count = len(manifest["inputs"])
        self.inputs, self.outputs = streams[:count], streams[count:]
        self.sent = [to_beats(vectors[f"in_{k}"], s.port) for k, s in enumerate(self.inputs)]
        self.samples = len(vectors["in_0"])
        self.ends = vectors["ends"] if "ends" in vectors else np.ones(self.samples)
        self.received: list[list[int]] = [[] for _ in self.outputs]
        self.first_in = [-1] * self.samples
        self.last_out = [[-1] * self.samples for _ in self.outputs]
        self.held: list = [None] * len(self.outputs)
        self.cycles = 0

    async def half(self, level: int) -> None:
        """Half a clock period."""
        self.dut.aclk.value = level
        await Timer(5, "ns")

    async def reset(self) -> None:
        """Hold reset for a few cycles."""
        for s in self.inputs:
            s.valid.value = 0
            s.last.value = 0
            s.data.value = 0
        for s in self.outputs:
            s.ready.value = 0
        self.dut.aresetn.value = 0
        for _ in range(RESET_CYCLES):
            await self.half(0)
            await self.half(1)
        self.dut.aresetn.value = 1

    async def run(self) -> None:
        """Until all outputs are there and nothing comes after them."""
        await self.reset()
        offered = [False] * len(self.inputs)
        moved_at, done_at, cycle = 0, None, 0
        while done_at is None or cycle < done_at + TAIL_CYCLES:
            for k, s in enumerate(self.inputs):
                if not offered[k] and s.moved < len(self.sent[k]) and s.open():
                    offered[k] = True
                    s.data.value = self.sent[k][s.moved]
                    s.last.value = self.last(s)
                s.valid.value = int(offered[k])
            ready = [s.open() for s in self.outputs]
            for s, flag in zip(self.outputs, ready, strict=True):
                s.ready.value = int(flag)
            await self.half(0)
            moves = [self.take(k, s, ready[k], cycle) for k, s in enumerate(self.outputs)]
            for k, s in enumerate(self.inputs):
                if offered[k] and s.ready.value == 1:
                    sample, beat = divmod(s.moved, s.words)
                    if beat == 0 and self.first_in[sample] < 0:
                        self.first_in[sample] = cycle
                    s.moved += 1
                    offered[k] = False
                    moves.append(True)
            assert self.dut.tlast_error.value == 0, "tlast_error rose"
            if any(moves):
                moved_at = cycle
            await self.half(1)
            if done_at is None and all(s.moved == s.words * self.samples for s in self.outputs):
                done_at = cycle
                self.cycles = cycle + 1
            cycle += 1
            if done_at is None and cycle - moved_at > self.watchdog:
                raise AssertionError(self.stuck())

    def take(self, k: int, s: Stream, ready: bool, cycle: int) -> bool:
        """Watch one output for one cycle; returns whether a beat moved."""
        valid = s.valid.value == 1
        now = (int(s.data.value), int(s.last.value)) if valid else None
        if self.held[k] is not None:
            assert now == self.held[k], f"{s.prefix}: valid or payload changed before ready came"
        self.held[k] = now if not ready else None
        if not (valid and ready):
            return False
        assert s.moved < s.words * self.samples, f"{s.prefix}: a beat too many"
        sample, beat = divmod(s.moved, s.words)
        assert now[1] == self.last(s), (
            f"{s.prefix}: tlast is wrong at sample {sample}, beat {beat} of {s.words}"
        )
        if beat == s.words - 1:
            self.last_out[k][sample] = cycle
        self.received[k].append(now[0])
        s.moved += 1
        return True

    def last(self, s: Stream) -> int:
        """Whether tlast belongs to a stream's next beat."""
        sample, beat = divmod(s.moved, s.words)
        return int(beat == s.words - 1 and self.ends[sample])

    def stuck(self) -> str:
        """Which streams still have beats to move."""
        open_streams = [
            f"{s.prefix}* moved {s.moved} of {s.words * self.samples} beats"
            for s in [*self.inputs, *self.outputs]
            if s.moved < s.words * self.samples
        ]
        return f"deadlock: nothing moved for {self.watchdog} cycles; {'; '.join(open_streams)}"


@cocotb.test()
async def stream(dut) -> None:
    """Every output beat equals the expected one."""
    folder = Path(os.environ.get("BENCH_FOLDER", "."))
    manifest = json.loads((folder / "manifest.json").read_text())
    vectors = np.load(folder / "vectors.npz")
    stall = os.environ.get("STALL")
    bench = Bench(
        dut,
        manifest,
        vectors,
        int(stall) if stall else None,
        int(os.environ.get("WATCHDOG", "100000")),
    )
    await bench.run()
    codes = [from_beats(b, s.port) for b, s in zip(bench.received, bench.outputs, strict=True)]
    if record := os.environ.get("RECORD"):
        arrays = {f"out_{k}": c for k, c in enumerate(codes)}
        np.savez(
            record, first_in=bench.first_in, last_out=bench.last_out, cycles=bench.cycles, **arrays
        )
        return
    for k, (got, s) in enumerate(zip(codes, bench.outputs, strict=True)):
        expected = vectors[f"out_{k}"]
        assert expected.size, "nothing to compare with"
        assert got.shape == expected.shape, (
            f"{s.prefix}: {got.shape} codes, expected {expected.shape}"
        )
        wrong = np.argwhere(got != expected)
        assert not len(wrong), (
            f"{s.prefix}: {len(wrong)} codes differ, first at sample, element {wrong[0].tolist()}: "
            f"{got[tuple(wrong[0])]}, expected {expected[tuple(wrong[0])]}"
        )
    cocotb.log.info("%d samples equal, %d cycles", bench.samples, bench.cycles)
