"""What a page shows of a design."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import numpy as np

from hwgen.cost.figures import Figures, total
from hwgen.design import Design
from hwgen.ir import Fork, Graph, Linear, Node, Pool, Queue, Resize, Window
from hwgen.trace import Trace

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
JOINTS = (Fork, Queue, Resize)


def design_data(
    design: Design,
    figures: Sequence[Figures] = (),
    found: Trace | None = None,
    accuracy: float | None = None,
    samples: int | None = None,
    remarks: Sequence[str] = (),
) -> dict:
    """A page's data: `figures` of all levels and targets, a trace of some inputs, the share of
    right decisions in so many samples, and remarks on what is missing and why."""
    graph, predicted = design.graph, design.predicted
    layers = _layers(graph)
    facts = {
        f"cycles per {design.sample}": f"{predicted.interval:,}",
        "latency, cycles": f"{predicted.latency:,}",
        "multipliers": f"{design.multipliers:,}",
    }
    if accuracy is not None:
        facts[f"accuracy, {samples} samples"] = f"{accuracy:.4f}"
    notes = [f"{name}: {text}" for name, text in graph.notes.items()]
    for name, (wrong, tried) in design.approximated().items():
        notes.append(f"{name}: {wrong} of {tried} codes differ from exact requantization")
    for island in graph.islands.values():
        notes.append(
            f"{island.tensor} is left in float: {island.fmt}, headroom {island.headroom:.1f} bits"
        )
    return {
        "kind": "design",
        "title": design.config.name,
        "version": metadata.version("hwgen"),
        "facts": facts,
        "graph": {"layers": _boxes(graph, layers, predicted.nodes), "edges": _edges(graph, layers)},
        "figures": [_by_layer(f, layers) for f in figures],
        "trace": None if found is None else _trace(found),
        "notes": notes,
        "remarks": list(remarks),
    }


def _layers(graph: Graph) -> dict[str, str]:
    """The layer that each unit belongs to, by name: "a" for "a.window" where there is an "a";
    joints between layers belong to the one before them."""
    names = {node.name for node in graph.nodes}
    makers, found = graph.producer(), {}
    for node in graph.nodes:
        stem = node.name.rpartition(".")[0]
        maker = makers.get(node.input) if node.inputs else None
        if stem in names:
            found[node.name] = stem
        elif isinstance(node, JOINTS) and maker is not None and maker.name in found:
            found[node.name] = found[maker.name]
        else:
            found[node.name] = node.name
    return found


def _boxes(graph: Graph, layers: dict[str, str], cycles: dict[str, int]) -> list[dict]:
    boxes: dict[str, dict] = {}
    for port in graph.inputs:
        boxes[f"in {port.name}"] = {"name": port.name, "port": "input", "units": []}
    for node in graph.nodes:
        layer = layers[node.name]
        box = boxes.setdefault(layer, {"name": layer, "port": None, "units": []})
        unit = {"name": node.name, "kind": _kind(node), "cycles": cycles[node.name]}
        box["units"].append(unit)
    for out in graph.outputs:
        boxes[f"out {out.name}"] = {"name": out.name, "port": "output", "units": []}
    return [{"id": name, **box} for name, box in boxes.items()]


def _kind(node: Node) -> str:
    """What a unit is, and how much of it works at once."""
    name = type(node).__name__
    if isinstance(node, Linear):
        arithmetic = "" if node.arithmetic is None else f" {node.arithmetic}"
        return f"{name}{arithmetic} {node.pe * node.pixels}x{node.simd * node.parallel}"
    if isinstance(node, Window):
        return f"{name} {node.kernel[0]}x{node.kernel[1]}"
    return f"{name} {node.kind}" if isinstance(node, Pool) else name


def _edges(graph: Graph, layers: dict[str, str]) -> list[dict]:
    """Streams between layers."""
    makers = graph.producer()
    ports = {port.tensor: f"in {port.name}" for port in graph.inputs}
    edges = []

    def add(tensor: str, to: str) -> None:
        maker = makers.get(tensor)
        source = ports.get(tensor) if maker is None else layers[maker.name]
        if source is None or source == to:
            return
        t = graph.tensors[tensor]
        shape = "x".join(map(str, t.shape))
        edges.append(
            {
                "from": source,
                "to": to,
                "width": t.lanes * t.fmt.bits,
                "label": f"{t.lanes} x {t.fmt}" if t.lanes > 1 else str(t.fmt),
                "shape": shape,
                "words": t.words,
            }
        )

    for node in graph.nodes:
        for tensor in node.inputs:
            if tensor != graph.ends:
                add(tensor, layers[node.name])
    for port in graph.outputs:
        add(port.tensor, f"out {port.name}")
    return edges


def _by_layer(figures: Figures, layers: dict[str, str]) -> dict:
    """Figures of a design and of its layers; cycles are those of the slowest unit."""
    groups: dict[str, list[Figures]] = {}
    for name, unit in figures.nodes.items():
        groups.setdefault(layers.get(name, name), []).append(unit)
    parts = {}
    for name, units in groups.items():
        cycles = [u.cycles for u in units if u.cycles is not None]
        sums = total(units) | {"cycles": max(cycles, default=None)}
        parts[name] = {k: v for k, v in sums.items() if v is not None}
    return figures.as_dict() | {"nodes": parts}


def _trace(found: Trace) -> dict:
    data = found.as_dict()
    for layer in data["layers"]:
        values = found.golden[layer["tensor"]]
        sizes = np.abs(values[values != 0])
        shares = np.quantile(sizes, QUANTILES) if sizes.size else np.zeros(len(QUANTILES))
        layer["sizes"] = [float(v) for v in shares]
        layer["zeros"] = float((values == 0).mean())
        layer["saturated"] = None
        if layer["least"] is not None:
            slack = 1e-9 * (layer["most"] - layer["least"])
            ends = (values <= layer["least"] + slack) | (values >= layer["most"] - slack)
            layer["saturated"] = float((ends & (values != 0)).mean())
    return data
