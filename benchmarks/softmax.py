"""Softmax in integers against float64, by bits of weights, bits of fractions and lines of the
exponential: part of `make bench`, alone `python -m benchmarks softmax`.

Rows are those of the golden attention, whose values are unit vectors. Scores are (a) normal random
numbers, 64 a row; (b) those of the first model of $HWGEN_MODELS with attention in float, where that
is set: 200 rows drawn from all heads and layers, without what its mask hides.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from hwgen.golden.attention import attention
from hwgen.ir import Attention
from hwgen.ir.interpolation import interpolation

ROWS, KEYS = 200, 64
SCORE = 10  # bits of a score's fraction: 16 bits for scores from -32 to 32
ONE = 14  # log2 of the 1 in a unit vector
HIDDEN = 1e3
# Bits of weights and of fractions, and the exponential's error in units of the last place.
POINTS = ((6, 6, 1.0), (8, 4, 1.0), (8, 8, 0.5), (8, 8, 1.0), (8, 8, 2.0), (10, 8, 1.0))
POINTS += ((12, 8, 1.0), (12, 10, 1.0), (16, 12, 0.5), (16, 12, 1.0), (16, 12, 4.0))


def node(keys: int, weight_bits: int, fraction: int, error: float) -> Attention:
    """Attention of a single query whose scores are the keys."""
    low, high = (1 << weight_bits - 1), (1 << weight_bits) - 1
    top, places, shift = weight_bits + 2, min(weight_bits + 2, 16), 20
    return Attention(
        name="softmax", inputs=("q", "k", "v"), outputs=("y",), heads=1, groups=1,
        multiplier=round(math.log2(math.e) * 2.0 ** (fraction + shift - SCORE)), shift=shift,
        fraction=fraction, weight_bits=weight_bits,
        exponential=interpolation(
            lambda f: np.clip(low * 2.0 ** (f / (1 << fraction)), low + error, high - error),
            fraction, error,
        ),
        reciprocal=interpolation(lambda x: 2.0**top / (1 + x / 2.0**places), places, 1.0),
        up=top, low=0, high=1 << ONE, left=0, right=keys - 1, slots=keys, lanes=keys,
    )  # fmt: skip


def weights(scores: np.ndarray, made: Attention) -> np.ndarray:
    """The softmax of scores (rows, keys), in units of 2**-ONE."""
    rows, keys = scores.shape
    unit = np.broadcast_to(np.eye(keys, dtype=np.int64) << ONE, (rows, keys, keys))
    return attention(made, np.ones((rows, 1, 1), np.int64), scores[..., None], unit)[:, 0]


def figures(rows: list[np.ndarray], point: tuple[int, int, float]) -> list[str]:
    """Rows whose largest weight is another's, and those where it is also another's; the largest
    error of a weight; half the sum of a row's errors, on average."""
    flips, ties, worst, total = 0, 0, 0.0, 0.0
    lengths = sorted({len(row) for row in rows})
    for length in lengths:
        exact = np.rint(np.stack([row for row in rows if len(row) == length]) * (1 << SCORE))
        codes = np.clip(exact, -(1 << 15), (1 << 15) - 1).astype(np.int64)
        got = weights(codes, node(length, *point))
        powers = np.exp((codes - codes.max(axis=1, keepdims=True)) / (1 << SCORE))
        errors = np.abs(got / (1 << ONE) - powers / powers.sum(axis=1, keepdims=True))
        best = np.take_along_axis(got, codes.argmax(axis=1)[:, None], axis=1)
        flips += int((got > best).any(axis=1).sum())
        ties += int(((got == best) & (codes < codes.max(axis=1, keepdims=True))).any(axis=1).sum())
        worst, total = max(worst, errors.max()), total + errors.sum() / 2
    return [f"{flips}", f"{ties}", f"{100 * worst:.2g} %", f"{100 * total / len(rows):.2g} %"]


def of_model(path: Path) -> list[np.ndarray]:
    """Rows of scores of all softmaxes of a float model, for some of its inputs."""
    model = onnx.load(path)
    names = [n.input[0] for n in model.graph.node if n.op_type == "Softmax"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (arrays,) = path.parent.glob(f"{path.stem.removesuffix('_float')}*.npz")
    (given,) = session.get_inputs()
    kind = np.int64 if "int64" in given.type else np.float32
    with np.load(arrays) as data:
        inputs = data["inputs"][:4].astype(kind)
    found = [a for x in inputs for a in session.run(names, {given.name: x[None]})]
    rng = np.random.default_rng(0)
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in found])
    rows = rows[rng.permutation(len(rows))].astype(np.float64)
    shown = [row[row > row.max() - HIDDEN] for row in rows]
    return [row - row.max() for row in shown if len(row) > 1][:ROWS]


def sets() -> Iterator[tuple[str, list[np.ndarray]]]:
    """Names and rows of scores."""
    rng = np.random.default_rng(0)
    yield "normal", list(rng.normal(0, 1, (ROWS, KEYS)))
    folder = os.environ.get("HWGEN_MODELS", "")
    for path in sorted(Path(folder).glob("*charlm_float.onnx")) if folder else []:
        yield path.stem, of_model(path)


def rows() -> Iterator[list[str]]:
    """The table."""
    for name, scores in sets():
        for point in POINTS:
            bits, fraction, error = point
            lines = len(node(2, *point).exponential.base)
            yield [
                name,
                f"{bits}",
                f"{fraction}",
                f"{error:g}",
                f"{lines}",
                *figures(scores, point),
            ]


HEADER = ["scores", "weight bits", "fraction", "exponential's error, units", "its lines"]
HEADER += ["flips", "ties", "largest error", "mean distance"]
