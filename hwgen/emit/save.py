"""Writing files and folders all at once."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwgen.errors import ConfigError

MARK = "manifest.json"


def save(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write `files` into `folder`, all or none; an older design there is replaced.

    Raises `ConfigError` where the folder can't be written or holds something that is no design.
    """
    check_folder(folder)
    scratch = None
    try:
        target = folder.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        for name, content in files.items():
            path = scratch / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        _replace(target, scratch / "new", scratch / "old")
    except OSError as error:
        raise ConfigError(f"can't write {folder}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _replace(target: Path, new: Path, old: Path) -> None:
    """Put `new` where `target` is, and that, if it is there, to `old`."""
    there = target.is_dir()
    if there:
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if there:
            old.rename(target)
        raise


def check_folder(folder: Path) -> None:
    """Raise `ConfigError` for a folder that can't be made, or whose content is not ours to
    replace."""
    try:
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise ConfigError(
                    f"can't write {folder}: {place} is a file; choose a folder that is new, empty "
                    "or an older design"
                )
        parent = next(place for place in folder.resolve().parents if place.is_dir())
        tempfile.TemporaryDirectory(dir=parent, prefix=f".{folder.name}.").cleanup()
        if not folder.is_dir():
            return
        if Path.cwd().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"{folder} is the current folder and would be replaced; choose another"
            )
        if any(folder.iterdir()) and not _is_design(folder):
            raise ConfigError(
                f"{folder} holds files that are no hwgen design; choose another folder"
            )
    except OSError as error:
        raise ConfigError(f"can't write {folder}: {error.strerror or error}") from error


def check_file(path: Path) -> None:
    """Raise `ConfigError` where a file can't be written."""
    if path.is_dir():
        raise ConfigError(f"can't write {path}: it is a folder")
    if not path.parent.is_dir():
        raise ConfigError(f"can't write {path}: there is no folder {path.parent}")


def write_file(path: Path, content: bytes) -> None:
    """Write a file; raises `ConfigError` where that can't be done."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"can't write {path}: {error.strerror or error}") from error


def _is_design(folder: Path) -> bool:
    try:
        content = json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and ("model_sha256" in content or "unit" in content)


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """An NPZ file whose bytes depend on the arrays alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return buffer.getvalue()
