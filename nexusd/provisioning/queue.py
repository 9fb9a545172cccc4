"""Reads as much of the queue as one pass looks at: the first of each constraint class.

All of a class look the same to every region, so when the first cannot be placed none of them can, and what a
pass costs depends on the number of classes and not on how many are queued. No class starves: where there are
more than a pass reads, the next pass goes on where this one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.core.lifecycle import UNDER_WAY, Placement
from nexusd.ports import Transaction

CLASSES_PER_PASS = 128
MOST_HEADS = 256
EXPIRED_PER_PASS = 256
SOON_S = 0.05


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one pass works on. `queued`: in the order in which they are placed. `look_again_s`: when the rest
    of the queue, if any, is to be looked at.
    """

    queued: tuple[Placement, ...]
    expired: tuple[Placement, ...]
    under_way: tuple[Placement, ...]
    look_again_s: float


class QueueReader:
    """Remembers where the last pass stopped."""

    def __init__(self) -> None:
        self._after = ""

    def read(self, tx: Transaction, wall_now: float, most: int) -> Waiting:
        """`wall_now`: the time by the wall clock, which deadlines are of. `most`: so many are of use in all.
        They may all be of one class, so as many are read of each, as long as that is not far more than are of
        use.
        """
        classes = tx.queue.classes(self._after, CLASSES_PER_PASS)
        more = len(classes) == CLASSES_PER_PASS
        if self._after and not more:
            classes += [c for c in tx.queue.classes("", CLASSES_PER_PASS - len(classes)) if c <= self._after]
        self._after = classes[-1] if more else ""
        each = max(1, min(most, MOST_HEADS // max(1, len(classes))))
        heads = [placement for c in classes for placement in tx.queue.heads(c, each)]
        expired = tx.queue.expired(wall_now, EXPIRED_PER_PASS)
        return Waiting(
            tuple(sorted((p for p in heads if not _expired(p, wall_now)), key=_turn)),
            tuple(expired),
            tuple(tx.placements.in_states(UNDER_WAY)),
            SOON_S if more or len(expired) == EXPIRED_PER_PASS else float("inf"),
        )


def _turn(placement: Placement) -> tuple[int, float, str]:
    """Higher priority first, then older first."""
    return -placement.request.priority, placement.created_at, placement.id


def _expired(placement: Placement, wall_now: float) -> bool:
    deadline = placement.request.deadline
    return deadline is not None and wall_now >= deadline
