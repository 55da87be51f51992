"""Explorations: every point once, the right figures, and nothing lost."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwgen
from hwgen.errors import ConfigError, InputError, ToolError
from hwgen.explore import explore
from hwgen.samples import accuracy
from tests.command import fails, succeeds
from tests.explore import points
from tests.explore.points import FLOAT, MODEL, cost

SPACE = {"arith": ["int8", "int4"], "cycles": [256, 512, 2048], "nodes": {"/4/*": {"simd": [1, 8]}}}
QUICK = "accuracy,luts,interval"


def run(folder: Path, space=SPACE, model=MODEL, **options):
    inputs, labels = points.data()
    settings = {"labels": labels, "objectives": QUICK, "jobs": 1, "verify": 0, "cost": cost}
    return explore(model, inputs, space, folder, **{**settings, **options})


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]


def test_grid(tmp_path: Path) -> None:
    """All points, each judged as a design that is compiled alone."""
    found = run(tmp_path / "a", constraints=["rate>=150000@100MHz", "fits=12k"])
    assert found.records == lines(tmp_path / "a")
    assert len({json.dumps(r["point"]) for r in found.records}) == 12
    inputs, labels = points.data()
    for record in found.records[::5]:
        point = dict(record["point"])
        overrides = {"/4/Gemm": {"simd": point.pop("/4/Gemm.simd")}}
        alone = hwgen.compile(MODEL, overrides=overrides, calibrate=inputs, **point)
        assert record["objectives"] == {
            "accuracy": accuracy(alone.golden(inputs)["y"], labels),
            "luts": cost(alone.graph, "ecp5").lut,
            "interval": alone.predicted.interval,
        }
        assert record["figures"]["latency"] == alone.predicted.latency
        rate = 100e6 / alone.predicted.interval
        fits = record["objectives"]["luts"] <= 12000
        assert record["feasible"] == (rate >= 150000 and fits)
    feasible = [r for r in found.records if r["feasible"]]
    assert 0 < len(found.front) <= len(feasible) < 12
    about = json.loads((tmp_path / "a" / "exploration.json").read_text())
    assert about["objectives"] == {"accuracy": "max", "luts": "min", "interval": "min"}
    assert about["target"] == "ecp5" and about["source"] == "operands"
    first = hwgen.compile(MODEL, tmp_path / "a" / "pareto" / "1.toml", calibrate=points.data()[0])
    assert first.predicted.interval == found.front[0]["objectives"]["interval"]


def test_going_on(tmp_path: Path) -> None:
    """A killed exploration goes on where it was; another one is refused."""
    whole = run(tmp_path / "whole")
    cut = tmp_path / "cut"
    run(cut)
    content = (cut / "points.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "points.jsonl").write_bytes(b"".join(content[:7]) + content[7][:40])
    calls = []
    found = run(cut, progress=lambda *state: calls.append(state))
    assert len(calls) == 5 and calls[-1][1:] == (12, 12)
    assert found.records == lines(cut) == whole.records
    assert "/min" in calls[0][0] and "accuracy" in calls[0][0]
    for change, says in (
        ({"space": {"cycles": [512]}}, "another space"),
        ({"model": FLOAT}, "another model|another .*content of model"),
        ({"target": "ice40"}, "another target"),
        ({"objectives": "luts"}, "another objectives"),
        ({"labels": points.data()[1] * 0}, "another content of data"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(cut, **change)
    assert lines(cut) == whole.records
    (cut / "points.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="damaged"):
        run(cut)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    with pytest.raises(ConfigError, match="no exploration"):
        run(other)


def test_sampler(tmp_path: Path) -> None:
    """Constraints hold the search to where they hold; points never repeat; runs are repeatable."""
    gemms = {"/*/Gemm": {"arith": ["int8", "int4", "int8xternary"]}}
    space = {"cycles": [128, 256, 512, 1024, 2048, 4096], "nodes": gemms}
    options = {"trials": 20, "constraints": ["interval<=1024"]}
    found = run(tmp_path / "a", space, **options)
    assert len({json.dumps(r["point"]) for r in found.records}) == 20
    again = run(tmp_path / "b", space, **options)
    assert again.records == found.records
    more = run(tmp_path / "a", space, **{**options, "trials": 24})
    assert more.records[:20] == found.records
    assert len({json.dumps(r["point"]) for r in more.records}) == 24
    late = [r["feasible"] for r in more.records[12:]]
    assert sum(late) > 0.6 * len(late)  # half of the space
    nothing = run(tmp_path / "a", space, **{**options, "trials": 99, "budget": 0})
    assert len(nothing.records) == 24


def test_points_that_cannot_be(tmp_path: Path) -> None:
    space = {"macs": [1, 64], "arith": ["int8", "int4"]}
    found = run(tmp_path / "a", space)
    failed = [r for r in found.records if r["figures"] is None]
    assert len(failed) == 2
    assert all("macs must be at least" in r["error"] and not r["feasible"] for r in failed)
    assert all(r["objectives"] == dict.fromkeys(QUICK.split(",")) for r in failed)
    with pytest.raises(ConfigError, match=r"none of 1 points can be built; the first: .*macs"):
        run(tmp_path / "b", {"macs": [1]})
    with pytest.raises(ConfigError, match=r"nearest misses luts<=1 by .*: loosen them"):
        run(tmp_path / "c", {"cycles": [4096]}, constraints=["luts<=1"])


def test_what_is_wrong_with_all(tmp_path: Path) -> None:
    """Said before any point is tried."""
    inputs, labels = points.data()
    for change, error, says in (
        ({"labels": None}, InputError, "no array `labels`"),
        ({"labels": labels[:5]}, InputError, "5 labels for 16"),
        ({"metric": "none:f"}, ConfigError, "No module"),
        ({"objectives": "area"}, ConfigError, "area is not known at the model level of ecp5"),
        ({"constraints": ["fits=x"]}, ConfigError, "unknown device"),
    ):
        with pytest.raises(error, match=says):
            run(tmp_path / "a", **change)
    assert not (tmp_path / "a" / "points.jsonl").exists()
    with pytest.raises(InputError, match="must have shape"):
        explore(MODEL, inputs[:, :10], SPACE, tmp_path / "b", labels=labels, cost=cost)
    assert not (tmp_path / "b").exists()


def test_pool_survives_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed takes no point with it."""
    monkeypatch.setenv("HWGEN_TEST_MARK", str(tmp_path / "killed"))
    alone = run(tmp_path / "a", metric="tests.explore.points:wrong", objectives="accuracy:min,luts")
    found = run(tmp_path / "b", metric="tests.explore.points:deadly", jobs=2)
    assert (tmp_path / "killed").exists()
    by_point = {json.dumps(r["point"]): r for r in found.records}
    assert len(found.records) == len(by_point) == 12
    for record in alone.records:
        other = by_point[json.dumps(record["point"])]
        assert other["accuracy"] == pytest.approx(1 - record["accuracy"])
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != "1"


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ToolError, match=r"pip install 'hwgen\[explore\]'"):
        run(tmp_path, trials=3)


