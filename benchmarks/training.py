"""Designs that the model of costs is fitted to, and those that it is only compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import hwgen
from hwgen.config import Config
from hwgen.design import Design
from hwgen.ir import Graph
from hwgen.synth import GATES
from tests.conftest import SHIPPED
from tests.merge import merge
from tests.rtl import (
    attention_graphs,
    block_graphs,
    float_graphs,
    matrix_graphs,
    transformer_graphs,
)

WEIGHTS = ("int8", "int4", "int8xint4", "int6", "ternary", "fixed<8,4>")
# Cycles of the shipped models; of random models, by seed, a third of their multipliers.
FOLDS = {
    "digits_mlp": (4096, 1024, 512, 64, 128),
    "digits_cnn": (4608, 18432, 1024, 512),
    "digits_resnet": (13824, 4992),
}
DENSE = {seed: (2, 24) if seed % 2 else (7, 70) for seed in (0, 3, 6, 9, 12, 15, 18, 21)}
# Dense models: seed, arithmetic, multipliers.
FLOATS = ((2, "e4m3fn", 24), (5, "e4m3fn", 70), (8, "e5m2", 24))
IMAGES = {1: (2, 24), 2: (7,), 4: (7, 70), 5: (2, 24), 7: (2, 24), 8: (7, 70), 10: (7, 70)}
IMAGES |= {11: (2, 24)}
CONVERTED = (("bf16", 4096), ("mxfp8", 2048))  # of digits_mlp: arithmetic, cycles
OF_GATES, OF_FPGAS = ("e4m3fn", 2048), ("e2m1", 2048)  # random floats are for FPGAs alone
# Units of the tests, by their places in the lists of cases.
CHOSEN = {
    "attention": ((1,), (0, 5), (8, 12), (15,)),
    "matrix": ((1, 9, 14), (3, 11, 16), (6, 20)),
    "transformer": ((11, 12, 18), (19, 22, 3, 9), (13, 20, 1, 10), (16, 23, 5)),
    "float": ((3,), (20, 43), (55, 64), (10, 40), (41,), (77,)),
    "block": ((2, 9), (4,), (7, 16)),
}
FEW = (0, 1, 2, 5, 6, 10)  # seeds of the random models whose first fold all FPGAs are fitted to


@dataclass(frozen=True)
class Case:
    """A design by name: model, and options of `compile`."""

    name: str
    model: Callable[[], onnx.ModelProto | Path | Graph]
    options: dict = field(default_factory=dict)

    slower: int = 1

    def design(self) -> Design:
        """Compiled, `slower` times the interval of its options; raises `HwgenError`."""
        model, options = self.model(), dict(self.options)
        if isinstance(model, Graph):
            return Design(onnx.ModelProto(), model, Config())
        if "arith" in options:
            options["calibrate"] = samples(model)
        design = hwgen.compile(model, **options)
        if self.slower > 1:
            options["cycles"] = self.slower * design.predicted.interval
            design = hwgen.compile(model, **options)
        return design


def samples(model: onnx.ModelProto | Path) -> np.ndarray:
    """Inputs of a model: those beside its file, or random ones."""
    if isinstance(model, Path):
        stem = model.stem.removesuffix("_float")
        beside = model.with_name(f"{stem}.npz")
        if not beside.is_file():
            beside = model.with_name(f"{stem.rpartition('_')[0]}.npz")
        if not beside.is_file():
            beside = sorted(model.parent.glob(f"{stem}_*.npz"))[0]
        with np.load(beside) as data:
            return data["inputs"][:16]
    dims = model.graph.input[0].type.tensor_type.shape.dim[1:]
    shape = [8, *(d.dim_value for d in dims)]
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# --- models of random layers ---------------------------------------------------------------------


class Layers:
    """A float model, layer by layer."""

    def __init__(self, seed: int, *shape: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.weights: list = []
        self.shape = shape
        self.value = "x"
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])

    def op(self, kind: str, *more: np.ndarray, **attributes) -> Layers:
        """The next node, with weights behind the value before."""
        number = len(self.nodes)
        names = [f"w{number}_{k}" for k in range(len(more))]
        self.weights += [numpy_helper.from_array(w, n) for w, n in zip(more, names, strict=True)]
        out = f"v{number}"
        self.nodes.append(
            helper.make_node(kind, [self.value, *names], [out], name=f"n{number}", **attributes)
        )
        self.value = out
        return self

    def normal(self, *shape: int) -> np.ndarray:
        """Weights."""
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return self.rng.normal(0, scale, shape).astype(np.float32)

    def dense(self, outputs: int) -> Layers:
        """A dense layer with bias."""
        (inputs,) = self.shape
        self.shape = (outputs,)
        return self.op("Gemm", self.normal(outputs, inputs), self.normal(outputs), transB=1)

    def conv(self, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Layers:
        """A convolution that keeps the size, with bias."""
        channels, *size = self.shape
        pad = kernel // 2
        self.shape = (outputs, *((n + 2 * pad - kernel) // stride + 1 for n in size))
        return self.op(
            "Conv",
            self.normal(outputs, channels // groups, kernel, kernel),
            self.normal(outputs),
            pads=[pad] * 4,
            strides=[stride] * 2,
            group=groups,
        )

    def pool(self, kind: str = "MaxPool", size: int = 2) -> Layers:
        """A pooling layer."""
        channels, *sizes = self.shape
        self.shape = (channels, *(n // size for n in sizes))
        return self.op(kind, kernel_shape=[size] * 2, strides=[size] * 2)

    def flatten(self) -> Layers:
        """All elements in a row."""
        self.shape = (int(np.prod(self.shape)),)
        return self.op("Flatten")

    def mean(self) -> Layers:
        """The mean over the image, in a row."""
        self.shape = self.shape[:1]
        return self.op("GlobalAveragePool").op("Flatten")

    def skip(self, outputs: int) -> Layers:
        """Plus a convolution of the value before."""
        before, value = self.shape, self.value
        self.conv(outputs, 3).op("Relu").conv(before[0], 3)
        number = len(self.nodes)
        self.nodes.append(
            helper.make_node("Add", [self.value, value], [f"v{number}"], name=f"n{number}")
        )
        self.value = f"v{number}"
        return self.op("Relu")

    def model(self) -> onnx.ModelProto:
        """The whole."""
        output = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "random", [self.input], [output], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        made.ir_version = 10
        return onnx.shape_inference.infer_shapes(made)


def dense_model(seed: int) -> onnx.ModelProto:
    """Dense layers of random sizes."""
    rng = np.random.default_rng(seed)
    sizes = [int(2 ** rng.uniform(2.5, 7)) for _ in range(4)]
    layers = Layers(seed, sizes[0])
    for size in sizes[1:]:
        layers.dense(size).op("Relu")
    return layers.model()


def image_model(seed: int) -> onnx.ModelProto:
    """Convolutions, pools and a dense layer of random sizes."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(5, 15))
    layers = Layers(seed, int(rng.choice([1, 2, 3, 4])), size, size)
    for _ in range(int(rng.integers(2, 4))):
        outputs = int(rng.choice([3, 4, 6, 8, 12, 16, 24]))
        kind = rng.choice(["conv", "depthwise", "pool", "skip"], p=[0.45, 0.25, 0.2, 0.1])
        if kind == "depthwise":
            channels = layers.shape[0]
            layers.conv(channels, 3, int(rng.choice([1, 2])), channels).op("Relu")
            layers.conv(outputs, 1).op("Relu")
        elif kind == "skip":
            layers.skip(outputs)
        else:
            layers.conv(outputs, int(rng.choice([1, 3, 5])), int(rng.choice([1, 1, 2]))).op("Relu")
            if kind == "pool" and layers.shape[1] > 3:
                layers.pool(str(rng.choice(["MaxPool", "AveragePool"])))
    (layers.mean if rng.random() < 0.5 else layers.flatten)()
    return layers.dense(int(rng.integers(4, 12))).model()


