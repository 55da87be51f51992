"""Boolean functions of liberty files, as truth tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\].]*|[01()!'^*&+|])")
OPERAND = re.compile(r"[\w(!]")


def states(names: Sequence[str]) -> dict[str, np.ndarray]:
    """For each name its value in all states (2**n,): bit k of a state's number is names[k]'s."""
    numbers = np.arange(1 << len(names))
    return {name: (numbers >> k & 1).astype(bool) for k, name in enumerate(names)}


def truth(text: str, names: Sequence[str]) -> np.ndarray:
    """The values (2**n,) of a function of pins; raises `ValueError`."""
    return evaluate(text, states(names), 1 << len(names))


def evaluate(text: str, values: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """A function where each name has the values (size,); raises `ValueError`.

    Operators, the tightest first: ! and ', ^, * & or nothing, + |.
    """
    tokens, place = [], 0
    while match := TOKEN.match(text, place):
        tokens.append(match[1])
        place = match.end()
    if text[place:].strip():
        raise ValueError(f"function {text!r} can't be read")
    parser = _Parser(text, tokens, values, size)
    result = parser.disjunction()
    if parser.tokens:
        raise ValueError(f"function {text!r} can't be read")
    return result


class _Parser:
    def __init__(self, text: str, tokens: list[str], values: Mapping, size: int) -> None:
        self._text, self.tokens, self._values, self._size = text, tokens, values, size

    def _next(self, expected: str) -> bool:
        if self.tokens and self.tokens[0] in expected:
            self.tokens.pop(0)
            return True
        return False

    def disjunction(self) -> np.ndarray:
        result = self._conjunction()
        while self._next("+|"):
            result = result | self._conjunction()
        return result

    def _conjunction(self) -> np.ndarray:
        result = self._difference()
        while self._next("*&") or (self.tokens and OPERAND.match(self.tokens[0])):
            result = result & self._difference()
        return result

    def _difference(self) -> np.ndarray:
        result = self._operand()
        while self._next("^"):
            result = result ^ self._operand()
        return result

    def _operand(self) -> np.ndarray:
        if self._next("!"):
            return ~self._operand()
        if not self.tokens:
            raise ValueError(f"function {self._text!r} ends too early")
        token = self.tokens.pop(0)
        if token == "(":
            result = self.disjunction()
            if not self._next(")"):
                raise ValueError(f"function {self._text!r} lacks a parenthesis")
        elif token in "01":
            result = np.full(self._size, token == "1")
        elif token in self._values:
            result = self._values[token]
        else:
            raise ValueError(f"function {self._text!r} names no pin {token!r}")
        while self._next("'"):
            result = ~result
        return result
