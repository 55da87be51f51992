"""Parts of a graph that depend on one tensor: found by where all paths meet, known by what they
compute."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwgen.frontend.rewrite.sight import Sight

MOST = 32  # nodes of a region


@dataclass(frozen=True)
class Region:
    """Nodes in the order of the data, from the tensor `source` and constants to `result`."""

    source: str
    result: str
    nodes: list[onnx.NodeProto]

    def run(self, sight: Sight, x: np.ndarray) -> np.ndarray:
        """What the region gives for x."""
        read = {name for node in self.nodes for name in node.input}
        constants = [(n, a) for n in sorted(read) if (a := sight.array(n)) is not None]
        graph = helper.make_graph(
            self.nodes, "region",
            [helper.make_tensor_value_info(self.source, onnx.TensorProto.FLOAT, x.shape)],
            [helper.make_value_info(self.result, onnx.TypeProto())],
            [numpy_helper.from_array(a, n) for n, a in constants],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", sight.editor.opset)]
        model = helper.make_model(graph, opset_imports=opsets)
        with np.errstate(all="ignore"):
            (y,) = ReferenceEvaluator(model).run(None, {self.source: x})
        return np.asarray(y)


def region(sight: Sight, root: onnx.NodeProto, ops: Collection[str]) -> Region | None:
    """Everything between a node and the nearest tensor all its paths come from, if that is made of
    `ops`, at least two paths, and read by nobody else."""
    frontier, nodes, branched = {root.output[0]}, list[onnx.NodeProto](), False
    while not branched or len(frontier) > 1:
        last = max(frontier, key=lambda name: sight.places.get(name, -1))
        node = sight.maker(last, *ops)
        if node is None or len(nodes) == MOST:
            return None
        nodes.append(node)
        frontier -= set(node.output)
        frontier |= {name for name in node.input if name and sight.array(name) is None}
        branched |= len(frontier) > 1
    (source,) = frontier
    if not sight.private(root, source):
        return None
    return Region(source, root.output[0], nodes[::-1])
