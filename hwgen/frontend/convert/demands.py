"""Which tensors must be quantized, and to what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import onnx

from hwgen.formats import Arithmetic, Block, Float, Int
from hwgen.formats.names import Format
from hwgen.frontend import ops_functions, ops_norm
from hwgen.frontend.context import CARRIER
from hwgen.frontend.convert.prepare import LINEAR, weights_of
from hwgen.frontend.convert.scaling import scaled
from hwgen.frontend.convert.strip import MOVES
from hwgen.frontend.editor import Editor, kind

BINARY = frozenset({"Add", "Sub", "Mul"})
POOLS = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean"})
FUNCTIONS = frozenset(ops_functions.LOWER)
NORMS = frozenset(ops_norm.LOWER)
# Affine, or clamps: they need no quantizer of their own.
FREE = frozenset(
    "Add Sub Mul Div Neg Relu Clip Max Min BatchNormalization ai.onnx.ml.Scaler".split()
)
PASSED = MOVES | {"Pad", "Cast"}  # a quantizer goes before them


@dataclass(frozen=True)
class Spec:
    """A format; `carrier`: fixed point in between, with a scale of a power of two; `products`: so
    scaled that products of two stay within the format; `bounded`: clipped to what calibration
    saw."""

    fmt: Format
    carrier: bool = False
    products: bool = False
    bounded: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether it depends on the numbers."""
        return self.carrier or self.bounded or scaled(self.fmt)


CARRIED = Spec(CARRIER, True)
Edge = tuple[onnx.NodeProto, int]  # a node and which of its inputs


@dataclass
class Demand:
    """A reader that wants a quantized input; `edges` from there back to the anchor, the tensor at
    which a quantizer may stand for all of them."""

    spec: Spec
    anchor: str
    edges: list[Edge]  # the last reads the anchor
    block: Block | None = None  # to be formed in front of the reader

    @property
    def padded(self) -> bool:
        """Whether there is a Pad on the way, which reads codes."""
        return any(kind(node) == "Pad" for node, _ in self.edges[1:])


@dataclass
class Plan:
    """Demands, and the sums and functions that must be quantized where nothing demands it."""

    demands: list[Demand] = field(default_factory=list)
    results: list[tuple[str, Spec]] = field(default_factory=list)
    carriers: list[onnx.NodeProto] = field(default_factory=list)  # nodes with an arithmetic


def activations(editor: Editor, node: onnx.NodeProto) -> list[int]:
    """Inputs that are no constants."""
    return [k for k, i in enumerate(node.input) if i and i not in editor.constants]


def bears(editor: Editor, node: onnx.NodeProto) -> bool:
    """Whether a node computes in an arithmetic: layers, sums and products of two tensors, means,
    functions."""
    op = kind(node)
    if op in BINARY:
        return len(activations(editor, node)) == 2
    if op == "MatMul" and len(activations(editor, node)) == 2:
        return True
    if op in LINEAR:
        return bool(activations(editor, node)[:1] == [0])
    return op in POOLS | FUNCTIONS


def operand(arithmetic: Arithmetic) -> Spec:
    """What the activations of an arithmetic are quantized to outside of linear layers."""
    if isinstance(arithmetic.x, Block):
        return CARRIED
    return Spec(arithmetic.x, products=arithmetic.multiplier != "exact")


