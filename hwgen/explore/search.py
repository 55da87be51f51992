"""Which point to try next: all of them, or those that a sampler of Optuna proposes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from hwgen.errors import ToolError
from hwgen.explore.space import Bound, Point

REPEATS = 3  # proposals of known points in a row before one beside them is taken
FAR = 1e6  # the violation of a point of which there is no design


class Search(Protocol):
    """Gives points, and hears what became of them."""

    def ask(self) -> Point | None:
        """A point never given before; None where there are no more."""

    def tell(self, point: Point, record: Mapping) -> None:
        """What a point came to."""


def identity(point: Mapping) -> tuple:
    """A point as a key."""
    return tuple(point.items())


class Grid:
    """Every point, in order."""

    def __init__(self, bound: Bound, known: Iterable[Mapping]) -> None:
        seen = {identity(record["point"]) for record in known}
        points = (bound.point(k) for k in range(bound.size))
        self._left: Iterator[Point] = (p for p in points if identity(p) not in seen)

    def ask(self) -> Point | None:
        """The next point."""
        return next(self._left, None)

    def tell(self, point: Point, record: Mapping) -> None:
        """Nothing follows from it."""


class Sampler:
    """Optuna's multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), which takes
    constraints into account; points that are known are told, not tried again."""

    def __init__(
        self, bound: Bound, objectives: Mapping[str, str], seed: int, known: Iterable[Mapping]
    ) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ToolError(
                f"the space has {bound.size} points, more than trials, and Optuna, which chooses "
                "among them, is not installed: pip install 'hwgen[explore]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna: Any = optuna
        self._bound, self._objectives = bound, objectives
        self._worst = dict.fromkeys(objectives, 0.0)
        self._random = random.Random(seed)
        self._distributions: dict[str, Any] = {}
        for parameter in bound.parameters:
            count = len(parameter.choices)
            self._distributions[parameter.name] = (
                optuna.distributions.IntDistribution(0, count - 1)
                if parameter.ordered and list(parameter.choices) == sorted(parameter.choices)
                else optuna.distributions.CategoricalDistribution(range(count))
            )
        self._study = optuna.create_study(
            directions=["maximize" if w == "max" else "minimize" for w in objectives.values()],
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
        self._trials: dict[tuple, Any] = {}
        self._seen: set[tuple] = set()
        for record in known:
            self._seen.add(identity(record["point"]))
            self._remember(record)

    def ask(self) -> Point | None:
        """A proposal that is new; a new point beside it where proposals only repeat."""
        if len(self._seen) >= self._bound.size:
            return None
        for _ in range(REPEATS):
            point, new = self._propose()
            if new:
                return point
        while identity(point) in self._seen:  # a walk, a step of one parameter at a time
            parameter = self._random.choice(self._bound.parameters)
            point[parameter.name] = self._random.choice(parameter.choices)
        self._study.enqueue_trial(self._places(point))
        return self._propose()[0]

    def _propose(self) -> tuple[Point, bool]:
        """A proposal, and whether it is new."""
        trial = self._study.ask(self._distributions)
        point = {p.name: p.choices[trial.params[p.name]] for p in self._bound.parameters}
        key = identity(point)
        if key in self._seen:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            return point, False
        self._seen.add(key)
        self._trials[key] = trial
        return point, True

    def tell(self, point: Point, record: Mapping) -> None:
        """Its objectives, and by how much it misses constraints."""
        trial = self._trials.pop(identity(point))
        for name, miss in _misses(record).items():
            trial.set_constraint(name, miss)
        self._study.tell(trial, self._values(record))

    def _remember(self, record: Mapping) -> None:
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=self._places(record["point"]),
                distributions=self._distributions,
                values=self._values(record),
                constraints=_misses(record),
            )
        )

    def _places(self, point: Mapping) -> dict[str, int]:
        return {p.name: p.choices.index(point[p.name]) for p in self._bound.parameters}

    def _values(self, record: Mapping) -> list[float]:
        """Objectives; the worst seen of a point that has none."""
        found = self._worst if record["figures"] is None else record["objectives"]
        for name, way in self._objectives.items():
            worse = min if way == "max" else max
            self._worst[name] = worse(self._worst[name], found[name])
        return [found[name] for name in self._objectives]


def _misses(record: Mapping) -> dict[str, float]:
    """By how much constraints are missed, in all."""
    unbuilt = record["figures"] is None
    return {"constraints": FAR if unbuilt else sum(record["misses"].values())}
