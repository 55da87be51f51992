"""The host link in hardware against Python's own bytes: CRC, frames, serial line, AXI4-Lite."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hwgen.host.frames import Decoder, Frame
from hwgen.protocol import IDENTITY, MAGIC, PAYLOAD, REGISTERS, VERSION, Command, Status
from hwgen.rtl.link.axilite import AxiLite
from hwgen.rtl.link.crc import Crc32
from hwgen.rtl.link.frames import FrameReceiver, FrameSender
from hwgen.rtl.link.registers import RESET_CYCLES, Registers
from hwgen.rtl.link.serial import SerialLink
from hwgen.rtl.link.uart import UartReceiver, UartSender

SPACE = 12  # cycles between bytes: more than a CRC takes


def simulate(dut, bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_crc() -> None:
    """The check value of CRC-32, and zlib's of random bytes."""
    dut = Crc32()

    async def bench(ctx) -> None:
        for message in (b"123456789", bytes(range(0, 256, 7))):
            ctx.set(dut.i_clear, 1)
            await ctx.tick()
            ctx.set(dut.i_clear, 0)
            for byte in message:
                ctx.set(dut.i, byte)
                ctx.set(dut.i_valid, 1)
                await ctx.tick()
                ctx.set(dut.i_valid, 0)
                await ctx.tick().repeat(8)
                assert not ctx.get(dut.o_busy)
            found = ctx.get(dut.o) ^ 0xFFFFFFFF
            assert found == zlib.crc32(message)
            assert message != b"123456789" or found == 0xCBF43926

    simulate(dut, bench)


@pytest.mark.parametrize(("divisor", "slip"), [(4, 0), (8, 0.35), (25, -0.9)])
def test_serial_line(divisor: int, slip: float) -> None:
    """Bytes of a line up to 4 % fast or slow are read; a byte without a stop bit is dropped."""
    dut = UartReceiver(divisor)
    data = [0x00, 0xFF, 0x55, 0xA3, 0x7E]
    levels = [1] * 5
    for k, byte in enumerate(data):
        stop = k != 3
        bits = [0, *(byte >> n & 1 for n in range(8)), int(stop)]
        edges = [round(n * (divisor + slip)) for n in range(11)]
        for n, bit in enumerate(bits):
            levels += [bit] * (edges[n + 1] - edges[n])
        levels += [1] * (2 * divisor)
    got, errors = [], 0

    async def bench(ctx) -> None:
        nonlocal errors
        for level in levels:
            ctx.set(dut.rx, level)
            await ctx.tick()
            if ctx.get(dut.o_valid):
                got.append(ctx.get(dut.o))
            errors += ctx.get(dut.o_error)

    simulate(dut, bench)
    assert got == [0x00, 0xFF, 0x55, 0x7E]
    assert errors == 1


def test_loop() -> None:
    """What one side sends the other reads, back to back."""
    m, data, got = Module(), [0x00, 0xFF, 0x12, 0x80, 0x01], []
    m.submodules.sender = sender = UartSender(5)
    m.submodules.receiver = receiver = UartReceiver(5)
    m.d.comb += receiver.rx.eq(sender.tx)

    async def bench(ctx) -> None:
        left = list(data)
        for _ in range(400):
            ctx.set(sender.i_valid, bool(left))
            ctx.set(sender.i, left[0] if left else 0)
            taken = left and ctx.get(sender.i_ready)
            await ctx.tick()
            if taken:
                left.pop(0)
            if ctx.get(receiver.o_valid):
                got.append(ctx.get(receiver.o))

    simulate(m, bench)
    assert got == data


FRAMES = [
    Frame(0, 1, 2),
    Frame(0x7E, 0x7D, 0x7E, bytes([0x7D, 0x7E, 0x5E, 0x20])),
    Frame(255, 3, 0, bytes(range(256))),
]


