"""What was found for a node is found again at once: forms don't depend on how a design is folded,
and searching them takes longest of all passes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from hwgen.ir import Node

Found = TypeVar("Found")
MOST = 10_000
LARGE = 1 << 16  # bytes of an array that is the same wherever it lies
# Of nodes, what no form depends on.
APART = ("name", "inputs", "outputs", "form", "cycles", "bits")
# By the function, and the identity of what it was given, which is kept so that it stays unique.
_found: OrderedDict[tuple, tuple[list, Any]] = OrderedDict()


def remembered(find: Callable[..., Found], node: Node, *given) -> Found:
    """find(node, *given); the same object for a node of the same values, arrays the very same."""
    values = [v for name, v in vars(node).items() if name not in APART]
    key = (find, type(node), *map(_mark, values), *map(_mark, given))
    if key in _found:
        _found.move_to_end(key)
        return _found[key][1]
    result = find(node, *given)
    _found[key] = [*values, *given], result
    if len(_found) > MOST:
        _found.popitem(last=False)
    return result


def _mark(value: object) -> object:
    if isinstance(value, np.ndarray):
        plain = value.dtype != object and value.nbytes <= LARGE
        return (value.dtype.str, value.shape, value.tobytes()) if plain else id(value)
    return value
