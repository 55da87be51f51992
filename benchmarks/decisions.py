"""A float model in several arithmetics: decisions that are right, multipliers, cycles.

    python -m benchmarks.decisions MODEL.onnx X.npz [ARITHMETIC ...]

X.npz holds `inputs` and `labels`; scales come from the first 64 inputs. The golden model decides.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import hwgen

CALIBRATE = 64
ARITHMETICS = ("int16", "int8", "bf16", "bf16:lmul", "e4m3fn", "e4m3fn:lmul", "mxint8", "int4")


def right(design: hwgen.Design, inputs: np.ndarray, labels: np.ndarray) -> int:
    """Decisions that are the label's."""
    scores = next(iter(design.golden(inputs).values()))
    return int((scores.reshape(len(scores), -1).argmax(axis=1) == labels).sum())


def rows(path: Path, inputs: np.ndarray, labels: np.ndarray, names: Sequence[str]):
    """The cells of each arithmetic's row."""
    for name in names:
        design = hwgen.compile(path, arith=name, calibrate=inputs[:CALIBRATE])
        found = right(design, inputs, labels)
        yield [f"`{name}`", f"{found}", f"{design.multipliers}", f"{design.predicted.interval:,}"]


def main() -> None:
    """A Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("arithmetics", nargs="*", default=ARITHMETICS)
    options = parser.parse_args()
    with np.load(options.data) as data:
        inputs, labels = data["inputs"], data["labels"]
    header = ["arithmetic", f"right of {len(labels)}", "multipliers", "cycles"]
    for row in (header, ["-"] * len(header)):
        print(f"| {' | '.join(row)} |")
    for row in rows(options.model, inputs, labels, options.arithmetics):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
