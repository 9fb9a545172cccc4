"""What a benchmark gives back: rows, each a figure of nexusd, what it stands beside, and the goal's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HEAD = "| goal | what | nexusd | beside | ratio | limit | met |\n| --- | --- | --- | --- | --- | --- | --- |"
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """`of`: who was measured, by its own name. `unit`: "s", "ms", "MB", "/s", "/CPU s", …"""

    value: float
    unit: str
    of: str = "nexusd"

    def __str__(self) -> str:
        space = "" if self.unit.startswith("/") else " "
        return f"{_written(self.value)}{space}{self.unit}"


@dataclass(frozen=True, slots=True)
class Limit:
    """Of the ratio, or with a `unit` of the figure itself."""

    sense: Literal["≤", "≥"]
    value: float
    unit: str = ""

    def holds(self, value: float) -> bool:
        return value <= self.value if self.sense == "≤" else value >= self.value

    def __str__(self) -> str:
        return f"{self.sense} {round(self.value, 3):,} {self.unit or '×'}"


def at_most(value: float, unit: str = "") -> Limit:
    return Limit("≤", value, unit)


def at_least(value: float, unit: str = "") -> Limit:
    return Limit("≥", value, unit)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `goal`: as performance.md numbers them, "" for what only helps to read others.

    `beside`: the floor, the peer, or what the goal computes from; None where the goal names a figure.
    `limit`: None where no goal is set. `note`: why there is no figure (skipped, failed).
    """

    goal: str
    what: str
    ours: Figure | None
    beside: Figure | None = None
    limit: Limit | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to theirs."""
        if self.ours is None or self.beside is None or not self.beside.value:
            return None
        if self.ours.unit != self.beside.unit:
            raise ValueError(f"{self.what}: {self.ours.unit} beside {self.beside.unit}")
        return self.ours.value / self.beside.value

    @property
    def met(self) -> bool | None:
        """None where there is nothing to meet, or nothing was measured."""
        if self.limit is None or self.ours is None:
            return None
        if not self.limit.unit:
            return self.limit.holds(self.ratio) if self.ratio is not None else None
        if self.limit.unit != self.ours.unit:
            raise ValueError(f"{self.what}: a limit in {self.limit.unit} for {self.ours.unit}")
        return self.limit.holds(self.ours.value)

    def __str__(self) -> str:
        cells = (
            self.goal or "–",
            self.what,
            str(self.ours) if self.ours is not None else self.note,
            f"{self.beside.of}: {self.beside}" if self.beside is not None else "–",
            _written(self.ratio) if self.ratio is not None else "–",
            str(self.limit) if self.limit is not None else "–",
            {True: "yes", False: "**no**", None: "–"}[self.met],
        )
        return f"| {' | '.join(cells)} |"


def skipped(goal: str, what: str, reason: str) -> Row:
    """What could not be measured here, by name and with the reason."""
    return Row(goal, what, None, note=f"skipped: {reason}")


def _written(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 10 ** (_DIGITS - 1):
        return f"{value:,.0f}"
    return f"{value:#.{_DIGITS}g}"
