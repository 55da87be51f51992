"""The design points to choose among: a configuration whose values are lists of choices."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from hwgen.config import Config, NodeConfig
from hwgen.errors import ConfigError, hint, some

Value = str | int | bool
Point = dict[str, Value]

UNSET = "default"  # a choice: the key is not set
WHOLE = ("arith", "cycles", "macs", "requant_bits", "scale", "per_channel")
TABLES = ("lanes", "nodes", "groups")
NODE_KEYS = tuple(f.name for f in fields(NodeConfig))


@dataclass(frozen=True)
class Parameter:
    """One choice among `choices`: of `key` of the whole design (`table` ""), of a port's "lanes",
    or of the "nodes" named."""

    name: str
    key: str
    choices: tuple[Value, ...]
    table: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether choices are numbers."""
        return all(isinstance(c, int) and not isinstance(c, bool) for c in self.choices)


@dataclass(frozen=True)
class Bound:
    """The parameters of a space on one model."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(p.choices) for p in self.parameters)

    def point(self, index: int) -> Point:
        """A point by its number; the last parameter changes first."""
        point = {}
        for parameter in reversed(self.parameters):
            index, place = divmod(index, len(parameter.choices))
            point[parameter.name] = parameter.choices[place]
        return {p.name: point[p.name] for p in self.parameters}

    def config(self, base: Config, point: Mapping[str, Value]) -> Config:
        """The configuration of a point: `base`, and the point's values in its place."""
        content: dict = {f.name: getattr(base, f.name) for f in fields(Config)}
        content["lanes"], nodes = dict(base.lanes), {}
        for name, node in base.nodes.items():
            nodes[name] = {key: getattr(node, key) for key in NODE_KEYS}
        for parameter in self.parameters:
            value = point[parameter.name]
            chosen = None if value == UNSET else value
            if parameter.table == "lanes" and chosen is not None:
                content["lanes"][parameter.key] = chosen
            elif parameter.table == "nodes":
                for name in parameter.nodes:
                    nodes.setdefault(name, {})[parameter.key] = chosen
            elif not parameter.table:
                content[parameter.key] = chosen
        made = {name: NodeConfig(**keys) for name, keys in nodes.items()}
        content["nodes"] = {name: node for name, node in made.items() if node != NodeConfig()}
        return Config(**content)


