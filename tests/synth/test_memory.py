"""Weights in block RAM or in lookup tables, as the configuration says."""

from __future__ import annotations

import numpy as np
import pytest

import hwgen
from hwgen.errors import ConfigError
from hwgen.ir import Linear
from tests.qdq import Builder
from tests.small import good


def layer(inputs: int, outputs: int):
    b = Builder()
    x = b.quantize(b.input(1, inputs), 0.05)
    codes = b.constant(b.rng.integers(-128, 128, (inputs, outputs)).astype(np.int8))
    y = b.op("MatMul", x, b.op("DequantizeLinear", codes, b.constant(np.float32(0.03))))
    return b.model(y)


def layer_name(model) -> str:
    return next(n.name for n in hwgen.compile(model).graph.nodes if isinstance(n, Linear))


@pytest.mark.synth
@pytest.mark.parametrize("kind", ["block", "logic", None])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 8), (64, 64)])  # the larger in a file
def test_kinds(inputs: int, outputs: int, kind: str | None) -> None:
    model = layer(inputs, outputs)
    name = layer_name(model)
    overrides = {name: {"memory": kind}} if kind else None
    design = hwgen.compile(model, macs=1, overrides=overrides)
    small = inputs * outputs < 256
    assert any(n.endswith(".hex") for n in design.sources) == (kind != "logic" and not small)
    if kind == "logic" and not small:
        return  # takes a while
    figures = design.synthesize("ecp5", jobs=1)
    blocks = kind == "block" or (kind is None and not small)
    assert (figures.bram > 0) == blocks
    modelled = design.estimate("ecp5").nodes[name]
    assert modelled.bram == figures.nodes[name].bram
    assert abs(modelled.lut - figures.nodes[name].lut) < 0.3 * figures.nodes[name].lut


@pytest.mark.model
def test_large_memory_in_logic() -> None:
    """The words are those of the file."""
    model = layer(64, 64)
    name = layer_name(model)
    design = hwgen.compile(model, overrides={name: {"memory": "logic"}})
    inputs = np.random.default_rng(0).normal(0, 3, (3, 64)).astype(np.float32)
    assert design.simulate(inputs).mismatch is None


def test_wrong_kinds() -> None:
    name = layer_name(good())
    for overrides, says in (
        ({name: {"memory": "disk"}}, "memory must be one of block, logic, not 'disk'"),
        ({f"{name}.requantize": {"memory": "block"}}, f"no memory of weights.* are {name}"),
    ):
        with pytest.raises(ConfigError, match=says):
            hwgen.compile(good(), overrides=overrides)
