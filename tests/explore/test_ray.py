"""A cluster of two workers, one of which is killed midway."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import ray

from hwgen.errors import ConfigError
from hwgen.explore import explore
from tests.explore import points

# Nothing is sent anywhere; workers run as soon as others; a dead node is noticed within seconds.
SETTINGS = {
    "USAGE_STATS_ENABLED": "0",
    "worker_niceness": "0",
    "health_check_period_ms": "500",
    "health_check_failure_threshold": "4",
}


def test_no_cluster(tmp_path: Path) -> None:
    """It is said at once."""
    inputs, labels = points.data()
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: .*refused"):
        explore(
            points.MODEL,
            inputs,
            {"cycles": [512, 1024]},
            tmp_path,
            labels=labels,
            cost=points.cost,
            ray="127.0.0.1:1",
        )


@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"RAY_{name}", value)
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    head = {**node, "num_cpus": 0}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        doomed, _ = (cluster.add_node(wait=False, **node) for _ in range(2))
        cluster.wait_for_nodes()
        seen = []

        def kill(what: str, done: int, total: int) -> None:
            seen.append(done)
            if done == 3:
                cluster.remove_node(doomed, allow_graceful=False)

        inputs, labels = points.data(16)
        space = {"arith": ["int8", "int4"], "cycles": [256, 512, 1024, 2048, 4096]}
        found = explore(
            points.MODEL,
            inputs,
            space,
            tmp_path / "o",
            labels=labels,
            objectives="accuracy,luts,interval",
            metric="tests.explore.points:slowly",
            cost=points.cost,
            ray=cluster.address,
            verify=0,
            progress=kill,
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert seen == list(range(1, 11))
    assert len({json.dumps(r["point"]) for r in found.records}) == 10
    assert all(r["figures"] is not None for r in found.records)
