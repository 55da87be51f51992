"""Objectives, constraints, metrics; fronts and what is chosen of them."""

from __future__ import annotations

import numpy as np
import pytest

from hwgen.cost.figures import Figures
from hwgen.deploy.board import boards
from hwgen.errors import ConfigError, InputError
from hwgen.explore.devices import DEVICES, device_named
from hwgen.explore.objectives import Constraint, metric_named, objectives, score
from hwgen.explore.pareto import front, spread
from hwgen.synth.targets import TARGETS

FIGURES = Figures("model", "ecp5", "", lut=30000, ff=100, dsp=30, bram=4, cycles=1000, latency=9)


def test_objectives() -> None:
    assert objectives("accuracy, luts") == {"accuracy": "max", "luts": "min"}
    assert objectives("accuracy:min") == {"accuracy": "min"}
    for text, says in (
        ("lut", "did you mean 'luts'"),
        ("", "unknown objective"),
        ("luts:max", "to be minimized"),
        ("luts,luts", "twice"),
    ):
        with pytest.raises(ConfigError, match=says):
            objectives(text)


@pytest.mark.parametrize(
    ("text", "miss"),
    [
        ("accuracy>=0.9", 0),
        ("accuracy >= 1", 0.1),
        ("luts<=15000", 1),
        ("luts<=30000", 0),
        ("rate>=100000@100MHz", 0),
        ("rate>=1e6@ 100 MHz", 0),
        ("fits=85k", 0),
        ("fits=ulx3s-85f", 0),
        ("fits=25k", 30000 / 24288 - 1 + 30 / 28 - 1),
    ],
)
def test_constraints(text: str, miss: float) -> None:
    found = Constraint.parse(text, "ecp5").violation(0.9, FIGURES)
    if text.startswith("rate>=1e6"):
        miss = 0.9
    assert found == pytest.approx(miss)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accuracy", "write it as accuracy>=0.95"),
        ("accurcy>=1", "did you mean 'accuracy'"),
        ("luts=4", "write >= or <="),
        ("luts<=many", "'many' is no number"),
        ("rate>=100", "at a clock"),
        ("fits<=85k", "fits=DEVICE"),
        ("fits=84k", "did you mean '85k'"),
        ("fits=xc7a35t", "of the target xc7, not ecp5; of that there are 85k"),
    ],
)
def test_bad_constraints(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Constraint.parse(text, "ecp5")


def test_devices_are_those_of_targets() -> None:
    placeable = {name for target in TARGETS.values() for name in target.devices}
    assert placeable <= set(DEVICES)
    for board in boards().values():
        assert device_named(board.name, board.family).lut == board.resources["lut"]
        chip = DEVICES.get(board.device or board.part.split("-")[0].lower())
        assert chip is None or chip.dsp == board.resources["dsp"]
    for name, device in DEVICES.items():
        assert device_named(name, device.target) is device
        assert name in TARGETS[device.target].devices or not TARGETS[device.target].tool
    assert device_named("kv260", "xilinx").dsp == 1248


def test_metrics() -> None:
    outputs, labels = {"y": np.eye(4)}, np.array([0, 1, 2, 0])
    assert score(None, outputs, labels) == 0.75
    wrong = metric_named("tests.explore.points:wrong", "")
    assert score(wrong, outputs, labels) == 0.25
    assert score(lambda both, _: len(both), {"a": 1, "b": 2}, None) == 2
    with pytest.raises(InputError, match="must give a number, not 'x'"):
        score(lambda *_: "x", outputs, labels)
    with pytest.raises(InputError, match="the metric failed: ZeroDivisionError: division by zero"):
        score(lambda *_: 1 / 0, outputs, labels)
    for text, says in (
        ("wrong", "module:function"),
        ("tests.explore.none:f", "No module"),
        ("tests.explore.points:f", "no attribute"),
        ("tests.explore.points:MODEL", "is no function"),
    ):
        with pytest.raises(ConfigError, match=says):
            metric_named(text, "")


def test_fronts() -> None:
    """Against the definition, on random points with ties."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.integers(0, 5, (40, 3))
        kept = front(points)
        better = (points[:, None] <= points).all(2) & (points[:, None] < points).any(2)
        unbeaten = {tuple(p) for p in points[~better.any(axis=0)]}
        assert {tuple(points[k]) for k in kept} == unbeaten
        assert len(kept) == len(unbeaten)
    assert front([]) == []


def test_what_is_looked_at_first() -> None:
    """The winners of each objective, then what is far from the rest."""
    line = [(k, 10 - k) for k in (0, 1, 2, 3, 7, 10)]
    assert spread(line, 2) == [0, 5]
    assert spread(line, 3) == [0, 4, 5] or spread(line, 3) == [0, 3, 5]
    assert spread(line, 99) == list(range(6))
    assert spread(line, 0) == []