def receive(line: bytes) -> tuple[list[Frame], int, int]:
    """(good frames, bad, cut) by the hardware."""
    dut, got, counts = FrameReceiver(), [], [0, 0]

    async def bench(ctx) -> None:
        for byte in line:
            ctx.set(dut.i, byte)
            ctx.set(dut.i_valid, 1)
            for _ in range(SPACE):
                good, bad, cut = (ctx.get(s) for s in (dut.o_good, dut.o_bad, dut.o_cut))
                counts[0] += bad
                counts[1] += cut
                await ctx.tick()
                ctx.set(dut.i_valid, 0)
                if good:
                    names = (dut.o_sequence, dut.o_command, dut.o_port)
                    header = [ctx.get(name) for name in names]
                    payload = bytearray()
                    for address in range(ctx.get(dut.o_length)):
                        ctx.set(dut.i_address, address)
                        await ctx.tick()
                        payload.append(ctx.get(dut.o_data))
                    got.append(Frame(*header, bytes(payload)))

    simulate(dut, bench)
    return got, *counts


def test_frames_in() -> None:
    """Noise around frames costs none of them; a cut frame costs itself alone."""
    line = b"\x00\x55" + FRAMES[0].encode() + b"\x11\x22" + FRAMES[1].encode()
    line += FRAMES[2].encode()[:90] + FRAMES[2].encode()
    assert receive(line) == (FRAMES, 0, 1)


def test_damaged_frames() -> None:
    """No damaged frame passes, in hardware and in Python alike."""
    rng = np.random.default_rng(0)
    frame = Frame(3, Command.WRITE, 0, bytes(rng.integers(0, 256, 12, dtype=np.uint8)))
    line = bytearray()
    for _ in range(24):
        data = bytearray(frame.encode())
        place = int(rng.integers(1, len(data)))
        kind = rng.integers(0, 3)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del data[place]
        else:
            data.insert(place, int(rng.integers(0, 256)))
        line += data
    line += frame.encode()
    good, bad, cut = receive(bytes(line))
    decoder = Decoder()
    assert good == decoder.feed(bytes(line)) == [frame]
    assert bad + cut > 12
    assert decoder.damaged > 12


def test_too_long() -> None:
    length = (PAYLOAD + 1).to_bytes(2, "little")
    line = bytes([0x7E, 1, 2, 0]) + length + bytes(40) + FRAMES[0].encode()
    assert receive(line) == (FRAMES[:1], 1, 0)


def test_frames_out() -> None:
    dut = FrameSender()
    line = bytearray()

    async def bench(ctx) -> None:
        for frame in FRAMES:
            header = bytes([frame.sequence, frame.kind, frame.about])
            header += len(frame.payload).to_bytes(2, "little")
            ctx.set(dut.i_header, int.from_bytes(header, "little"))
            ctx.set(dut.i_send, 1)
            await ctx.tick()
            ctx.set(dut.i_send, 0)
            wait = 0
            while ctx.get(dut.o_busy):
                address = ctx.get(dut.o_address)
                ctx.set(dut.o_ready, wait == 0)
                if wait == 0 and ctx.get(dut.o_valid):
                    line.append(ctx.get(dut.o))
                    wait = SPACE
                else:
                    wait = max(wait - 1, 0)
                await ctx.tick()
                ctx.set(dut.i_data, frame.payload[address] if address < len(frame.payload) else 0)

    simulate(dut, bench)
    assert bytes(line) == b"".join(frame.encode() for frame in FRAMES)


