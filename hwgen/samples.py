"""Samples in NPZ files, and how many of them a model gets right."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hwgen.errors import InputError


def read_arrays(
    path: Path, names: list[str], limit: int | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """(arrays by input name, labels or None) of an NPZ file, the first `limit` samples of each.

    One array may be called "inputs" where there is one name. Raises `InputError`.
    """

    def first(file, key: str):
        array = np.asarray(file[key])
        if array.ndim == 0:
            raise InputError(f"{path}: {key} must have samples as its leading axis")
        return array[:limit]

    try:
        with path.open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("write it with np.savez")
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            keys = list(file.files)
            wanted = {n: n for n in names if n in keys}
            if not wanted and len(names) == 1 and "inputs" in keys:
                wanted = {names[0]: "inputs"}
            if missing := [n for n in names if n not in wanted]:
                raise InputError(
                    f"{path} has no array for input {', '.join(missing)}; it has {', '.join(keys)}"
                )
            arrays = {name: first(file, key) for name, key in wanted.items()}
            labels = first(file, "labels") if "labels" in keys else None
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"can't read {path} as an NPZ file: {error}") from error
    samples = len(next(iter(arrays.values())))
    if labels is not None and len(labels) != samples:
        raise InputError(f"{path}: {len(labels)} labels for {samples} samples")
    return arrays, labels


def accuracy(output: np.ndarray, labels: np.ndarray) -> float:
    """Share of right decisions: the largest of the last axis, or the output itself where it holds
    classes."""
    decisions = (
        output
        if output.dtype.kind in "iu" and output.size == labels.size
        else np.argmax(output, -1)
    )
    if decisions.size != labels.size:
        raise InputError(f"{labels.size} labels for {decisions.size} decisions")
    return float((decisions.reshape(labels.shape) == labels).mean())
