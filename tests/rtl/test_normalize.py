# amaranth: UnusedElaboratable=no
"""What normalization and softmax ask of the words of their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwgen.config import Config
from hwgen.errors import ConfigError, HwgenError
from hwgen.ir import Graph, Normalize, Softmax
from hwgen.passes.pipeline import lower
from hwgen.rtl.normalize import NormalizeUnit
from hwgen.rtl.softmax import SoftmaxUnit
from tests.rtl.transformer_graphs import normalize, softmax


def _node(graph: Graph) -> Normalize | Softmax:
    (node,) = (n for n in graph.nodes if isinstance(n, Normalize | Softmax))
    return node


def _build(node: Normalize | Softmax, graph: Graph) -> None:
    unit = NormalizeUnit if isinstance(node, Normalize) else SoftmaxUnit
    unit(node, graph.tensors[node.input], graph.tensors[node.output])


@pytest.mark.parametrize("graph", [normalize(2), softmax(2)], ids=["normalize", "softmax"])
def test_words_of_several_rows(graph: Graph) -> None:
    node = _node(graph)
    x = graph.tensors[node.input]
    assert x.lanes <= x.channels
    graph.relane(node.input, 2 * x.channels)
    with pytest.raises(HwgenError, match=f"node: .* at most {x.channels} lanes"):
        _build(node, graph)


def test_fewest_lanes() -> None:
    graph = normalize(4)  # rows of 24 in 5 words
    assert graph.tensors[_node(graph).input].lanes == 5


@pytest.mark.parametrize("graph", [normalize(1), softmax(1)], ids=["normalize", "softmax"])
def test_too_few_cycles(graph: Graph) -> None:
    rows = graph.tensors[_node(graph).input].rows
    with pytest.raises(ConfigError, match=f"node takes {rows} cycles"):
        lower(graph, Config.parse({"cycles": rows - 1}))


def test_exponential_of_nothing() -> None:
    graph = softmax(0)
    node = _node(graph)
    nothing = replace(node.exponential, base=0 * node.exponential.base)
    with pytest.raises(HwgenError, match="node: its exponential must be at least 1"):
        _build(replace(node, exponential=nothing), graph)
