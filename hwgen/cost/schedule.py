"""When the words of a graph's tensors come, from the timing of its nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hwgen.cost.timing import Process, indices, one_by_one, ordinals, reached, timing
from hwgen.ir import Graph, Window


@dataclass(frozen=True, eq=False)
class Schedule:
    """When words come, in cycles from the first word of a sample into the network."""

    interval: int
    firings: dict[str, int]  # node -> those of the process that makes its words
    words: dict[str, np.ndarray]  # tensor -> when each word is there
    taken: dict[tuple[str, str], np.ndarray]  # (node, tensor) -> when the node takes each word
    rows: dict[str, tuple[np.ndarray, np.ndarray]]  # window -> when rows are begun and free again


def interval(graph: Graph) -> int:
    """Cycles per sample in the steady state: the most any process or port needs."""
    return _interval(graph, (timing(node, graph) for node in graph.nodes))


def _interval(graph: Graph, chains: Iterable[list[Process]]) -> int:
    firings = [process.firings for chain in chains for process in chain]
    ports = [graph.tensors[tensor].words for tensor in graph.port_tensors()]
    return max(firings + ports)


def schedule(graph: Graph, paced: bool) -> Schedule:
    """A schedule without backpressure.

    `paced`: every process fires evenly over the interval, as late as that takes (what the buffers
    must bear); otherwise as soon as its words are there and inputs as fast as they can (the first
    sample's latency).
    """
    chains = {node.name: timing(node, graph) for node in graph.nodes}
    period = _interval(graph, chains.values())
    firings = {name: chain[-1].firings for name, chain in chains.items()}
    found = Schedule(period, firings, {}, {}, {})
    for port in graph.inputs:
        count = graph.tensors[port.tensor].words
        free = indices(count)
        found.words[port.tensor] = free * period // count if paced else free
        if port.ends:
            found.words[port.ends] = found.words[port.tensor][-1:]
    for node in graph.nodes:
        processes = chains[node.name]
        inputs = [found.words[tensor] for tensor in node.inputs]
        begun, stored = inputs[0], []
        for process in processes:
            read = range(len(inputs)) if process.place is None else [process.place]
            fired = _fire(process, [inputs[place] for place in read], period, paced)
            for place in read if len(inputs) == len(node.inputs) else ():
                first = reached(process.needed(place))
                found.taken.setdefault((node.name, node.inputs[place]), fired[first])
            begun = fired if process is processes[0] else begun
            last_fired = fired
            made = fired[process.made_by()] + process.latency
            if process.place is None:
                inputs = [made]
            else:
                inputs[process.place] = made
                stored.append(process)
        for process in stored if paced else ():
            tensor = node.inputs[process.place]
            freed = _freed(process, processes[-1], last_fired, period)
            taken = np.maximum(found.taken[node.name, tensor], freed)
            found.taken[node.name, tensor] = _in_turn(taken)
        for tensor in node.outputs:
            found.words[tensor] = inputs[0]
        if isinstance(node, Window):
            found.rows[node.name] = _rows(node, begun, last_fired)
    return found


def _fire(process: Process, inputs: list[np.ndarray], period: int, paced: bool) -> np.ndarray:
    """When each firing takes place."""
    came = [_came(process.needed(k), words) for k, words in enumerate(inputs)]
    ready = came[0] if len(came) == 1 else np.max(came, axis=0)
    if paced and process.paced:
        even = indices(process.firings) * period // process.firings
        return even + np.max(ready - even)
    return _in_turn(ready)


def _came(needs: np.ndarray, words: np.ndarray) -> np.ndarray:
    """When the words that each firing needs have come."""
    if len(needs) == len(words) and one_by_one(needs):
        return words
    if needs[0]:
        return words[needs - 1]
    return np.where(needs > 0, words[needs - 1], 0)


def _in_turn(times: np.ndarray) -> np.ndarray:
    """The earliest cycles, one after another, that are not before `times`."""
    turns = indices(len(times))
    return np.maximum.accumulate(times - turns) + turns


def _freed(writer: Process, reader: Process, fired: np.ndarray, period: int) -> np.ndarray:
    """From when on there is room for each word that a process stores: the process that reads them
    has done with what lay there, in the steady state."""
    count = int(writer.makes[-1])
    behind = np.searchsorted(reader.needed(writer.place), ordinals(count), side="right")
    sample, item = np.divmod(np.append(0, writer.makes[:-1]) - writer.room, count)
    return fired[behind - 1][item] + sample * period


def _rows(node: Window, written: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each image row is begun, and when it may be overwritten."""
    height = node.image[0]
    begun = written[:: len(written) // height]
    ends = read.reshape(node.output_image[0], -1)[:, -1] + 3
    freed = np.cumsum([after for _, after in node.row_schedule])
    return begun, ends[np.searchsorted(freed, indices(height), side="right")]


def most_held(begun: np.ndarray, freed: np.ndarray, period: int) -> int:
    """The most items held at once when item j of every sample is held from begun[j] until
    freed[j]."""
    samples = int(np.max(freed - begun)) // period + 2
    shifts = np.arange(-samples, 1)[:, None] * period
    all_begun = np.sort((begun + shifts).ravel())
    all_freed = np.sort((freed + shifts).ravel())
    started = np.searchsorted(all_begun, begun, side="right")
    return int(np.max(started - np.searchsorted(all_freed, begun, side="right")))