class Planner:
    """Finds the demands of a float model."""

    def __init__(self, editor: Editor, arith: Callable[[str], Arithmetic | None]) -> None:
        self.editor, self.arith = editor, arith
        self.producers, self.readers = editor.producers(), editor.readers()
        self.plan = Plan()
        self.known: set[tuple[int, int]] = set()  # readers with a demand
        self.carried = self._carried()
        self.turned: set[int] = set()  # nodes of rotary embeddings

    def run(self) -> Plan:
        """The plan."""
        active = self._active()
        for node in self.editor.nodes:
            self._rotation(node)
        for node in self.editor.nodes:
            if id(node) in self.turned:
                continue
            arithmetic = self.arith(node.name)
            if not bears(self.editor, node):
                self._free(node, arithmetic)
            elif arithmetic is not None:
                self.plan.carriers.append(node)
                self._bearer(node, arithmetic, active)
        return self.plan

    def _active(self) -> set[str]:
        """Tensors from which something that bears an arithmetic is reached, functions aside."""
        found: set[str] = set()
        for node in reversed(self.editor.nodes):
            own = bears(self.editor, node) and kind(node) not in FUNCTIONS
            if own or any(output in found for output in node.output):
                found |= {i for i in node.input if i}
        return found

    def _carried(self) -> set[int]:
        """Sums of two tensors that normalizations read, or such sums again: residual streams, which
        stay in fixed point whatever the arithmetic."""
        read: set[str] = set()
        found: set[int] = set()
        sums = [n for n in self.editor.nodes if kind(n) == "Add" and bears(self.editor, n)]
        for node in reversed(self.editor.nodes):
            if kind(node) in NORMS or (kind(node) in MOVES and node.output[0] in read):
                read.add(node.input[0])
            elif kind(node) == "Add" and node.output[0] in read:
                read |= set(node.input)
                found |= {id(n) for n in sums if n is node}
        made = {node.output[0] for node in sums if id(node) in found}
        for node in sums:  # those behind the last normalization
            if made & set(node.input):
                found.add(id(node))
                made.add(node.output[0])
        return found

    def _rotation(self, node: onnx.NodeProto) -> None:
        """Note the nodes of a rotary embedding, a sum of two elements of one tensor, which stays in
        fixed point in front of it."""
        if kind(node) != "Add" or not bears(self.editor, node):
            return
        inside: dict[int, onnx.NodeProto] = {id(node): node}
        sources, names = set(), list(node.input)
        while names:
            name = names.pop()
            maker = self.producers.get(name)
            one = maker is not None and len(activations(self.editor, maker)) == 1
            joined = maker is not None and kind(maker) == "Concat"
            if joined or (one and kind(maker) in MOVES | {"Mul", "Neg"}):
                inside[id(maker)] = maker
                names += [maker.input[k] for k in activations(self.editor, maker)]
            else:
                sources.add(name)
        if len(sources) != 1 or "Concat" not in {kind(n) for n in inside.values()}:
            return
        # Moves that the whole tensor goes through come before it.
        self.turned |= {key for key, n in inside.items() if kind(n) not in MOVES}
        if self.arith(node.name) is not None:
            self.plan.results.append((sources.pop(), CARRIED))

    def _bearer(self, node: onnx.NodeProto, arithmetic: Arithmetic, active: set[str]) -> None:
        op, result = kind(node), node.output[0]
        if op in LINEAR:
            block = arithmetic.x if isinstance(arithmetic.x, Block) else None
            places = activations(self.editor, node)[:2]
            for k in places:
                if len(places) == 1 or not self._weights_of_attention(node, k):
                    spec = operand(arithmetic)
                    if k and isinstance(arithmetic.w, Float):
                        spec = replace(spec, fmt=arithmetic.w)
                    if len(places) == 2:  # what attention sums is as wide as its operands can be
                        wide = isinstance(spec.fmt, Float) and not scaled(spec.fmt)
                        spec = replace(spec, bounded=wide)
                    self._demand(node, k, spec, block if len(places) == 1 else None)
        elif op in FUNCTIONS:
            if result in active:
                spec = operand(arithmetic)
                # A function of the carrier's codes would be a table of 65536 entries.
                self._demand(node, 0, Spec(Int(8)) if spec is CARRIED else spec)
        elif op in BINARY:
            roots = [self._root(node, k) for k in (0, 1)]
            together = roots[0][0] == roots[1][0] and len(roots[0][1]) + len(roots[1][1]) > 2
            # Products of two tensors of floats have no unit: fixed point stands in for them.
            fixed = op == "Mul" and not together and isinstance(arithmetic.x, Float)
            fixed |= id(node) in self.carried
            for k, (_, edges) in enumerate(roots):
                reader = edges[-1] if together else (node, k)
                if kind(reader[0]) not in FUNCTIONS:
                    self._demand(*reader, CARRIED if fixed else operand(arithmetic))
            if op != "Mul" or together:
                spec = CARRIED if fixed else operand(arithmetic)
                self.plan.results.append((self._clamped(result), spec))
        else:
            self._demand(node, 0, operand(arithmetic))

    def _free(self, node: onnx.NodeProto, arithmetic: Arithmetic | None) -> None:
        """Ops without an arithmetic want a quantized input where it comes from the model's input or
        from joined tensors; and where they treat channels of a sum differently."""
        op = kind(node)
        if arithmetic is not None and op in NORMS:
            self._demand(node, 0, CARRIED)
        if arithmetic is None or op not in FREE | {"Concat"}:
            return
        if op == "Concat":  # an output of the model is one tensor
            spec = operand(arithmetic)
            spec = CARRIED if scaled(spec.fmt) else spec
            self.plan.results.append((self._clamped(node.output[0]), spec))
        for k in activations(self.editor, node)[: None if op == "Concat" else 1]:
            anchor = self._anchor(node, k)[0]
            maker = self.producers.get(anchor)
            if maker is None or kind(maker) == "Concat" or self._by_row(node, k):
                self._demand(node, k, CARRIED)
                continue
            constants = [self.editor.constants[i] for i in node.input if i in self.editor.constants]
            if any(c.size > 1 for c in constants) and self._sums(anchor):
                # Nothing can be added to floats once they are rounded.
                rounded = isinstance(arithmetic.x, Float)
                self._demand(node, k, CARRIED if rounded else operand(arithmetic))

    def _by_row(self, node: onnx.NodeProto, k: int) -> bool:
        """Whether it adds a constant to a layer's rounded sums that is no bias of its channels,
        with which the sums could begin."""
        if kind(node) not in ("Add", "Sub"):
            return False
        maker, moved = self.producers.get(node.input[k]), False
        while maker is not None and (
            kind(maker) in PASSED or (kind(maker) in FREE and not bears(self.editor, maker))
        ):
            moved |= kind(maker) in PASSED
            maker = self.producers.get(maker.input[activations(self.editor, maker)[0]])
        w = None if maker is None or kind(maker) not in LINEAR else weights_of(self.editor, maker)
        arithmetic = None if w is None else self.arith(maker.name)
        if arithmetic is None or arithmetic.accumulator in ("int", "exact"):
            return False
        (constant,) = (self.editor.constants[i] for i in node.input if i in self.editor.constants)
        axes = {axis - constant.ndim for axis, size in enumerate(constant.shape) if size > 1}
        channel = -1 if w.ndim == 2 else 1 - w.ndim
        return len(axes) > 1 if moved else not axes <= {channel}

    def _weights_of_attention(self, node: onnx.NodeProto, k: int) -> bool:
        """Whether an input is a softmax, which attention keeps to itself."""
        maker = self.producers.get(self._anchor(node, k)[0])
        return maker is not None and kind(maker) == "Softmax"

    def _sums(self, name: str) -> bool:
        """Whether a tensor is a sum of two that is not quantized."""
        node = self.producers.get(name)
        while node is not None and kind(node) in FREE and not bears(self.editor, node):
            node = self.producers.get(node.input[activations(self.editor, node)[0]])
        return node is not None and kind(node) in ("Add", "Sub") and bears(self.editor, node)

    def _root(self, node: onnx.NodeProto, k: int) -> tuple[str, list[Edge]]:
        """The tensor an input is a function of, and the edges from it to there, the last first."""
        edges = [(node, k)]
        name = node.input[k]
        while True:
            maker = self.producers.get(name)
            one = maker is not None and len(activations(self.editor, maker)) == 1
            if not one or kind(maker) not in (FREE | FUNCTIONS) - {"BatchNormalization"}:
                return name, edges
            fixed = [self.editor.constants[i] for i in maker.input if i in self.editor.constants]
            if any(c.size > 1 for c in fixed):
                return name, edges
            place = activations(self.editor, maker)[0]
            edges.append((maker, place))
            name = maker.input[place]

    def _clamped(self, name: str) -> str:
        """The tensor behind the Relu or Clip that alone reads one."""
        while len(self.readers[name]) == 1 and name not in self.editor.outputs:
            node, k = self.readers[name][0]
            if kind(node) not in ("Relu", "Clip") or k:
                break
            name = node.output[0]
        return name

    def _anchor(self, node: onnx.NodeProto, k: int) -> tuple[str, list[Edge]]:
        edges = list(self._back(node, k))
        last, place = edges[-1]
        return last.input[place], edges

    def _back(self, node: onnx.NodeProto, k: int) -> Iterator[Edge]:
        """Edges backwards through everything that only moves elements."""
        yield node, k
        maker = self.producers.get(node.input[k])
        while (
            maker is not None
            and kind(maker) in PASSED
            and maker.input[0] not in self.editor.constants
        ):
            yield maker, 0
            maker = self.producers.get(maker.input[0])

    def _demand(self, node: onnx.NodeProto, k: int, spec: Spec, block: Block | None = None) -> None:
        anchor, edges = self._anchor(node, k)
        if (id(node), k) in self.known:
            return
        self.known.add((id(node), k))
        self.plan.demands.append(Demand(spec, anchor, edges, block))
