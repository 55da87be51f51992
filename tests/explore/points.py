"""What tests explore: a small model, and a cost that is quick to tell."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from hwgen.cost.figures import Figures
from hwgen.ir import Graph, Linear
from tests.conftest import SHIPPED

MODEL = SHIPPED / "digits_mlp.onnx"
FLOAT = SHIPPED / "digits_mlp_float.onnx"


def data(samples: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels."""
    file = np.load(MODEL.with_suffix(".npz"))
    return file["inputs"][:samples], file["labels"][:samples]


def cost(graph: Graph, target: str) -> Figures:
    """Bits of all operands that meet at once."""
    bits = sum(
        n.pe * n.simd * n.parallel * n.pixels * (graph.tensors[n.input].fmt.bits + 4)
        for n in graph.nodes
        if isinstance(n, Linear)
    )
    return Figures(
        "model", target, "operands", lut=10 * bits, ff=bits, dsp=0, bram=1, energy_nj=bits / 7
    )


def wrong(outputs: np.ndarray, labels: np.ndarray) -> float:
    """A metric: the share of wrong decisions."""
    return float((outputs.argmax(-1) != labels).mean())


def slowly(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy, after a while."""
    time.sleep(0.1)
    return 1 - wrong(outputs, labels)


def deadly(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy, but the first process that asks dies."""
    mark = Path(os.environ["HWGEN_TEST_MARK"])
    if multiprocess() and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1 - wrong(outputs, labels)


def multiprocess() -> bool:
    """Whether this is a process of a pool."""
    import multiprocessing

    return multiprocessing.parent_process() is not None
