"""Makes a small causal language model of characters: trains with torch, quantizes with onnxruntime.

    pip install 'hwgen[models]' && python models/make_charlm.py

The text is the language reference of Python as its standard library holds it (pydoc_data.topics;
licence of Python: PSF License 2), in lower case. No layer knows a position: the first one looks at
the present and the previous character, the next at four, the last at sixteen, so order comes from
what is close, and a sequence may be of any length.

Writes charlm_float.onnx, charlm.onnx and charlm.npz (held-out text: inputs (samples, characters),
labels, the next characters, onnxruntime's outputs without graph optimizations, and the characters
by code in `vocabulary`) beside this file, and prints the bits per character.
"""

from __future__ import annotations

import collections
import re
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
WIDTH, HEADS, HIDDEN, WINDOWS = 48, 3, 96, (2, 4, 16)
LENGTH, SAMPLES, STEPS, BATCH = 32, 64, 6000, 32
RAREST = 100  # characters that come less often are left out


class Attention(nn.Module):
    """Causal attention to the last `window` characters."""

    hidden: torch.Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        back = torch.arange(2 * LENGTH)[:, None] - torch.arange(2 * LENGTH)[None, :]
        hidden = torch.zeros(back.shape).masked_fill((back < 0) | (back >= window), -1e9)
        self.register_buffer("hidden", hidden, persistent=False)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, HEADS, -1).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + self.hidden[:length, :length]
        weights = functional.softmax(scores, dim=-1)
        return self.o((weights @ v).transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    """Attention and a feed-forward network, each behind its normalization."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention = Attention(window)
        self.feed = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.feed(self.norms[1](x))


class Model(nn.Module):
    """Characters in, scores of the next one out."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.Sequential(*(Block(window) for window in WINDOWS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.characters(x))))


def text() -> str:
    """All topics, one space between words, one empty line between paragraphs."""
    whole = "\n\n".join(topics[name].strip() for name in sorted(topics)).lower()
    whole = re.sub(r"\n\s*\n", "\n\n", re.sub(r"[ \t]+", " ", whole)).replace("\n ", "\n")
    counts = collections.Counter(whole)
    return "".join(c for c in whole if counts[c] >= RAREST)


def windows(codes: torch.Tensor, starts: torch.Tensor, length: int) -> torch.Tensor:
    return codes[starts[:, None] + torch.arange(length + 1)]


def train(model: nn.Module, codes: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS, pct_start=0.1)
    for step in range(STEPS):
        batch = windows(codes, torch.randint(len(codes) - 2 * LENGTH - 1, (BATCH,)), 2 * LENGTH)
        loss = functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"step {step}: {float(loss.detach()) / np.log(2):.3f} bits", flush=True)
    model.eval()


class Texts(CalibrationDataReader):
    """Pieces of text for calibration, one at a time."""

    def __init__(self, pieces: np.ndarray) -> None:
        self.pieces = iter(pieces)

    def get_next(self) -> dict | None:
        piece = next(self.pieces, None)
        return None if piece is None else {"x": piece[None]}


def export(model: nn.Module, pieces: np.ndarray) -> None:
    """In float, and quantized to int8 where matrices are multiplied."""
    float_path = HERE / "charlm_float.onnx"
    torch.onnx.export(
        model,
        (torch.from_numpy(pieces[:1]),),
        float_path,
        input_names=["x"],
        output_names=["y"],
        opset_version=17,
        dynamo=False,
    )
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(float_path, prepared)
        quantize_static(
            prepared,
            HERE / "charlm.onnx",
            Texts(pieces),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8,
            per_channel=True,
            extra_options={"WeightSymmetric": True},
        )


def oracle(path: Path, pieces: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": piece[None]})[0] for piece in pieces])


def bits(scores: np.ndarray, labels: np.ndarray) -> float:
    """Bits per character."""
    loss = functional.cross_entropy(
        torch.from_numpy(scores).flatten(0, 1), torch.from_numpy(labels).flatten()
    )
    return float(loss) / float(np.log(2))


def main() -> None:
    torch.set_num_threads(1)  # such small matrices take longer with several
    torch.manual_seed(0)
    whole = text()
    vocabulary = "".join(sorted(set(whole)))
    codes = torch.tensor([vocabulary.index(c) for c in whole])
    held = 20000  # characters at the end
    model = Model(len(vocabulary))
    train(model, codes[:-held])
    pieces, held_out = (
        windows(c, torch.linspace(0, len(c) - LENGTH - 1, n).long(), LENGTH).numpy()
        for c, n in ((codes[:-held], 256), (codes[-held:], SAMPLES))
    )
    export(model, pieces[:, :-1])
    inputs, labels = held_out[:, :-1], held_out[:, 1:]
    outputs = oracle(HERE / "charlm.onnx", inputs)
    exact = oracle(HERE / "charlm_float.onnx", inputs)
    np.savez_compressed(
        HERE / "charlm.npz",
        inputs=inputs,
        labels=labels,
        outputs=outputs,
        vocabulary=np.array(list(vocabulary)),
    )
    print(f"{len(vocabulary)} characters, {len(whole)} of text")
    print(f"bits per character: {bits(exact, labels):.3f}, quantized {bits(outputs, labels):.3f}")


if __name__ == "__main__":
    main()
