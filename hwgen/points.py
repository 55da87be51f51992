"""Many designs of one model: what they share is done once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwgen.config import Config
from hwgen.design import Design, imported
from hwgen.errors import ConfigError
from hwgen.passes.pipeline import lower

if TYPE_CHECKING:
    from hwgen.frontend.convert import Arrays


class Points:
    """Designs of a model that differ in folds alone. Import, conversion and calibration happen
    once, and integer forms are searched once; `design` then takes milliseconds.

    `model`, `config`, `calibrate` and `options` (shapes, arith, stream...): as for `compile`.
    Raises `HwgenError`.
    """

    def __init__(
        self,
        model: Any,
        config: Config | str | Path | Mapping | None = None,
        calibrate: Arrays | None = None,
        **options,
    ) -> None:
        resolved = Config.of(config).with_options(**options)
        self._proto, self._graph, self._config = imported(model, resolved, calibrate)

    def design(
        self,
        cycles: int | None = None,
        macs: int | None = None,
        overrides: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Design:
        """The design of a fold: as `compile` makes it with these options."""
        for node, keys in (overrides or {}).items():
            if "arith" in keys:
                raise ConfigError(
                    f"{node}: points of one model share its arithmetic: make other Points"
                )
        config = self._config.with_options(cycles, macs, overrides)
        names = [node.name for node in self._graph.nodes]
        config.check_nodes(names, (node.name for node in self._proto.graph.node))
        graph = self._graph.copy()
        lower(graph, config)
        return Design(self._proto, graph, config)
