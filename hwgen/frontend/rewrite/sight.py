"""What rewrites see of a graph, and how they change it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from hwgen.errors import ModelError
from hwgen.frontend import constants
from hwgen.frontend.editor import HWGEN, Editor, kind
from hwgen.frontend.read import DOMAINS
from hwgen.frontend.rewrite.shapes import infer
from hwgen.frontend.values import Constant


class Sight:
    """A graph under rewriting; `given`: shapes of the model's inputs by name."""

    def __init__(self, editor: Editor, given: Mapping[str, Sequence[int]]) -> None:
        self.editor, self.given = editor, given
        self.types: dict[str, tuple[int, tuple[int, ...] | None]] = {}
        self.fold()

    # --- looking -----------------------------------------------------------------------------

    def maker(self, name: str, *ops: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, if it is one of `ops`."""
        node = self.producers.get(name)
        return node if node is not None and kind(node) in ops else None

    def array(self, name: str) -> np.ndarray | None:
        """The numbers of a constant; None of any other tensor."""
        return self.editor.constants.get(name)

    def scalar(self, name: str) -> float | None:
        """The number of a constant of one element."""
        array = self.array(name)
        return float(array.item()) if array is not None and array.size == 1 else None

    def sides(self, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        """The two operands, in either order."""
        first, second = node.input
        yield first, second
        yield second, first

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor; None where it is not known."""
        constant = self.array(name)
        if constant is not None:
            return constant.shape
        found = self.types.get(name, (0, None))[1]
        if found is None and self.stale:
            self._infer()
            found = self.types.get(name, (0, None))[1]
        return found

    def size(self, name: str, rank: Collection[int]) -> tuple[int, ...]:
        """The shape of a tensor of so many dimensions; raises `ModelError`."""
        found = self.shape(name)
        if found is None:
            raise ModelError(f"the shape of {name!r} is not known; fix it, e.g. --shape INPUT=1,64")
        if len(found) not in rank:
            raise ModelError(f"its input {name!r} of shape {list(found)} is not supported")
        return found

    def element(self, name: str) -> int:
        """The element type of a tensor, 0 where it is not known."""
        return self.types.get(name, (0, None))[0]

    def reader(self, name: str, *ops: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, if it is one of `ops`."""
        found = self.readers.get(name, [])
        lone = len(found) == 1 and name not in self.editor.outputs
        return found[0][0] if lone and kind(found[0][0]) in ops else None

    def used(self, name: str) -> bool:
        """Whether anything depends on a tensor."""
        return name in self.readers or name in self.editor.outputs

    def private(self, root: onnx.NodeProto, source: str) -> bool:
        """Whether nobody else reads what is computed between a tensor and a node."""
        inner: dict[int, onnx.NodeProto] = {id(root): root}
        stack = [root]
        while stack:
            for name in stack.pop().input:
                node = self.producers.get(name) if name != source else None
                if node is not None and id(node) not in inner:
                    inner[id(node)] = node
                    stack.append(node)
        return all(
            output not in self.editor.outputs
            and all(id(reader) in inner for reader, _ in self.readers.get(output, ()))
            for node in inner.values() if node is not root for output in node.output
        )  # fmt: skip

    # --- changing ----------------------------------------------------------------------------

    def add(
        self, op: str, inputs: Sequence[str], name: str, output: str = "", domain: str = "",
        **attributes: Any,
    ) -> str:  # fmt: skip
        """A new node, whose name and output are made unique unless `output` is given; returns its
        output."""
        editor = self.editor
        if not output:
            name = editor.fresh(name)
            output = editor.fresh(f"{name}_output")
        known = {k: v for k, v in attributes.items() if v is not None}
        made = helper.make_node(op, inputs, [output], name=name, domain=domain, **known)
        editor.nodes.append(made)
        self.stale = True
        return output

    def own(self, op: str, since: int) -> str:
        """The domain of an op that ONNX has since an opset: hwgen's own before that."""
        return "" if self.editor.opset >= since else HWGEN

    def constant(self, array: np.ndarray | np.generic, stem: str) -> str:
        """The name of a new constant."""
        return self.editor.constant(array, stem)

    def drop(self, *nodes: onnx.NodeProto) -> None:
        """Remove nodes."""
        gone = {id(node) for node in nodes}
        self.editor.nodes = [node for node in self.editor.nodes if id(node) not in gone]

    def bypass(self, node: onnx.NodeProto, source: str) -> bool:
        """Let the readers of a node read `source` instead; refuse for an output of the model that
        nothing else could be called."""
        result, editor = node.output[0], self.editor
        if result in editor.outputs:
            if source not in self.producers or source in editor.outputs:
                return False
            self.drop(node)
            editor.rename(source, result)
            self.types[result] = self.types.pop(source, (0, None))
            return True
        self.drop(node)
        for reader, k in self.readers.get(result, ()):
            reader.input[k] = source
        return True

    def refresh(self) -> None:
        """Look again, after a change; nodes nothing depends on go."""
        self.editor.sort()
        self.producers, self.readers = self.editor.producers(), dict(self.editor.readers())
        self.places = {name: k for k, name in enumerate(self.producers)}
        self.stale = True

    def fold(self) -> None:
        """Compute what depends on shapes and constants alone."""
        self.refresh()
        self._infer()
        while self._folded():
            self.refresh()
            if any(kind(node) == "Shape" for node in self.editor.nodes):
                self._infer()

    def _folded(self) -> bool:
        """Whether a node became a constant."""
        editor, kept = self.editor, []
        for node in editor.nodes:
            results = self._values(node)
            if results is None:
                kept.append(node)
            else:
                editor.constants |= dict(zip(node.output, results, strict=False))
        found = len(kept) < len(editor.nodes)
        editor.nodes = kept
        return found

    def _values(self, node: onnx.NodeProto) -> list[np.ndarray] | None:
        """What a node gives, if it is known."""
        if kind(node) == "Shape" and (size := self.shape(node.input[0])) is not None:
            ends = {a.name: a.i for a in node.attribute}
            return [np.array(size[ends.get("start", 0) : ends.get("end")], np.int64)]
        arrays = [self.array(name) for name in node.input]
        values = [None if array is None else Constant(array) for array in arrays]
        known = all(v is not None or not i for v, i in zip(values, node.input, strict=True))
        if not known or node.domain not in DOMAINS or not constants.foldable(node, values):
            return None
        if node.op_type == "QuantizeLinear":
            return None
        try:
            made = constants.fold(node, values, self.editor.opset)
        except ModelError:  # the lowering says it too, with all others
            return None
        return [value.array for value in made if isinstance(value, Constant)]

    def _infer(self) -> None:
        self.types |= infer(self.editor, self.given)
        self.stale = False
