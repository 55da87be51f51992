"""From data to a page that needs nothing else."""

from __future__ import annotations

import json
import math
from importlib import resources


def page(data: dict) -> str:
    """HTML with the data, style and script in it."""
    folder = resources.files("hwgen.report")
    text, style, script = (
        (folder / f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")
    )
    # "<" could end the script element that the data lies in.
    inside = json.dumps(_finite(data), allow_nan=False).replace("<", "\\u003c")
    parts = {"STYLE": style, "SCRIPT": script, "DATA": inside}
    for name, content in parts.items():
        text = text.replace(f"@{name}@", content, 1)
    return text


def is_page(content: bytes) -> bool:
    """Whether a file may be replaced by a page: it is HTML, or empty."""
    return not content or content.lstrip()[:9].lower() == b"<!doctype"


def _finite(value):
    """JSON has no infinities: null."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
