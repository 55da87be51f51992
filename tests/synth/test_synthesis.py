"""What synthesis and place and route make of generated designs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen.synth.targets import TARGETS
from hwgen.synth.yosys import Flow, whole
from tests.conftest import SHIPPED
from tests.qdq import Builder

pytestmark = pytest.mark.synth


def test_small_mlp() -> None:
    """64-32-32-10 at about 2,000 cycles: at most 1,000 LUTs and 3 DSPs."""
    design = hwgen.compile(SHIPPED / "digits_mlp.onnx", cycles=2048)
    figures = design.synthesize("xcup", whole=True)
    assert figures.cycles <= 2048
    assert figures.lut <= 1000
    assert figures.dsp <= 3


def small_cnn() -> Path:
    """The larger models' digits CNN where they are, ours elsewhere."""
    folder = Path(os.environ.get("HWGEN_MODELS", SHIPPED))
    return next(folder.glob("d02_*qdq*.onnx"), SHIPPED / "digits_cnn.onnx")


def test_clock() -> None:
    """A CNN folded to under 8,000 LUTs reaches 100 MHz on an ECP5-85F."""
    figures = hwgen.compile(small_cnn(), cycles=4608).synthesize("ecp5", whole=True, place=True)
    assert figures.lut < 8000
    assert figures.fmax_mhz >= 100


@pytest.fixture(scope="module")
def memories() -> hwgen.Design:
    """Layers of shallow (16 words), deep (1,024 words) and large (in a file) weight memories."""
    b = Builder()
    x = b.quantize(b.input(1, 16), 0.05)
    for inputs, outputs in ((16, 1), (1, 64), (64, 16), (16, 512), (512, 8)):
        x = b.quantize(b.op("Gemm", x, b.weights(inputs, outputs)), 0.1)
    design = hwgen.compile(b.model(x), cycles=8192)
    assert any(name.endswith(".hex") for name in design.sources)
    return design


@pytest.mark.parametrize(
    ("target", "block", "shallow"),
    [
        ("ecp5", ("DP16KD",), ("TRELLIS_DPR16X4", "LUT4")),
        ("xcup", ("RAMB18E2", "RAMB36E2"), ("LUT6",)),
    ],
)
def test_memories(memories: hwgen.Design, target: str, block, shallow) -> None:
    """Deep weight memories become block RAMs, shallow ones lookup tables."""
    flow = Flow((f"{TARGETS[target].flow} -top TOP",))
    cells = whole(memories.sources, memories.config.name, flow)[0].cells
    depths = [np.size(n.weight) for n in memories.graph.nodes if hasattr(n, "weight")]
    deep = sum(depth * 8 >= 1 << 11 for depth in depths)
    assert deep <= sum(cells.get(kind, 0) for kind in block) <= 2 * deep + 2
    assert any(kind in cells for kind in shallow)
