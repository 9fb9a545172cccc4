"""How each benchmark measures: several rounds, nexusd and its peer one right after the other in each.

What a machine gives changes from one minute to the next; a ratio within one round hardly does.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import TypeVar

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")

ROUNDS = 3
_BEGAN = time.monotonic()


def interleaved(
    what: str, ours: Callable[[], Ours], theirs: Callable[[], Theirs], rounds: int = ROUNDS
) -> list[tuple[Ours, Theirs]]:
    """Each round has both; who comes first takes turns."""
    measured = []
    for number in range(rounds):
        progress(f"{what}: round {number + 1} of {rounds}")
        if number % 2:
            other = theirs()
            measured.append((ours(), other))
        else:
            measured.append((ours(), theirs()))
    return measured


def median_round(
    measured: list[tuple[Ours, Theirs]], figure: Callable[[Ours | Theirs], float]
) -> tuple[Ours, Theirs]:
    """The round with the median ratio of that figure, whole: what it shows was measured together."""
    return sorted(measured, key=lambda both: figure(both[0]) / figure(both[1]))[len(measured) // 2]


def median_of(what: str, measure: Callable[[], float], rounds: int = ROUNDS) -> float:
    """Where there is nobody to take turns with."""
    progress(f"{what}: {rounds} rounds")
    return statistics.median(measure() for _ in range(rounds))


def missing(program: str) -> str | None:
    """Why a peer cannot be measured, if so."""
    return None if shutil.which(program) else f"{program} is not installed"


def progress(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.0f}s  {text}", file=sys.stderr, flush=True)
