"""explore(): many design points, the Pareto front of what they reach, the best of it verified."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from hwgen.config import Config
from hwgen.errors import ConfigError, InputError
from hwgen.explore.evaluate import Cost, Evaluator, Task, bind
from hwgen.explore.objectives import Constraint
from hwgen.explore.objectives import objectives as parse_objectives
from hwgen.explore.pareto import ranked
from hwgen.explore.search import Grid, Sampler, Search
from hwgen.explore.space import Space
from hwgen.explore.store import Store
from hwgen.explore.verify import verified
from hwgen.explore.workers import workers
from hwgen.frontend import read
from hwgen.frontend.convert import input_names
from hwgen.synth import Progress, quiet

OBJECTIVES = "accuracy,energy,luts,interval"
SAMPLES = 4  # that verification simulates, unless said otherwise
PATHS = ("model", "data")  # of exploration.json: where things lie says nothing of what they are


@dataclass(frozen=True)
class Exploration:
    """What was found. `about`: as exploration.json; `records`: all points, as in points.jsonl;
    `front`: those of them that meet all constraints and that no other beats, the points to look
    at first in front where they were chosen for verification."""

    folder: Path
    about: Mapping
    records: list[dict]
    front: list[dict] = field(default_factory=list)

    @property
    def mismatched(self) -> list[dict]:
        """Verified points whose hardware differs from the golden model."""
        return [r for r in self.front if r["verified"] and not r["verified"]["matched"]]


def explore(
    model: str | Path | onnx.ModelProto,
    data: Mapping[str, np.ndarray] | np.ndarray,
    space: Space | Mapping | str | Path,
    output: str | Path,
    *,
    labels: np.ndarray | None = None,
    objectives: str | Sequence[str] = OBJECTIVES,
    constraints: Sequence[str] = (),
    target: str = "ecp5",
    trials: int = 100,
    budget: float | None = None,
    metric: str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    verify: int = 5,
    samples: int = SAMPLES,
    config: Config | Mapping | str | Path | None = None,
    calibrate: Mapping[str, np.ndarray] | np.ndarray | None = None,
    liberty: Path | None = None,
    seed: int = 0,
    source: str = "",
    cost: Cost | None = None,
    progress: Progress = quiet,
) -> Exploration:
    """Evaluate points of a space, all if there are at most `trials`, and verify the best.

    `data`: inputs by name or the only one, with `labels`; `space`: as in the documentation;
    `output`: a folder, where the same exploration goes on if it has begun one. `objectives`,
    `constraints`, `metric`: as the command's. `budget`: seconds to begin points for. `jobs`:
    processes, the processors' number unless given; `ray`: a cluster's address instead. `verify`:
    points of the front to simulate on `samples` inputs and to synthesize. `config`: what every
    point has; `calibrate`: inputs for conversions, `data` unless given; `source`: what to call the
    data; `cost`: a function of (graph, target) in the place of the cost model.

    Raises `HwgenError`; points so far are kept.
    """
    began = time.monotonic()
    proto, base, space = read(model), Config.of(config), Space.of(space)
    named = isinstance(model, str | Path)
    name = base.name or (Path(str(model)).stem if named else proto.graph.name) or "model"
    arrays = _by_name(data, proto)
    seen = arrays if calibrate is None else _by_name(calibrate, proto)
    base = base.named(name)
    ways = parse_objectives(objectives)
    task = Task(
        proto.SerializeToString(deterministic=True),
        base,
        bind(proto, base, space, seen),
        arrays,
        labels,
        seen,
        target,
        ways,
        tuple(Constraint.parse(text, target) for text in constraints),
        metric,
        cost,
        os.getcwd(),  # noqa: PTH109
    )
    evaluator = Evaluator(task)
    figures = evaluator.check()
    about = {
        "model": str(model) if named else name,
        "data": source,
        "objectives": ways,
        "target": figures.target,
        "source": figures.source,
        "space": space.as_dict(),
        "constraints": list(constraints),
        "metric": metric,
        "config": base.dump(),
        "sha256": {
            "model": hashlib.sha256(task.model).hexdigest(),
            "data": _digest(arrays, {"labels": labels}),
            "calibration": _digest(seen),
        },
    }
    store = Store(Path(output), about)
    search: Search = (
        Grid(task.bound, store.records)
        if task.bound.size <= trials
        else Sampler(task.bound, ways, seed, store.records)
    )
    count = min(trials, task.bound.size)
    _search(evaluator, search, store, count, jobs, ray, (began, budget), progress)
    chosen = _chosen(store.records, ways, verify)
    configs = [task.bound.config(base, record["point"]) for record in chosen]
    store.configurations([c.dump() for c in configs])
    few = {key: array[:samples] for key, array in arrays.items()}
    best = list(zip(chosen[:verify], configs, strict=False))
    for number, (record, settings) in enumerate(best, 1):
        if record["verified"] is None:
            step = partial(_verifying, progress, f"verifying {number} of {len(best)}")
            design = evaluator.design(settings)
            record["verified"] = verified(design, few, target, liberty, jobs, step)
            store.rewrite()
    return Exploration(store.folder, about, store.records, chosen)


def _verifying(progress: Progress, which: str, what: str, done: int, total: int) -> None:
    progress(f"{which}: {what}", done, total)


def _search(
    evaluator: Evaluator,
    search: Search,
    store: Store,
    trials: int,
    jobs: int | None,
    ray: str | None,
    time_limit: tuple[float, float | None],
    progress: Progress,
) -> None:
    """Evaluate points until there are `trials`, or no time is left for more."""
    began, budget = time_limit
    first, running = len(store.records), 0
    if first >= trials:
        return
    jobs = min(jobs or os.cpu_count() or 1, trials - first)
    with workers(evaluator, jobs, ray) as staff:
        started, ended = time.monotonic(), False
        while True:
            late = budget is not None and time.monotonic() - began >= budget
            while not (late or ended) and running < staff.slots:
                if len(store.records) + running >= trials:
                    break
                point = search.ask()
                ended = point is None
                if point is not None:
                    staff.submit(point)
                    running += 1
            if not running:
                return
            for point, record in staff.wait():
                running -= 1
                store.append(record)
                search.tell(point, record)
                done = len(store.records)
                rate = (done - first) / max(time.monotonic() - started, 1e-9)
                left = (trials - done) / rate
                if budget is not None:
                    left = min(left, max(0.0, budget - (time.monotonic() - began)))
                ways = evaluator.task.objectives
                progress(_state(store.records, ways, rate, left), done, trials)


def _state(records: list[dict], ways: Mapping[str, str], rate: float, left: float) -> str:
    """Rate, time left and the best of the first objective."""
    name, way = next(iter(ways.items()))
    values = [r["objectives"][name] for r in records if r["feasible"]]
    best = f"{name} {(max if way == 'max' else min)(values):.5g}" if values else "none feasible"
    minutes, seconds = divmod(round(left), 60)
    return f"{60 * rate:.0f}/min, {minutes}:{seconds:02} left, best {best}"


def _chosen(records: list[dict], ways: Mapping[str, str], verify: int) -> list[dict]:
    """The front; those to verify first, in the order of the first objective. Raises `ConfigError`
    where no point can be built, or none meets all constraints."""
    good = [r for r in records if r["feasible"]]
    if not good:
        built = [r for r in records if r["figures"] is not None]
        if not built:
            reason = f"the first: {records[0]['error']}" if records else "no time was left for any"
            raise ConfigError(f"none of {len(records)} points can be built; {reason}")
        nearest = min(built, key=lambda r: sum(r["misses"].values()))
        missed = ", ".join(f"{text} by {miss:.0%}" for text, miss in nearest["misses"].items())
        raise ConfigError(
            f"none of {len(records)} points meets all constraints; the nearest misses {missed}: "
            "loosen them, or widen the space"
        )
    signs = [-1 if way == "max" else 1 for way in ways.values()]

    values = [[s * r["objectives"][n] for s, n in zip(signs, ways, strict=True)] for r in good]
    return [good[k] for k in ranked(values, verify)]


def _by_name(data, proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    if isinstance(data, Mapping):
        return dict(data)
    names = input_names(proto)
    if len(names) != 1:
        raise InputError(f"the model has several inputs ({', '.join(names)}): give data by name")
    return {names[0]: data}


def _digest(*parts: Mapping) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for name, array in sorted(part.items()):
            if array is not None:
                values = np.ascontiguousarray(array)
                digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
                digest.update(values.tobytes())
    return digest.hexdigest()
