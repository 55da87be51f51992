"""Tensors that a model leaves in float: which fixed point they get, and what the reports say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwgen
from hwgen.errors import ConfigError
from hwgen.formats import Fixed, parse
from hwgen.frontend.convert.reference import evaluator
from tests.command import fails, succeeds
from tests.qdq import Builder, oracle
from tests.small import write

N, C = 4, 8
X = np.random.default_rng(2).normal(0, 0.3, (16, N, C)).astype(np.float32)
ROOT = "sum"  # what the residual sum is called


def model() -> onnx.ModelProto:
    """A quantized layer, a residual sum in float, its normalization, a quantized layer."""
    b = Builder(seed=6)
    x = b.quantize(b.input(1, N, C), 1 / 32)
    y = b.quantize(b.op("MatMul", x, b.weights(C, C)), 1 / 4)
    b.op("Add", x, y)
    b.nodes[-1].output[0] = ROOT
    y = b.op("LayerNormalization", ROOT, b.bias(C), b.bias(C), axis=-1)
    return b.model(b.quantize(b.op("MatMul", b.quantize(y, 1 / 16), b.weights(C, C)), 1 / 8))


def island(design: hwgen.Design):
    (found,) = design.graph.islands.values()
    return found


def test_proven_range() -> None:
    """Every number it can have: codes of 8 bits in both."""
    found = island(hwgen.compile(model()))
    assert (found.tensor, found.node) == (ROOT, hwgen.compile(model()).graph.islands[ROOT].node)
    assert (found.low, found.high) == (-128 / 32 - 128 / 4, 127 / 32 + 127 / 4)
    assert found.fmt == Fixed(16, 9)  # 36 is below 2**6
    assert found.headroom == pytest.approx(math.log2(64 / 36))
    assert found.error == 2.0**-10


def test_calibration_comes_before_it() -> None:
    """What was seen with a quarter to spare; never coarser than what is proven."""
    plain, design = hwgen.compile(model()), hwgen.compile(model(), calibrate=X)
    inside = onnx.ModelProto()
    inside.CopyFrom(model())
    inside.graph.output.append(onnx.helper.make_tensor_value_info(ROOT, 1, None))
    session = evaluator(inside)
    most = max(np.abs(session.run([ROOT], {"x": x[None]})[0]).max() for x in X)
    found = island(design)
    assert found.fmt == Fixed.holding(1.25 * most, 16)
    assert found.fmt.frac > island(plain).fmt.frac
    assert (found.low, found.high) == (island(plain).low, island(plain).high)
    assert found.headroom < 0  # of the proven range, where it saturates
    wide = hwgen.compile(model(), calibrate=1e3 * X)
    assert island(wide).fmt == island(plain).fmt
    # A code of the normalization that is one off is some of the result's.
    away = np.abs(next(iter(design.golden(X).values())) - oracle(model(), X)) * 8
    assert away.max() < 2.5 and (away > 0.5).mean() < 0.15


def test_configuration_comes_first() -> None:
    """Above calibration too; the resolved configuration holds what calibration chose."""
    text = "fixed<12,4>"
    for calibrate in (None, X):
        design = hwgen.compile(model(), {"formats": {ROOT: text}}, calibrate=calibrate)
        assert island(design).fmt == parse(text)
    chosen = hwgen.compile(model(), calibrate=X)
    assert dict(chosen.config.formats) == {ROOT: str(island(chosen).fmt)}
    again = hwgen.compile(model(), chosen.config)
    assert again.graph.islands == chosen.graph.islands


def test_saturation() -> None:
    """Numbers beyond a format of the configuration stay at its ends."""
    design = hwgen.compile(model(), {"formats": {ROOT: "fixed<8,8>"}})
    found = island(design)
    assert found.headroom == pytest.approx(math.log2(0.5 / 35.75), rel=0.01)
    (add,) = [node for node in design.graph.nodes if type(node).__name__ == "Add"]
    assert (add.low, add.high) == (-128, 127)


@pytest.mark.parametrize(
    ("formats", "says"),
    [
        ({"summe": "fixed<16,8>"}, r"formats: \['summe'\] are no tensors left in float; .* sum$"),
        ({"x": "fixed<16,8>"}, r"formats: \['x'\] are no tensors left in float; those are sum"),
        ({ROOT: "int16"}, r"formats\.sum must be fixed point of at most 16 bits.*, not 'int16'"),
        ({ROOT: "fixed<17,8>"}, r"formats\.sum must be .*, not 'fixed<17,8>'"),
        ({ROOT: "fix<8,4>"}, r"formats\.sum: 'fix<8,4>' is not a number format"),
        ({ROOT: 8}, r"formats\.sum.* 8"),
    ],
)
def test_wrong_formats(formats: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        hwgen.compile(model(), {"formats": formats})


def test_no_tensor_in_float() -> None:
    b = Builder()
    quantized = b.model(
        b.quantize(b.op("Gemm", b.quantize(b.input(1, 6), 0.1), b.weights(6, 3)), 0.2)
    )
    with pytest.raises(ConfigError, match=r"are no tensors left in float; those are none"):
        hwgen.compile(quantized, {"formats": {"x": "fixed<16,8>"}})


def test_reports(tmp_path: Path) -> None:
    """The command and the manifest say format, range, headroom and error."""
    path = write(model(), tmp_path)
    np.savez(tmp_path / "x.npz", x=X)
    printed = succeeds("build", path, "-o", tmp_path / "d")
    row = "sum: fixed<16,9> for -36 ... 35.72, headroom 0.8 bits, error 0.00098"
    assert f"tensors left in float, in fixed point:\n  {row}\n" in printed
    fixed = json.loads((tmp_path / "d" / "manifest.json").read_text())["fixed_point"]
    assert fixed == {
        ROOT: {
            "format": "fixed<16,9>",
            "low": -36.0,
            "high": 35.71875,
            "headroom_bits": pytest.approx(math.log2(64 / 36)),
            "error": 2.0**-10,
        }
    }
    printed = succeeds("build", path, "-o", tmp_path / "e", "--calibrate", tmp_path / "x.npz")
    found = island(hwgen.compile(path, calibrate=X))
    assert f"  sum: {found.fmt} for -36 ... 35.72, headroom -" in printed
    assert f'"sum" = "{found.fmt}"' in (tmp_path / "e" / "config.toml").read_text()
    config = tmp_path / "c.toml"
    config.write_text('[formats]\nsums = "fixed<16,8>"\n')
    says = r"formats: \['sums'\] are no tensors left in float; those are sum"
    fails(tmp_path, "build", path, "-o", tmp_path / "f", "--config", config, says=says)
