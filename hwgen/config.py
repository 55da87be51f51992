"""The configuration of a design: a TOML file, or the same keys in Python."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from hwgen.errors import ConfigError, hint, some
from hwgen.formats import Arithmetic, Fixed, parse, parse_arithmetic

MOST_BITS = 32  # of a multiplier: what the golden model's 64-bit integers hold
SCALES = ("max", "mse")
MOST_CARRIER_BITS = 16  # of a tensor left in float
MEMORIES = ("block", "logic")
FOLDS = ("pe", "simd", "lanes", "heads")
# Keys that are no tables, in the order they are written.
PLAIN = ("name", "stream", "cycles", "macs", "requant_bits", "arith", "scale", "per_channel")


@dataclass(frozen=True)
class NodeConfig:
    """`pe` outputs and `simd` inputs at once; of attention `lanes` keys, `simd` elements of a head
    and `heads` at once; `memory`: weights in "block" RAM or in "logic", by their size unless set;
    `requant_bits`: multiplier bits of an approximate requantization; `arith`: the arithmetic to
    convert the node to, as text."""

    pe: int | None = None
    simd: int | None = None
    lanes: int | None = None
    heads: int | None = None
    memory: Literal["block", "logic"] | None = None
    requant_bits: int | None = None
    arith: str | None = None

    @property
    def fold(self) -> dict[str, int]:
        """What is set of pe, simd, lanes and heads."""
        return {k: v for k in FOLDS if (v := getattr(self, k)) is not None}


@dataclass(frozen=True)
class Config:
    """`name` of the top module; whether rows `stream` through it; `cycles` to reach or `macs` to
    use; `requant_bits` of all nodes; `lanes` by port name;

    `shapes` by input name; `nodes` by ONNX node name. `arith`: the arithmetic to convert the model
    to, with scales by `scale`, one for each output channel of the weights where `per_channel`.
    `formats`: the fixed point of tensors that the model leaves in float, by ONNX name, as text.
    """

    name: str | None = None
    cycles: int | None = None
    macs: int | None = None
    requant_bits: int | None = None
    arith: str | None = None
    scale: Literal["max", "mse"] | None = None
    per_channel: bool | None = None
    stream: bool | None = None
    lanes: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, NodeConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("cycles", "macs"):
            _positive(getattr(self, key), key)
        _positive(self.requant_bits, "requant_bits", MOST_BITS)
        if self.cycles is not None and self.macs is not None:
            raise ConfigError("cycles and macs exclude each other: set one")
        _arithmetic(self.arith, "arith")
        if self.scale not in (None, *SCALES):
            raise ConfigError(f"scale must be one of {', '.join(SCALES)}, not {self.scale!r}")
        for key in ("stream", "per_channel"):
            if not isinstance(getattr(self, key), bool | None):
                raise ConfigError(f"{key} must be true or false, not {getattr(self, key)!r}")
        for name, lanes in self.lanes.items():
            _positive(lanes, f"lanes.{name}")
        for name, size in self.shapes.items():
            if not isinstance(size, Sequence) or isinstance(size, str) or not size:
                raise ConfigError(f"shapes.{name} must be a list of numbers, not {size!r}")
            for dimension in size:
                _positive(dimension, f"shapes.{name}", required=True)
        for name, text in self.formats.items():
            _fixed(text, f"formats.{name}")
        for name, node in self.nodes.items():
            for key in FOLDS:
                _positive(getattr(node, key), f"{name}.{key}")
            if node.memory not in (None, *MEMORIES):
                kinds = ", ".join(MEMORIES)
                raise ConfigError(f"{name}.memory must be one of {kinds}, not {node.memory!r}")
            _positive(node.requant_bits, f"{name}.requant_bits", MOST_BITS)
            _arithmetic(node.arith, f"{name}.arith")

    @classmethod
    def of(cls, source: Config | Mapping | str | Path | None) -> Config:
        """From a Config, a mapping with its keys, or a TOML file."""
        if source is None:
            return cls()
        if isinstance(source, Config):
            return source
        return cls.read(source) if isinstance(source, str | Path) else cls.parse(source)

    @classmethod
    def read(cls, path: str | Path) -> Config:
        """From a TOML file."""
        try:
            with Path(path).open("rb") as file:
                content = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"can't read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no TOML file: {error}") from error
        return cls.parse(content)

    @classmethod
    def parse(cls, content: Mapping) -> Config:
        """From a mapping; raises `ConfigError` for unknown keys and wrong types."""
        _known(content, [f.name for f in fields(cls)], "")
        values = dict(content)
        for key in ("lanes", "shapes", "formats", "nodes"):
            if not isinstance(values.get(key, {}), Mapping):
                raise ConfigError(f"{key} must be a table, not {values[key]!r}")
        if not isinstance(values.get("name", ""), str):
            raise ConfigError(f"name must be text, not {values['name']!r}")
        nodes = {}
        for name, table in values.get("nodes", {}).items():
            if isinstance(table, NodeConfig):
                nodes[name] = table
                continue
            if not isinstance(table, Mapping):
                raise ConfigError(f"nodes.{name} must be a table, not {table!r}")
            _known(table, [f.name for f in fields(NodeConfig)], f"nodes.{name}.")
            nodes[name] = NodeConfig(**table)
        return cls(**{**values, "nodes": nodes})

    def with_options(
        self, cycles=None, macs=None, overrides=None, shapes=None, arith=None, stream=None
    ) -> Config:
        """With the arguments of `hwgen.compile` in front."""
        config = self if arith is None else replace(self, arith=str(arith))
        config = config if stream is None else replace(config, stream=stream)
        if cycles is not None or macs is not None:
            config = replace(config, cycles=cycles, macs=macs)
        if shapes:
            config = replace(config, shapes={**config.shapes, **shapes})
        nodes = dict(config.nodes)
        for name, values in (overrides or {}).items():
            _known(values, [f.name for f in fields(NodeConfig)], f"{name}.")
            nodes[name] = replace(nodes.get(name, NodeConfig()), **values)
        return replace(config, nodes=nodes)

    @property
    def arithmetics(self) -> tuple[Arithmetic | None, dict[str, Arithmetic]]:
        """The arithmetic to convert all nodes to, None where they stay; and those of some, by
        name."""
        own = {k: parse_arithmetic(n.arith) for k, n in self.nodes.items() if n.arith is not None}
        return None if self.arith is None else parse_arithmetic(self.arith), own

    def converted(self) -> Config:
        """What is left of it once the model is converted: the model says the rest."""
        nodes = {name: replace(node, arith=None) for name, node in self.nodes.items()}
        nodes = {name: node for name, node in nodes.items() if node != NodeConfig()}
        return replace(self, arith=None, scale=None, per_channel=None, nodes=nodes)

    @property
    def fixed(self) -> dict[str, Fixed]:
        """The formats of tensors left in float."""
        return {name: _fixed(text, f"formats.{name}") for name, text in self.formats.items()}

    def named(self, name: str) -> Config:
        """With the name of the top module."""
        return replace(self, name=name)

    def check_nodes(
        self, names: Iterable[str], folded: Iterable[str] = (), folds: Iterable[str] = ()
    ) -> None:
        """Raise `ConfigError` for a node the model does not have, or of which no hardware is left
        (`folded`); `folds`: nodes that take pe, simd, lanes or heads."""
        names = list(names)
        for name in set(folded) - set(names):
            if name in self.nodes:
                raise ConfigError(
                    f"node {name!r} has no hardware of its own, it is folded into others; set one "
                    f"of {', '.join(folds) or some(names)}"
                )
        _known(self.nodes, names, "node ")

    def dump(self) -> str:
        """TOML text that reads back as this configuration."""
        lines = [
            f"{key} = {_toml(value)}" for key in PLAIN if (value := getattr(self, key)) is not None
        ]
        for key in ("lanes", "shapes", "formats"):
            table = getattr(self, key)
            if table:
                lines += ["", f"[{key}]"]
                lines += [f"{_toml(k)} = {_toml(v)}" for k, v in sorted(table.items())]
        for name, node in sorted(self.nodes.items()):
            lines += ["", f"[nodes.{_toml(name)}]"]
            lines += [
                f"{f.name} = {_toml(value)}"
                for f in fields(NodeConfig)
                if (value := getattr(node, f.name)) is not None
            ]
        return "\n".join(lines) + "\n"


def _toml(value: str | int | Sequence[int]) -> str:
    """JSON is TOML, but for characters outside Unicode's first plane and DEL."""
    plain = value if isinstance(value, str | int) else list(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")


def _arithmetic(value: object, key: str) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigError(f"{key} must be text such as 'int8', not {value!r}")
    try:
        parse_arithmetic(value)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _fixed(value: object, key: str) -> Fixed:
    try:
        fmt = parse(value) if isinstance(value, str) else None
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    if not isinstance(fmt, Fixed) or fmt.bits > MOST_CARRIER_BITS:
        raise ConfigError(
            f"{key} must be fixed point of at most {MOST_CARRIER_BITS} bits such as "
            f"'fixed<16,10>', not {value!r}"
        )
    return fmt


def _positive(value: object, key: str, most: int | None = None, required: bool = False) -> None:
    if value is None and not required:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} must be a positive integer, not {value!r}")
    if most is not None and value > most:
        raise ConfigError(f"{key} must be at most {most}, not {value!r}")


def _known(content: Mapping, names: list[str], prefix: str) -> None:
    for key in content:
        if key not in names:
            # A word that is hardly alike is no hint, where all names fit into the message.
            alike = 0.4 if len(names) > 6 else 0.5
            raise ConfigError(f"unknown {prefix or 'key '}{key}: {hint(key, names, cutoff=alike)}")
