"""From ONNX's node tests to models that hwgen can take.

A case keeps its node, attributes and opset. What is around it: its first input, or every float
input where the op treats all alike, becomes an input of the model with a batch axis of 1 in front,
which Squeeze removes; so the whole case is one sample. The other inputs become initializers. Around
float ops stand QuantizeLinear and DequantizeLinear of int8 with zero point 0 and the least power of
two as scale whose codes reach the case's data. Outputs known when the model is compiled are added
to an input.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

QUANTIZED = "QuantizeLinear DequantizeLinear QLinearMatMul QLinearConv MatMulInteger ConvInteger"
FLOAT = (
    "LeakyRelu HardSigmoid HardSwish Sigmoid Tanh Mul Sub Add Div Concat Split Slice Pad Squeeze "
    "Unsqueeze Expand Cast Constant Identity Dropout Upsample Resize Scaler ConvTranspose "
    "DepthToSpace Min Max Abs Neg Shape Gather ConstantOfShape Where Range Conv Gemm MatMul Relu "
    "Clip MaxPool AveragePool GlobalAveragePool ReduceMean BatchNormalization Flatten Reshape "
    "Transpose Softmax ArgMax ThresholdedRelu Erf Gelu Swish Mish Softplus Softsign Elu Selu Celu "
    "Exp Log Sqrt Reciprocal Sin Cos Atan Sinh Cosh Asinh Floor Ceil Round Sign Pow"
)
OPS = tuple(f"{QUANTIZED} {FLOAT}".split())
ALIKE = ("Mul", "Sub", "Add", "Div", "Min", "Max", "Concat")  # every input is an activation
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # the second input is a weight
CONSTANT = ("Constant", "ConstantOfShape", "Where", "Range", "Shape")  # known when compiled
HOSTED = ("Softmax", "ArgMax")  # the result needs no quantization
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass
class Case:
    """A node test as a model for hwgen: one sample.

    `scales`: of the outputs that the model quantizes, by name. `feeds`: the case's own inputs, as
    the codes of those that the model quantizes stand for them. `expected`: the case's own outputs.
    `probes`: what the model adds to outputs that are constants, so that they depend on an input.
    `reason`: why the case has no meaning here; it then has no model.
    """

    name: str
    op: str
    own: onnx.ModelProto
    expected: dict[str, np.ndarray]
    reason: str = ""
    model: onnx.ModelProto | None = None
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    probes: dict[str, np.ndarray] = field(default_factory=dict)


def collect() -> list[Case]:
    """Every node test of the ops, in their order; expansions of functions are left out, for their
    ops are tested themselves."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests: dict[str, list] = {op: [] for op in OPS}
        for test in collect_testcases(None):
            (first, *more) = test.model.graph.node
            if not more and first.op_type in tests and "_expanded" not in test.name:
                tests[first.op_type].append(test)
        return [case for op in OPS for test in tests[op] for case in _cases(op, test)]


def _cases(op: str, test) -> Iterator[Case]:
    inputs, outputs = test.data_sets[0]
    name, own = test.name.removeprefix("test_"), test.model
    reason = _meaningless(own, inputs, outputs)
    expected = {} if reason else dict(_named(own.graph.output, outputs))
    variants = {"": ALIKE}
    if op in ALIKE[:-1] and len(inputs) > 1:
        variants[", constants"] = ()
    for suffix, alike in variants.items():
        case = Case(name + suffix, op, own, expected, reason)
        if not reason:
            _Wrapper(case, dict(_named(own.graph.input, inputs)), op in alike).wrap()
        yield case


def _named(values, arrays) -> Iterator[tuple[str, np.ndarray]]:
    for value, array in zip(values, arrays, strict=True):
        proto = isinstance(array, onnx.TensorProto)
        yield value.name, numpy_helper.to_array(array) if proto else np.asarray(array)


def _meaningless(own: onnx.ModelProto, inputs: list, outputs: list) -> str:
    """Why a case has no meaning for hardware that infers."""
    (node,) = own.graph.node
    for value in own.graph.input:
        if (kind := value.type.WhichOneof("value")) != "tensor_type":
            return f"{kind.removesuffix('_type')}, no tensor"
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    training = attributes.get("training_mode", 0)
    if training or (node.op_type == "Dropout" and len(inputs) == 3 and inputs[2]):
        return "training"
    if node.op_type in CONSTANT and not np.size(outputs[0]):
        return "a constant without elements"
    return ""


