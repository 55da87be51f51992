"""Gather from constant tables by the indices of a model input."""

from __future__ import annotations

import numpy as np

from hwgen.errors import ModelError
from hwgen.formats import Block, Float, Int, encode
from hwgen.frontend.node import Node
from hwgen.frontend.ops_quantize import FORMATS
from hwgen.frontend.target import Target
from hwgen.frontend.values import (
    Codes,
    Constant,
    Deferred,
    Maker,
    Real,
    Scaled,
    Stream,
    Term,
    Tokens,
    Value,
    exact,
)
from hwgen.ir import Embed


class TableMaker(Maker):
    """Rows of a table of real numbers, float32 or float64, in the format that their reader asks
    for: an Embed whose table is quantized."""

    def __init__(self, node: Node, table: np.ndarray) -> None:
        self.name, self.result = node.name, node.results[0]
        self._node, self._table = node, table
        most = float(np.abs(table).max())
        if not np.isfinite(most):
            raise ModelError("its table holds NaN or infinity; mend the model")
        # The largest number must not be rounded beyond the last of 16 bits.
        self.reach = -most * (1 + 2.0**-15), most * (1 + 2.0**-15)
        self._made: dict[Target, Codes] = {}

    def codes(self, target: Target) -> Codes:
        """The rows in the target's format, as QuantizeLinear in front of the Gather has it."""
        if target not in self._made:
            stream = embedded(self._node, self._quantized(target), target.fmt)
            self._made[target] = Codes(stream, target.fmt)
        return self._made[target]

    def _quantized(self, target: Target) -> np.ndarray:
        if target.rounding != "half_even":
            return target.code(exact(self._table)).astype(np.int64)
        divided = (self._table / self._table.dtype.type(target.scale)).astype(np.float64)
        if isinstance(target.fmt, Float):
            return encode(target.fmt, divided)
        return np.clip(np.rint(divided) + target.zero, target.least, target.most).astype(np.int64)


def gather(node: Node, tokens: Tokens) -> Value:
    """Gather along axis 0 of a constant table: its codes where it is quantized, else numbers that
    the reader rounds."""
    table = node.input(0)
    if not isinstance(table, Constant | Scaled):
        raise ModelError(
            f"takes places of a computed tensor that input {tokens.name!r} gives; only places of "
            "constant tables can be inputs"
        )
    if node.attribute("axis", 0) != 0:
        raise ModelError("its table must be indexed along axis 0; transpose the table")
    if isinstance(table, Scaled):
        scale = np.array(table.scale, dtype=object, ndmin=table.codes.ndim)
        if len(scale) == 1 and not isinstance(table.fmt, Block):
            return Real((Term(embedded(node, table.codes, table.fmt), exact(scale[0])),))
        numbers = table.values().astype(np.float64)  # a scale for each row
    else:
        numbers = table.array
        if fmt := FORMATS.get(numbers.dtype.name):
            return Codes(embedded(node, numbers.astype(np.int64), fmt), fmt)
        if numbers.dtype.kind != "f":
            raise ModelError(f"its table has type {numbers.dtype}; quantize it")
        numbers = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
    size = (*tokens.ids.shape, *numbers.shape[1:])
    return Deferred(TableMaker(node, numbers), np.arange(int(np.prod(size))).reshape(size))


def embedded(node: Node, table: np.ndarray, fmt: Int | Float | None) -> Stream:
    """The rows of a table of codes at the indices of the node's second input: an Embed."""
    context, tokens = node.context, node.input(1)
    assert isinstance(tokens, Tokens)
    if not table.size:
        raise ModelError(f"its table is empty: {list(table.shape)}")
    rows = table.reshape(len(table), -1)
    places = tokens.ids.reshape(-1, 1)
    source = context.index_port(tokens, len(rows))
    source = context.settle(Stream(source, places), places, places.shape, node.name)
    size = (len(places), rows.shape[1])
    ends = (rows.min(axis=0), rows.max(axis=0))
    if isinstance(fmt, Float):
        ends = (np.array(fmt.min), np.array(fmt.max))
    result = context.tensor(f"{node.name}_rows", size, *ends, fmt)
    name = context.unique(node.name)
    context.add(Embed(name=name, inputs=(source,), outputs=(result,), table=rows))
    shape = (*tokens.ids.shape, *table.shape[1:])
    return Stream(result, np.arange(int(np.prod(size))).reshape(shape))
