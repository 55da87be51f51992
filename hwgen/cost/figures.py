"""What a design costs, at any level: one type for what is modelled, synthesized, placed or
simulated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

LEVELS = ("model", "synthesis", "placed", "activity")
COUNTS = ("lut", "ff", "dsp", "bram", "area_um2", "energy_nj")  # of a design: the sum of its nodes


@dataclass(frozen=True)
class Figures:
    """Figures of a design or of one of its nodes; None is what the level doesn't know.

    `level`: one of LEVELS. `target`: FPGA family, or "asic". `source`: how they were obtained, with
    versions. `lut` counts carry cells and memories made of lookup tables too; `dsp` and `bram` are
    in the target's units. `delay_ps`: the longest path between registers, of gates. `cycles`: from
    one inference to the next; `latency`: of a lone one. `energy_nj`: per inference; `energy`: the
    same by class. `utilisation`: {resource: (used, there are)} of a placed design. `nodes`: of each
    node by name.
    """

    level: str
    target: str
    source: str
    lut: int | None = None
    ff: int | None = None
    dsp: int | None = None
    bram: int | None = None
    area_um2: float | None = None
    delay_ps: float | None = None
    cycles: int | None = None
    latency: int | None = None
    fmax_mhz: float | None = None
    energy_nj: float | None = None
    energy: Mapping[str, float] | None = None
    utilisation: Mapping[str, tuple[int, int]] | None = None
    nodes: Mapping[str, Figures] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """All fields by name; the nodes' without nodes of their own."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "nodes"}
        for name in ("energy", "utilisation"):
            own[name] = None if own[name] is None else dict(own[name])
        nodes = {name: figures.as_dict() for name, figures in self.nodes.items()}
        for node in nodes.values():
            del node["nodes"]
        return {**own, "nodes": nodes}

    @classmethod
    def from_dict(cls, given: Mapping) -> Figures:
        """What `as_dict` gave; raises `ValueError` where it is not that."""
        known = {f.name for f in fields(cls)}
        try:
            level, target, source = (given[name] for name in ("level", "target", "source"))
            if level not in LEVELS or not set(given) <= known:
                raise ValueError("its level or one of its keys is unknown")
            inherited = {"level": level, "target": target, "source": source}
            nodes = {
                name: cls.from_dict({**inherited, **node})
                for name, node in (given.get("nodes") or {}).items()
            }
            for name in (*COUNTS, "cycles", "latency", "delay_ps", "fmax_mhz"):
                if not isinstance(given.get(name), int | float | None):
                    raise ValueError(f"{name} must be a number, not {given[name]!r}")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no figures: {error!r}") from error
        return cls(**{**given, "nodes": nodes})

    def to_json(self) -> str:
        """One JSON object; null is what the level doesn't know."""
        return json.dumps(self.as_dict())


def total(parts: Iterable[Figures]) -> dict:
    """The sums of what adds up, and the longest delay, as arguments of `Figures`; None where a part
    doesn't know."""
    parts = list(parts)
    sums: dict = {}
    for name in COUNTS:
        values = [getattr(part, name) for part in parts]
        sums[name] = None if None in values else sum(values)
    delays = [part.delay_ps for part in parts if part.delay_ps is not None]
    sums["delay_ps"] = max(delays, default=None)
    classes = [part.energy for part in parts]
    if classes and None not in classes:
        names = dict.fromkeys(name for energy in classes for name in energy)
        sums["energy"] = {n: sum(energy.get(n, 0.0) for energy in classes) for n in names}
    return sums
