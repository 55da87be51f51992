"""Makes small float transformers of random weights, as torch's two exporters write them.

    pip install 'hwgen[models]' && python models/make_transformers.py

Writes transformers/<model>_<exporter><opset>.onnx beside this file, and transformers/<model>.npz:
inputs (samples, ...) and torch's outputs, which are the same for all exports of a model.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent / "transformers"
SAMPLES, SEQUENCE, WIDTH, HEADS, WORDS = 8, 8, 16, 2, 20
# Which exporters and opsets; only the newest of the dynamo exporter writes Attention.
EXPORTS = {
    "post_norm": ("script14", "dynamo18"),
    "pre_norm": ("script17", "dynamo18"),
    "vision": ("script17", "dynamo23"),
    "decoder": ("script14", "dynamo18"),
    "llama": ("script14", "script18", "dynamo18", "dynamo23"),
    "longformer": ("script14", "dynamo23"),
    "alibi": ("script17", "dynamo18"),
}
ANY_BATCH = ("post_norm", "decoder", "alibi")  # exported with a dynamic batch


class Attention(nn.Module):
    """Self-attention by torch's own function; `bias` is added to the scores."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.inner, self.outer = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = self.inner(x).chunk(3, dim=-1)
        q, k, v = (t.view(batch, length, HEADS, -1).transpose(1, 2) for t in (q, k, v))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=self.causal)
        return self.outer(y.transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    """Attention and a feed-forward network, each behind its normalization."""

    def __init__(self, activation: nn.Module, causal: bool = False) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention = Attention(causal)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 24), activation, nn.Linear(24, WIDTH))

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x), bias)
        return x + self.feed(self.norms[1](x))


class PostNorm(nn.Module):
    """torch's own encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 24, 0.1, functional.gelu, batch_first=True
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class PreNorm(nn.Module):
    """GELU by tanh, a normalization at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(nn.GELU("tanh")) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Vision(nn.Module):
    """Patches of an image, the mean over them, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, stride=2)
        self.places = nn.Parameter(torch.randn(1, 16, WIDTH) / 2)
        self.block, self.norm = Block(nn.GELU()), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.block(x)).mean(dim=1))


class Decoder(nn.Module):
    """Words in, scores of the next word out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(SEQUENCE, WIDTH)
        self.block, self.norm = Block(nn.ReLU(), causal=True), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        return self.head(self.norm(self.block(x)))


class RootNorm(nn.Module):
    """Root-mean-square normalization as in Hugging Face's Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + torch.randn(WIDTH) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind, x = x.dtype, x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * x.to(kind)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class Llama(nn.Module):
    """Rotary embedding, grouped heads by repetition, a gated feed-forward network."""

    heads, groups, size = 4, 2, 4

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(RootNorm() for _ in range(2))
        self.q, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(WIDTH, self.groups * self.size, bias=False) for _ in range(2))
        self.up, self.gate = (nn.Linear(WIDTH, 24, bias=False) for _ in range(2))
        self.down = nn.Linear(24, WIDTH, bias=False)
        frequencies = 100.0 ** (-torch.arange(0, self.size, 2) / self.size)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, -1, self.size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        angles = torch.arange(length).float()[:, None] * self.frequencies
        cos, sin = (torch.cat((f, f), dim=-1) for f in (angles.cos(), angles.sin()))
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        k, v = (
            t[:, :, None]
            .expand(batch, self.groups, self.heads // self.groups, length, self.size)
            .reshape(batch, self.heads, length, self.size)
            for t in (k, v)
        )
        hidden = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)
        weights = q @ k.transpose(2, 3) * self.size**-0.5 + hidden
        y = functional.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype) @ v
        return self.o(y.transpose(1, 2).reshape(batch, length, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.norms[0](x))
        y = self.norms[1](x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Longformer(nn.Module):
    """A window of two keys to each side; the first key sees all and is seen by all."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block(nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.arange(x.shape[1])
        seen = (place[:, None] - place[None, :]).abs() <= 2
        seen = seen | (place == 0)[None, :] | (place == 0)[:, None]
        return self.block(x, seen)


class Alibi(nn.Module):
    """A causal mask and a bias that falls with the distance, another slope for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block(nn.ReLU())
        slopes = 2.0 ** -torch.arange(2, 2 + HEADS)
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.arange(x.shape[1])
        distance = place[None, :] - place[:, None]
        bias = (self.slopes[:, None, None] * distance).masked_fill(distance > 0, -torch.inf)
        return self.block(x, bias[None])


MODELS = {
    "post_norm": PostNorm, "pre_norm": PreNorm, "vision": Vision, "decoder": Decoder,
    "llama": Llama, "longformer": Longformer, "alibi": Alibi,
}  # fmt: skip


def export(model: nn.Module, x: torch.Tensor, kind: str, path: Path, any_batch: bool) -> None:
    """Write one file, by the exporter and opset of `kind`."""
    named = {"opset_version": int(kind[-2:]), "input_names": ["x"], "output_names": ["y"]}
    if kind.startswith("script"):
        axes = {"x": {0: "batch"}} if any_batch else None
        torch.onnx.export(model, (x,), path, dynamo=False, dynamic_axes=axes, **named)
        return
    axes = ({0: torch.export.Dim("batch")},) if any_batch else None
    x = torch.cat([x, x]) if any_batch else x  # a batch of one would be taken for a constant
    torch.onnx.export(
        model, (x,), path, dynamo=True, dynamic_shapes=axes, external_data=False, verbose=False,
        **named,
    )  # fmt: skip


def strip(path: Path) -> None:
    """Leave out what names this machine's files."""
    model = onnx.load(path)
    model.ClearField("doc_string")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for field in ("doc_string", "metadata_props"):
        model.graph.ClearField(field)
    onnx.save(model, path)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    torch.backends.mha.set_fastpath_enabled(False)  # which the exporters don't know
    warnings.simplefilter("ignore")
    for name, kind in MODELS.items():
        torch.manual_seed(len(name))
        model = kind().eval()
        for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
            nn.init.normal_(norm.weight, 1, 0.25)
            nn.init.normal_(norm.bias, 0, 0.25)
        size = (SAMPLES, 1, 8, 8) if name == "vision" else (SAMPLES, SEQUENCE, WIDTH)
        x = torch.randn(size)
        if name == "decoder":
            x = torch.randint(WORDS, size[:2])
        with torch.no_grad():
            outputs = model(x).numpy()
        np.savez_compressed(HERE / f"{name}.npz", inputs=x.numpy(), outputs=outputs)
        for way in EXPORTS[name]:
            path = HERE / f"{name}_{way}.onnx"
            export(model, x[:1], way, path, name in ANY_BATCH)
            strip(path)
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
