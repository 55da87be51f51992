"""Figures of several designs side by side."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hwgen.cost.figures import Figures
from hwgen.errors import ModelError

COLUMNS = tuple(f.name for f in fields(Figures) if f.name not in ("energy", "utilisation", "nodes"))


def saved(path: Path) -> list[Figures]:
    """Figures of a file that a command wrote with --json: one object, or a list of them, alone or
    under "figures". Raises `ModelError`."""
    try:
        content = json.loads(path.read_text())
        rows = content if isinstance(content, list) else [content]
        return [Figures.from_dict(row.get("figures", row)) for row in rows]
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} holds no figures of a command's --json") from error


def as_csv(rows: Sequence[tuple[str, Figures]]) -> str:
    """A line for each, behind a header; empty where a level doesn't know."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", *COLUMNS))
    for name, figures in rows:
        values = (getattr(figures, column) for column in COLUMNS)
        writer.writerow((name, *("" if v is None else v for v in values)))
    return text.getvalue()


def as_json(rows: Sequence[tuple[str, Figures]]) -> str:
    """A list of {"name", "figures"}."""
    return json.dumps([{"name": name, "figures": f.as_dict()} for name, f in rows])
