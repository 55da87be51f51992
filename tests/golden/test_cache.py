"""Results of layers that networks share: the same bits, and never computed twice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hwgen.config import Config
from hwgen.design import compile as compile_model
from hwgen.golden import Cache
from hwgen.golden.cache import FOLDS
from hwgen.ir import nodes, transformer
from tests.conftest import SHIPPED

FOLDED = ({"cycles": 20000}, {"cycles": 5000}, {"macs": 300}, {"cycles": 1500})


@pytest.mark.parametrize(
    ("model", "arith"),
    [
        ("digits_cnn", None),
        ("digits_cnn", "bf16+bf16"),
        ("digits_cnn", "mxfp4"),
        ("digits_resnet", "int8xint4"),
        ("transformers/longformer_script14", "int8"),
    ],
)
def test_folds_share_results(model: str, arith: str | None) -> None:
    """Whatever the fold, the outputs are those without a cache; exact sums are found in it."""
    path = SHIPPED / f"{model}.onnx"
    data = _data(path)
    first = compile_model(path, arith=arith, calibrate=data if arith else None)
    cache = Cache()
    first.golden(data, cache)
    computed = cache.misses
    for options in FOLDED:
        design = compile_model(first.model, first.config.with_options(**options))
        plain, cached = design.golden(data), design.golden(data, cache)
        for name, values in plain.items():
            np.testing.assert_array_equal(cached[name], values)
    if arith == "bf16+bf16" or "longformer" in model:
        assert cache.misses > computed  # the fold chooses the order of rounded additions
    else:
        assert cache.misses == computed


def _data(path: Path):
    """Some inputs of a model; the transformers' files are one for all exporters."""
    file = np.load(path.with_name(re.sub("_(script|dynamo)[0-9]+", "", path.stem) + ".npz"))
    names = [name for name in file.files if name not in ("outputs", "labels")]
    arrays = {name: file[name][:2] for name in names}
    return arrays["inputs"] if names == ["inputs"] else arrays


def test_other_numbers_are_others() -> None:
    """What follows a layer of another arithmetic is computed again, what comes before is not."""
    path = SHIPPED / "digits_mlp.onnx"
    data = np.load(path.with_suffix(".npz"))["inputs"][:6]
    cache = Cache()
    for last in ("int8xint2", "int8xint3"):
        config = Config.parse({"arith": "int8", "nodes": {"/4/Gemm": {"arith": last}}})
        design = compile_model(path, config, calibrate=data)
        before = cache.misses
        np.testing.assert_array_equal(design.golden(data, cache)["y"], design.golden(data)["y"])
    assert 0 < cache.misses - before < before
    before = cache.misses
    np.testing.assert_array_equal(
        design.golden(data[::-1], cache)["y"], design.golden(data)["y"][::-1]
    )
    assert cache.misses - before > 2


def test_limit() -> None:
    cache = Cache(limit=1000)
    for k in range(10):
        cache.put(bytes([k]), np.full(400, k))  # a byte each
    assert cache.size == 800
    assert b"\x08" in cache and b"\x07" not in cache
    cache.put(b"large", np.arange(2000))
    assert b"large" not in cache
    assert set(cache.get(b"\x09")) == {9}


def test_folds_are_those_of_the_graph() -> None:
    """Fields that the graph calls folds are left out of keys, and no others."""
    marked = {}
    for source in (nodes, transformer):
        text = Path(source.__file__).read_text()
        for part in re.split(r"^class ", text, flags=re.MULTILINE)[1:]:
            found = re.findall(r"^    (\w+): [^\n]*# (?:fold|.*the fold)", part, re.MULTILINE)
            if found:
                marked[re.match(r"\w+", part)[0]] = frozenset(found)
    # Attention keeps its own: it is split where heads work at once.
    assert marked.pop("Attention") == {"simd"}
    assert {kind.__name__: folds for kind, folds in FOLDS.items()} == marked
