"""What points are judged by: objectives, constraints, and the measure of right outputs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from hwgen.cost.figures import Figures
from hwgen.errors import ConfigError, InputError, hint
from hwgen.explore.devices import Device, device_named
from hwgen.samples import accuracy

ACCURACY = "accuracy"
# Objectives from figures: the field of `Figures`.
FIELDS = {
    "energy": "energy_nj",
    "luts": "lut",
    "ffs": "ff",
    "dsps": "dsp",
    "brams": "bram",
    "area": "area_um2",
    "interval": "cycles",
    "latency": "latency",
}
NAMES = (ACCURACY, *FIELDS)
SETTING = re.compile(r"([a-z]+)\s*(>=|<=|=)\s*(.+)")
RATE = re.compile(r"([0-9.eE+]+)\s*@\s*([0-9.]+)\s*MHz", re.IGNORECASE)
RESOURCES = ("lut", "ff", "dsp", "bram")


def objectives(text: str | Sequence[str]) -> dict[str, str]:
    """{name: "max" or "min"} of names with commas between; raises `ConfigError`.

    Accuracy is the more the better, all else the less; `accuracy:min` is for a metric that counts
    what is wrong.
    """
    names = text.split(",") if isinstance(text, str) else list(text)
    found = {}
    for entry in names:
        name, _, way = entry.strip().partition(":")
        _check_name(name, NAMES, "objective")
        if way not in ("", "max", "min") or (way == "max" and name != ACCURACY):
            raise ConfigError(f"objective {entry!r}: {name} is to be minimized")
        if name in found:
            raise ConfigError(f"objective {name} is given twice")
        found[name] = way or ("max" if name == ACCURACY else "min")
    return found


def values(names: Sequence[str], score: float | None, figures: Figures) -> dict:
    """Objectives by name; None is what the figures don't know."""
    return {n: score if n == ACCURACY else getattr(figures, FIELDS[n]) for n in names}


@dataclass(frozen=True)
class Constraint:
    """`text` as the user wrote it; `name` an objective, "rate" or "fits"; at most (`sign` 1) or
    at least (-1) the `bound`; `clock` in hertz of a rate."""

    text: str
    name: str
    sign: int = 1
    bound: float = 0.0
    clock: float = 0.0
    device: Device | None = None

    @classmethod
    def parse(cls, text: str, target: str) -> Constraint:
        """`accuracy>=0.95`, `luts<=5000`, `rate>=10000@100MHz`, `fits=85k`; raises
        `ConfigError`."""
        match = SETTING.fullmatch(text.strip())
        if not match:
            raise ConfigError(
                f"--constraint {text}: write it as accuracy>=0.95, luts<=5000, "
                "rate>=10000@100MHz or fits=DEVICE"
            )
        name, sign, rest = match.groups()
        _check_name(name, (*NAMES, "rate", "fits"), "constraint")
        if name == "fits":
            if sign != "=":
                raise ConfigError(f"--constraint {text}: write it as fits=DEVICE")
            return cls(text, name, device=device_named(rest.strip(), target))
        clock = 0.0
        if name == "rate":
            timed = RATE.fullmatch(rest.strip())
            if not timed or sign != ">=":
                raise ConfigError(
                    f"--constraint {text}: write it as rate>=10000@100MHz, inferences per second "
                    "at a clock"
                )
            rest, clock = timed[1], float(timed[2]) * 1e6
        try:
            bound = float(rest)
        except ValueError as error:
            raise ConfigError(f"--constraint {text}: {rest!r} is no number") from error
        if sign == "=":
            raise ConfigError(f"--constraint {text}: write >= or <=")
        return cls(text, name, 1 if sign == "<=" else -1, bound, clock)

    def violation(self, score: float | None, figures: Figures) -> float:
        """By how much a point misses it, as a share of the bound; 0 where it holds."""
        if self.device is not None:
            pairs = [(getattr(figures, r), getattr(self.device, r)) for r in RESOURCES]
            return sum(max(0.0, used / max(there, 1) - (there > 0)) for used, there in pairs)
        if self.name == "rate":
            value = self.clock / figures.cycles
        else:
            value = values([self.name], score, figures)[self.name]
        return max(0.0, self.sign * (value - self.bound)) / (abs(self.bound) or 1.0)

    def needs(self) -> list[str]:
        """Objectives that it is made of."""
        if self.device is not None:
            return ["luts", "ffs", "dsps", "brams"]
        return ["interval"] if self.name == "rate" else [self.name]


def score(metric: Callable | None, outputs: Mapping[str, np.ndarray], labels) -> float:
    """How right outputs are: the share of labels that the first output decides for, or what
    `metric` says of (outputs, labels): the array of the only output, or all by name. Raises
    `InputError` where that is no number."""
    if metric is None:
        return accuracy(next(iter(outputs.values())), labels)
    only = next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)
    try:
        found = metric(only, labels)
    except Exception as error:
        raise InputError(f"the metric failed: {type(error).__name__}: {error}") from error
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise InputError(f"the metric must give a number, not {found!r}") from error


def metric_named(text: str, folder: str) -> Callable:
    """A function by "module:function"; modules of `folder` count. Raises `ConfigError`."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError(f"--metric {text}: write it as module:function")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--metric {text}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--metric {text}: {name} is no function")
    return found


def _check_name(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise ConfigError(f"unknown {what} {name!r}: {hint(name, names)}")
