"""Folders of what was made once, named by the content that it was made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from hwgen.errors import ToolError


def cache_folder() -> Path:
    """$HWGEN_CACHE, or the user's cache."""
    given = os.environ.get("HWGEN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given).absolute() if given else Path(base) / "hwgen"


def place(parts: Mapping[str, str]) -> Path:
    """The folder of what is made from `parts`, which may not be there yet."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}\0{len(parts[name])}\0".encode())
        digest.update(parts[name].encode())
    return cache_folder() / digest.hexdigest()[:32]


def cached(parts: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """A folder that `build` has filled, made anew unless one with the same `parts` is there.

    It is built elsewhere and renamed, so two processes can do so at once.
    """
    folder = place(parts)
    if folder.is_dir():
        return folder
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="build.", dir=folder.parent))
        build(scratch)
        if not folder.is_dir():
            try:
                scratch.rename(folder)
            except OSError:
                if not folder.is_dir():  # not another process's doing
                    raise
        return folder
    except OSError as error:
        raise ToolError(
            f"can't write the cache {folder.parent}: {error.strerror}; set HWGEN_CACHE"
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
