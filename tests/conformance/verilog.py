"""The cases that pass, in Verilog: many graphs in each simulation."""

from __future__ import annotations

import dataclasses

import numpy as np

from hwgen import engines, golden
from hwgen.design import bundle_of
from hwgen.ir import Fork, Graph, Queue, Resize
from tests.conformance.outcome import Outcome
from tests.merge import merge

PLUMBING = (Fork, Queue, Resize)
SAMPLES = 4  # the case's own and random codes
PARTS = 3  # simulations


def parts(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """The outcomes whose hardware computes, each different graph once, in about equal parts."""
    different = {_signature(o.graph): o for o in outcomes if computes(o)}
    ordered = sorted(different.values(), key=lambda o: sum(map(_cost, o.graph.nodes)))
    return [ordered[k::PARTS] for k in range(PARTS)]


def computes(outcome: Outcome) -> bool:
    """Whether the case's hardware is more than copies and buffers of a stream."""
    return outcome.graph is not None and any(
        not isinstance(node, PLUMBING) for node in outcome.graph.nodes
    )


def _cost(node) -> int:
    return getattr(node, "pe", 1) * getattr(node, "simd", 1)


def _signature(graph: Graph) -> str:
    """A text that equal graphs share; names are left out."""
    numbers = {name: k for k, name in enumerate(graph.tensors)}

    def plain(value) -> object:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return [type(value).__name__, {k: plain(v) for k, v in fields.items() if k != "name"}]
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return numbers.get(value, value) if isinstance(value, str) else value

    ports = [numbers[name] for name in graph.port_tensors()]
    return repr([plain(v) for v in (*graph.nodes, *graph.tensors.values())] + ports)


def simulate(outcomes: list[Outcome]) -> None:
    """Run graphs side by side; raises `AssertionError` where the Verilog is not the golden
    model."""
    graph = merge([o.graph for o in outcomes])
    rng = np.random.default_rng(5)
    codes = {}
    for number, outcome in enumerate(outcomes):
        for name, own in outcome.codes.items():
            port = next(p for p in graph.inputs if p.name == f"n{number}_{name}")
            fmt = graph.tensors[port.tensor].fmt
            more = rng.integers(fmt.min, fmt.max + 1, (SAMPLES - 1, own.shape[1]))
            codes[port.name] = np.concatenate([own, more])
    expected = golden.run(graph, codes)
    got = engines.run(bundle_of(graph), codes).codes
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        case = outcomes[int(name[1:].partition("_")[0])].case
        np.testing.assert_array_equal(got[name], array, err_msg=f"{case.op}, {case.name}")
