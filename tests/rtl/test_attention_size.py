"""What the size of attention in hardware depends on."""

from __future__ import annotations

import pytest

from hwgen.cost.schedule import interval
from hwgen.emit.verilog import unit_sources, verilog
from hwgen.ir import Attention, Graph
from hwgen.rtl.build import build
from tests.rtl.attention_graphs import sliding
from tests.verilog import lines, memory_bits

DEPTH, LANES = 16, 8
LENGTHS = [128, 256, 512, 16384]
WINDOWS = [16, 64, 256, 512]


def unit(graph: Graph) -> dict[str, str]:
    node = next(n for n in graph.nodes if isinstance(n, Attention))
    return unit_sources(build(node, graph), "attention")


def test_length() -> None:
    """A row more takes its visits' cycles and no memory; what waits in queues is limited."""
    window = 32
    graphs = [sliding(rows, window, DEPTH, LANES) for rows in LENGTHS]
    cycles = [interval(graph) for graph in graphs]
    per_row = window // LANES * DEPTH
    for rows, found in zip(LENGTHS, cycles, strict=True):
        assert found - cycles[0] == (rows - LENGTHS[0]) * per_row
    sizes = [memory_bits(unit(graph), "attention") for graph in graphs]
    assert sizes == sizes[:1] * len(sizes)
    early = (window - 1) // 2 * DEPTH  # words of keys that come before the first query's
    for graph, size in zip(graphs, sizes, strict=True):
        assert memory_bits(verilog(graph), graph.name) - size <= 8 * (4 * early + 64)


def test_window() -> None:
    """Memory is keys and values; sums, tables and what waits stay small."""
    for window in WINDOWS:
        size = memory_bits(unit(sliding(256, window, DEPTH, LANES)), "attention")
        assert 0 < size - 2 * 8 * window * DEPTH < 8192


@pytest.mark.synth
def test_wide_units_are_light() -> None:
    """A lane more is little text, however many there are."""
    few, more, many = (lines(unit(sliding(256, 128, DEPTH, lanes))) for lanes in (32, 64, 128))
    assert (more - few) / 32 < 70
    assert (many - more) / 64 < 70
