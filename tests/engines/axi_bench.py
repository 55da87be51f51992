"""cocotb tests of a design's AXI4-Stream ports; run by test_streams.py in the design's folder.

case.npz: `codes` of some samples, what golden makes of them (`good`), and of the first sample cut
after each beat and filled up with zeros (`cut`).
"""

import json
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import Timer
from stream_bench import from_beats, to_beats

MANIFEST = json.loads(Path("manifest.json").read_text())
(INPUT,), (OUTPUT,) = MANIFEST["inputs"], MANIFEST["outputs"]
CASE = dict(np.load("case.npz"))
WORDS, RESULTS = INPUT["words"], OUTPUT["words"]
GOOD = [CASE["good"][k : k + 1] for k in range(len(CASE["good"]))]
Beat = tuple[int, int]  # data, last


def sample(number: int) -> list[Beat]:
    """A sample's beats, tlast on the last."""
    beats = to_beats(CASE["codes"][number : number + 1], INPUT)
    return [(data, int(k == WORDS - 1)) for k, data in enumerate(beats)]


def early(beats: list[Beat], place: int) -> list[Beat]:
    """Ends after beat `place`."""
    return [*beats[:place], (beats[place][0], 1)]


def late(beats: list[Beat], more: int) -> list[Beat]:
    """Goes on for some beats."""
    return [(data, 0) for data, _ in beats] + [(0x5A, int(k == more - 1)) for k in range(more)]


class Link:
    """Drives and watches the ports, a cycle at a time, with random gaps."""

    def __init__(self, dut, seed: int) -> None:
        self.dut, self.random = dut, random.Random(seed)
        self.s, self.m = (
            {
                name: getattr(dut, f"{p['prefix']}t{name}")
                for name in ("data", "valid", "ready", "last")
            }
            for p in (INPUT, OUTPUT)
        )
        self.waiting: list[Beat] = []
        self.received: list[Beat] = []
        self.offered = False

    async def half(self, level: int) -> None:
        self.dut.aclk.value = level
        await Timer(5, "ns")

    async def cycle(self) -> None:
        if self.waiting and not self.offered and self.random.random() < 0.8:
            self.offered = True
            self.s["data"].value, self.s["last"].value = self.waiting[0]
        self.s["valid"].value = int(self.offered)
        ready = self.random.random() < 0.8
        self.m["ready"].value = int(ready)
        await self.half(0)
        if self.offered and self.s["ready"].value == 1:
            self.waiting.pop(0)
            self.offered = False
        if ready and self.m["valid"].value == 1:
            self.received.append((int(self.m["data"].value), int(self.m["last"].value)))
        await self.half(1)

    async def reset(self) -> None:
        """Forget what was under way; nothing may come out while reset is low."""
        self.waiting, self.received, self.offered = [], [], False
        self.s["valid"].value, self.s["data"].value, self.s["last"].value = 0, 0, 0
        self.m["ready"].value = 1
        self.dut.aresetn.value = 0
        for number in range(4):
            await self.half(0)
            assert number == 0 or self.m["valid"].value == 0
            await self.half(1)
        self.dut.aresetn.value = 1

    async def stream(self, beats: list[Beat], expected: list[np.ndarray]) -> None:
        """Send beats; what comes out, and nothing more, are the expected samples."""
        self.waiting += beats
        self.received = []
        idle = 0
        while idle < 500:
            before = len(self.waiting), len(self.received)
            await self.cycle()
            idle = idle + 1 if before == (len(self.waiting), len(self.received)) else 0
        assert not self.waiting
        lasts = [int(k % RESULTS == RESULTS - 1) for k in range(RESULTS * len(expected))]
        assert [last for _, last in self.received] == lasts
        got = from_beats([data for data, _ in self.received], OUTPUT)
        np.testing.assert_array_equal(got, np.concatenate(expected))


@cocotb.test()
async def tlast_early(dut) -> None:
    """A sample that ends early is filled up with zeros, wherever it ends."""
    link = Link(dut, 1)
    for place in range(WORDS - 1):
        await link.reset()
        assert dut.tlast_error.value == 0
        cut = CASE["cut"][place : place + 1]
        beats = [*early(sample(0), place), *sample(1), *sample(2)]
        await link.stream(beats, [cut, GOOD[1], GOOD[2]])
        assert dut.tlast_error.value == 1


@cocotb.test()
async def tlast_late(dut) -> None:
    """A sample that goes on is cut."""
    link = Link(dut, 2)
    for more in (1, 2, WORDS, 2 * WORDS + 1):
        await link.reset()
        assert dut.tlast_error.value == 0
        await link.stream([*late(sample(0), more), *sample(1)], [GOOD[0], GOOD[1]])
        assert dut.tlast_error.value == 1


@cocotb.test()
async def faults_in_a_row(dut) -> None:
    """One fault does not spoil the recovery from the next."""
    link = Link(dut, 3)
    await link.reset()
    await link.stream(sample(3), [GOOD[3]])
    assert dut.tlast_error.value == 0
    beats = [*late(sample(1), 3), *early(sample(0), 0), *early(sample(0), 4), *late(sample(2), 1)]
    cuts = [CASE["cut"][k : k + 1] for k in (0, 4)]
    await link.stream([*beats, *sample(3)], [GOOD[1], *cuts, GOOD[2], GOOD[3]])
    assert dut.tlast_error.value == 1
    await link.stream(sample(1), [GOOD[1]])
    assert dut.tlast_error.value == 1, "the error is sticky"
    await link.reset()
    assert dut.tlast_error.value == 0


@cocotb.test()
async def reset_in_mid_tensor(dut) -> None:
    """Whatever is inside when reset comes, the next sample is right."""
    link = Link(dut, 4)
    await link.reset()
    for cycles in range(1, 8 * WORDS, 7):
        link.waiting = [beat for number in (0, 1, 2, 3) for beat in sample(number)]
        for _ in range(cycles):
            await link.cycle()
        await link.reset()
        await link.stream([*sample(1), *sample(0)], [GOOD[1], GOOD[0]])
        assert dut.tlast_error.value == 0


@cocotb.test()
async def reset_in_mid_fault(dut) -> None:
    """Reset ends the filling up and the dropping."""
    link = Link(dut, 5)
    for beats in (early(sample(0), 1), late(sample(0), 9)[:-3]):
        await link.reset()
        link.waiting = list(beats)
        while link.waiting:
            await link.cycle()
        await link.reset()
        await link.stream(sample(2), [GOOD[2]])
        assert dut.tlast_error.value == 0


@cocotb.test()
async def unused_input_lanes(dut) -> None:
    """Whatever lies in the unused lanes of an input is ignored."""
    link = Link(dut, 6)
    await link.reset()
    used = INPUT["channels"] % INPUT["lanes"]
    per_row = -(-INPUT["channels"] // INPUT["lanes"])
    assert used
    rubbish = (1 << INPUT["lane_bits"] * INPUT["lanes"]) - (1 << INPUT["lane_bits"] * used)
    beats = [
        (data | rubbish if k % per_row == per_row - 1 else data, last)
        for number in (0, 1)
        for k, (data, last) in enumerate(sample(number))
    ]
    await link.stream(beats, [GOOD[0], GOOD[1]])
