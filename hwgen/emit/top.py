"""The top module: every unit instantiated and joined, AXI4-Stream ports outside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.emit.names import identifier, unique
from hwgen.errors import HwgenError
from hwgen.ir import Graph, Node, Tensor
from hwgen.rtl.axi import AxiSink, AxiSource, lane_bytes
from hwgen.rtl.build import build, stream_names
from hwgen.rtl.stream import shape_of


@dataclass
class Library:
    """Modules in RTLIL, each text kept once under the name of its first user."""

    top: str
    modules: dict[str, str] = field(default_factory=dict)  # name -> RTLIL
    files: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # RTLIL with a placeholder -> name
    taken: set[str] = field(default_factory=set)

    def add(self, unit: wiring.Component, stem: str) -> str:
        """Emit a unit and the modules it instantiates; returns its module name."""
        for name, make in getattr(unit, "parts", {}).items():
            if name not in self.modules:
                part = make()
                self.modules[name] = self._keep(part, _rtlil(part, name), name)
        text = _rtlil(unit, PLACEHOLDER)
        files = getattr(unit, "files", {})
        key = text + "".join(files.values())
        if key not in self.names:
            name = self.names[key] = unique(f"{self.top}_{stem}", self.taken)
            self.modules[name] = self._keep(unit, text.replace(PLACEHOLDER, name), name)
        return self.names[key]

    def _keep(self, unit: wiring.Component, text: str, name: str) -> str:
        """Keep the files of a module; returns its text with their full names."""
        for file, content in getattr(unit, "files", {}).items():
            full = f"{name.replace('hwgen_', f'{self.top}_', 1)}_{file}"
            self.files[full] = content
            text = text.replace(f'"{file}"', f'"{full}"')
        return text


PLACEHOLDER = "hwgen_placeholder"
CLOCKED = re.compile(r"wire width 1 input \d+ +\\clk\b")


ELEMENT = re.compile(r"\\([A-Za-z_]\w*)\[(\d+)\]")


def _rtlil(unit: wiring.Component, name: str) -> str:
    """Amaranth's text; wires named like `x[0]` become `x__0`, for tools that take the first for a
    bit of x."""
    return ELEMENT.sub(r"\\\1__\2", rtlil.convert(unit, name=name, emit_src=False))


@dataclass(frozen=True)
class Port:
    """One AXI4-Stream port of the top."""

    name: str  # of the ONNX value
    prefix: str
    tensor: Tensor


def top_ports(graph: Graph) -> tuple[list[Port], list[Port]]:
    """The AXI4-Stream ports of inputs and outputs, with the tensor's name in the prefix where
    there are several."""

    def side(stem: str, ports: list[tuple[str, str]]) -> list[Port]:
        taken: set[str] = set()
        infix = [
            f"_{unique(identifier(name), taken)}" if len(ports) > 1 else "" for name, _ in ports
        ]
        return [
            Port(name, f"{stem}{middle}_", graph.tensors[tensor])
            for (name, tensor), middle in zip(ports, infix, strict=True)
        ]

    return (
        side("s_axis", [(port.name, port.tensor) for port in graph.inputs]),
        side("m_axis", [(port.name, port.tensor) for port in graph.outputs]),
    )


def instances(graph: Graph) -> dict[str, Node]:
    """The nodes by what their instances in the top are called."""
    taken: set[str] = set()
    return {unique(identifier(node.name), taken): node for node in graph.nodes}


class Top(wiring.Component):
    """All units of a graph. Clock `aclk`, synchronous reset `aresetn` (active low); `tlast_error`
    is sticky."""

    def __init__(self, graph: Graph, library: Library) -> None:
        self._graph, self._library = graph, library
        self._inputs, self._outputs = top_ports(graph)
        members = {"aclk": In(1), "aresetn": In(1), "tlast_error": Out(1)}
        for port, inward, outward in [
            *((p, In, Out) for p in self._inputs),
            *((p, Out, In) for p in self._outputs),
        ]:
            members |= {
                f"{port.prefix}tdata": inward(8 * lane_bytes(port.tensor) * port.tensor.lanes),
                f"{port.prefix}tvalid": inward(1),
                f"{port.prefix}tready": outward(1),
                f"{port.prefix}tlast": inward(1),
            }
        super().__init__(members)

    def elaborate(self, _platform) -> Module:
        """One bundle of signals per tensor, one instance per node."""
        m = Module()
        m.domains.sync = domain = ClockDomain("sync")
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        taken: set[str] = set()
        streams = {
            name: _stream(t, unique(identifier(name), taken))
            for name, t in self._graph.tensors.items()
        }
        errors = []
        for port, source in zip(self._inputs, self._graph.inputs, strict=True):
            unit = AxiSink(port.tensor, source.ends is not None)
            error = Signal(name=f"{port.prefix}error")
            errors.append(error)
            others = self._axis(port, "i", "o") | {"o_o_error": error}
            joined = {"o": streams[source.tensor]}
            joined |= {"ends": streams[source.ends]} if source.ends else {}
            self._instance(m, unit, f"{port.prefix}in", joined, others)
        for name, node in instances(self._graph).items():
            unit = build(node, self._graph)
            names = [*stream_names(unit, "i"), *stream_names(unit, "o")]
            tensors = [streams[tensor] for tensor in (*node.inputs, *node.outputs)]
            joined = dict(zip(names, tensors, strict=True))
            self._instance(m, unit, name, joined, {})
        for port, sink in zip(self._outputs, self._graph.outputs, strict=True):
            unit = AxiSource(port.tensor, sink.ends is not None)
            joined = {"i": streams[sink.tensor]}
            joined |= {"ends": streams[sink.ends]} if sink.ends else {}
            self._instance(m, unit, f"{port.prefix}out", joined, self._axis(port, "o", "i"))
        m.d.comb += self.tlast_error.eq(Cat(errors).any())
        return m

    def _axis(self, port: Port, inward: str, outward: str) -> dict[str, Signal]:
        """Arguments of an instance for the four signals of an AXI4-Stream port."""
        ways = {"tdata": inward, "tvalid": inward, "tready": outward, "tlast": inward}
        return {f"{way}_{name}": getattr(self, port.prefix + name) for name, way in ways.items()}

    def _instance(self, m: Module, unit, name: str, streams: dict, others: dict) -> None:
        """Instantiate a unit's module, its streams joined to the tensors' signals."""
        arguments = dict(others)
        for member, (layout, payload, valid, ready) in streams.items():
            if getattr(unit, member).payload.shape() != layout:
                raise HwgenError(f"{name}: {member} and its stream have different words")
            way, back = ("i", "o") if unit.signature.members[member].flow == In else ("o", "i")
            arguments[f"{way}_{member}__payload"] = payload
            arguments[f"{way}_{member}__valid"] = valid
            arguments[f"{back}_{member}__ready"] = ready
        module = self._library.add(unit, identifier(name))
        if CLOCKED.search(self._library.modules[module]):
            arguments |= {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        m.submodules[name] = Instance(module, **arguments)


def _stream(tensor: Tensor, name: str) -> tuple[data.ArrayLayout, Signal, Signal, Signal]:
    layout = data.ArrayLayout(shape_of(tensor.fmt), tensor.lanes)
    payload = Signal(layout.size, name=f"{name}_payload")
    return layout, payload, Signal(name=f"{name}_valid"), Signal(name=f"{name}_ready")
