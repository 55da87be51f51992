"""A simulation driven row by row."""

from __future__ import annotations

import numpy as np

from hwgen.engines.bundle import Bundle
from hwgen.engines.fast import Running
from hwgen.errors import SimulationError
from hwgen.golden.host import decode, encode
from hwgen.golden.sequences import check_length
from hwgen.ir import Graph


class Session:
    """A running stream design: rows go in when they are known, and what comes of them comes out.

    `cycles`: those of the last step, from its first beat in to its last beat out; `rows`: of the
    present sequence so far. A context manager; `Design.session` makes it.
    """

    def __init__(self, graph: Graph, bundle: Bundle, watchdog: int) -> None:
        self._graph, self._running = graph, Running(bundle, watchdog)
        self.cycles = self.rows = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception) -> None:
        self._running.close()

    def step(self, rows, last: bool = False) -> dict[str, np.ndarray]:
        """Outputs (rows, ...) by ONNX name of the next rows of the sequence, (rows, ...); with
        `last` they end it. Raises `InputError`, and `SimulationError` behind the end of a with
        statement."""
        if self._running.closed:
            raise SimulationError("the session is closed; start another with Design.session()")
        codes = encode(self._graph, rows)
        count = len(next(iter(codes.values())))
        check_length(self._graph, self.rows + count)
        ends = np.zeros(count, dtype=np.uint8)
        ends[-1] = last
        result = self._running.run(codes, ends)
        self.cycles = int(result.last_out.max() - result.first_in[0]) + 1
        self.rows = 0 if last else self.rows + count
        return decode(self._graph, result.codes)
