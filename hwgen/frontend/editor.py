"""A model under conversion: nodes and constants that can be exchanged."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwgen.errors import ModelError
from hwgen.frontend.read import DOMAINS, node_names

QONNX = "qonnx.custom_op.general"
HWGEN = "hwgen"  # our own domain, which has the op Quantize
VERSIONS = {QONNX: 2, HWGEN: 1}
LEAST_IR = 10  # the first whose nodes have metadata


class Editor:
    """A copy of a model. `nodes`: all of them named, in any order; `constants`: arrays by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        if graph.sparse_initializer:
            raise ModelError("sparse initializers are not supported; store them dense")
        self.constants = {t.name: _array(t) for t in graph.initializer}
        self.nodes = list(graph.node)
        for node, name in zip(self.nodes, node_names(graph), strict=True):
            node.name = name
        self.inputs = [v.name for v in graph.input if v.name not in self.constants]
        self.taken = {n.name for n in self.nodes} | set(self.inputs) | set(self.constants)
        self.taken |= {o for n in self.nodes for o in n.output}
        versions = [e.version for e in model.opset_import if e.domain in DOMAINS]
        self.opset = max(versions, default=onnx.defs.onnx_opset_version())

    @property
    def outputs(self) -> list[str]:
        """Names of the model's outputs."""
        return [value.name for value in self.model.graph.output]

    def fresh(self, stem: str) -> str:
        """A name nothing has."""
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name

    def constant(self, array: np.ndarray | np.generic, stem: str) -> str:
        """The name of a new constant."""
        name = self.fresh(stem)
        self.constants[name] = np.asarray(array)
        return name

    def add(
        self, op: str, inputs: list[str], stem: str, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node; returns its output's name."""
        name = self.fresh(stem)
        output = self.fresh(f"{name}_output")
        made = helper.make_node(op, inputs, [output], name=name, domain=domain, **attributes)
        self.nodes.append(made)
        return output

    def clip(self, source: str, low: float, high: float, stem: str) -> str:
        """Append a Clip; returns its output's name."""
        if self.opset < 11:
            return self.add("Clip", [source], stem, min=low, max=high)
        ends = [self.constant(np.float32(v), f"{stem}_limit") for v in (low, high)]
        return self.add("Clip", [source, *ends], stem)

    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor."""
        return {o: node for node in self.nodes for o in node.output if o}

    def readers(self) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
        """(node, input) of everything that reads each tensor."""
        found = defaultdict(list)
        for node in self.nodes:
            for k, name in enumerate(node.input):
                found[name].append((node, k))
        return found

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name, wherever it is made and read."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for k, name in enumerate(names):
                    if name == old:
                        names[k] = new

    def sort(self) -> None:
        """Put nodes in the order of the data; leave out those the outputs don't depend on."""
        producers, order, done = self.producers(), [], set()
        for output in self.outputs:
            stack = [output]
            while stack:
                name = stack[-1]
                node = producers.get(name)
                if node is None or id(node) in done:
                    stack.pop()
                    continue
                waiting = [i for i in node.input if i in producers and id(producers[i]) not in done]
                stack += reversed(waiting)
                if not waiting:
                    done.add(id(node))
                    order.append(node)
        self.nodes = order

    def finish(self, extra: list[str] | None = None) -> onnx.ModelProto:
        """The model as it is now; `extra`: tensors that become outputs as well."""
        if not extra:
            self.sort()
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        for field in (graph.node, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(self.nodes)
        read = {i for node in self.nodes for i in node.input} | set(self.outputs)
        graph.initializer.extend(
            numpy_helper.from_array(a, n) for n, a in self.constants.items() if n in read
        )
        inputs = [v for v in graph.input if v.name not in self.constants]
        del graph.input[:]
        graph.input.extend(inputs)
        graph.output.extend(helper.make_value_info(n, onnx.TypeProto()) for n in extra or ())
        self._opsets(model)
        model.ir_version = max(model.ir_version, LEAST_IR)
        return model

    def _opsets(self, model: onnx.ModelProto) -> None:
        """Import the domains that nodes use, and no others."""
        used = {node.domain for node in self.nodes}
        known = {entry.domain for entry in model.opset_import}
        kept = [e for e in model.opset_import if e.domain in used or e.domain in DOMAINS]
        del model.opset_import[:]
        model.opset_import.extend(kept)
        for domain in sorted(used - known):
            model.opset_import.append(helper.make_opsetid(domain, VERSIONS.get(domain, 1)))


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"initializer {tensor.name!r} can't be read: {error}") from error


def attribute(node: onnx.NodeProto, name: str, default=None):
    """An attribute's value."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def kind(node: onnx.NodeProto) -> str:
    """The op, with its domain where that is not ONNX's own."""
    return node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
