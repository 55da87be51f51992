"""The order in which tensors of the graph under construction hold elements, and what brings them
into another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Float, Int, int_holding
from hwgen.frontend.values import Stream
from hwgen.ir import Graph, Reorder, Select, Tensor
from hwgen.ir import Node as GraphNode


@dataclass
class Layout:
    """The graph being built, and where its tensors hold what."""

    graph: Graph
    place: dict[str, np.ndarray | None] = field(default_factory=dict)  # id -> position; None: free
    reach: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # per channel
    most: dict[str, float] = field(default_factory=dict)  # largest of floats, if not the format's

    def tensor(
        self,
        stem: str,
        size: tuple[int, ...],
        low: np.ndarray,
        high: np.ndarray,
        fmt: Int | Float | None = None,
    ) -> str:
        """A new tensor whose channels stay within [low, high] (arrays (C,))."""
        name = self.graph.fresh(stem)
        fmt = fmt or int_holding(min(0, int(np.min(low))), max(0, int(np.max(high))))
        self.graph.tensors[name] = Tensor(size, fmt)
        self.place[name] = np.arange(int(np.prod(size)))
        self.reach[name] = (
            np.broadcast_to(low, size[-1:]).astype(np.int64),
            np.broadcast_to(high, size[-1:]).astype(np.int64),
        )
        return name

    def free_tensor(self, stem: str, elements: int, fmt: Int | Float) -> str:
        """A new tensor whose order nothing has fixed yet."""
        tensor = self.graph.fresh(stem)
        self.graph.tensors[tensor] = Tensor((elements,), fmt)
        self.place[tensor] = None
        self.reach[tensor] = (np.full(elements, fmt.min), np.full(elements, fmt.max))
        return tensor

    def add(self, node: GraphNode) -> None:
        """Append a node."""
        self.graph.nodes.append(node)

    def unique(self, name: str) -> str:
        """A name no graph node has."""
        taken = {node.name for node in self.graph.nodes}
        found, number = name, 1
        while found in taken:
            number += 1
            found = f"{name}_{number}"
        return found

    def positions(self, stream: Stream) -> np.ndarray | None:
        """Place in the stream of each element, in ONNX shape; None while the model's input has no
        order yet."""
        place = self.place[stream.tensor]
        return None if place is None else place[stream.ids]

    def settle(self, stream: Stream, order: np.ndarray, size: tuple[int, ...], name: str) -> str:
        """The tensor with the elements in `order` (ids, row-major in `size`); a Reorder where that
        is needed."""
        order = order.ravel()
        tensor = stream.tensor
        whole = self.graph.tensors[tensor].elements
        if self.place[tensor] is None and order.size == whole:
            place = np.empty(whole, dtype=np.int64)
            place[order] = np.arange(whole)
            self.place[tensor] = place
            self.graph.tensors[tensor] = replace(self.graph.tensors[tensor], shape=size)
            low, high = self.reach[tensor]
            self.reach[tensor] = (np.full(size[-1], low.min()), np.full(size[-1], high.max()))
        if self.place[tensor] is None:
            self.place[tensor] = np.arange(whole)
        places = self.place[tensor][order]
        if places.size == whole and (places == np.arange(whole)).all():
            return tensor
        return self._reordered(tensor, places, size, name)

    def _reordered(self, tensor: str, places: np.ndarray, size: tuple[int, ...], name: str) -> str:
        """A new tensor of the elements at `places` of the stream: some channels by a Select, others
        by a Reorder."""
        x, (low, high) = self.graph.tensors[tensor], self.reach[tensor]
        cut = slice(int(places[0]), int(places[0]) + size[-1])
        channels = np.arange(x.elements).reshape(-1, x.channels)[:, cut]
        if size[-1] < x.channels and np.array_equal(places, channels.ravel()):
            result = self.tensor(f"{tensor}_selected", size, low[cut], high[cut], x.fmt)
            self.add(
                Select(
                    name=self.unique(f"{name}.select"),
                    inputs=(tensor,),
                    outputs=(result,),
                    low=cut.start,
                    high=cut.stop,
                )
            )
            self._as_large(tensor, result)
            return result
        result = self.tensor(f"{tensor}_reordered", size, low.min(), high.max(), x.fmt)
        self.reorder(f"{name}.reorder", tensor, result, places)
        self._as_large(tensor, result)
        return result

    def _as_large(self, tensor: str, result: str) -> None:
        """Note that a tensor's floats are no larger than those of another."""
        if tensor in self.most:
            self.most[result] = self.most[tensor]

    def reorder(
        self, name: str, tensor: str, result: str, places: np.ndarray, fill: int = 0
    ) -> None:
        """Add a Reorder, of as many blocks of whole rows as have the same order."""
        x, y = self.graph.tensors[tensor], self.graph.tensors[result]
        common = math.gcd(x.rows, y.rows)
        for blocks in (n for n in range(common, 0, -1) if common % n == 0):
            rows, size = places.reshape(blocks, -1), x.elements // blocks
            order = np.where(rows < 0, -1, rows - size * np.arange(blocks)[:, None])
            inside = (rows < 0) | ((order >= 0) & (order < size))
            if inside.all() and (order == order[:1]).all():
                break
        self.add(
            Reorder(
                name=self.unique(name),
                inputs=(tensor,),
                outputs=(result,),
                order=order[0],
                fill=fill,
                blocks=blocks,
            )
        )

    def aligned(self, streams: Sequence[Stream], name: str) -> tuple[list[str], Stream]:
        """Tensors of one shape that hold the elements of streams of one ONNX shape in the same
        order, and the stream whose order that is."""
        complete = [s for s in streams if self._complete(s)]
        settled = [s for s in complete if self.place[s.tensor] is not None]
        first = (*settled, *complete, *streams)[0]
        lead = self.whole(first, name)
        if self.place[lead.tensor] is None:
            self.settle(lead, lead.ids, sample_shape(lead.ids), name)
        order = np.argsort(self.positions(lead).ravel())
        size = self.graph.tensors[lead.tensor].shape
        tensors = []
        for s in (lead if s is first else s for s in streams):
            tensors.append(self.rows(s, s.ids.ravel()[order].reshape(size), name))
        return tensors, lead

    def rows(self, stream: Stream, order: np.ndarray, name: str) -> str:
        """The same for a node that looks at whole rows: the tensor has those of `order`."""
        tensor = self.settle(stream, order, order.shape, name)
        if self.graph.tensors[tensor].channels != order.shape[-1]:
            tensor = self._reordered(tensor, np.arange(order.size), order.shape, name)
        return tensor

    def _complete(self, stream: Stream) -> bool:
        """Whether a stream is all elements of its tensor, each once."""
        count = self.graph.tensors[stream.tensor].elements
        return stream.ids.size == count == np.unique(stream.ids).size

    def order(self, stream: Stream) -> tuple[int, ...]:
        """The axes of a value, without the batch's, from the outermost in its stream to the
        innermost; where elements lie in no such order, as in ONNX with the channels last."""
        shape = sample_shape(stream.ids)
        axes = tuple(range(len(shape)))
        places = self.positions(stream)
        if places is None or len(shape) < 2:
            return axes
        places = places.reshape(shape)
        steps = [np.diff(places, axis=k).ravel()[:1] for k in axes]
        by_step = sorted(axes, key=lambda k: -int(steps[k][0]) if steps[k].size else -places.size)
        found = (axes, (*axes[1:], 0), tuple(by_step))
        increasing = (o for o in found if (np.diff(places.transpose(o).ravel()) > 0).all())
        return next(increasing, found[1])

    def whole(self, stream: Stream, name: str) -> Stream:
        """All elements of a tensor: of a new one, behind a Reorder, where the stream is only a
        part of its own or repeats elements of it."""
        if self._complete(stream):
            return stream
        axes = self.order(stream)
        ids = stream.ids.reshape(sample_shape(stream.ids)).transpose(axes)
        usual = range(len(axes)), (*range(1, len(axes)), 0)
        # What is in no order of ONNX is heads: rows of all of them.
        size = ids.shape if axes in map(tuple, usual) else (len(ids), ids[0].size)
        tensor = self.settle(stream, ids, size, name)
        back = np.arange(ids.size).reshape(ids.shape).transpose(np.argsort(axes))
        return Stream(tensor, back.reshape(stream.ids.shape))

    def partly(self, stream: Stream, name: str) -> Stream:
        """The same where most elements of its tensor are used, each once; else `whole`: a Reorder
        costs less than to requantize much that nothing reads."""
        used, elements = np.unique(stream.ids).size, self.graph.tensors[stream.tensor].elements
        if self.place[stream.tensor] is None or not elements < 2 * used == 2 * stream.ids.size:
            return self.whole(stream, name)
        return stream

    def channel_last(self, stream: Stream, name: str) -> tuple[str, tuple[int, int, int]]:
        """The tensor of a (1, C, H, W) or (1, C, L) value as an image (H, W, C)."""
        ids = stream.ids[..., None] if stream.ids.ndim == 3 else stream.ids
        if ids.ndim != 4:
            raise ModelError(f"needs a 3- or 4-dimensional input, not {list(stream.ids.shape)}")
        if len(ids) != 1:
            raise ModelError(f"reads a batch of {len(ids)}; export the model with batch 1")
        image = ids[0].transpose(1, 2, 0)
        return self.settle(stream, image, image.shape, name), image.shape

    def reached(self, tensor: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest codes at stream positions."""
        channel = positions % self.graph.tensors[tensor].channels
        low, high = self.reach[tensor]
        return low[channel], high[channel]


def sample_shape(ids: np.ndarray) -> tuple[int, ...]:
    """The shape without its batch axis."""
    return (ids.shape[1:] if ids.shape[:1] == (1,) else ids.shape) or (1,)
