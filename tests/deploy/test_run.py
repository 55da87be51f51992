"""The real host program against the whole top of a board in Verilator, its serial line a
pseudo-terminal: outputs equal golden, whatever happens on the line, or there is a clear error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen.deploy import board_named
from hwgen.deploy.project import project
from hwgen.deploy.simulate import simulated
from hwgen.design import MANIFEST, Design
from hwgen.emit.save import save
from hwgen.errors import InputError, LinkError
from hwgen.host import connect
from hwgen.host.dma import DmaBoard, through
from hwgen.host.run import run_serial
from hwgen.host.serial_link import SerialLink, check_identity, registers_of
from hwgen.host.tensors import Tensors, read_manifest
from hwgen.protocol import IDENTITY, MAGIC, REGISTERS, VERSION, Command
from tests.command import fails, run
from tests.qdq import Builder

RNG = np.random.default_rng(3)


def two_ports() -> Design:
    """An image that streams channel last and a vector go in; two tensors of other types come out."""
    b = Builder()
    image = b.quantize(b.input(1, 3, 4, 4), 0.05)
    weights = b.weights(4, 3, 3, 3)
    first = b.op("Conv", image, weights, b.bias(4), pads=[1, 1, 1, 1])
    side = b.quantize(b.input(1, 6), 0.03)
    second = b.op("Gemm", side, b.weights(6, 5), b.bias(5))
    return hwgen.compile(b.model(b.quantize(first, 0.1), second), cycles=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, without what synthesis adds."""
    path = tmp_path_factory.mktemp("project") / "board"
    work = project(two_ports(), board_named("ulx3s-12f"))
    files = work.design.files()
    save(path, {**files, **work.sources(), MANIFEST: work.manifest(files, {})})
    return path


@pytest.fixture(scope="module")
def design(folder: Path) -> Design:
    return Design.load(folder)


def arrays(design: Design, samples: int) -> dict[str, np.ndarray]:
    shapes = {p.name: p.index.shape[1:] for p in design.graph.inputs}
    return {
        n: RNG.normal(0, 2, (samples, *s)).astype(np.float32) for n, s in shapes.items()
    }


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[str]:
    with simulated(folder) as name:
        yield name


def equal(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.model
def test_equals_golden(folder: Path, design: Design, port: str) -> None:
    """Two runs on the same board, which each begin anew; codes, layout and types as golden's."""
    manifest = read_manifest(folder)
    for samples in (5, 3):
        inputs, seen = arrays(design, samples), []
        result = connect.run(manifest, folder, port, inputs, lambda *state: seen.append(state))
        equal(result.outputs, design.golden(inputs))
        assert result.tensors == samples
        assert result.clock == 50_000_000
        assert result.cycles > samples * 100
        assert (result.repeated, result.damaged) == (0, 0)
        assert seen[-1] == ("tensors", samples, samples)


@pytest.mark.model
def test_command(folder: Path, design: Design, port: str, tmp_path: Path) -> None:
    inputs = arrays(design, 4)
    np.savez(tmp_path / "x.npz", **inputs)
    common = ("run", folder, "--inputs", tmp_path / "x.npz", "--port", port)
    outcome = run(*common, "--board", "ulx3s-12f", "--check", "-o", tmp_path / "y.npz")
    assert outcome.code == 0, outcome.err
    assert "samples: 4" in outcome.out
    assert "the board equals the golden model" in outcome.out
    with np.load(tmp_path / "y.npz") as found:
        equal(dict(found), design.golden(inputs))
    fails(tmp_path, *common, "--board", "icebreaker", says="is for ulx3s-12f, not icebreaker")


@pytest.mark.model
@pytest.mark.parametrize("seed", range(3))
def test_noise(folder: Path, design: Design, seed: int) -> None:
    """Bytes changed, lost, added and cut off in both directions: all outputs still equal golden."""
    inputs = arrays(design, 4)
    with simulated(folder, seed, faults=2500) as name:
        line = connect.open_port(name, 1_000_000)
        link = SerialLink(line, 1_000_000, tries=30, wait=0.1)
        result = run_serial(link, read_manifest(folder), inputs)
        line.close()
    equal(result.outputs, design.golden(inputs))
    assert result.repeated > 0


@pytest.mark.model
def test_hopeless_line(folder: Path, design: Design) -> None:
    with simulated(folder, 1, faults=300_000) as name:
        line = connect.open_port(name, 1_000_000)
        link = SerialLink(line, 1_000_000, tries=4, wait=0.05)
        with pytest.raises(LinkError, match="no answer from the board in 4 tries"):
            run_serial(link, read_manifest(folder), arrays(design, 2))
        line.close()


@pytest.mark.model
def test_wrong_bitstream(folder: Path, design: Design, port: str) -> None:
    manifest = read_manifest(folder)
    manifest["board"]["identity"] = "00" * IDENTITY
    with pytest.raises(LinkError, match="another design is on the board: .*; load .*openFPGA"):
        connect.run(manifest, folder, port, arrays(design, 1))


@pytest.mark.model
def test_line_alone(folder: Path, port: str) -> None:
    """What the link makes of half a tensor and of too much, as a host with a bug would send it."""
    manifest = read_manifest(folder)
    line = connect.open_port(port, 1_000_000)
    link = SerialLink(line, 1_000_000)
    link.sync()
    with pytest.raises(LinkError, match="the board refuses WRITE 7 of 1 bytes"):
        link.request(Command.WRITE, 7, b"x")
    assert link.write(1, b"\x01\x02", end=True)  # ends early
    assert link.write(1, bytes(6), end=True)
    registers = link.registers()
    assert registers["errors"] & 0b10001 == 0b10001
    taken = 0
    while link.write(0, bytes(200), end=False):  # nobody reads: it stops somewhere
        taken += 1
        assert taken < 100
    link.sync()
    assert link.registers()["errors"] == 0
    line.close()
    again = Tensors(manifest)
    assert again.names == [stream["name"] for stream in manifest["inputs"]]


def test_ports(folder: Path, tmp_path: Path) -> None:
    """No port, a missing one, one in use, and one where nothing answers."""
    np.savez(tmp_path / "x.npz", **arrays(Design.load(folder), 1))
    common = ("run", folder, "--inputs", tmp_path / "x.npz")
    fails(tmp_path, *common, says="ulx3s-12f is on a serial port: give --port")
    fails(tmp_path, *common, "--port", tmp_path / "tty9", says="can't open the serial port .*tty9")
    main, other = pty.openpty()
    name = os.ttyname(other)
    held = connect.open_port(name, 115200)
    fails(tmp_path, *common, "--port", name, says="the serial port .* is busy: close what uses it")
    with pytest.raises(LinkError, match="no answer from the board in 2 tries: is it on"):
        SerialLink(held, 1_000_000, tries=2, wait=0.05).sync()
    held.close()
    os.close(main)
    os.close(other)


def test_bad_folders(folder: Path, design: Design, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2)))
    common = ("--inputs", tmp_path / "x.npz", "--port", "simulation")
    fails(tmp_path, "run", tmp_path, *common, says="is no folder of `hwgen deploy`")
    design.save(tmp_path / "plain")
    fails(tmp_path, "run", tmp_path / "plain", *common, says="is for no board: make it with")
    manifest = read_manifest(folder)
    with pytest.raises(InputError, match="inputs missing"):
        Tensors(manifest).encode({manifest["inputs"][0]["name"]: np.zeros((1, 3, 4, 4))})