class Echo(wiring.Component):
    """The link with registers, its first input joined to its first output."""

    def __init__(self) -> None:
        self.link = SerialLink([2], [2], 4)
        self.registers = Registers(bytes(range(IDENTITY)), 12_000, 1, 1)
        super().__init__({"rx": wiring.In(1, init=1), "tx": wiring.Out(1)})

    def elaborate(self, _platform) -> Module:
        m = Module()
        m.submodules.link, m.submodules.registers = link, own = self.link, self.registers
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx), link.reset.eq(own.o_reset)]
        m.d.comb += [link.data.eq(own.o_data), own.i_reset.eq(link.o_reset)]
        m.d.comb += [own.i_address.eq(link.address), own.i_read.eq(link.read)]
        m.d.comb += [own.i_write.eq(link.write), own.i_data.eq(link.o_data)]
        m.d.comb += own.i_errors[1:].eq(link.errors)
        for name in ("tdata", "tvalid", "tlast"):
            m.d.comb += getattr(link, f"out0_{name}").eq(getattr(link, f"in0_{name}"))
        m.d.comb += link.in0_tready.eq(link.out0_tready)
        moved = link.in0_tvalid & link.out0_tready
        m.d.comb += [own.i_in.eq(moved), own.i_in_last.eq(link.in0_tlast)]
        m.d.comb += [own.i_out.eq(moved), own.i_out_last.eq(link.in0_tlast)]
        return m