# --- the lists -----------------------------------------------------------------------------------


# Designs whose energies are measured, of both lists: gates take a minute each, and more.
ENERGIES = ("digits_mlp 4096", "digits_mlp 512", "digits_cnn 4608", "d01 /16", "d02 /8", "d04a /8")
FPGA_ENERGIES = (
    *ENERGIES,
    *("digits_mlp 1024", "digits_mlp 64", "digits_cnn 1024", "digits_resnet 4992"),
    *("digits_mlp bf16", "digits_mlp mxfp8", "dense_model 2 e4m3fn 24"),
    *("image_model 2 int8xint4 7", "image_model 5 fixed<8,4> 2"),
    *("d01 /4", "d01 e4m3fn", "d01 bf16", "d02 /2", "d03 /4", "d05 /4", "d06 /4", "d10 /4"),
)
UNITS = {
    "attention": attention_graphs,
    "matrix": matrix_graphs,
    "transformer": transformer_graphs,
    "float": float_graphs,
    "block": block_graphs,
}


def units(kind: str, chosen: tuple[int, ...]) -> Graph:
    """Some of the units that the tests of nodes build, in one graph."""
    cases = [case for group in UNITS[kind].CASES.values() for case in group]
    made = (cases[k] for k in chosen)
    return merge([make(*arguments) for make, *arguments in made])


