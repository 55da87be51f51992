"""Many designs of one model: what they share is done once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwgen.config import Config
from hwgen.design import Design, check_nodes, imported
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
        return self.configured(self._config.with_options(cycles, macs, overrides))

    def configured(self, config: Config) -> Design:
        """The design of a whole configuration; names, arithmetic and the formats of tensors left
        in float are those of these points, whatever it says."""
        own = self._config
        config = replace(config.converted(), name=own.name, formats=own.formats)
        check_nodes(config, self._proto, self._graph)
        graph = self._graph.copy()
        lower(graph, config)
        return Design(self._proto, graph, config)
