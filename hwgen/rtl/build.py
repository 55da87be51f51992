"""Which component builds which node kind."""

from __future__ import annotations

import re
from collections.abc import Callable

from amaranth.lib import wiring

from hwgen.ir import (
    Add,
    Attention,
    BlockQuantize,
    Concat,
    Convert,
    Curve,
    Embed,
    FloatAdd,
    Fork,
    Graph,
    Linear,
    Lookup,
    Multiply,
    MultiThreshold,
    Node,
    Normalize,
    Pool,
    Positions,
    Product,
    Queue,
    Reduce,
    Reorder,
    Requantize,
    Resize,
    Rotate,
    Select,
    Softmax,
    Thresholds,
    Window,
)
from hwgen.rtl.add import AddUnit
from hwgen.rtl.attention.unit import AttentionUnit
from hwgen.rtl.block_quantize import BlockQuantizeUnit
from hwgen.rtl.concat import ConcatUnit
from hwgen.rtl.convert import ConvertUnit
from hwgen.rtl.curve import CurveUnit
from hwgen.rtl.embed import EmbedUnit
from hwgen.rtl.float_sum import FloatAddUnit
from hwgen.rtl.fork import ForkUnit
from hwgen.rtl.linear import LinearUnit
from hwgen.rtl.lookup import LookupUnit
from hwgen.rtl.multiply import MultiplyUnit
from hwgen.rtl.normalize import NormalizeUnit
from hwgen.rtl.pool import PoolUnit
from hwgen.rtl.positions import PositionsUnit
from hwgen.rtl.product import ProductUnit
from hwgen.rtl.queue import QueueUnit
from hwgen.rtl.reduce import ReduceUnit
from hwgen.rtl.reorder import ReorderUnit
from hwgen.rtl.requantize import RequantizeUnit
from hwgen.rtl.resize import resize_unit
from hwgen.rtl.rotate import RotateUnit
from hwgen.rtl.select import SelectUnit
from hwgen.rtl.softmax import SoftmaxUnit
from hwgen.rtl.thresholds import ThresholdUnit
from hwgen.rtl.wide_window import WideWindowUnit
from hwgen.rtl.window import WindowUnit

# A function of the node and the tensors it reads and writes.
BUILD: dict[type[Node], Callable[..., wiring.Component]] = {
    Window: lambda node, x, y: (WideWindowUnit if node.wide else WindowUnit)(node, x, y),
    Linear: LinearUnit,
    Pool: PoolUnit,
    Reduce: lambda _node, x, y: ReduceUnit(x, y),
    Requantize: lambda node, x, y: (
        ThresholdUnit if isinstance(node.form, Thresholds) else RequantizeUnit
    )(node, x, y),
    Add: AddUnit,
    Attention: AttentionUnit,
    BlockQuantize: BlockQuantizeUnit,
    Convert: ConvertUnit,
    FloatAdd: FloatAddUnit,
    Multiply: MultiplyUnit,
    Reorder: ReorderUnit,
    Concat: ConcatUnit,
    Embed: EmbedUnit,
    Positions: PositionsUnit,
    Product: ProductUnit,
    Rotate: RotateUnit,
    Select: SelectUnit,
    Lookup: LookupUnit,
    MultiThreshold: ThresholdUnit,
    Fork: lambda node, x, *_: ForkUnit(node, x),
    Normalize: NormalizeUnit,
    Softmax: SoftmaxUnit,
    Curve: CurveUnit,
    Queue: QueueUnit,
    Resize: lambda _node, x, y: resize_unit(x, y),
}


def build(node: Node, graph: Graph) -> wiring.Component:
    """The component of a node of the graph."""
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    return BUILD[type(node)](node, *tensors)


def stream_names(unit: wiring.Component, stem: str) -> list[str]:
    """The members that are streams called `stem`, or `stem`0, `stem`1... in order."""
    pattern = re.compile(rf"{stem}(\d*)")
    found = [match for name in unit.signature.members if (match := pattern.fullmatch(name))]
    return [match[0] for match in sorted(found, key=lambda match: int(match[1] or 0))]
