"""Simulation of netlists of gates that counts transitions, with delays or without."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from hwgen.cost.gates import Netlist, Timing
from hwgen.cost.power import Activity
from hwgen.engines.tools import cached, check_compiler, compiler, run
from hwgen.errors import InputError, SimulationError

LIBRARY = "gates.so"
SOURCE = "gates.cpp"
OPTIONS = ("-O2", "-std=c++17", "-shared", "-fPIC", "-o", LIBRARY, SOURCE)
PICOSECONDS = 1000  # in a nanosecond
GATES = ("kind", "rank", "in_at", "ins", "out_at", "outs", "bits", "clock", "table_at", "tables")


class _Gates(ctypes.Structure):
    _fields_ = (
        ("gates", ctypes.c_int64),
        ("nets", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (*GATES, "delays")),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("cycles", "warm", "period", "inputs", "outputs")),
        ("streams", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("ready_nets", "stream_of")),
        *((name, ctypes.c_void_p) for name in ("input_nets", "output_nets", "given", "got")),
        *((name, ctypes.c_void_p) for name in ("toggles", "pins", "causes", "times")),
    )


@dataclass(frozen=True, eq=False)
class Result(Activity):
    """Activity, and `outputs`: codes at the end of each cycle, by port, unsigned; those of cycles
    that were not counted too."""

    outputs: dict[str, np.ndarray]


def simulate(
    netlist: Netlist,
    vectors: Mapping[str, Sequence[int] | np.ndarray],
    timing: Timing | None = None,
    period: float = 0.0,
    warm: int = 0,
    streams: Mapping[str, str] | None = None,
) -> Result:
    """Activity of a netlist, whose input ports take the codes `vectors`, one a cycle, behind the
    clock's rising edge; a port without any is 0. Flip-flops begin with 0.

    Without `timing` no gate has a delay, and no net changes twice in a cycle. With it changes take
    their delays, in a clock period of `period` ns, and short pulses end in gates slower than they
    are. The first `warm` cycles are not counted, and have no delays. `streams`: for input ports
    whose next code comes only after a cycle in which an output port is 1, that port. Raises
    `SimulationError` where a period is too short.
    """
    nets, given, owners = _bits(netlist, vectors)
    ports = [(name, bits) for name, (output, bits) in netlist.ports.items() if output]
    reads = np.concatenate([bits for _, bits in ports] or [np.zeros(0, int)]).astype(np.int32)
    got = np.zeros((len(given), len(reads)), dtype=np.uint8)
    shapes = _shapes(netlist)
    counts = {
        name: np.zeros(sum(math.prod(shape) for shape in rows), dtype=np.int64)
        for name, rows in shapes.items()
    }
    toggles = np.zeros(netlist.nets, dtype=np.int64)
    waits = [(streams or {}).get(name) for name in owners]
    flows = sorted({port for port in waits if port})
    stream_of = np.array([flows.index(port) if port else -1 for port in waits], dtype=np.int32)
    ready_nets = np.array([netlist.ports[port][1][0] for port in flows], dtype=np.int32)
    arrays = {
        "stream_of": stream_of,
        "ready_nets": ready_nets,
        "input_nets": nets, "output_nets": reads, "given": given, "got": got, "toggles": toggles
    } | counts  # fmt: skip
    job = _Job(
        len(given),
        warm,
        round(period * PICOSECONDS) if timing else 0,
        len(nets),
        len(reads),
        len(flows),
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    gates, _kept = _gates(netlist, timing)
    late = _library().hwgen_gates(ctypes.byref(gates), ctypes.byref(job))
    if late:
        raise SimulationError(
            f"gates are not settled after {period:g} ns; "
            f"the slowest path takes {timing.path:.3g} ns"
        )
    found = {name: _split(counts[name], rows) for name, rows in shapes.items()}
    times = [t / np.maximum(t.sum(axis=1, keepdims=True), 1) for t in found["times"]]
    outputs, start = {}, 0
    for name, bits in ports:
        outputs[name] = _codes(got[:, start : start + len(bits)])
        start += len(bits)
    cycles = len(given) - warm
    return Result(cycles, toggles, found["pins"], found["causes"], times, outputs)


def _shapes(netlist: Netlist) -> dict[str, list[tuple[int, ...]]]:
    """Of the counts of each kind of gate."""
    found: dict[str, list[tuple[int, ...]]] = {"pins": [], "causes": [], "times": []}
    for m in netlist.members:
        n, ins, outs, states = len(m.gates), len(m.kind.inputs), len(m.kind.outputs), m.kind.states
        found["pins"].append((n, ins, states))
        found["causes"].append((n, outs, ins, states))
        found["times"].append((n, states))
    return found


def _bits(netlist: Netlist, vectors: Mapping) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Nets of all input ports but the clock, their values (cycles, nets), and the ports of each."""
    lengths = {len(codes) for codes in vectors.values()}
    inputs = {name: bits for name, (output, bits) in netlist.ports.items() if not output}
    if len(lengths) != 1 or not vectors.keys() <= inputs.keys():
        raise InputError(
            f"vectors must be codes, as many of each, for ports among {', '.join(inputs)}; "
            f"not {', '.join(f'{len(codes)} of {name}' for name, codes in vectors.items())}"
        )
    nets, columns, owners = [], [], []
    for name, bits in inputs.items():
        if netlist.clock in bits:
            continue
        codes = vectors.get(name, np.zeros(min(lengths), dtype=np.int64))
        nets.append(bits)
        owners += [name] * len(bits)
        columns.append(_spread(codes, len(bits)))
    joined = np.concatenate(nets or [np.zeros(0, int)]).astype(np.int32)
    return joined, np.ascontiguousarray(np.concatenate(columns, axis=1)), owners


