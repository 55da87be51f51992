"""The syntax of liberty files: groups of attributes, lists and groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# One statement: `name : value;`, `name (arguments);`, `name (arguments) {`, or a closing brace.
STATEMENT = re.compile(
    r'\s*(?:(?P<name>[\w.\-\[\]]+)\s*(?::\s*(?P<value>"[^"]*"|[^;\n}]*)(?:;|(?=[\n}]))'
    r'|\((?P<list>(?:[^()"]++|"[^"]*+")*+)\)\s*(?P<open>\{)?)|(?P<close>\})|;)'
)
COMMENT = re.compile(r"/\*.*?\*/|\\\r?\n", re.DOTALL)


@dataclass
class Group:
    """`kind (arguments) { ... }`: attributes and lists by name, groups in order; `repeated` has all
    lists of one name too."""

    kind: str
    arguments: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeated: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def all(self, kind: str) -> Iterator[Group]:
        """The groups of a kind."""
        return (group for group in self.groups if group.kind == kind)

    def one(self, kind: str) -> Group | None:
        """The first group of a kind."""
        return next(self.all(kind), None)

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a number."""
        return float(self.attributes.get(name, default))


def parse(text: str) -> Group:
    """The outermost group; raises `ValueError` where the text is no liberty file."""
    text = COMMENT.sub(" ", text)
    root = Group("", ())
    stack, place = [root], 0
    while match := STATEMENT.match(text, place):
        place = match.end()
        name, value, listed = match["name"], match["value"], match["list"]
        if value is not None:
            stack[-1].attributes[name] = value.strip().strip('"').strip()
        elif name:
            items = re.findall(r'"[^"]*"|[^\s,"]+', listed)
            arguments = tuple(item.strip('"').strip() for item in items)
            if match["open"]:
                group = Group(name, arguments)
                stack[-1].groups.append(group)
                stack.append(group)
            else:
                stack[-1].lists[name] = arguments
                stack[-1].repeated.append((name, arguments))
        elif match["close"]:
            stack.pop()
            if not stack:
                raise ValueError("a closing brace too many")
    line = text.count("\n", 0, place) + 1
    if text[place:].strip():
        raise ValueError(f"no statement at line {line} (comments and joined lines not counted)")
    library = root.one("library")
    if len(stack) > 1 or library is None:
        raise ValueError("a brace is not closed" if len(stack) > 1 else "it has no library group")
    return library
