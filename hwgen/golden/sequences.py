"""Sequences of rows, one after another, as a stream takes them."""

from __future__ import annotations

import numpy as np

from hwgen.errors import InputError
from hwgen.golden.host import encode
from hwgen.ir import Graph


def encode_sequences(graph: Graph, inputs) -> dict[str, np.ndarray]:
    """Codes (rows, elements) of the input by its name, and the ends of sequences (rows, 1) by the
    name of their tensor.

    `inputs`: an array (sequences, rows, ...), or a list of arrays (rows, ...) of any lengths; by
    the input's name, or alone. Raises `InputError` for a wrong name, shape or type, and for a
    sequence that is too long.
    """
    (port,) = graph.inputs
    named = inputs if isinstance(inputs, dict) else {port.name: inputs}
    rows, lengths = {}, [0]
    for name, value in named.items():
        try:
            sequences = [np.asarray(sequence) for sequence in value]
            lengths = [len(sequence) for sequence in sequences]
            rows[name] = np.concatenate(sequences)
        except (TypeError, ValueError) as error:
            size = map(str, port.index.shape[2:])
            raise InputError(
                f"input {name!r} must hold sequences of rows: {error}; give an array ("
                f"{', '.join(('sequences', 'rows', *size))}), or a list of arrays"
            ) from error
    if not all(lengths):
        raise InputError(f"input {port.name!r} has a sequence without rows")
    check_length(graph, max(lengths))
    ends = np.zeros((sum(lengths), 1), dtype=np.int64)
    ends[np.cumsum(lengths) - 1] = 1
    return {**encode(graph, rows), graph.ends: ends}


def check_length(graph: Graph, rows: int) -> None:
    """Raise `InputError` for a sequence longer than the model can take."""
    for node, longest in graph.longest.items():
        if rows > longest:
            raise InputError(
                f"a sequence has {rows} rows; {node} bounds it to {longest}: export the model for "
                "longer sequences, or cut them"
            )


def split(arrays: dict[str, np.ndarray], ends: np.ndarray) -> dict:
    """Arrays (rows, ...) as (sequences, rows, ...), or as lists of arrays where sequences have
    different lengths."""
    cuts = np.flatnonzero(ends) + 1
    same = len(set(np.diff(cuts, prepend=0))) == 1
    parts = {name: np.split(array, cuts[:-1]) for name, array in arrays.items()}
    return {name: np.stack(part) if same else part for name, part in parts.items()}
