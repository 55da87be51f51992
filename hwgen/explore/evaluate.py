"""One design point: compiled, its accuracy by the golden model, its cost by the cost model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import onnx

from hwgen.config import Config, NodeConfig
from hwgen.cost.figures import Figures
from hwgen.cost.model import estimate
from hwgen.design import Design, converted
from hwgen.errors import ConfigError, HwgenError, InputError
from hwgen.explore.objectives import ACCURACY, Constraint, metric_named, score, values
from hwgen.explore.space import UNSET, Bound, Point, Space
from hwgen.frontend import load, read
from hwgen.frontend.convert import Options, arithmetic_nodes
from hwgen.golden import Cache
from hwgen.golden.host import encode
from hwgen.ir import Attention, Graph, Linear, Pool, Product, Requantize
from hwgen.passes.layers import Layer, Matrices
from hwgen.points import Points

Cost = Callable[[Graph, str], Figures]
CONVERTED = 64  # models of other arithmetics kept


@dataclass(frozen=True)
class Task:
    """What all points share; what a worker needs to evaluate one.

    `model`: the ONNX file's bytes; `base`: what every point's configuration begins with; `data`:
    inputs by name, with `labels`; `calibrate`: inputs that conversions take scales from; `cost`: a
    function of (graph, target), the cost model unless given.
    """

    model: bytes
    base: Config
    bound: Bound
    data: Mapping[str, np.ndarray]
    labels: np.ndarray | None
    calibrate: Mapping[str, np.ndarray]
    target: str
    objectives: Mapping[str, str]
    constraints: tuple[Constraint, ...] = ()
    metric: str | None = None
    cost: Cost | None = None
    folder: str = ""  # where the metric's module may lie

    @property
    def needed(self) -> list[str]:
        """Objectives that must be known."""
        asked = [name for c in self.constraints for name in c.needs()]
        return list(dict.fromkeys((*self.objectives, *asked)))


class Evaluator:
    """Evaluates points of a task; keeps converted models and the results of layers."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cache = Cache()
        self._models: OrderedDict[tuple, Points] = OrderedDict()
        self._model = read(task.model)
        self._metric = metric_named(task.metric, task.folder) if task.metric else None

    def __call__(self, point: Point) -> dict:
        """The record of a point: objectives, whether all constraints hold, and figures; or, where
        no such design can be made, the `error`. Raises `HwgenError` for what is wrong with all."""
        task = self.task
        try:
            design = self.design(task.bound.config(task.base, point))
        except HwgenError as error:
            unknown = dict.fromkeys(task.objectives)
            return {
                "point": point,
                "objectives": unknown,
                "feasible": False,
                "figures": None,
                "verified": None,
                "error": str(error),
            }
        right, figures = self.judge(design)
        misses = {c.text: c.violation(right, figures) for c in task.constraints}
        return {
            "point": point,
            "objectives": values(list(task.objectives), right, figures),
            "feasible": not any(misses.values()),
            "misses": {text: miss for text, miss in misses.items() if miss},
            "accuracy": right,
            "figures": figures.as_dict(),
            "verified": None,
        }

    def judge(self, design: Design) -> tuple[float | None, Figures]:
        """Accuracy, if it is asked for, and figures of the cost model."""
        task = self.task
        right = None
        if ACCURACY in task.needed:
            outputs = design.golden(dict(task.data), self.cache)
            right = score(self._metric, outputs, task.labels)
        figures = (task.cost or estimate)(design.graph, task.target)
        predicted = design.predicted
        figures = replace(figures, cycles=predicted.interval, latency=predicted.latency)
        for name, value in values(task.needed, right, figures).items():
            if value is None:
                raise ConfigError(
                    f"{name} is not known at the model level of {task.target}: leave it out, or "
                    "choose another target"
                )
        return right, figures

    def design(self, config: Config) -> Design:
        """The design of a configuration; what conversion gives is kept by what it depends on."""
        nodes = {k: n.arith for k, n in config.nodes.items() if n.arith is not None}
        key = (config.arith, config.scale, config.per_channel, *sorted(nodes.items()))
        if key not in self._models:
            own = {name: NodeConfig(arith=arith) for name, arith in nodes.items()}
            plain = replace(config, cycles=None, macs=None, nodes=own)
            self._models[key] = Points(self._model, plain, self.task.calibrate)
            if len(self._models) > CONVERTED:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key].configured(config)

    def check(self) -> Figures:
        """Raise `HwgenError` for a target, data or metric that no point could be judged with;
        returns the figures of a design that no fold was chosen for."""
        task = self.task
        if ACCURACY in task.needed and task.metric is None and task.labels is None:
            raise InputError(
                "the data has no array `labels` to tell accuracy by; give a --metric, or leave "
                "accuracy out of the objectives"
            )
        bound = self.task.bound
        chosen = [p for p in bound.parameters if p.key in ("arith", "scale", "per_channel")]
        config = Bound(tuple(chosen)).config(task.base, bound.point(0))
        design = self.design(config)
        if not design.graph.ends:
            encode(design.graph, dict(task.data))
        return self.judge(design)[1]


def bind(
    model: onnx.ModelProto, base: Config, space: Space, calibrate: Mapping[str, np.ndarray]
) -> Bound:
    """The parameters of a space on a model; raises `HwgenError`."""
    whole = next((a for a in space.whole.get("arith", ()) if a != UNSET), None)
    arith, nodes = base.with_options(arith=whole).arithmetics
    options = Options(arith, nodes, shapes=base.shapes)
    named = any("arith" in keys for t in (space.nodes, space.groups) for keys in t.values())
    able = arithmetic_nodes(model, options) if named else []
    first = space.arithmetic_parts().bind({"arith": able})
    config = first.config(base, first.point(0))
    proto = converted(model, config, calibrate)
    graph = load(proto, config.shapes, "model", config.fixed)
    layers = {
        n.name: Matrices(graph, n) if isinstance(n, Product) else Layer(graph, n)
        for n in graph.nodes
        if isinstance(n, Linear | Pool | Product)
    }
    attention = {n.name: n for n in graph.nodes if isinstance(n, Attention)}
    requantized = [
        n.name.removesuffix(".requantize") for n in graph.nodes if isinstance(n, Requantize)
    ]
    names = {
        "arith": able,
        "pe": list(layers),
        "simd": [*layers, *attention],
        "lanes": list(attention),
        "heads": list(attention),
        "memory": [n.name for n in graph.nodes if isinstance(n, Linear)],
        "requant_bits": [name for name in dict.fromkeys(requantized) if name in _all(graph)],
    }
    limits: dict = {}
    for name, layer in layers.items():
        most_pe, most_simd = layer.sizes
        limits[name, "pe"] = most_pe.__ge__
        limits[name, "simd"] = most_simd.__ge__
    for name, node in attention.items():
        depth = graph.tensors[node.inputs[0]].channels // node.heads
        width = graph.tensors[node.inputs[2]].channels // node.groups
        common = gcd(depth, width)
        limits[name, "simd"] = lambda value, most=common: most % value == 0
        limits[name, "lanes"] = node.slots.__ge__
        limits[name, "heads"] = lambda value, most=node.groups: most % value == 0
    return space.bind(names, limits)


def _all(graph: Graph) -> set[str]:
    return {node.name for node in graph.nodes}