def shipped(name: str) -> Callable[[], Path]:
    """A model in models/."""
    return lambda: SHIPPED / f"{name}.onnx"


def training(target: str = "ecp5") -> Iterator[Case]:
    """What the model is fitted to: shipped models, units of the tests, and random models, all of
    them for ECP5 alone: Yosys takes several times as long for others."""
    for name, intervals in FOLDS.items():
        for cycles in intervals if target == "ecp5" else intervals[::2]:
            yield Case(f"{name} {cycles}", shipped(name), {"cycles": cycles})
    for kind, sets in CHOSEN.items():
        for chosen in sets:
            name = f"units {kind} {' '.join(map(str, chosen))}"
            yield Case(name, lambda kind=kind, chosen=chosen: units(kind, chosen))
    for arith, cycles in (*CONVERTED, OF_GATES if target == GATES else OF_FPGAS):
        yield Case(
            f"digits_mlp {arith}", shipped("digits_mlp_float"), {"arith": arith, "cycles": cycles}
        )
    if target == GATES:
        return
    every = target == "ecp5"
    for seed, arith, macs in FLOATS if every else FLOATS[:2]:
        yield Case(
            f"dense_model {seed} {arith} {macs}",
            lambda seed=seed: dense_model(seed),
            {"arith": arith, "macs": macs},
        )
    for make, models in ((dense_model, DENSE), (image_model, IMAGES)):
        for seed, folds in models.items():
            for macs in folds if every else folds[: seed in FEW]:
                arith = WEIGHTS[seed % len(WEIGHTS)]
                yield Case(
                    f"{make.__name__} {seed} {arith} {macs}",
                    lambda make=make, seed=seed: make(seed),
                    {"arith": arith, "macs": 3 * macs},
                )


def held_out(target: str = "ecp5") -> Iterator[Case]:
    """What the fit never sees: models of $HWGEN_MODELS, at several foldings; none without it."""
    folder = os.environ.get("HWGEN_MODELS")
    if not folder:
        return

    def found(name: str, end: str = "[!t].onnx") -> Callable:
        return lambda: sorted(Path(folder).glob(f"{name}_*{end}"))[0]

    for name, factors in (
        ("d01", (16, 4, 1)),
        ("d02", (8, 2, 1)),
        ("d03", (4, 1)),
        ("d04a", (8, 1)),
        ("d04b", (4, 1)),
        ("d05", (4, 1)),
        ("d06", (4, 1)),
        ("d07", (4, 1)),
        ("d10", (4, 1)),
    ):
        for factor in factors:
            case = Case(f"{name} /{factor}", found(name), {}, factor)
            if target != GATES or case.name in ENERGIES:  # gates of others take too long
                yield case
    if target == GATES:
        return
    for arith in ("e4m3fn", "e4m3fn:lmul", "bf16", "bf16+an-1-2"):
        yield Case(f"d01 {arith}", found("d01", "float.onnx"), {"arith": arith}, 16)
