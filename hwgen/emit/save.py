"""Writing a folder all at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hwgen.errors import ConfigError

MARK = "manifest.json"


def save(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write `files` into `folder`, all or none; an older design there is replaced.

    Raises `ConfigError` where the folder can't be written or holds something that is no design.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"{folder} is a file; choose a folder that is new, empty or an older design"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigError(f"{folder} holds files that are no hwgen design; choose another folder")
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for name, content in files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        scratch.chmod(0o755)
        if folder.is_dir():
            shutil.rmtree(folder)
        scratch.replace(folder)
    except OSError as error:
        raise ConfigError(f"can't write {folder}: {error.strerror or error}") from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch)
