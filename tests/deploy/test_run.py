"""The real host program against the whole top of a board in Verilator, its serial line a
pseudo-terminal: outputs equal golden, whatever happens on the line, or there is a clear error."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen import golden
from hwgen.deploy import board_named
from hwgen.deploy.project import SIMULATED, project
from hwgen.deploy.simulate import simulated
from hwgen.design import MANIFEST, Design
from hwgen.emit.save import save
from hwgen.engines.board import running
from hwgen.errors import ConfigError, InputError, LinkError, ToolError
from hwgen.golden.host import encode
from hwgen.host import connect
from hwgen.host.dma import DmaBoard, through
from hwgen.host.run import run_serial
from hwgen.host.serial_link import SerialLink, check_identity, registers_of
from hwgen.host.tensors import Tensors, read_manifest
from hwgen.protocol import IDENTITY, MAGIC, REGISTERS, VERSION, Command
from tests.command import fails, run
from tests.qdq import Builder
from tests.small import good
from tests.test_stream import mlp, sequences

RNG = np.random.default_rng(3)


def two_ports() -> Design:
    """An image that streams channel last and a vector go in; two tensors come out."""
    b = Builder()
    image = b.quantize(b.input(1, 3, 4, 4, name="image"), 0.05)
    weights = b.weights(4, 3, 3, 3)
    first = b.op("Conv", image, weights, b.bias(4), pads=[1, 1, 1, 1])
    side = b.quantize(b.input(1, 6, name="side"), 0.03)
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
    return {n: RNG.normal(0, 2, (samples, *s)).astype(np.float32) for n, s in shapes.items()}


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
    seen: list[tuple] = []
    for samples in (5, 3):
        inputs = arrays(design, samples)
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
    with pytest.raises(LinkError, match=r"another design is on the board: .*; load .*openFPGA"):
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
    while link.write(0, bytes(48), end=True):  # nobody reads: it stops somewhere
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
    shutil.copytree(folder, tmp_path / "changed")
    with (tmp_path / "changed" / "top.v").open("a") as file:
        file.write("// another line\n")
    says = "top.v is missing, or not as hwgen deploy wrote it"
    with pytest.raises(ConfigError, match=says), simulated(tmp_path / "changed"):
        pass
    manifest = read_manifest(folder)
    with pytest.raises(InputError, match="inputs missing"):
        Tensors(manifest).encode({manifest["inputs"][0]["name"]: np.zeros((1, 3, 4, 4))})


def test_identity_of_registers() -> None:
    words = dict.fromkeys(REGISTERS, 0) | {"magic": MAGIC, "version": VERSION}
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


class Overlay:
    """Stands for PYNQ's, with the golden model for the hardware; it is its own DMA engines and
    their channels."""

    def __init__(self, manifest: dict, results: list[bytes]) -> None:
        identity = bytes.fromhex(manifest["board"]["identity"])
        self._words = {"magic": MAGIC, "version": VERSION, "clock_khz": 100_000}
        for k in range(4):
            self._words[f"identity{k}"] = int.from_bytes(identity[4 * k : 4 * k + 4], "little")
        self._results, self.sent, self.resets = results, [], 0
        self.design = self.dma_in0 = self.dma_out0 = self.sendchannel = self.recvchannel = self
        self._waiting, self.idle, self.transferred = None, True, 0

    def read(self, offset: int) -> int:
        counts = dict.fromkeys(("tensors_in", "tensors_out"), len(self.sent))
        return {**self._words, **counts}.get(REGISTERS[offset // 4], 0)

    def write(self, offset: int, value: int) -> None:
        assert (REGISTERS[offset // 4], value) == ("control", 1)
        self.resets += 1

    def transfer(self, buffer: np.ndarray) -> None:
        if self._waiting is None:  # the receiver is set up first
            self._waiting = buffer
            return
        result = self._results[len(self.sent)]
        self._waiting[: len(result)] = np.frombuffer(result, dtype=np.uint8)
        self._waiting, self.transferred = None, len(result)
        self.sent.append(bytes(buffer))


def test_dma() -> None:
    """Tensor by tensor through a stand-in for PYNQ's overlay, which answers as golden does."""
    design = hwgen.compile(good(), cycles=60)
    manifest = json.loads(project(design, board_named("pynq-z2")).manifest(design.files(), {}))
    inputs = RNG.normal(0, 1, (3, 12)).astype(np.float32)
    codes = encode(design.graph, inputs)
    (given,), (results,) = codes.values(), golden.run(design.graph, codes).values()
    rows = [row.astype(np.int8).tobytes() for row in results]
    overlay = Overlay(manifest, rows)
    result = through(DmaBoard(overlay, np.zeros), manifest, inputs, lambda *_: None)
    equal(result.outputs, design.golden(inputs))
    assert overlay.resets == 1
    assert b"".join(overlay.sent) == given.astype(np.int8).tobytes()
    with pytest.raises(ToolError, match="pynq-z2 is its own host: run this on the board"):
        connect.run(manifest, Path(), None, inputs)
    short = Overlay(manifest, [rows[0], rows[1][:-1]])
    with pytest.raises(LinkError, match="tensor 1 should have 5 bytes, not 4"):
        through(DmaBoard(short, np.zeros), manifest, inputs, lambda *_: None)


@pytest.mark.model
def test_sequences(tmp_path: Path) -> None:
    """A stream of rows: tlast ends sequences of different lengths, in and out."""
    design = hwgen.compile(mlp(), stream=True)
    work = project(design, board_named("icebreaker"))
    manifest = json.loads(work.manifest(design.files(), {}))
    inputs = sequences((3, 1, 40))
    with running(work.sources(simulated=True), work.top, SIMULATED) as name:
        result = connect.run(manifest, tmp_path, name, inputs)
    expected = design.golden(inputs)
    for output, found in result.outputs.items():
        assert [len(part) for part in found] == [3, 1, 40]
        for part, other in zip(found, expected[output], strict=True):
            np.testing.assert_array_equal(part, other)