def _spread(codes: Sequence[int] | np.ndarray, width: int) -> np.ndarray:
    """Codes as bits (cycles, width), the least significant first."""
    size = -(-width // 8)
    mask = (1 << width) - 1
    raw = b"".join((int(code) & mask).to_bytes(size, "little") for code in codes)
    data = np.frombuffer(raw, dtype=np.uint8).reshape(len(codes), size)
    return np.unpackbits(data, axis=1, bitorder="little")[:, :width]


def _codes(bits: np.ndarray) -> np.ndarray:
    """The reverse; of integers of any size where they are wide."""
    if bits.shape[1] <= 62:
        return bits.astype(np.int64) @ (1 << np.arange(bits.shape[1], dtype=np.int64))
    data = np.packbits(bits, axis=1, bitorder="little")
    return np.array([int.from_bytes(row.tobytes(), "little") for row in data], dtype=object)


def _split(values: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(values, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _gates(netlist: Netlist, timing: Timing | None) -> tuple[_Gates, dict[str, np.ndarray]]:
    """The netlist as the simulator takes it, and the arrays that it points into."""
    kinds = [m.kind for m in netlist.members]
    counts = [len(m.gates) for m in netlist.members]
    tables = [np.concatenate([k.values.ravel(), k.next]).astype(np.uint8) for k in kinds]
    starts = {
        side: np.cumsum([0, *np.repeat([len(getattr(k, side)) for k in kinds], counts)])
        for side in ("inputs", "outputs")
    }
    delays = [np.zeros(0)]
    if timing is not None:  # falling first, each a picosecond or more
        delays = [np.maximum(np.rint(d[..., ::-1] * PICOSECONDS), 1).ravel() for d in timing.delays]
    arrays = {
        "kind": np.repeat(np.arange(len(kinds)), counts),
        "rank": netlist.ranks,
        "in_at": starts["inputs"],
        "ins": np.concatenate([m.inputs.ravel() for m in netlist.members]),
        "out_at": starts["outputs"],
        "outs": np.concatenate([m.outputs.ravel() for m in netlist.members]),
        "bits": np.array([k.bits for k in kinds]),
        "clock": np.array([k.clock for k in kinds]),
        "delays": np.concatenate(delays),
    }
    arrays = {name: np.ascontiguousarray(a, dtype=np.int32) for name, a in arrays.items()}
    arrays["table_at"] = np.cumsum([0, *map(len, tables[:-1])])
    arrays["tables"] = np.concatenate(tables)
    pointers = {name: array.ctypes.data for name, array in arrays.items()}
    return _Gates(len(netlist.names), netlist.nets, **pointers), arrays


def _library() -> ctypes.CDLL:
    """The compiled simulator."""
    source = (resources.files("hwgen.sim") / SOURCE).read_text()

    def make(folder) -> None:
        check_compiler()
        (folder / SOURCE).write_text(source)
        run([compiler(), *OPTIONS], folder)

    folder = cached({SOURCE: source, "options": " ".join(OPTIONS)}, make)
    library = ctypes.CDLL(str(folder / LIBRARY))
    library.hwgen_gates.restype = ctypes.c_int64
    return library
