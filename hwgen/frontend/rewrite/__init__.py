"""One form for what many exporters and optimizers write in many ways: transformers in ONNX's own
ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from hwgen.errors import ModelError
from hwgen.frontend.editor import Editor, kind
from hwgen.frontend.rewrite import attention, clean, contrib, curves, norms, rotary
from hwgen.frontend.rewrite.sight import Sight

# Each is applied wherever it fits before the next one is.
PATTERNS = (
    norms.CONTRIB | rotary.CONTRIB | contrib.RULES,
    attention.RULES,
    norms.RULES,
    curves.RULES,
    rotary.RULES,
)


def rewrite(editor: Editor, shapes: Mapping[str, Sequence[int]]) -> tuple[int, dict[str, str]]:
    """Rewrite a graph; the number of patterns found, and the reasons of nodes refused, by name.

    `shapes`: those of the model's inputs that it leaves open. A pattern's result has the name of
    its main node. Inputs of the model that nothing reads any more go.
    """
    before = _read(editor)
    sight = Sight(editor, shapes)
    count, refused = 0, dict[str, str]()
    while True:
        found = 0
        for rules in PATTERNS:
            _sweep(sight, clean.RULES, {})
            found += _sweep(sight, rules, refused)
        sight.fold()
        count += found
        if not found:
            break
        refused.clear()

    unread = before - _read(editor) - set(editor.outputs)
    editor.inputs = [name for name in editor.inputs if name not in unread]
    kept = [value for value in editor.model.graph.input if value.name not in unread]
    del editor.model.graph.input[:]
    editor.model.graph.input.extend(kept)
    return count, refused


def _read(editor: Editor) -> set[str]:
    return {name for node in editor.nodes for name in node.input}


def _sweep(sight: Sight, rules: Mapping, refused: dict[str, str]) -> int:
    """Apply rules to all nodes once; returns how many it changed."""
    found = 0
    for node in sight.editor.nodes:
        rule = rules.get(kind(node))
        if rule is None or sight.producers.get(node.output[0]) is not node:
            continue  # no longer there
        try:
            changed = rule(sight, node)
        except ModelError as error:
            refused[node.name] = str(error)
            continue
        if changed:
            sight.refresh()
            found += 1
    return found


def canonical(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model rewritten, as it is where nothing is found; and the reasons of nodes refused."""
    editor = Editor(model)
    count, refused = rewrite(editor, shapes)
    return (editor.finish() if count else model), refused


__all__ = ["canonical", "rewrite"]