@dataclass(frozen=True)
class Space:
    """What a space file says, before the model is known.

    `whole`: choices by key of the configuration; `lanes`: by port; `nodes`: by pattern of node
    names and key, a choice for each node that the pattern fits; `groups`: one for all of them.
    """

    whole: Mapping[str, tuple[Value, ...]]
    lanes: Mapping[str, tuple[Value, ...]]
    nodes: Mapping[str, Mapping[str, tuple[Value, ...]]]
    groups: Mapping[str, Mapping[str, tuple[Value, ...]]]

    @classmethod
    def of(cls, source: Space | Mapping | str | Path) -> Space:
        """From a Space, a mapping, or a TOML file; raises `ConfigError`."""
        if isinstance(source, Space):
            return source
        if isinstance(source, Mapping):
            return cls.parse(source)
        try:
            with Path(source).open("rb") as file:
                return cls.parse(tomllib.load(file))
        except OSError as error:
            raise ConfigError(f"can't read {source}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} is no TOML file: {error}") from error

    @classmethod
    def parse(cls, content: Mapping) -> Space:
        """From a mapping; raises `ConfigError` for unknown keys and what is no list of choices."""
        _known(content, (*WHOLE, *TABLES), "")
        for table in TABLES:
            if not isinstance(content.get(table, {}), Mapping):
                raise ConfigError(f"space: {table} must be a table, not {content[table]!r}")
        whole = {k: _choices(content[k], k, k) for k in WHOLE if k in content}
        lanes = {k: _choices(v, "lanes", f"lanes.{k}") for k, v in content.get("lanes", {}).items()}
        tables: dict[str, dict] = {"nodes": {}, "groups": {}}
        for table, patterns in tables.items():
            for pattern, keys in content.get(table, {}).items():
                where = f"{table}.{pattern}"
                if not isinstance(keys, Mapping) or not keys:
                    raise ConfigError(
                        f"space: {where} must be a table with {', '.join(NODE_KEYS)}, not {keys!r}"
                    )
                _known(keys, NODE_KEYS, f"{where}.")
                patterns[pattern] = {k: _choices(v, k, f"{where}.{k}") for k, v in keys.items()}
        if not (whole or lanes or tables["nodes"] or tables["groups"]):
            raise ConfigError(
                f"the space is empty: give lists of choices for {', '.join(WHOLE)}, or for "
                f'{", ".join(NODE_KEYS)} of nodes in tables such as [nodes."*"]'
            )
        if all(any(v != UNSET for v in whole.get(k, ())) for k in ("cycles", "macs")):
            raise ConfigError("space: cycles and macs exclude each other: give one of them")
        return cls(whole, lanes, **tables)

    def as_dict(self) -> dict:
        """As it reads from a file."""
        content: dict = {k: list(v) for k, v in self.whole.items()}
        if self.lanes:
            content["lanes"] = {k: list(v) for k, v in self.lanes.items()}
        for table in ("nodes", "groups"):
            patterns = getattr(self, table)
            if patterns:
                content[table] = {
                    pattern: {k: list(v) for k, v in keys.items()}
                    for pattern, keys in patterns.items()
                }
        return content

    def arithmetic_parts(self) -> Space:
        """What decides on numbers' formats alone."""

        def only(tables: Mapping) -> dict:
            return {p: {"arith": keys["arith"]} for p, keys in tables.items() if "arith" in keys}

        kept = {k: v for k, v in self.whole.items() if k in ("arith", "scale", "per_channel")}
        return Space(kept, {}, only(self.nodes), only(self.groups))

    def bind(self, names: Mapping[str, Sequence[str]], limits: Mapping | None = None) -> Bound:
        """The parameters on a model whose nodes that take a key are `names[key]`.

        `limits`: {(node, key): function of a value}, whether the node can have it; other choices
        of a node are left out. Raises `ConfigError` for patterns that fit no node.
        """
        found = [Parameter(key, key, choices) for key, choices in self.whole.items()]
        found += [Parameter(f"lanes.{p}", p, c, "lanes") for p, c in self.lanes.items()]
        grouped = []
        for pattern, keys in self.groups.items():
            for key, choices in keys.items():
                nodes = _fitting(pattern, names[key], f"groups.{pattern}.{key}")
                allowed = _allowed(choices, nodes, key, limits or {}, f"groups.{pattern}.{key}")
                grouped.append(Parameter(f"{pattern}.{key}", key, allowed, "nodes", nodes))
        single: dict[tuple[str, str], Parameter] = {}
        for pattern, keys in self.nodes.items():
            for key, choices in keys.items():
                where = f"nodes.{pattern}.{key}"
                for node in _fitting(pattern, names[key], where):
                    if (node, key) in single:
                        raise ConfigError(
                            f"space: {where} gives {node!r} choices that another pattern gave it"
                        )
                    allowed = _allowed(choices, (node,), key, limits or {}, where)
                    name = f"{node}.{key}"
                    single[node, key] = Parameter(name, key, allowed, "nodes", (node,))
        doubled = {p.name for p in grouped} & {p.name for p in single.values()}
        for name in sorted(doubled):
            raise ConfigError(f"space: {name} is in nodes and in groups: give it once")
        return Bound((*found, *grouped, *single.values()))


def _fitting(pattern: str, names: Sequence[str], where: str) -> tuple[str, ...]:
    nodes = tuple(name for name in names if name == pattern or fnmatchcase(name, pattern))
    if not nodes:
        known = hint(pattern, names, "those that can be:")
        raise ConfigError(f"space: {where} names no node; {known}")
    return nodes


def _allowed(choices, nodes, key, limits: Mapping, where: str) -> tuple[Value, ...]:
    """The choices that each of the nodes can have."""

    def fits(value: Value) -> bool:
        return value == UNSET or all(
            limits[node, key](value) for node in nodes if (node, key) in limits
        )

    kept = tuple(value for value in choices if fits(value))
    if not kept:
        raise ConfigError(
            f"space: {some(nodes)} can have none of the choices of {where}: "
            f"{', '.join(map(str, choices))}"
        )
    return kept


def _choices(value: object, key: str, where: str) -> tuple[Value, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"space: {where} must be a list of choices, not {value!r}; what never changes belongs "
            "in --config"
        )
    if not value:
        raise ConfigError(f"space: {where} has no choices")
    for choice in value:
        if choice == UNSET:
            continue
        content = {"lanes": {"x": choice}} if key == "lanes" and where.startswith("lanes.") else {}
        whole = where == key
        try:
            Config.parse(
                content or ({key: choice} if whole else {"nodes": {"node": {key: choice}}})
            )
        except ConfigError as error:
            raise ConfigError(f"space: {where}: {error}") from error
    if len(set(value)) < len(value):
        raise ConfigError(f"space: {where} has a choice twice")
    return tuple(value)


def _known(content: Mapping, names: Sequence[str], prefix: str) -> None:
    for key in content:
        if key not in names:
            raise ConfigError(f"space: unknown key {prefix}{key}: {hint(key, names, cutoff=0.4)}")
