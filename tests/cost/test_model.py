"""The model of costs beside synthesis, and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen.config import Config
from hwgen.cost.features import FEATURES
from hwgen.cost.model import coefficients, estimate
from hwgen.cost.parts import distinct_bits
from hwgen.cost.technology import ECP5, TECHNOLOGIES, XCUP, Technology
from hwgen.cost.timing import TIMING
from hwgen.errors import ConfigError
from hwgen.synth import Options, run
from tests.command import fails, succeeds
from tests.conftest import SHIPPED
from tests.qdq import Builder

MLP = SHIPPED / "digits_mlp.onnx"


def small_cnn() -> hwgen.Design:
    """A convolution, a pool and a dense layer, with few multipliers."""
    b = Builder()
    x = b.quantize(b.input(1, 2, 6, 6), 0.05)
    x = b.op("Conv", x, b.weights(4, 2, 3, 3), pads=[1, 1, 1, 1])
    x = b.op("MaxPool", b.quantize(x, 0.2), kernel_shape=[2, 2], strides=[2, 2])
    x = b.op("Flatten", x)
    x = b.quantize(b.op("Gemm", x, b.weights(36, 5)), 0.3)
    return hwgen.compile(b.model(x), cycles=1024)


@pytest.mark.synth
@pytest.mark.parametrize("target", ["ecp5", "xcup"])
def test_beside_synthesis(target: str) -> None:
    """A model that nothing was fitted to."""
    design = small_cnn()
    found, modelled = design.synthesize(target), design.estimate(target)
    assert abs(modelled.lut / found.lut - 1) < 0.25
    assert abs(modelled.ff / found.ff - 1) < 0.1
    for node in design.graph.nodes:
        own, other = modelled.nodes[node.name], found.nodes[node.name]
        assert own.dsp == other.dsp, node.name
        assert abs(own.bram - other.bram) <= 1, node.name


WIDTHS = [(2, 2), (4, 3), (8, 8), (9, 18), (18, 18), (19, 17), (24, 18), (27, 18), (28, 20)]
WIDTHS += [(36, 36), (40, 19)]


@pytest.mark.synth
@pytest.mark.parametrize("technology", [ECP5, XCUP], ids=lambda t: t.name)
def test_multipliers(technology: Technology) -> None:
    """DSP blocks of products of any widths, as Yosys maps them."""
    modules, instances, expected = [], [], {}
    for number, (a, b) in enumerate(WIDTHS):
        for signed in (False, True):
            name, sign = f"m{number}{'s' * signed}", "signed " * signed
            modules.append(
                f"module {name}(input {sign}[{a - 1}:0] a, input {sign}[{b - 1}:0] b, "
                f"output {sign}[{a + b - 1}:0] o);\n  assign o = a * b;\nendmodule\n"
            )
            instances.append(f"  {name} u{name} (\n  );")
            expected[f"u{name}"] = technology.multiplier((a, signed), (b, signed))[0]
    top = "\n".join(["module top;", *instances, "endmodule\n"])
    found = run({"m.v": "".join(modules) + top}, "top", Options(technology.name))
    assert {name: found.nodes[name].dsp for name in expected} == expected


def test_equal_bits_cost_nothing() -> None:
    """Columns of a memory that are constant, or those of another element again."""
    words = np.array([[3, 3, 0], [1, 1, 0], [-2, -2, 0]])
    assert distinct_bits(words, 4) == 3


def test_every_kind_is_covered() -> None:
    assert set(FEATURES) == set(TIMING)


@pytest.mark.parametrize("target", [*TECHNOLOGIES])
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_resnet"])
def test_cycles_are_the_predicted_ones(name: str, target: str) -> None:
    """And the sums are those of the nodes."""
    design = hwgen.compile(SHIPPED / f"{name}.onnx", cycles=16384)
    figures, predicted = design.estimate(target), design.predicted
    assert (figures.cycles, figures.latency) == (predicted.interval, predicted.latency)
    nodes = {n: f.cycles for n, f in figures.nodes.items() if f.cycles is not None}
    assert nodes == predicted.nodes
    counts = ("area_um2", "ff", "energy_nj") if target == "asic" else ("lut", "ff", "dsp", "bram")
    for field in counts:
        parts = [getattr(f, field) for f in figures.nodes.values()]
        assert getattr(figures, field) == pytest.approx(sum(parts))
        assert getattr(figures, field) > 0


def test_more_multipliers_cost_more() -> None:
    slow, fast = (hwgen.compile(MLP, cycles=c).estimate("ecp5") for c in (2048, 64))
    assert fast.lut > slow.lut and fast.dsp > slow.dsp and fast.ff > slow.ff


def test_points_are_what_compile_makes() -> None:
    points = hwgen.Points(MLP)
    first = hwgen.compile(MLP, cycles=512, overrides={"/0/Gemm": {"pe": 2}})
    again = [points.design(cycles=512, overrides={"/0/Gemm": {"pe": 2}}) for _ in range(2)]
    assert [design.sources for design in again] == [first.sources] * 2
    assert points.design(macs=3).multipliers <= 3
    with pytest.raises(ConfigError, match="share its arithmetic"):
        points.design(overrides={"/0/Gemm": {"arith": "int4"}})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("ice40", "comes? from synthesis only: hwgen synth"),
        ("xlinx", "did you mean 'xilinx'"),
        ("quartus", "estimates are for ecp5, xcup, asic, xilinx"),
    ],
)
def test_other_targets(target: str, says: str, tmp_path: Path) -> None:
    design = hwgen.compile(MLP, Config(cycles=4096))
    with pytest.raises(ConfigError, match=says):
        estimate(design.graph, target)
    fails(tmp_path, "estimate", MLP, "--target", target, says=says)


def test_command() -> None:
    """The table says how far figures may be off; --json is one object."""
    text = succeeds("estimate", MLP, "--cycles", 2048)
    assert "/0/Gemm" in text and "design" in text
    assert "cycles: 2,048" in text
    assert "errors (" in text and "lut median" in text
    found = json.loads(succeeds("estimate", MLP, "--cycles", 2048, "--target", "xilinx", "--json"))
    assert found["level"] == "model" and found["target"] == "xcup"
    assert found["lut"] == sum(node["lut"] for node in found["nodes"].values())
    assert "errors (" in found["source"]


def test_errors_are_within_what_is_promised() -> None:
    """Of the designs that the file in the repository was not fitted to."""
    for target in ("ecp5", "xcup"):
        errors = coefficients()[target]["errors"]["held out"]
        assert errors["lut"]["median"] <= 0.10 and errors["lut"]["worst"] <= 0.25
        assert errors["ff"]["median"] <= 0.10 and errors["ff"]["worst"] <= 0.25
        assert errors["dsp"]["worst"] == 0
        assert errors["bram"]["worst"] <= 1
