"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

SHIPPED = Path(__file__).parent.parent / "models"
SEEDS = np.random.default_rng(0)


def model_files() -> list[Path]:
    """The shipped quantized models of images, and the larger ones of the folder $HWGEN_MODELS, if
    it is set."""
    found = sorted(p for p in SHIPPED.glob("digits_*.onnx") if not p.stem.endswith("_float"))
    if folder := os.environ.get("HWGEN_MODELS"):
        names = ("d01", "d02", "d03", "d04a", "d04b", "d04c", "d05", "d06", "d06b", "d09", "d10")
        found += [p for n in names for p in sorted(Path(folder).glob(f"{n}_*[!t].onnx"))]
    return found


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Simulation builds are kept for the run, for all of its processes."""
    if "HWGEN_CACHE" not in os.environ:
        base = tmp_path_factory.getbasetemp()
        base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        os.environ["HWGEN_CACHE"] = str(base / "simulations")
