"""Spaces: what a file says, and what it means on a model."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from hwgen.config import Config
from hwgen.errors import ConfigError
from hwgen.explore.evaluate import bind
from hwgen.explore.space import Space
from tests.conftest import SHIPPED
from tests.explore.points import FLOAT, MODEL, data

GEMMS = ("/0/Gemm", "/2/Gemm", "/4/Gemm")


def bound(content: dict, base: Config | None = None, model: Path = MODEL):
    return bind(onnx.load(model), base or Config(), Space.parse(content), {"x": data(8)[0]})


def test_every_kind_of_choice() -> None:
    content = {
        "cycles": [512, 2048],
        "requant_bits": ["default", 10],
        "lanes": {"x": [1, 2]},
        "nodes": {"*": {"arith": ["default", "int4"]}, "/0/*": {"pe": [1, 4, 99]}},
        "groups": {"/[24]/Gemm": {"simd": [1, 8, 64]}},
    }
    found = bound(content)
    names = [p.name for p in found.parameters]
    assert names == [
        *("cycles", "requant_bits", "lanes.x", "/[24]/Gemm.simd"),
        *(f"{n}.arith" for n in GEMMS),
        "/0/Gemm.pe",
    ]
    choices = {p.name: p.choices for p in found.parameters}
    assert choices["/0/Gemm.pe"] == (1, 4)  # it has 32 outputs
    assert choices["/[24]/Gemm.simd"] == (1, 8)  # of 32 inputs
    assert found.size == 2 * 2 * 2 * 2 * 8 * 2
    points = [found.point(k) for k in range(found.size)]
    assert len({tuple(p.values()) for p in points}) == found.size
    base = Config.parse({"nodes": {"/0/Gemm": {"simd": 2}, "/4/Gemm": {"arith": "int8"}}})
    config = found.config(base, points[-1])
    assert (config.cycles, config.requant_bits, config.lanes) == (2048, 10, {"x": 2})
    assert config.nodes["/0/Gemm"].fold == {"pe": 4, "simd": 2}
    assert config.nodes["/2/Gemm"].simd == config.nodes["/4/Gemm"].simd == 8
    assert {config.nodes[n].arith for n in GEMMS} == {"int4"}
    config = found.config(base, points[0])
    assert config.requant_bits is None
    assert config.nodes["/4/Gemm"].arith is None  # the space's choice, not the base's


def test_attention_and_float_models() -> None:
    path = SHIPPED / "transformers" / "longformer_script14.onnx"
    content = {"arith": ["int8"], "nodes": {"*": {"lanes": [1, 2, 99], "heads": [1, 2, 5]}}}
    found = bind(
        onnx.load(path),
        Config(),
        Space.parse(content),
        {onnx.load(path).graph.input[0].name: _rows()},
    )
    (lanes, heads) = (p for p in found.parameters if p.table == "nodes")
    assert lanes.name.endswith(".lanes") and lanes.choices == (1, 2)
    assert 5 not in heads.choices and 1 in heads.choices
    content = {"nodes": {"/*/Gemm": {"arith": ["int8", "int4"]}}}
    assert bound(content, model=FLOAT).size == 8


def _rows():
    import numpy as np

    return np.load(SHIPPED / "transformers" / "longformer.npz")["inputs"][:2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "the space is empty"),
        ({"cycle": [1]}, "unknown key cycle: did you mean 'cycles'"),
        ({"name": ["a"]}, "unknown key name"),
        ({"cycles": []}, "cycles has no choices"),
        ({"cycles": 512}, r"cycles must be a list of choices, not 512.*--config"),
        ({"cycles": [0]}, "cycles: cycles must be a positive integer"),
        ({"cycles": [1, 1]}, "has a choice twice"),
        ({"cycles": [64], "macs": [4]}, "exclude each other"),
        ({"arith": ["int8:none"]}, "arith: "),
        ({"nodes": {"*": {"pe": []}}}, r"nodes\.\*\.pe has no choices"),
        ({"nodes": {"*": {"pee": [1]}}}, r"unknown key nodes\.\*\.pee: did you mean 'pe'"),
        ({"nodes": {"*": {}}}, r"nodes\.\* must be a table with pe"),
        ({"nodes": [1]}, "nodes must be a table"),
        ({"nodes": {"/0/Gem": {"pe": [1]}}}, "names no node; did you mean '/0/Gemm'"),
        ({"groups": {"Conv*": {"arith": ["int8"]}}}, "names no node; those that can be: /0/Gemm"),
        ({"nodes": {"*": {"lanes": [1]}}}, r"nodes\.\*\.lanes names no node; .* none"),
        ({"nodes": {"/0/*": {"pe": [64]}}}, "/0/Gemm can have none of the choices"),
        ({"nodes": {"*": {"pe": [1]}, "/0/*": {"pe": [2]}}}, "another pattern gave"),
        (
            {"nodes": {"/0/Gemm": {"pe": [1]}}, "groups": {"/0/Gemm": {"pe": [2]}}},
            "in nodes and in groups",
        ),
    ],
)
def test_bad_spaces(content: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        bound(content)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read"):
        Space.of(tmp_path / "none.toml")
    path = tmp_path / "space.toml"
    path.write_text("cycles = [")
    with pytest.raises(ConfigError, match="is no TOML file"):
        Space.of(path)
    path.write_text('cycles = [64]\n[groups."*"]\narith = ["int8"]\n')
    assert Space.of(path).as_dict() == {"cycles": [64], "groups": {"*": {"arith": ["int8"]}}}