@pytest.mark.model
def test_verified(tmp_path: Path) -> None:
    """The command: chosen points are simulated and synthesized, and it says which figure is
    what."""
    space, data = tmp_path / "space.toml", tmp_path / "data.npz"
    space.write_text("cycles = [1024, 2048]\n")  # the second is what other tests simulate too
    inputs, labels = points.data()
    np.savez(data, inputs=inputs, labels=labels)
    command = ("explore", MODEL, "--data", data, "--space", space, "-o", tmp_path / "o")
    command += ("--objectives", QUICK, "--jobs", 1, "--constraint", "interval>=2000")
    command += ("--samples", 2)
    printed = succeeds(*command)
    assert "2 points: 1 on the front, 1 feasible, 0 that can't be built" in printed
    assert "modelled for ecp5: " in printed and "synthesized: Yosys" in printed
    assert printed.count("bit-exact") == 1
    found = json.loads(succeeds(*command, "--json"))
    (checked,) = found["front"]
    assert checked["verified"]["matched"] and checked["verified"]["samples"] == 2
    assert checked["verified"]["interval"] == checked["objectives"]["interval"]
    assert checked["verified"]["figures"]["level"] == "synthesis"
    assert checked["figures"]["level"] == "model"
    rows = succeeds(*command, "--csv").splitlines()
    assert rows[0].startswith(
        "cycles,accuracy,luts,interval,feasible,front,matched,synthesized_lut"
    )
    assert len(rows) == 3 and sum(",True,True,True," in row for row in rows) == 1
    fails(tmp_path, *command, "--csv", "--json", says="not both")
    fails(tmp_path, *command[:5], tmp_path / "none.toml", says="can't read .*none.toml")


def test_differing_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hardware differs the exit code is 1, and the table says so."""

    def bad(design, inputs, *_):
        figures = replace(cost(design.graph, "ecp5"), level="synthesis").as_dict()
        told = {"matched": False, "mismatch": "input 0, output 'y' [3]: 1 in hardware"}
        return {**told, "samples": 1, "interval": 1, "latency": 1, "figures": figures}

    monkeypatch.setattr("hwgen.explore.evaluate.estimate", cost)
    monkeypatch.setattr("hwgen.explore.run.verified", bad)
    space = tmp_path / "space.toml"
    space.write_text("cycles = [4096]\n")
    from tests.command import run as command

    outcome = command(
        *("explore", MODEL, "--data", MODEL.with_suffix(".npz"), "--space", space),
        *("-o", tmp_path / "o", "--limit", 8, "--jobs", 1),
    )
    assert outcome.code == 1
    assert "DIFFERS" in outcome.out
    assert "hardware and golden model differ: input 0, output 'y' [3]" in outcome.out
