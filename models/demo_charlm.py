"""Samples text from the character model, one character at a time, in cycle-accurate simulation.

python models/demo_charlm.py [SEED [TEMPERATURE [CHARACTERS]]]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hwgen import Design

PROMPT = "the following "


def sample(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    powers = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(powers.size, p=powers / powers.sum()))


def main(seed: int = 0, temperature: float = 0.6, characters: int = 200) -> None:
    design = Design.load("demo-lm")
    with np.load(Path(__file__).with_name("charlm.npz")) as data:
        vocabulary = "".join(data["vocabulary"])
    rng = np.random.default_rng(seed)
    print(PROMPT, end="", flush=True)
    cycles = []
    with design.session() as session:
        logits = session.step([vocabulary.index(c) for c in PROMPT])["y"][-1]
        for _ in range(characters):
            code = sample(logits, temperature, rng)
            print(vocabulary[code], end="", flush=True)
            logits = session.step([code])["y"][0]
            cycles.append(session.cycles)
    predicted = design.predicted
    print(f"\n\ncycles per character: {np.mean(cycles):.1f}, each from the one before")
    print(f"predicted: latency {predicted.latency}; {predicted.interval} where the text is known")


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float, int), sys.argv[1:], strict=False)))
