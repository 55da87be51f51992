"""When each node kind takes and makes words, cycle by cycle.

A node is a chain of processes. A process fires at most once per cycle; a firing needs words that
have come and may make words. The figures are those the docstrings of hwgen.rtl state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from hwgen.formats import Approximate
from hwgen.ir import (
    ADDER_STAGES,
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
    Interpolation,
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
    Tensor,
    Window,
)


@dataclass(frozen=True, eq=False)
class Process:
    """One sample's firings k = 0, 1... of a process.

    `needs`[k]: words of each input that must have come before firing k takes place (or a row of
    them for each input); `makes`[k]: words made by then; `latency`: cycles from a firing to its
    word; `paced` False: fires as soon as it can in any schedule. `place`: the only input it reads,
    to store in a memory that the processes behind read; `room`: what the memory holds, of what the
    process makes.
    """

    needs: np.ndarray
    makes: np.ndarray
    latency: int
    paced: bool = True
    place: int | None = None
    room: int = 0

    @property
    def firings(self) -> int:
        """Firings per sample: the least initiation interval."""
        return self.needs.shape[-1]

    def needed(self, place: int) -> np.ndarray:
        """`needs` of the input at `place`."""
        return self.needs if self.needs.ndim == 1 else self.needs[place]

    def made_by(self) -> np.ndarray:
        """For each word made, the firing that makes it."""
        return reached(self.makes)


def indices(count: int) -> np.ndarray:
    """0, 1... count - 1, of an array that all share: it can't be written."""
    return _numbers(count.bit_length())[:count]


def ordinals(count: int) -> np.ndarray:
    """1, 2... count, of the same array."""
    return _numbers(count.bit_length())[1 : count + 1]


@cache
def _numbers(bits: int) -> np.ndarray:
    numbers = np.arange(1 << bits)
    numbers.flags.writeable = False
    return numbers


def one_by_one(counts: np.ndarray) -> bool:
    """Whether `counts` counts one thing more each time."""
    return counts[-1] == len(counts) and np.array_equal(counts, ordinals(len(counts)))


def reached(counts: np.ndarray) -> np.ndarray:
    """For each of the things that `counts` counts, which never falls, where it is first counted."""
    if one_by_one(counts):
        return indices(len(counts))
    return np.searchsorted(counts, ordinals(int(counts[-1])))


def _each(words: int, latency: int, pace: int = 1, paced: bool = True) -> list[Process]:
    """A word in, a word out, every `pace` cycles."""
    done = ordinals(words) if pace == 1 else indices(words * pace) // pace + 1
    return [Process(done, done, latency, paced)]