class _Wrapper:
    """The model of a case, under construction."""

    def __init__(self, case: Case, arrays: dict[str, np.ndarray], alike: bool) -> None:
        self.case, self.arrays, self.alike = case, arrays, alike
        self.node = onnx.NodeProto()
        self.node.CopyFrom(case.own.graph.node[0])
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.scale = np.float32(1)  # of the activation quantized last
        self.old = case.own.opset_import[0].version < 10  # knows no QuantizeLinear: codes go in
        self.plain = case.op in QUANTIZED.split()

    def wrap(self) -> None:
        """Fill in the case."""
        case = self.case
        for k, name in enumerate(case.own.graph.node[0].input):
            if name:
                self.node.input[k] = self.source(k, name)
        self.nodes.append(self.node)
        outputs = [self.sink(k, value) for k, value in enumerate(case.own.graph.output)]
        graph = helper.make_graph(self.nodes, case.name, self.inputs, outputs, self.initializers)
        case.model = helper.make_model(graph, opset_imports=case.own.opset_import, ir_version=10)

    def source(self, k: int, name: str) -> str:
        """The value of one of the case's inputs; returns its name."""
        case, array = self.case, self.arrays[name]
        case.feeds[name] = array
        if case.op in CONSTANT[:-1] or (k and not self.alike):
            if case.op == "Pad" and k == 2:  # what is padded with must be a code
                array = case.feeds[name] = paired(array, self.scale)
            weight = k == 1 and case.op in LAYERS and array.dtype == np.float32
            return self.weight(name, array) if weight else self.constant(name, array)
        kind = self.kind(case.own.graph.input, name)
        if self.plain or kind not in FLOATS:
            return self.entry(name, array, kind)
        case.feeds[name], self.scale = quantized(array)
        if self.old:
            codes = np.rint(case.feeds[name] / self.scale).astype(np.int8)
            return self.entry(name, codes, TensorProto.INT8)
        entry = self.entry(name, array.astype(np.float32), TensorProto.FLOAT)
        value = self.pair(entry, self.scale)
        return value if kind == TensorProto.FLOAT else self.op("Cast", [value], to=kind)

    def sink(self, k: int, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        """An output of the model for one of the case's."""
        case, kind, name = self.case, value.type.tensor_type.elem_type, value.name
        if self.old:
            codes = evaluate(case.own, case.feeds, name) / self.scale
            case.expected[name] = np.rint(codes).astype(np.int8)
            return helper.make_tensor_value_info(name, TensorProto.INT8, codes.shape)
        inner = kind not in FLOATS and case.op not in CONSTANT
        if self.plain or case.op in HOSTED or inner:
            return value
        array = case.expected[name]
        place = list(self.node.output).index(name)
        raw = self.node.output[place] = f"{name}_raw"
        if kind != TensorProto.FLOAT:
            raw = self.op("Cast", [raw], to=TensorProto.FLOAT)
        probe = np.zeros((), np.float32)
        _, scale = quantized(array)
        if case.op in CONSTANT:
            probe = np.resize(np.arange(-3, 4), array.shape).astype(np.float32) * scale
            case.probes[name] = probe
            there = self.pair(self.entry("probe", probe, TensorProto.FLOAT), scale)
            raw = self.op("Add", [there, raw])
        case.scales[name] = scale
        self.pair(raw, scale, name)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)

    def entry(self, name: str, array: np.ndarray, kind: int) -> str:
        """An input of the model with the array as its only sample."""
        batch = array[None] if array.shape[:1] != (1,) or array.ndim == 1 else array
        entry = f"{name}_sample"
        self.case.inputs[entry] = batch
        self.inputs.append(helper.make_tensor_value_info(entry, kind, batch.shape))
        if batch is array:
            return entry
        if self.case.own.opset_import[0].version < 13:
            return self.op("Squeeze", [entry], axes=[0])
        return self.op("Squeeze", [entry, self.constant("front", np.array([0]))])

    def weight(self, name: str, array: np.ndarray) -> str:
        """Weights of int8 with a scale for all."""
        self.case.feeds[name], scale = quantized(array)
        codes = np.rint(self.case.feeds[name] / scale).astype(np.int8)
        parts = [self.constant(f"{name}_codes", codes), self.constant(f"{name}_scale", scale)]
        return self.op("DequantizeLinear", parts)

    def pair(self, value: str, scale: np.float32, name: str = "") -> str:
        """QuantizeLinear and DequantizeLinear of int8."""
        parts = [
            self.constant(f"{value}_scale", scale),
            self.constant(f"{value}_zero", np.int8(0)),
        ]
        codes = self.op("QuantizeLinear", [value, *parts])
        return self.op("DequantizeLinear", [codes, *parts], name)

    def op(self, kind: str, inputs: list[str], output: str = "", **attributes) -> str:
        """Append a node."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, array) -> str:
        """An initializer."""
        if name not in {tensor.name for tensor in self.initializers}:
            self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    @staticmethod
    def kind(values, name: str) -> int:
        """The element type of a value."""
        return next(v.type.tensor_type.elem_type for v in values if v.name == name)


def quantized(array: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """The numbers that int8 codes stand for, and their scale: the least power of two that reaches
    the array's greatest magnitude."""
    numbers = array.astype(np.float64)
    most = np.abs(numbers[np.isfinite(numbers)]).max(initial=0)
    scale = np.float32(2.0 ** np.ceil(np.log2(most / 127)) if most else 1)
    return paired(array.astype(np.float32), scale).astype(array.dtype), scale


def paired(array: np.ndarray, scale: np.float32) -> np.ndarray:
    """QuantizeLinear to int8 and DequantizeLinear, by the reference evaluator."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    x, s, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xsy")
    z = helper.make_tensor_value_info("z", TensorProto.INT8, [])
    graph = helper.make_graph(nodes, "pair", [x, s, z], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return evaluate(model, {"x": array, "s": scale, "z": np.int8(0)}, "y")


def evaluate(model: onnx.ModelProto, inputs: dict[str, np.ndarray], name: str) -> np.ndarray:
    """An output by ONNX's reference evaluator."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.asarray(ReferenceEvaluator(model).run([name], inputs)[0])
