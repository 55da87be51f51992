"""The design's clock from the board's: directly, or by a PLL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources

from hwgen.deploy.board import Board
from hwgen.errors import ConfigError

CLOSE = 0.002  # of what was asked for


@dataclass(frozen=True)
class Pll:
    """What a PLL can do, in MHz: the frequency its oscillator `vco` runs at, and after dividing the
    input that its phase detector takes, `detector`. The output is input / divide * multiply where
    the feedback is the output (`direct`), else that divided by `out` too."""

    template: str
    vco: tuple[float, float]
    detector: tuple[float, float]
    divide: range
    multiply: range
    out: tuple[int, ...]
    direct: bool = False
    minus_one: bool = False  # how the parameters are written
    values: dict[str, str] = field(default_factory=dict)

    def settings(self, given: float) -> Iterator[tuple[float, int, int, int]]:
        """All (MHz, divide, multiply, out) of an input."""
        for divide in self.divide:
            if not self.detector[0] <= given / divide <= self.detector[1]:
                continue
            for multiply in self.multiply:
                base = given / divide * multiply
                for out in self.out:
                    vco = base * out if self.direct else base
                    if self.vco[0] <= vco <= self.vco[1]:
                        yield (base if self.direct else base / out), divide, multiply, out


# Limits by the data sheets that the templates name.
PLLS = {
    "ecp5": Pll(
        "clock_ecp5.v",
        (400, 800),
        (3.125, 400),
        range(1, 33),
        range(1, 81),
        (*range(1, 129),),
        True,
    ),
    "up5k": Pll(
        "clock_ice40.v",
        (533, 1066),
        (10, 133),
        range(1, 17),
        range(1, 65),
        (2, 4, 8, 16, 32, 64),
        minus_one=True,
    ),
    "gw1n-9": Pll(
        "clock_gowin.v",
        (400, 1200),
        (3, 400),
        range(1, 65),
        range(1, 65),
        (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128),
        direct=True,
        minus_one=True,
        values={"DEVICE": "GW1NR-9C"},
    ),
    "gw2a-18": Pll(
        "clock_gowin.v",
        (500, 1250),
        (3, 500),
        range(1, 65),
        range(1, 65),
        (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128),
        direct=True,
        minus_one=True,
        values={"DEVICE": "GW2AR-18C"},
    ),
    "xc7": Pll(
        "clock_xc7.v", (600, 1200), (10, 450), range(1, 11), range(2, 65), (*range(1, 129),)
    ),
}


def template(name: str, **values: object) -> str:
    """A template of rtl_templates/boards with its values."""
    text = (resources.files("hwgen.rtl_templates") / "boards" / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def plain_clock() -> str:
    """The board's clock as it is, in Verilog."""
    return template("clock_none.v")


def clock(board: Board, mhz: float) -> tuple[str, float]:
    """Verilog of the module that makes a clock of about `mhz`, and what it really gives.

    Raises `ConfigError` where the board can't.
    """
    given = board.clock.mhz
    if board.clock.pin is None or abs(mhz - given) < CLOSE * given:
        return plain_clock(), given if board.clock.pin else mhz
    if board.toolchain == "quartus":
        return template("clock_cyclonev.v", FROM=_text(given), TO=_text(mhz)), mhz
    pll = _pll(board)
    found = min(pll.settings(given), key=lambda s: (abs(s[0] - mhz), s[1], _middle(pll, given, s)))
    if abs(found[0] - mhz) > CLOSE * mhz:
        raise ConfigError(
            f"{board.name} can't make {mhz:g} MHz of {given:g} MHz: the nearest is {found[0]:g} MHz"
        )
    to, divide, multiply, out = found
    shown = (divide - 1, multiply - 1) if pll.minus_one else (divide, multiply)
    values = {
        **{"FROM": _text(given), "TO": _text(to), "DIVIDE": shown[0], "MULTIPLY": shown[1]},
        **{"OUT": out, "PHASE": out // 2, "PERIOD": f"{1000 / given:.3f}"},
        **pll.values,
    }
    if pll.template == "clock_ice40.v":
        values["OUT"] = out.bit_length() - 1
        values["FILTER"] = _filter(given / divide)
    return template(pll.template, **values), to


def nearest_below(board: Board, mhz: float) -> float | None:
    """The fastest clock a board can make of at most `mhz`; None where there is none."""
    if board.clock.pin is None or board.toolchain == "quartus":
        return mhz
    able = [found for found, *_ in _pll(board).settings(board.clock.mhz) if found <= mhz]
    return max([*able, *(x for x in (board.clock.mhz,) if x <= mhz)], default=None)


def _pll(board: Board) -> Pll:
    return PLLS.get(board.device or "") or PLLS[board.family]


def _middle(pll: Pll, given: float, setting: tuple[float, int, int, int]) -> float:
    """How far an oscillator is from the middle of its range."""
    _, divide, multiply, out = setting
    vco = given / divide * multiply * (out if pll.direct else 1)
    return abs(vco - sum(pll.vco) / 2)


def _filter(detector: float) -> int:
    """FILTER_RANGE of an iCE40 by the frequency of its phase detector, as icepll chooses it."""
    limits = (17, 26, 44, 66, 101)
    return 1 + sum(detector >= limit for limit in limits)


def _text(mhz: float) -> str:
    return f"{mhz:.6f}".rstrip("0").rstrip(".")
