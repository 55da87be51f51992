"""What a page shows of an exploration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from hwgen.errors import ModelError
from hwgen.explore.pareto import ranked

POINTS, ABOUT = "points.jsonl", "exploration.json"
DIRECTIONS = {"max": -1.0, "min": 1.0}


def is_exploration(folder: Path) -> bool:
    """Whether a folder is what `hwgen explore` writes."""
    return (folder / POINTS).is_file()


def exploration_data(folder: str | Path) -> dict:
    """A page's data; raises `ModelError` for a folder that is damaged."""
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text())
        lines = (folder / POINTS).read_text().splitlines()
        points = [json.loads(line) for line in lines if line.strip()]
        goals = {name: DIRECTIONS[goal] for name, goal in about["objectives"].items()}
        shown = [_point(k, point, goals) for k, point in enumerate(points, 1)]
        title = Path(str(about.get("model") or "exploration")).name
    except OSError as error:
        raise ModelError(f"can't read {error.filename}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{folder} is no exploration, or it is damaged: {error!r}") from error
    feasible = [p for p in shown if p["feasible"] and None not in p["objectives"].values()]
    values = [[sign * p["objectives"][name] for name, sign in goals.items()] for p in feasible]
    order = ranked(values, sum(p["verified"] is not None for p in feasible))
    for k in order:
        feasible[k]["pareto"] = True
    best = [feasible[k] for k in order]
    for number, point in enumerate([*best, *(p for p in shown if not p["pareto"])], 1):
        point["number"] = number
    return {
        "kind": "exploration",
        "title": title,
        "version": metadata.version("hwgen"),
        "about": about,
        "points": shown,
    }


def _point(line: int, point: Mapping, goals: Mapping[str, float]) -> dict:
    objectives = {name: point["objectives"].get(name) for name in goals}
    for name, value in objectives.items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"line {line}: {name} must be a number, not {value!r}")
    return {
        "point": dict(point["point"]),
        "objectives": objectives,
        "feasible": bool(point.get("feasible", True)),
        "pareto": False,
        "figures": point.get("figures"),
        "verified": point.get("verified"),
    }
