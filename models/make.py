"""Makes the example models: trains on scikit-learn's digits, exports with torch, quantizes with
onnxruntime.

    pip install 'hwgen[models]' && python models/make.py

Writes <name>_float.onnx, <name>.onnx and <name>.npz (256 held-out images: inputs, labels, and
onnxruntime's outputs of the quantized model without graph optimizations) beside this file, and
prints the accuracies. Training gives slightly other weights on other processors: the float models
that are shipped were trained by another run than the quantized ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

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
from sklearn.datasets import load_digits
from torch import nn

HERE = Path(__file__).parent
HELD_OUT = 256


class Residual(nn.Module):
    """A strided block with a 1x1 shortcut, then a depthwise one with an identity shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)
        self.depthwise = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x) + self.shortcut(x))
        return torch.relu(self.depthwise(x) + x)


class Mean(nn.Module):
    """Mean over the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), Residual(8, 12), Mean(), nn.Linear(12, 10)
    )


MODELS = {
    "digits_mlp": (mlp, (64,), True, {"activation_type": QuantType.QInt8, "symmetric": True}),
    "digits_cnn": (
        cnn,
        (1, 8, 8),
        False,
        {"activation_type": QuantType.QUInt8, "per_channel": True},
    ),
    "digits_resnet": (
        resnet,
        (1, 8, 8),
        False,
        {"activation_type": QuantType.QInt8, "per_channel": True},
    ),
}


class Batches(CalibrationDataReader):
    """Training images for calibration, one at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = iter(images)

    def get_next(self) -> dict | None:
        image = next(self.images, None)
        return None if image is None else {"x": image[None]}


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, labels, held-out images, labels), scaled to [0, 1]."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order] / 16).astype(np.float32)
    labels = digits.target[order]
    return images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT]


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int = 60) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    model.eval()


def quantize(
    model: nn.Module, images: np.ndarray, fixed: bool, options: dict, target: Path
) -> None:
    """Export in float, quantize to QDQ int8."""
    exported = target.with_stem(f"{target.stem}_float")
    torch.onnx.export(
        model,
        (torch.from_numpy(images[:1]),),
        exported,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=None if fixed else {"x": {0: "batch"}, "y": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(exported, prepared)
        symmetric = options.get("symmetric", False)
        quantize_static(
            prepared,
            target,
            Batches(images[:256]),
            quant_format=QuantFormat.QDQ,
            weight_type=QuantType.QInt8,
            activation_type=options["activation_type"],
            per_channel=options.get("per_channel", False),
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
        )


def oracle(path: Path, images: np.ndarray) -> np.ndarray:
    """onnxruntime's outputs without graph optimizations, one image at a time."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])


def main() -> None:
    train_images, train_labels, images, labels = data()
    for name, (make, shape, fixed, options) in MODELS.items():
        torch.manual_seed(0)
        model = make()
        inputs = images.reshape(-1, *shape)
        trained = train_images.reshape(-1, *shape)
        train(model, torch.from_numpy(trained), torch.from_numpy(train_labels))
        with torch.no_grad():
            before = model(torch.from_numpy(inputs)).argmax(1).numpy()
        path = HERE / f"{name}.onnx"
        quantize(model, trained, fixed, options, path)
        outputs = oracle(path, inputs)
        np.savez_compressed(HERE / f"{name}.npz", inputs=inputs, labels=labels, outputs=outputs)
        accuracies = [(decision == labels).mean() for decision in (before, outputs.argmax(1))]
        print(f"{name}: accuracy {accuracies[0]:.4f} in float, {accuracies[1]:.4f} quantized")


if __name__ == "__main__":
    main()
