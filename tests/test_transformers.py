"""Whole transformers: golden model against stored outputs, hardware against golden model.

The small ones of models/transformers in 16 bits; and of the folder $HWGEN_MODELS, if it is set, an
encoder of images and a character model, quantized by onnxruntime and in float.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hwgen
from benchmarks.decisions import CALIBRATE, right
from hwgen import engines, golden
from hwgen.config import Config
from hwgen.cost.schedule import interval
from hwgen.design import bundle_of, converted
from hwgen.frontend import load, read
from hwgen.golden.host import decode, encode
from hwgen.ir import Attention
from tests.conftest import SHIPPED
from tests.merge import merge

ZOO = sorted((SHIPPED / "transformers").glob("*.onnx"))
# Of the largest output; the worst of all measured is 1.16 * 2**-13, a decoder's. Scales come from
# these inputs.
ZOO_ERROR = 2.0**-12
# One file for each model: others of llama, alibi, decoder and post_norm give the same codes, of the
# rest they differ in where the factor of the scores stands.
SIMULATED = [
    ["llama_dynamo18", "longformer_dynamo23", "alibi_script17", "decoder_script14"],
    ["vision_dynamo23", "post_norm_dynamo18", "pre_norm_script17"],
]
SAMPLES = 3


@cache
def stored(model: str) -> dict[str, np.ndarray]:
    with np.load(SHIPPED / "transformers" / f"{model.rpartition('_')[0]}.npz") as data:
        return dict(data)


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_small_ones(path: Path) -> None:
    """Within 2**-12 of the largest of torch's outputs."""
    data = stored(path.stem)
    x = {"x": data["inputs"]}
    graph = load(converted(read(path), Config(arith="int16"), x))
    got = next(iter(decode(graph, golden.run(graph, encode(graph, x))).values()))
    away = np.abs(got.reshape(data["outputs"].shape) - data["outputs"])
    assert away.max() < ZOO_ERROR * np.abs(data["outputs"]).max()
    assert any(isinstance(node, Attention) for node in graph.nodes)


def together(designs: list[hwgen.Design], inputs: list[np.ndarray], stalls: list) -> None:
    """All in one simulation, which compiles once: equal to the golden models with these stalls,
    at the predicted intervals without any."""
    graph = merge([design.graph for design in designs])
    codes = {}
    for number, (design, x) in enumerate(zip(designs, inputs, strict=True)):
        own = encode(design.graph, x)
        codes |= {f"n{number}_{name}": array for name, array in own.items()}
    expected, bundle = golden.run(graph, codes), bundle_of(graph)
    last = max(design.predicted.latency + design.predicted.interval for design in designs)
    for stall in stalls:
        result = engines.run(bundle, codes, stall=stall, watchdog=4 * last + 1000)
        assert result.codes.keys() == expected.keys()
        for name, array in expected.items():
            assert array.size
            np.testing.assert_array_equal(result.codes[name], array, err_msg=name)
        if stall is None:
            assert result.intervals == [interval(design.graph) for design in designs]


@pytest.mark.model
@pytest.mark.parametrize("group", SIMULATED, ids=lambda group: group[0])
def test_small_ones_in_hardware(group: list[str]) -> None:
    designs, inputs = [], []
    for name in group:
        x = stored(name)["inputs"]
        path = SHIPPED / "transformers" / f"{name}.onnx"
        designs.append(hwgen.compile(path, arith="int16", calibrate=x))
        inputs.append(x[:SAMPLES])
    together(designs, inputs, [None, 1, 2])


if folder := os.environ.get("HWGEN_MODELS"):
    MODELS = Path(folder)

    def found(name: str, *kinds: str) -> list[Path]:
        """The files of a model."""
        return [next(MODELS.glob(f"{name}_*{kind}")) for kind in kinds]

    @cache
    def arrays(name: str) -> dict[str, np.ndarray]:
        with np.load(*found(name, ".npz")) as data:
            return dict(data)

    @cache
    def encoder(arith: str) -> hwgen.Design:
        """The float model of images, with scales from the first inputs."""
        (path,) = found("d07", "_float.onnx")
        return hwgen.compile(path, arith=arith, calibrate=arrays("d07")["inputs"][:CALIBRATE])

    def perplexity(logits: np.ndarray, labels: np.ndarray) -> float:
        logits = logits.reshape(*labels.shape, -1).astype(np.float64)
        logits = logits - logits.max(axis=-1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return float(np.exp(-np.take_along_axis(logs, labels[..., None], -1).mean()))

    @pytest.fixture(scope="module", params=["d07", "d08"])
    def quantized(request: pytest.FixtureRequest):
        """A file of onnxruntime's quantizer."""
        (path,) = found(request.param, "int8*.onnx")
        return hwgen.compile(path), arrays(request.param)

    def test_quantized(quantized) -> None:
        """At most 2 decisions worse than onnxruntime, of the character model 1 % in perplexity."""
        design, data = quantized
        if "outputs_noopt" in data:
            stored = data["outputs_noopt"].argmax(axis=1) == data["labels"]
            assert right(design, data["inputs"], data["labels"]) >= stored.sum() - 2
        else:
            stored = data["outputs_int8_noopt"]
            labels = data["labels"][: len(stored)]
            got = next(iter(design.golden(data["inputs"][: len(stored)]).values()))
            assert perplexity(got, labels) == pytest.approx(perplexity(stored, labels), rel=0.01)

    @pytest.mark.model
    def test_quantized_in_hardware(quantized) -> None:
        design, data = quantized
        result = design.simulate(data["inputs"][: 8 if data["inputs"].ndim > 2 else 2])
        assert result.mismatch is None
        assert result.interval == design.predicted.interval
        assert result.latency == pytest.approx(design.predicted.latency, rel=0.02)

    # Decisions of the 192 behind those that scales come from that may be worse than the float
    # model's.
    WORSE = {"int16": 2, "bf16": 2, "int8": 2, "e4m3fn": 2, "e4m3fn:lmul": 2}

    @pytest.mark.parametrize("arith", WORSE)
    def test_encoder(arith: str) -> None:
        data = arrays("d07")
        part = slice(CALIBRATE, CALIBRATE + 64 if arith == "bf16" else None)
        inputs, labels = data["inputs"][part], data["labels"][part]
        stored = (data["outputs_float"][part].argmax(axis=1) == labels).sum()
        assert right(encoder(arith), inputs, labels) >= stored - WORSE[arith]

    @cache
    def characters() -> hwgen.Design:
        """The float character model, with scales from sequences that no test looks at."""
        (path,) = found("d08", "_float.onnx")
        return hwgen.compile(path, arith="int16", calibrate=arrays("d08")["inputs"][32:64])

    def test_characters() -> None:
        data = arrays("d08")
        stored = data["outputs_float"]
        labels = data["labels"][: len(stored)]
        got = next(iter(characters().golden(data["inputs"][: len(stored)]).values()))
        assert perplexity(got, labels) == pytest.approx(perplexity(stored, labels), rel=0.01)

    @pytest.mark.model
    def test_encoders_in_hardware() -> None:
        designs = [encoder(arith) for arith in ("int8", "e4m3fn", "e4m3fn:lmul")]
        together(designs, [arrays("d07")["inputs"][-2:]] * 3, [None])

    @pytest.mark.model
    def test_wide_ones_in_hardware() -> None:
        inputs = [arrays(name)["inputs"][:2] for name in ("d07", "d08")]
        together([encoder("int16"), characters()], inputs, [None])