def _every(words: int, group: int, latency: int) -> list[Process]:
    """A word out for the last of every `group` words in."""
    count = ordinals(words)
    return [Process(count, count // group, latency)]


def _window(node: Window, x: Tensor, y: Tensor) -> list[Process]:
    """The writer makes image rows, the reader needs them."""
    height = node.image[0]
    row_words = x.words // height
    written = ordinals(x.words)
    out_rows, _ = node.output_image
    per_row = y.words // out_rows
    needed, freed = [], 0
    for held, after in node.row_schedule:
        needed.append(freed + held)
        freed += after
    made = ordinals(y.words)
    return [
        Process(written, written // row_words, 1, paced=False),
        Process(np.repeat(needed, per_row), made, 3),
    ]


def _linear(node: Linear, x: Tensor, y: Tensor) -> list[Process]:
    levels = (node.simd - 1).bit_length()
    if node.rounds:  # adders: products of several lanes, their tree, partial sums, merging
        levels = ((node.simd > 1) + levels + 1 + node.merges) * ADDER_STAGES
        levels += isinstance(node.arithmetic.accumulator, Approximate)
    levels += node.blocks is not None  # a shifter
    return _every(x.words, x.words // y.words, 4 + levels)


def _pool(_node: Pool, x: Tensor, y: Tensor) -> list[Process]:
    return _every(x.words, x.words // y.words, 2)


def _reduce(_node: Reduce, x: Tensor, y: Tensor) -> list[Process]:
    count = ordinals(x.words)
    return [Process(count, np.maximum(count - (x.words - y.words), 0), 1)]


def _requantize(node: Requantize, x: Tensor, _y: Tensor) -> list[Process]:
    return _each(x.words, node.form.latency, node.form.steps)


def _add(node: Add, x: Tensor, _b: Tensor, _y: Tensor) -> list[Process]:
    return _each(x.words, node.form.latency, node.form.steps)


def _reorder(node: Reorder, x: Tensor, y: Tensor) -> list[Process]:
    """Blocks are stored in two banks."""
    written, read = ordinals(x.words), ordinals(y.words)
    size, moved = x.words // node.blocks, y.words // node.blocks
    return [
        Process(written, written // size, 1, paced=False, place=0, room=2),
        Process((read - 1) // moved + 1, read, 2),
    ]


def _block_quantize(node: BlockQuantize, x: Tensor, _y: Tensor) -> list[Process]:
    """Words come, and leave when their block's last word has come."""
    per_row = x.words_per_row
    per_block = min(per_row, -(-node.block.size // x.lanes))
    place = indices(x.words) % per_row
    ends = (place % per_block == per_block - 1) | (place == per_row - 1)
    blocks = np.cumsum(ends)
    words = ordinals(x.words)
    return [
        Process(words, blocks, 0, paced=False),
        Process(blocks - ends + 1, words, 7),
    ]


def _held(x: Tensor, *latencies: int) -> list[Process]:
    """Rows that wait, as often as there are latencies but one, until something is known of them:
    the latency from a row's last word to its first one behind the queue."""
    *waits, behind = latencies
    words = ordinals(x.words)
    whole, begun = words // x.words_per_row, (words - 1) // x.words_per_row + 1
    needs = [words, *[begun] * len(waits)]
    firsts = [Process(n, whole, k, paced=False) for n, k in zip(needs, waits, strict=False)]
    return [*firsts, Process(begun, words, behind)]


def _interpolation(function: Interpolation) -> int:
    """Cycles of a function: memory, operands, product, sum; of a table memory, output."""
    return 4 if function.rest_bits else 2


def _normalize(node: Normalize, x: Tensor, _y: Tensor) -> list[Process]:
    levels = (x.lanes - 1).bit_length()
    known = 10 + levels + 3 * node.centered + _interpolation(node.root)
    return _held(x, known, 9 + node.centered)


def _softmax(node: Softmax, x: Tensor, _y: Tensor) -> list[Process]:
    levels = (x.lanes - 1).bit_length()
    functions = (node.exponential, node.reciprocal)
    return _held(x, *(6 + levels + _interpolation(f) for f in functions), 5)


def _concat(node: Concat, *tensors: Tensor) -> list[Process]:
    y = tensors[-1]
    turn = np.repeat(np.arange(len(node.turn)), np.array(node.turn) // y.lanes)
    source = np.tile(turn, y.words // turn.size)
    needs = np.array([np.cumsum(source == k) for k in range(len(node.turn))])
    return [Process(needs, ordinals(y.words), 0)]


def _embed(_node: Embed | Positions, _x: Tensor, y: Tensor) -> list[Process]:
    words = indices(y.words)
    return [Process(words // y.words_per_row + 1, words + 1, 3)]


def _product(node: Product, x: Tensor, b: Tensor, y: Tensor) -> list[Process]:
    """The second input is stored in two banks; the first one's words go through in the first of a
    row's passes."""
    passes = y.words_per_row
    written, read = (ordinals(n) for n in (b.words, x.words * passes))
    rows, place = np.divmod(read - 1, passes * x.words_per_row)
    taken = rows * x.words_per_row + np.minimum(place + 1, x.words_per_row)
    batch = rows // (x.rows // node.batches) + 1
    return [
        Process(written, written // (b.words // node.batches), 1, paced=False, place=1, room=2),
        Process(
            np.array([taken, batch]), read // x.words_per_row, 4 + (node.simd - 1).bit_length()
        ),
    ]


def _rotate(node: Rotate, x: Tensor, *_: Tensor) -> list[Process]:
    """Rows are stored in two banks; a row's last word is read when it is known whether the row is
    the last of its sequence."""
    words = ordinals(x.words)
    needs = (words - 1) // x.words_per_row + 1
    if node.stateful:
        needs = np.array([needs, words // x.words_per_row])
    return [
        Process(words, words // x.words_per_row, 1, paced=False, place=0, room=2),
        Process(needs, words, 6),
    ]


def _select(node: Select, x: Tensor, _y: Tensor) -> list[Process]:
    words = indices(x.words)
    place = words % x.words_per_row
    inside = (place >= node.low // x.lanes) & (place <= (node.high - 1) // x.lanes)
    return [Process(words + 1, np.cumsum(inside), 0, paced=False)]


def _queue(node: Queue, x: Tensor, _y: Tensor) -> list[Process]:
    return _each(x.words, 1 if node.depth <= 2 else 2, paced=False)


def _resize(_node: Resize, x: Tensor, y: Tensor) -> list[Process]:
    wide, narrow = (y, x) if y.words < x.words else (x, y)
    rows = wide.lanes <= wide.channels
    group = narrow.words_per_row if rows else narrow.words
    ratio = -(-wide.lanes // narrow.lanes)
    count = indices(narrow.words)
    place = count % group
    parts = -(-group // ratio)
    if wide is y:
        full = (place % ratio == ratio - 1) | (place == group - 1)
        return [Process(count + 1, np.cumsum(full), 1)]
    return [Process(count // group * parts + place // ratio + 1, count + 1, 1)]


def _attention(node: Attention, *tensors: Tensor) -> list[Process]:
    """Steps of visits; each takes words of what its visit takes."""
    q, k, v, *_ = tensors
    depth, width = (x.channels // n // node.simd for x, n in ((q, node.heads), (v, node.groups)))
    steps = max(depth, width)
    computes, loads, counts = np.array(list(node.turns(q.rows, k.rows))).T
    ends = np.cumsum(counts)
    visits = np.zeros((3, ends[-1]), dtype=np.int64)
    visits[:2, ends - counts] = computes, loads
    visits[2, ends - 1] = computes
    step = ordinals(steps)

    def taken(column: int, words: int) -> np.ndarray:
        flags = visits[column]
        before = (np.cumsum(flags) - flags) * words
        return (before[:, None] + flags[:, None] * np.minimum(step, words)).ravel()

    needs = [taken(0, depth), taken(1, depth), taken(1, width)]
    if node.stateful:
        needs.append(np.ones_like(needs[0]))
    units = -(-node.lanes // steps)
    banks = 2 * -(-node.lanes // units) + 2 * (units - 1).bit_length()
    latency = steps + banks + 21 + (node.simd - 1).bit_length() + (node.lanes - 1).bit_length()
    latency += sum(map(_interpolation, (node.exponential, node.reciprocal)))
    return [Process(np.array(needs), taken(2, width), latency)]


# A function of the node and the tensors it reads and writes.
TIMING: dict[type[Node], Callable[..., list[Process]]] = {
    Window: _window,
    Linear: _linear,
    Pool: _pool,
    Reduce: _reduce,
    Requantize: _requantize,
    Add: _add,
    Attention: _attention,
    BlockQuantize: _block_quantize,
    Convert: lambda _node, x, _y: _each(x.words, 5),
    FloatAdd: lambda _node, x, _b, _y: _each(x.words, ADDER_STAGES + 2),
    Multiply: lambda _node, x, _b, _y: _each(x.words, 2),
    Reorder: _reorder,
    Concat: _concat,
    Embed: _embed,
    Positions: _embed,
    Product: _product,
    Rotate: _rotate,
    Select: _select,
    Lookup: lambda _node, x, _y: _each(x.words, 2),
    MultiThreshold: lambda node, x, _y: _each(x.words, node.form.latency, node.form.steps),
    Fork: lambda _node, x, *_: _each(x.words, 0, paced=False),
    Normalize: _normalize,
    Softmax: _softmax,
    Curve: lambda node, x, _y: _each(x.words, 2 + _interpolation(node.function)),
    Queue: _queue,
    Resize: _resize,
}


def timing(node: Node, graph: Graph) -> list[Process]:
    """The processes of a node of the graph."""
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    return TIMING[type(node)](node, *tensors)