async def ask(ctx, dut: Echo, line: bytes, cycles: int = 1500) -> list[Frame]:
    """Answers to bytes on the line."""
    levels = [b for byte in line for b in (0, *(byte >> n & 1 for n in range(8)), 1)]
    decoder, found, bits = Decoder(), [], []
    for k in range(max(4 * len(levels), 0) + cycles):
        ctx.set(dut.rx, levels[k // 4] if k < 4 * len(levels) else 1)
        await ctx.tick()
        bits.append(ctx.get(dut.tx))
    k = 0
    while k < len(bits) - 40:
        if bits[k]:
            k += 1
            continue
        byte = sum(bits[k + 2 + 4 * (n + 1)] << n for n in range(8))
        found += decoder.feed(bytes([byte]))
        k += 39
    return found


def test_commands() -> None:
    """Each is done once; what makes no sense is refused; full streams take nothing."""
    dut, data = Echo(), bytes(range(6))

    async def bench(ctx) -> None:
        async def one(frame: Frame, cycles: int = 1500) -> Frame:
            (answer,) = await ask(ctx, dut, frame.encode(), cycles)
            assert (answer.sequence, answer.about) == (frame.sequence, frame.kind)
            return answer

        assert (await one(Frame(9, Command.SYNC, 0))).kind == Status.OK
        write = Frame(10, Command.END, 0, data)
        assert (await one(write)).kind == Status.OK
        assert (await one(write)).kind == Status.OK  # not done again
        damaged = bytearray(Frame(11, Command.END, 0, data).encode())
        damaged[8] ^= 0x04
        (answer,) = await ask(ctx, dut, bytes(damaged))
        assert answer.kind == Status.AGAIN
        read = Frame(11, Command.READ, 0, (200).to_bytes(2, "little"))
        for _ in range(2):  # the same answer to the same frame
            answer = await one(read, 2500)
            assert (answer.kind, answer.payload) == (Status.LAST, data)
        answer = await one(Frame(12, Command.READ, 0, (200).to_bytes(2, "little")))
        assert (answer.kind, answer.payload) == (Status.OK, b"")
        for wrong in ((Command.WRITE, 1, b""), (Command.READ, 0, b"1"), (77, 0, b"")):
            sequence = 20 + int(wrong[0]) % 50
            assert (await one(Frame(sequence, *wrong))).kind == Status.REFUSED
        registers = (await one(Frame(90, Command.GET, 0), 6000)).payload
        words = {n: registers[4 * k : 4 * k + 4] for k, n in enumerate(REGISTERS)}
        assert words["magic"] == b"HWGN"
        assert int.from_bytes(words["version"], "little") == VERSION
        assert b"".join(words[f"identity{k}"] for k in range(4)) == bytes(range(IDENTITY))
        counts = [int.from_bytes(words[f"tensors_{way}"], "little") for way in ("in", "out")]
        assert counts == [1, 1]
        assert int.from_bytes(words["errors"], "little") == 0b10010  # crc, refused
        assert int.from_bytes(words["clock_khz"], "little") == 12_000
        assert words["status"] == bytes(4)

        clear = Frame(91, Command.SET, 0, bytes([REGISTERS.index("errors"), 0xFF, 0, 0, 0]))
        assert (await one(clear)).kind == Status.OK
        assert not ctx.get(dut.registers.o_error)

    simulate(dut, bench)


def test_axi_lite() -> None:
    """Reads and writes with data before, with and behind the address; strobes; reset."""
    m = Module()
    m.submodules.axi = axi = AxiLite()
    m.submodules.own = own = Registers(bytes(IDENTITY), 100_000, 1, 2)
    m.d.comb += [own.i_address.eq(axi.o_address), own.i_read.eq(axi.o_read)]
    m.d.comb += [own.i_write.eq(axi.o_write), own.i_data.eq(axi.o_data)]
    m.d.comb += axi.i_data.eq(own.o_data)

    async def bench(ctx) -> None:
        async def read(name: str, wait: int = 0) -> int:
            ctx.set(axi.araddr, 4 * REGISTERS.index(name))
            ctx.set(axi.arvalid, 1)
            while not ctx.get(axi.arready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(axi.arvalid, 0)
            while not ctx.get(axi.rvalid):
                await ctx.tick()
            await ctx.tick().repeat(wait + 1)
            assert ctx.get(axi.rvalid)
            value = ctx.get(axi.rdata)
            ctx.set(axi.rready, 1)
            await ctx.tick()
            ctx.set(axi.rready, 0)
            assert not ctx.get(axi.rvalid)
            assert ctx.get(axi.rresp) == 0
            return value

        async def write(name: str, value: int, strobes: int = 15, early: int = 0) -> None:
            ctx.set(axi.awaddr, 4 * REGISTERS.index(name))
            ctx.set(axi.wdata, value)
            ctx.set(axi.wstrb, strobes)
            ctx.set(axi.awvalid, early >= 0)
            ctx.set(axi.wvalid, early <= 0)
            await ctx.tick().repeat(abs(early) + 1)
            assert ctx.get(axi.bvalid) == (early == 0)
            ctx.set(axi.awvalid, early != 0)
            ctx.set(axi.wvalid, early != 0)
            await ctx.tick()
            ctx.set(axi.awvalid, 0)
            ctx.set(axi.wvalid, 0)
            assert ctx.get(axi.bvalid)
            ctx.set(axi.bready, 1)
            await ctx.tick()
            ctx.set(axi.bready, 0)
            assert not ctx.get(axi.bvalid)

        assert ctx.get(own.o_reset)
        await ctx.tick().repeat(RESET_CYCLES + 1)
        assert not ctx.get(own.o_reset)
        assert await read("magic") == MAGIC
        assert await read("clock_khz", wait=3) == 100_000
        first, second = await read("cycles"), await read("cycles")
        assert 0 < first < second < 100
        ctx.set(own.i_errors, 1)
        ctx.set(own.i_in, 1)  # a tensor's first beat
        await ctx.tick()
        ctx.set(own.i_errors, 0)
        ctx.set(own.i_in_last, 1)
        await ctx.tick()
        ctx.set(own.i_in, 0)
        assert await read("status") == 1
        ctx.set(own.i_out, 0b01)
        ctx.set(own.i_out_last, 0b11)
        await ctx.tick()
        ctx.set(own.i_out, 0)
        assert (await read("tensors_in"), await read("tensors_out")) == (1, 1)
        assert await read("status") == 1  # the second output is still to come
        ctx.set(own.i_out, 0b10)
        await ctx.tick()
        ctx.set(own.i_out, 0)
        assert await read("status") == 0
        busy = await read("busy")
        assert 4 < busy == await read("busy")
        assert await read("errors") == 1
        await write("errors", 1, strobes=0b1110, early=2)
        assert await read("errors") == 1
        await write("errors", 1, early=-2)
        assert await read("errors") == 0
        await write("control", 1)
        assert ctx.get(own.o_reset)
        await ctx.tick().repeat(RESET_CYCLES)
        assert await read("tensors_in") == 0

    simulate(m, bench)
