"""Folds of attention: what is chosen for a target, what the configuration sets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.errors import ConfigError
from hwgen.ir import Attention, Concat
from hwgen.passes.fold import folds
from tests.frontend.attending import HEADS, SIZE, C, N, attend, quantized_rows, rounded
from tests.qdq import Builder


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    b = Builder()
    return b.model(rounded(b, attend(b, quantized_rows(b))))


def name(model: onnx.ModelProto) -> str:
    return [node.name for node in model.graph.node if node.op_type == "MatMul"][-1]


def parts(design: hwgen.Design) -> list[Attention]:
    return [node for node in design.graph.nodes if isinstance(node, Attention)]


@pytest.mark.parametrize("cycles", [12, 13, 17, 21, 22, 40, 72, 1000])
def test_cycles(model: onnx.ModelProto, cycles: int) -> None:
    """What is asked for is reached, by heads at once where one unit is too slow."""
    design = hwgen.compile(model, cycles=cycles)
    assert design.predicted.interval <= cycles
    found = parts(design)
    assert len(found) == (2 if cycles < 22 else 1)
    joined = [node for node in design.graph.nodes if isinstance(node, Concat)]
    assert len(joined) == len(found) - 1


def test_too_few_cycles(model: onnx.ModelProto) -> None:
    says = f"{name(model)} takes 12 cycles even fully parallel; cycles must be at least 12, not 11"
    with pytest.raises(ConfigError, match=says):
        hwgen.compile(model, cycles=11)
    assert hwgen.compile(model, cycles=12).predicted.interval == 12


@pytest.mark.parametrize("macs", [5, 20, 60, 333, 1000])
def test_macs(model: onnx.ModelProto, macs: int) -> None:
    """Multipliers of heads at once count too."""
    design = hwgen.compile(model, {"macs": macs})
    assert sum(node.multipliers for node in parts(design)) < design.multipliers <= macs


def test_settings(model: onnx.ModelProto) -> None:
    node = name(model)
    for given in ({"lanes": 3}, {"simd": 6}, {"heads": 2}, {"lanes": 1, "simd": 2, "heads": 2}):
        found = parts(hwgen.compile(model, overrides={node: given}))
        count = given.get("heads", 1)
        assert len(found) == count
        for part in found:
            assert (part.heads, part.groups) == (HEADS // count, HEADS // count)
            assert part.lanes == given.get("lanes", part.lanes)
            assert part.simd == given.get("simd", part.simd)


def test_heads_give_the_same(model: onnx.ModelProto) -> None:
    """As long as a visit has the same keys."""
    x = np.random.default_rng(3).normal(0, 1, (8, N, C)).astype(np.float32)
    one, two = (
        hwgen.compile(model, overrides={name(model): {"lanes": 2, "heads": heads}})
        for heads in (1, 2)
    )
    for key, value in one.golden(x).items():
        np.testing.assert_array_equal(two.golden(x)[key], value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lanes": 7}, "lanes must be at most 6, not 7"),
        ({"simd": 4}, f"simd must divide {SIZE}, not 4"),
        ({"heads": 3}, "heads must divide its 2 groups, not 3"),
        ({"pe": 2}, "attention has no pe; set lanes, simd or heads"),
        ({"lanes": 0}, "lanes must be a positive integer, not 0"),
        ({"simd": -1}, "simd must be a positive integer, not -1"),
        ({"heads": 1.5}, "heads must be a positive integer, not 1.5"),
    ],
)
def test_wrong_settings(model: onnx.ModelProto, given: dict, says: str) -> None:
    node = name(model)
    with pytest.raises(ConfigError, match=rf"{node}[:.] ?{says}"):
        hwgen.compile(model, overrides={node: given})


def test_set_too_slow(model: onnx.ModelProto) -> None:
    """What is set stays, and a note says that it is too slow; `folds` says what it is."""
    node, given = name(model), {"lanes": 2, "simd": 1, "heads": 1}
    design = hwgen.compile(model, cycles=12, overrides={node: given})
    takes = design.predicted.nodes[node]
    assert design.predicted.interval == takes > 12
    assert design.graph.notes[node].endswith(f"; takes {takes} cycles as it is set, not 12")
    assert folds(design.graph)[node] == given
    two = hwgen.compile(model, overrides={node: {"lanes": 2, "simd": 1, "heads": 2}})
    assert folds(two.graph)[node] == {"lanes": 2, "simd": 1, "heads": 2}