def test_identity_of_registers() -> None:
    words = {name: 0 for name in REGISTERS} | {"magic": MAGIC, "version": VERSION}
    found = registers_of(b"".join(word.to_bytes(4, "little") for word in words.values()))
    check_identity(found, "00" * IDENTITY, "")
    with pytest.raises(LinkError, match="no link of this version"):
        check_identity({**found, "magic": 1}, "00" * IDENTITY, "")


def test_host_is_light() -> None:
    """The host's side imports neither Amaranth nor ONNX."""
    code = (
        "import sys, hwgen.host.connect, hwgen.host.dma, hwgen.host.tensors; "
        "print([n for n in ('amaranth', 'onnx', 'verilator') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Channel:
    """A DMA channel of PYNQ: takes a buffer; `work` when the other side has one too."""

    def __init__(self) -> None:
        self.buffer, self.idle, self.transferred = None, True, 0

    def transfer(self, buffer) -> None:
        assert self.idle
        self.buffer, self.idle = buffer, False


class Overlay:
    """Stands for PYNQ's, with the golden model for the hardware."""

    def __init__(self, design: Design, manifest: dict) -> None:
        self._tensors = Tensors(manifest)
        self._words = {"magic": MAGIC, "version": VERSION, "clock_khz": 100_000}
        identity = bytes.fromhex(manifest["board"]["identity"])
        for k in range(4):
            self._words[f"identity{k}"] = int.from_bytes(identity[4 * k : 4 * k + 4], "little")
        self.design, self.counts, self.resets = self, 0, 0
        self.golden = [
            {p.name: b"" for p in self._tensors.outputs},
        ]
        for k in range(len(manifest["inputs"])):
            setattr(self, f"dma_in{k}", self)
        self.sendchannel, self.recvchannel = Channel(), Channel()

    def read(self, offset: int) -> int:
        name = REGISTERS[offset // 4]
        counts = {"tensors_in": self.counts, "tensors_out": self.counts}
        return {**self._words, **counts}.get(name, 0)

    def write(self, offset: int, value: int) -> None:
        assert (REGISTERS[offset // 4], value) == ("control", 1)
        self.resets += 1


def test_dma(design: Design, tmp_path: Path) -> None:
    """Tensor by tensor through stand-ins for PYNQ's overlay, which answer as golden does."""
    one = hwgen.compile(single(), cycles=60)
    work = project(one, board_named("pynq-z2"))
    files = one.files()
    manifest = json.loads(work.manifest(files, {}))
    inputs = RNG.normal(0, 1, (3, 12)).astype(np.float32)
    codes = hwgen.golden.run(one.graph, one._codes(inputs))
    (out,) = one.graph.outputs
    results = [row.astype(np.int8).tobytes() for row in codes[out.name]]
    overlay = Overlay(one, manifest)
    sent = []

    class Send(Channel):
        def transfer(self, buffer) -> None:
            sent.append(bytes(buffer))
            waiting = overlay.dma_out0.recvchannel
            waiting.buffer[:] = np.frombuffer(results[overlay.counts], dtype=np.uint8)
            waiting.idle, waiting.transferred = True, len(waiting.buffer)
            overlay.counts += 1

    overlay.dma_in0 = type("Dma", (), {"sendchannel": Send()})()
    overlay.dma_out0 = type("Dma", (), {"recvchannel": Channel()})()
    result = through(DmaBoard(overlay, np.zeros), manifest, inputs, lambda *_: None)
    equal(result.outputs, one.golden(inputs))
    assert overlay.resets == 1
    assert b"".join(sent) == one._codes(inputs)[one.graph.inputs[0].name].astype(np.int8).tobytes()
    results[0] = b""
    overlay.counts = 0
    with pytest.raises((LinkError, ValueError)):
        through(DmaBoard(overlay, np.zeros), manifest, inputs, lambda *_: None)


def single():
    from tests.small import good

    return good()
