"""Results of nodes, kept by what they were computed from."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from dataclasses import fields, is_dataclass, replace

import numpy as np

from hwgen.ir import (
    BlockQuantize,
    Fork,
    Graph,
    Linear,
    MultiThreshold,
    Node,
    Pool,
    Product,
    Queue,
    Requantize,
    Resize,
    Window,
)

LIMIT = 256 << 20  # bytes kept
# Fields that say how much is done at once: they don't change what comes out of a layer.
FOLDS: dict[type[Node], frozenset[str]] = {
    Window: frozenset(("block", "repeat", "taps", "rows", "columns", "pixels")),
    Linear: frozenset(("parallel", "pe", "simd", "repeat", "pixels", "memory")),
    Pool: frozenset(("block", "simd", "pixels")),
    Product: frozenset(("pe", "simd")),
    Requantize: frozenset(("cycles",)),
}
NAMES = frozenset(("name", "inputs", "outputs"))
PASSING = (Fork, Queue, Resize)  # their outputs are their input
# Rows as their layer reads them differ with every fold; those and copies are quick to make.
UNKEPT = (Window, BlockQuantize, *PASSING)


class Cache:
    """The latest results of nodes, up to `limit` bytes.

    The key of a result is what it depends on: what its node computes, without the names and folds,
    and the keys of the inputs. So networks share what they begin with.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.hits = self.misses = self.size = 0
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def get(self, key: bytes) -> np.ndarray:
        """What was kept, as the latest used."""
        self.hits += 1
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: bytes, values: np.ndarray) -> None:
        """Keep values, and forget the oldest beyond the limit."""
        self.misses += 1
        values = _narrow(values)
        if key in self._kept or values.nbytes > self.limit:
            return
        self._kept[key] = values
        self.size += values.nbytes
        while self.size > self.limit:
            _, oldest = self._kept.popitem(last=False)
            self.size -= oldest.nbytes


def _narrow(values: np.ndarray) -> np.ndarray:
    """In the smallest type that holds all of them."""
    if values.dtype == object or not values.size:
        return values
    limits = (np.min_scalar_type(int(v)) for v in (values.min(), values.max()))
    return values.astype(np.result_type(*limits))


def once(graph: Graph) -> Graph:
    """The same values, where layers read each row once, not again for other outputs: then sizes
    don't depend on the fold, or hardly."""
    tensors, nodes, repeats = dict(graph.tensors), list(graph.nodes), dict[str, int]()
    for place, node in enumerate(nodes):
        repeat = node.repeat if isinstance(node, Window) else repeats.get(node.input, 1)
        if repeat == 1:
            continue
        if isinstance(node, Window | Linear):
            nodes[place] = replace(node, repeat=1)
        if not isinstance(node, Linear):
            for name in node.outputs:
                rows, *rest = tensors[name].shape
                tensors[name] = replace(tensors[name], shape=(rows // repeat, *rest))
                repeats[name] = repeat
    return replace(graph, tensors=tensors, nodes=nodes)


def graph_keys(graph: Graph) -> dict[str, bytes]:
    """What each node of a graph computes, by its name and place; without its inputs."""
    return {node.output: _hash(*_content(node)) for node in graph.nodes}


def tensor_keys(
    graph: Graph, contents: dict[str, bytes], inputs: dict[str, np.ndarray]
) -> dict[str, bytes]:
    """The key of every tensor, from `graph_keys` and the codes that the graph is given."""
    keys = {name: _hash(values) for name, values in inputs.items()}
    for node in graph.nodes:
        known = tuple(keys[name] for name in node.inputs)
        passing = isinstance(node, PASSING)
        key = known[0] if passing else _hash(contents[node.output], *known)
        keys |= dict.fromkeys(node.outputs, key)
    return keys


def _content(node: Node) -> list:
    """What a node computes: its kind, and its fields but for folds."""
    skipped = NAMES | FOLDS.get(type(node), frozenset())
    if isinstance(node, Linear) and node.rounds:
        skipped -= {"parallel", "simd"}  # the order of additions
    if not isinstance(node, MultiThreshold):
        skipped |= {"form"}
    if isinstance(node, Window):
        skipped |= {"image"}
    parts = [(f.name, getattr(node, f.name)) for f in fields(node) if f.name not in skipped]
    if isinstance(node, Window):
        plain = node.positions == 1 and node.stride == (1, 1) and not any(node.pads)
        height, width, channels = node.image  # of single rows, however they are laid out
        parts.append(("image", (height * width, channels) if plain else node.image))
    return [type(node).__name__, parts]


def _hash(*values) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, values)
    return digest.digest()


def _feed(digest, value) -> None:
    """Any field's value: its type, size and content."""
    digest.update(f"{type(value).__name__}(".encode())
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value))
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.shape}".encode())
        _feed(digest, value.ravel().tolist())
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}:".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, bytes):
        digest.update(value)
    elif value is None or isinstance(value, bool | int | float | str):
        digest.update(repr(value).encode())
    else:
        digest.update(pickle.dumps(value))
    digest.update(b")")
