"""The fast engine: Verilator compiled to a shared library that streams whole batches from
memory."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np

from hwgen.engines.beats import pack, unpack
from hwgen.engines.bundle import Bundle, Port, Result
from hwgen.engines.tools import cached, check_compiler, run
from hwgen.errors import SimulationError

LIBRARY = "simulation.so"
# -O1 runs as fast as -O3 and compiles faster.
# Without inlining a module used many times is compiled once; few large files compile fastest.
OPTIONS = (
    *("-cc", "--exe", "--prefix", "Vtop", "-Mdir", "objects", "-O3", "--no-timing"),
    *("-fno-inline", "--output-groups", "2", "-Wno-fatal", "-Wno-lint"),
    *("--x-assign", "fast", "--x-initial", "fast", "-CFLAGS", "-fPIC -I..", "-LDFLAGS", "-shared"),
    *("-MAKEFLAGS", "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1", "--build", "-j", "2"),
)
TAIL_CYCLES = 64  # in which nothing may come after the last beat
# What Verilator traces, by the suffix of the file; in counts of transitions all nets.
TRACES = {
    ".saif": ("--trace-saif", "--trace-underscore", "-CFLAGS", "-DHWGEN_SAIF"),
    ".fst": ("--trace-fst", "-CFLAGS", "-DHWGEN_FST", "-LDFLAGS", "-L.."),
}
STATUS_STUCK, STATUS_LAST, STATUS_EXTRA, STATUS_TLAST_ERROR = 1, 2, 3, 4


class _Stream(ctypes.Structure):
    _fields_ = (("beats", ctypes.c_void_p), ("words", ctypes.c_int64), ("moved", ctypes.c_int64))


class _Job(ctypes.Structure):
    _fields_ = (
        ("samples", ctypes.c_int64),
        ("seed", ctypes.c_int64),
        ("watchdog", ctypes.c_int64),
        ("tail", ctypes.c_int64),
        ("ends", ctypes.c_void_p),
        ("inputs", ctypes.POINTER(_Stream)),
        ("outputs", ctypes.POINTER(_Stream)),
        ("first_in", ctypes.c_void_p),
        ("last_out", ctypes.c_void_p),
        ("cycles", ctypes.c_int64),
        ("fault_port", ctypes.c_int64),
        ("fault_beat", ctypes.c_int64),
    )


def build(bundle: Bundle, trace: str = "") -> Path:
    """The folder of the compiled simulation, `trace` one of TRACES."""
    harness = (resources.files("hwgen.sim") / "harness.cpp").read_text()
    ports = "".join(
        f"#define {macro} {' '.join(f'PORT({p.prefix}, {p.beat_bytes})' for p in side)}\n"
        for macro, side in (("INPUTS", bundle.inputs), ("OUTPUTS", bundle.outputs))
    )
    options = [*OPTIONS, "--top-module", bundle.top, "-o", f"../{LIBRARY}"]
    if trace:
        options += TRACES[trace]
    sources = {
        **bundle.files,
        "harness.cpp": harness,
        "ports.inc": ports,
        **(store_headers() if trace == ".fst" else {}),
    }

    def make(folder: Path) -> None:
        check_compiler()
        for name, text in sources.items():
            (folder / name).write_text(text)
        verilog = [name for name in bundle.files if name.endswith(".v")]
        run(["verilator", *options, *verilog, "harness.cpp"], folder)
        shutil.rmtree(folder / "objects")  # precompiled headers of 150 MB, mostly

    return cached({**sources, "options": " ".join(options)}, make)


def store_headers() -> dict[str, str]:
    """Stand-ins for two compression libraries that waveforms would need; their archives are
    empty."""
    folder = resources.files("hwgen.sim") / "store"
    headers = {name: (folder / name).read_text() for name in ("lz4.h", "zlib.h")}
    return {**headers, "liblz4.a": "!<arch>\n", "libz.a": "!<arch>\n"}


def simulate(
    bundle: Bundle,
    codes: Mapping[str, np.ndarray],
    ends: np.ndarray,
    stall: int | None,
    wave: Path | None,
    watchdog: int,
) -> Result:
    """Stream a batch through the design; see `hwgen.engines.run`."""
    running = Running(bundle, watchdog, wave)
    try:
        return running.run(codes, ends, stall, TAIL_CYCLES)
    finally:
        running.close()


class Running:
    """A simulation that keeps its state from one run to the next."""

    def __init__(self, bundle: Bundle, watchdog: int, wave: Path | None = None) -> None:
        self._bundle, self._watchdog = bundle, watchdog
        folder = build(bundle, _trace(wave))
        self._library = ctypes.CDLL(str(folder / LIBRARY))
        self._library.hwgen_open.restype = ctypes.c_void_p
        trace = None if wave is None else str(Path(wave).absolute()).encode()
        with _working_in(folder):  # where $readmemh finds its files
            self._handle = ctypes.c_void_p(self._library.hwgen_open(trace))

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._handle is None

    def close(self) -> None:
        """End the simulation."""
        if not self.closed:
            self._library.hwgen_close(self._handle)
        self._handle = None

    def run(
        self,
        codes: Mapping[str, np.ndarray],
        ends: np.ndarray,
        stall: int | None = None,
        tail: int = 0,
    ) -> Result:
        """Stream samples through it, until all have come out and `tail` cycles have gone by; cycles
        count from the start of this run."""
        bundle, samples = self._bundle, len(ends)
        beats = [pack(codes[p.name], p) for p in bundle.inputs]
        sizes = [(samples * p.words, p.beat_bytes) for p in bundle.outputs]
        results = [np.zeros(size, dtype=np.uint8) for size in sizes]
        inputs, outputs = _streams(bundle.inputs, beats), _streams(bundle.outputs, results)
        first = np.full(samples, -1, dtype=np.int64)
        last = np.full((len(bundle.outputs), samples), -1, dtype=np.int64)
        job = _Job(
            samples,
            -1 if stall is None else stall,
            self._watchdog,
            tail,
            ends.ctypes.data,
            inputs,
            outputs,
            first.ctypes.data,
            last.ctypes.data,
        )
        status = self._library.hwgen_run(self._handle, ctypes.byref(job))
        if status:
            raise SimulationError(_fault(status, job, bundle, samples, inputs, outputs))
        decoded = {p.name: unpack(r, p) for p, r in zip(bundle.outputs, results, strict=True)}
        return Result(decoded, first, last, job.cycles)


def _trace(wave: Path | None) -> str:
    """What to trace for a file: waveforms unless its suffix says otherwise."""
    return "" if wave is None else ".saif" if Path(wave).suffix == ".saif" else ".fst"


def _streams(ports: tuple[Port, ...], arrays: list[np.ndarray]) -> ctypes.Array:
    pairs = zip(ports, arrays, strict=True)
    return (_Stream * len(ports))(*(_Stream(a.ctypes.data, p.words, 0) for p, a in pairs))


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _fault(status: int, job: _Job, bundle: Bundle, samples: int, inputs, outputs) -> str:
    """What went wrong, and where."""
    if status == STATUS_TLAST_ERROR:
        return "tlast_error rose: the design saw tlast on a wrong beat"
    if status != STATUS_STUCK:
        port = bundle.outputs[job.fault_port]
        sample, beat = divmod(job.fault_beat, port.words)
        problem = "tlast is wrong" if status == STATUS_LAST else "a beat too many comes"
        return f"{port.prefix}: {problem} at sample {sample}, beat {beat} of {port.words}"
    moved = [
        f"{port.prefix}* moved {stream.moved} of {port.words * samples} beats"
        for port, stream in [
            *zip(bundle.inputs, inputs, strict=True),
            *zip(bundle.outputs, outputs, strict=True),
        ]
        if stream.moved < port.words * samples
    ]
    return f"deadlock: nothing moved for {job.watchdog} cycles; {'; '.join(moved)}"
